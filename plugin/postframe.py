"""Frames denoised when their renderer says that they are written, and what may be replaced by a result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mdenoise import batch
from mdenoise.batch import Outcome, Task
from mdenoise.config import Options
from mdenoise.errors import Cancelled, InputError, OutputError, UsageError
from mdenoise.inputs import file_format

EXISTING = ("ours", "overwrite", "skip")  # what an output that exists means; "ours": replaced if mdenoise wrote it


def post(
    inputs: Sequence[str | Path],
    output: str | None = None,
    *,
    frames: str | None = None,
    existing: str = "ours",
    options: Options | None = None,
    wait_s: float = 5.0,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Denoise frames that a renderer says are written; `inputs`, `output` and `frames` as in `batch.plan`.

    A file that is missing or cannot be read yet is waited for up to `wait_s` in all. Raises what `batch.plan` and
    `batch.worker` raise, and Cancelled.
    """
    check_existing(existing)
    until = time.monotonic() + wait_s
    plan = batch.plan(inputs, output, frames=frames, existing="overwrite")
    while any(outcome.error for outcome in plan.settled) and _pause(until, cancel):
        plan = batch.plan(inputs, output, frames=frames, existing="overwrite")
    yield from plan.settled
    if not plan.tasks:
        return
    work = batch.worker(options or Options(), overwrite=True, cancel=cancel)
    for task in plan.tasks:
        while True:
            state = _state(task.src)
            outcome = beforehand(task, existing) or work(task)
            if not isinstance(outcome.error, InputError) or not _changes(task.src, state, until, cancel):
                break
        yield outcome


def check_existing(existing: str) -> None:
    if existing not in EXISTING:
        raise UsageError(f"existing {existing!r} is not known: use {', '.join(EXISTING)}")


def beforehand(task: Task, existing: str) -> Outcome | None:
    """The outcome of a task whose output must stay as it is; None when it is to be denoised."""
    error: OutputError | None = None
    if task.dst.is_symlink():
        error = OutputError(f"cannot write {task.dst}: it is a symbolic link, which may lead elsewhere. Remove it")
    elif os.path.lexists(task.dst) and existing != "overwrite":
        if existing == "skip":
            return Outcome(task.src, task.dst, "skipped")
        if not _is_ours(task.dst):
            error = OutputError(
                f"cannot write {task.dst}: it exists and mdenoise did not write it. Give --overwrite or move it away"
            )
    return None if error is None else Outcome(task.src, task.dst, "failed", error=error)


def _is_ours(path: Path) -> bool:
    adapter = file_format(path)
    try:
        return adapter is not None and bool(adapter.provenance(path))
    except InputError:
        return False


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns, info.st_ino


def _changes(path: Path, state: object, until_s: float, cancel: Callable[[], bool] | None) -> bool:
    """Wait for another version of a file than `state`; False when there is none in time."""
    while _state(path) == state:
        if not _pause(until_s, cancel):
            return False
    return True


def _pause(until_s: float, cancel: Callable[[], bool] | None) -> bool:
    if cancel is not None and cancel():
        raise Cancelled("stopped; nothing was written")
    if time.monotonic() >= until_s:
        return False
    time.sleep(0.1)
    return True
