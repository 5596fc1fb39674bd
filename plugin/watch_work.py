"""One watched file: claimed, counted, denoised aside, published if it is still ours and still the same."""

from __future__ import annotations

import errno
import os
import random
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from mdenoise import atomic
from mdenoise.batch import Outcome
from mdenoise.errors import Cancelled, EngineError, InputError, MDenoiseError, ModelError, OutputError, UsageError
from mdenoise.isolation import CrashError, Worker
from mdenoise.spool import Claim, Spool
from mdenoise.spool_journal import Journal
from mdenoise.spool_records import Record, key_of
from mdenoise.watch_move import move_aside
from mdenoise.watch_results import Watch, in_the_way, is_current, result_of
from mdenoise.watch_scan import State, state_of

_LONGEST_WAIT_S = 300.0
# Reading fails with these when a disk, a share or its server has trouble, or rights are about to be given.
_PASSING = tuple(
    os.strerror(getattr(errno, name))
    for name in (
        "EIO",
        "ESTALE",
        "ETIMEDOUT",
        "ENOTCONN",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ECONNRESET",
        "EAGAIN",
        "EBUSY",
        "EMFILE",
        "ENFILE",
        "ENOMEM",
        "EACCES",
    )
    if hasattr(errno, name)
)


class OutTrouble(Exception):
    """OUT takes no files now; `error` says why. No fault of the file at hand, whose attempt does not count."""

    def __init__(self, error: OutputError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Desk:
    """What an attempt needs besides the file; one for each thread."""

    watch: Watch
    spool: Spool
    worker: Worker
    journal: Journal
    is_over: Callable[[], bool]  # asked while a file is denoised: whether to drop it


def attempt(desk: Desk, name: str, state: State) -> Outcome | str:
    """Denoise one version of a file. Answers its outcome ("denoised", "retry" or "failed"), or why there is none:
    "current" (its result is there), "held" (by another worker), "changed" (it is another version now, or gone).

    Raises OutTrouble, ModelError, EngineError and Cancelled. Whatever is raised, the claim is given up.
    """
    src, dst = desk.watch.folder / name, result_of(desk.watch, name)
    desk.worker.open(cancel=desk.is_over)
    try:
        claim = desk.spool.take(name)
    except OSError as error:
        raise OutTrouble(_cannot_write(desk.watch.out, error)) from None
    if claim is None:
        return "held"
    with claim:
        record = desk.spool.records("failed").get(key_of(name))
        if state_of(src) != state or (record is not None and is_of(record, state)):
            return "changed"
        if is_current(dst, src, state):
            return _finish(desk, name, state) or "current"
        if (error := in_the_way(desk.watch, name)) is not None:
            return Outcome(src, dst, "failed", error=error)
        return _count_and_work(desk, claim, name, state, src, dst)


def _count_and_work(desk: Desk, claim: Claim, name: str, state: State, src: Path, dst: Path) -> Outcome | str:
    before = desk.spool.records("tries").get(key_of(name))
    tries = 1 + (before.tries if before is not None and is_of(before, state) else 0)
    record = Record(name, state.size, state.mtime_ns, tries)
    if tries > desk.watch.tries:
        error = MDenoiseError(
            f"cannot denoise {src}: {tries - 1} attempts ended without an answer, as when the "
            "program is killed or the machine fails. Try again with --retry-failed"
        )
        return _give_up(desk, claim, replace(record, tries=tries - 1), src, error)
    try:
        claim.put("tries", record)
    except OSError as error:
        raise OutTrouble(_cannot_write(desk.watch.out, error)) from None
    made = claim.folder / dst.name
    try:
        report = desk.worker.denoise(src, made, cancel=desk.is_over)
        if state_of(src) != state or not claim.is_held():
            _uncount(claim, record)
            return "changed"
        _publish(desk.watch, name, made)
    except Cancelled:  # no fault of the file
        _uncount(claim, record)
        raise
    except (EngineError, ModelError):
        raise
    except Exception as error:
        return _failure(desk, claim, record, state, src, dst, _about(error, made, dst))
    desk.journal.write(
        "denoised", source=name, size=state.size, mtime_ns=state.mtime_ns, tries=tries, seconds=round(report.seconds, 3)
    )
    with suppress(OSError):
        claim.drop("tries")
    return _finish(desk, name, state) or Outcome(src, dst, "denoised", replace(report, dst=dst), report.roles_line)


def _publish(watch: Watch, name: str, made: Path) -> None:
    """Give the result its name, replacing only results of ours. Raises OutputError and OSError."""
    out, dst = watch.out, result_of(watch, name)
    for folder in reversed([dst.parent, *dst.parent.parents]):
        if folder.is_relative_to(out) and folder != out:  # never OUT itself: a disk that is away is not made up for
            folder.mkdir(exist_ok=True)
    if (error := in_the_way(watch, name)) is not None:
        raise error
    try:
        atomic.adopt(made, dst, overwrite=os.path.lexists(dst))
    except OSError as error:
        raise _cannot_write(dst, error) from None


def _failure(
    desk: Desk, claim: Claim, record: Record, state: State, src: Path, dst: Path, error: Exception
) -> Outcome | str:
    """What a failed attempt means: nothing, when file or claim changed; trouble of OUT; try again; or give up."""
    if state_of(src) != state or not claim.is_held():
        _uncount(claim, record)
        return "changed"
    writing = isinstance(error, OutputError | OSError)
    # Results may be larger than sources: other compression, another type, more layers.
    if writing and (why := desk.spool.trouble(claim, 8 * state.size + 2**24)) is not None:
        _uncount(claim, record)
        raise OutTrouble(OutputError(f"cannot write to {desk.watch.out}: {why}"))
    lasting = isinstance(error, InputError | UsageError) and not isinstance(error, CrashError)
    if record.tries >= desk.watch.tries or (lasting and not str(error).endswith(_PASSING)):
        return _give_up(desk, claim, record, src, error)
    wait_s = min(_LONGEST_WAIT_S, desk.watch.retry_s * 4 ** (record.tries - 1)) * random.uniform(0.75, 1.25)
    desk.journal.write("retry", source=record.source, tries=record.tries, wait_s=round(wait_s, 1), error=str(error))
    with suppress(OSError):
        claim.put("tries", replace(record, wait_s=wait_s, error=str(error), **_where()))
    text = f"{error}. Trying again in {wait_s:.0f} s ({record.tries} of {desk.watch.tries})"
    return Outcome(src, dst, "retry", error=_retold(error, text))


def _give_up(desk: Desk, claim: Claim, record: Record, src: Path, error: Exception) -> Outcome:
    told = "" if isinstance(error, MDenoiseError) else "".join(traceback.format_exception(error))
    record = replace(record, wait_s=0.0, error=str(error), kind=type(error).__name__, traceback=told, **_where())
    try:
        claim.put("failed", record)
        claim.drop("tries")
        if desk.watch.failed_dir is not None:
            state = State(record.size, record.mtime_ns, 0)
            with suppress(OSError):
                moved = move_aside(src, state, desk.watch.failed_dir, record.source, desk.watch.ready_suffix)
                claim.put("failed", replace(record, moved_to=str(moved)))
    except OSError as trouble:
        raise OutTrouble(_cannot_write(desk.watch.out, trouble)) from None
    desk.journal.write("failed", source=record.source, tries=record.tries, error=str(error))
    return Outcome(src, None, "failed", error=error)


def _finish(desk: Desk, name: str, state: State) -> Outcome | None:
    """Put a source aside whose result is there; an outcome only when that fails."""
    if desk.watch.done_dir is None:
        return None
    src = desk.watch.folder / name
    try:
        move_aside(src, state, desk.watch.done_dir, name, desk.watch.ready_suffix)
    except OSError as error:
        text = f"cannot move {src} to {desk.watch.done_dir}: {error.strerror or error}"
        return Outcome(src, None, "failed", error=OutputError(text))
    return None


def is_of(record: Record, state: State) -> bool:
    """Whether a record is about this version of its file."""
    return (record.size, record.mtime_ns) == (state.size, state.mtime_ns)


def _uncount(claim: Claim, record: Record) -> None:
    with suppress(OSError):
        if record.tries > 1:
            claim.put("tries", replace(record, tries=record.tries - 1))
        else:
            claim.drop("tries")


def _about(error: Exception, made: Path, dst: Path) -> Exception:
    """The error as told of the result and not of the file that was to become it."""
    text = str(error)
    return _retold(error, text.replace(str(made), str(dst))) if str(made) in text else error


def _retold(error: Exception, text: str) -> Exception:
    return type(error)(text) if isinstance(error, MDenoiseError) else MDenoiseError(text)


def _cannot_write(what: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write to {what}: {error.strerror or error}")


def _where() -> dict[str, str]:
    import socket

    return {"host": socket.gethostname(), "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
