"""A folder kept denoised: the scan is the truth, a file is taken when it has settled, results say what they came from.

Nothing is remembered on disk: whether a result is current is read from the result itself, so a run that is killed
anywhere, or two runs at once, cost at most the same frame done twice (publishing is atomic).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mdenoise import sequences
from mdenoise.batch import Outcome, Task, worker
from mdenoise.config import Options
from mdenoise.errors import Cancelled, InputError, OutputError, UsageError
from mdenoise.inputs import file_format

Cancel = Callable[[], bool]
UNFINISHED = (".tmp", ".part", ".partial", ".inprogress")


@dataclass(frozen=True)
class State:
    """What tells one version of a file from another without reading it."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class Seen:
    """A version of a file, and since when, on this machine's monotonic clock, it has looked like that.

    File times are compared with each other only, never with the clock: on a network they come from another machine.
    """

    state: State
    since_s: float


@dataclass(frozen=True)
class Watch:
    """One watched pair of folders; `settle_s` is how long a file must look the same before it is read."""

    folder: Path
    out: Path
    options: Options = field(default_factory=Options)
    settle_s: float = 3.0
    poll_s: float = 2.0


def once(watch: Watch, *, cancel: Cancel | None = None) -> Iterator[Outcome]:
    """Denoise whatever is new or changed and has settled, then end. Errors of single files are outcomes.

    Raises UsageError, InputError or OutputError when a folder cannot be used, what `batch.worker` raises, and
    Cancelled when `cancel` answers True.
    """
    _check(watch)
    seen = look(scan(watch.folder), {}, time.monotonic())
    if seen:
        time.sleep(watch.settle_s)
        seen = look(scan(watch.folder), seen, time.monotonic())
    work = _opener(watch.options, cancel)
    for task in pending(watch, seen, time.monotonic()):
        yield _denoise(task, work)


def forever(watch: Watch, *, cancel: Cancel | None = None) -> Iterator[Outcome]:
    """Like `once`, again and again every `poll_s`. A version of a file that failed is tried again only when it changes;
    a folder that cannot be listed for a while (a network that is down) is waited for."""
    _check(watch)
    work = _opener(watch.options, cancel)
    seen: dict[Path, Seen] = {}
    failed: dict[Path, State] = {}
    done: dict[Path, State] = {}  # spares reading the stamps of all results at every scan
    while not (cancel is not None and cancel()):
        try:
            seen = look(scan(watch.folder), seen, time.monotonic())
        except InputError:
            time.sleep(watch.poll_s)
            continue
        fresh = {
            path: view
            for path, view in seen.items()
            if failed.get(path) != view.state
            and not (done.get(path) == view.state and os.path.lexists(watch.out / path.name))
        }
        for task in pending(watch, fresh, time.monotonic()):
            outcome = _denoise(task, work)
            (failed if outcome.status == "failed" else done)[task.src] = seen[task.src].state
            yield outcome
        time.sleep(watch.poll_s)
    raise Cancelled(f"stopped watching {watch.folder}")


def scan(folder: Path) -> dict[Path, State]:
    """Files of a folder that could be denoised, by path. Raises InputError when it cannot be listed."""
    found: dict[Path, State] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.name.startswith(".") or entry.name.lower().endswith(UNFINISHED):
                    continue
                if file_format(path) is None or sequences.is_denoised_name(path):
                    continue
                try:
                    info = entry.stat()
                except OSError:  # gone since it was listed, or a link that leads nowhere: the next scan tells
                    continue
                if stat.S_ISREG(info.st_mode):
                    found[path] = State(info.st_size, info.st_mtime_ns, info.st_ino)
    except OSError as error:
        raise InputError(f"cannot watch {folder}: {error.strerror}") from None
    return found


def look(states: Mapping[Path, State], before: Mapping[Path, Seen], now_s: float) -> dict[Path, Seen]:
    """Views after a scan: a version that was there before keeps its time, a new one starts now."""
    return {
        path: before[path] if path in before and before[path].state == state else Seen(state, now_s)
        for path, state in states.items()
    }


def pending(watch: Watch, seen: Mapping[Path, Seen], now_s: float) -> list[Task]:
    """Settled files whose result is missing or came from another version, by name."""
    tasks = []
    for path in sorted(seen):
        dst = watch.out / path.name
        settled = now_s - seen[path].since_s >= watch.settle_s
        if settled and seen[path].state.size and not is_current(dst, path, seen[path].state):
            tasks.append(Task(path, dst))
    return tasks


def is_current(dst: Path, src: Path, state: State) -> bool:
    """Whether `dst` is our result of this very version of `src`, by the stamp in its header."""
    stamp = _stamp(dst)
    return stamp is not None and all(stamp.get(key) == value for key, value in origin(src, state).items())


def origin(src: Path, state: State) -> dict[str, str]:
    """What a result's stamp says about its source. The inode is left out: a restored or copied source is the same."""
    name = src.name.encode("utf-8", "replace").decode("utf-8")  # as a header stores a name that is not UTF-8
    return {"source": name, "source_size": str(state.size), "source_mtime_ns": str(state.mtime_ns)}


def _stamp(dst: Path) -> Mapping[str, str] | None:
    """The provenance of a result; None when there is no file, or one that mdenoise did not write."""
    if not os.path.lexists(dst):
        return None
    try:
        return file_format(dst).provenance(dst) or None
    except InputError:
        return None


def _opener(options: Options, cancel: Cancel | None) -> Callable[[], Callable[[Task], Outcome]]:
    """Model and engine are opened at the first file, and only once."""
    return cache(lambda: worker(options, overwrite=True, cancel=cancel))


def _denoise(task: Task, work: Callable[[], Callable[[Task], Outcome]]) -> Outcome:
    """One task; a file in OUT that is not ours is never replaced, and no link there leads a result out of it."""
    if task.dst.is_symlink():
        error = OutputError(f"cannot write {task.dst}: it is a symbolic link, which may lead elsewhere. Remove it")
        return Outcome(task.src, task.dst, "failed", error=error)
    if os.path.lexists(task.dst) and _stamp(task.dst) is None:
        error = OutputError(f"cannot write {task.dst}: it exists and mdenoise did not write it. Move it away")
        return Outcome(task.src, task.dst, "failed", error=error)
    return work()(task)


def _check(watch: Watch) -> None:
    if not watch.folder.is_dir():
        raise InputError(f"cannot watch {watch.folder}: it is not a folder")
    try:
        watch.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {watch.out}: {error.strerror}") from None
    if watch.folder.samefile(watch.out):
        raise UsageError(f"cannot watch {watch.folder} into itself: name another folder for results")
