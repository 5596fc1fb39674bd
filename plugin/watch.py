"""A folder kept denoised by any number of workers: the scan is the truth, and publishing is idempotent.

Whether a result is current is read from the result itself; claims and counts lie in OUT (see spool). A run that is
killed anywhere, or two runs at once, cost at most the same frame done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from mdenoise.batch import Outcome
from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.watch_control import Control
from mdenoise.watch_results import Watch, is_current, origin
from mdenoise.watch_run import Run
from mdenoise.watch_scan import Seen, State, look, scan
from mdenoise.watch_work import OutTrouble

__all__ = ["Control", "Seen", "State", "Watch", "forever", "is_current", "look", "once", "origin", "scan"]

_LONGEST_PAUSE_S = 60.0


def once(watch: Watch, control: Control | None = None) -> Iterator[Outcome]:
    """Denoise whatever is new or changed and has settled, then end. Errors of single files are outcomes.

    Files that others hold are waited for: they are done at the end, or their claims have run out and we do them.
    Raises UsageError, InputError or OutputError when a folder cannot be used, ModelError and EngineError.
    """
    control = control or Control()
    with closing(_open(watch, control)) as run:
        tried: set[str] = set()
        if run.begin():
            control.wait(watch.settle_s)
        while not control.stopping:
            control.reloading = False
            names = [name for name in run.look(patient=False) if name not in tried]
            try:
                for outcome in run.work(names):
                    if outcome.status != "denoised":
                        tried.add(str(outcome.src.relative_to(watch.folder)))
                    yield outcome
            except OutTrouble as trouble:
                raise trouble.error from None
            if run.held:
                control.wait(min(watch.poll_s, watch.lease_s / 4))
            elif not names:
                break


def forever(
    watch: Watch, control: Control | None = None, *, options: Callable[[], Options] | None = None
) -> Iterator[Outcome]:
    """Like `once`, again and again every `poll_s`, until `control.stopping`.

    A failed version of a file is tried again after a pause, `tries` times in all, then left alone until it changes. A
    folder that is away, cannot be written or is full is waited for: an outcome "paused" about it, later "resumed".
    `options` is asked for the options after `control.reloading`.
    """
    control = control or Control()
    with closing(_open(watch, control)) as run:
        pause_s = 0.0
        while not control.stopping:
            if control.reloading:
                control.reloading = False
                if options is not None:
                    yield from run.reload(options)
            try:
                run.spool.check()
                for outcome in run.work(run.look()):
                    if pause_s:
                        pause_s = 0.0
                        yield run.paused(None)
                    yield outcome
            except (InputError, OutputError, OutTrouble) as trouble:
                if not pause_s:
                    yield run.paused(trouble.error if isinstance(trouble, OutTrouble) else trouble)
                pause_s = min(_LONGEST_PAUSE_S, max(watch.poll_s, 2 * pause_s))
                control.wait(pause_s)
                continue
            if pause_s:
                pause_s = 0.0
                yield run.paused(None)
            run.tell()
            control.wait(watch.poll_s)


def _open(watch: Watch, control: Control) -> Run:
    _check(watch)
    return Run(watch, control)


def _check(watch: Watch) -> None:
    if not watch.folder.is_dir():
        raise InputError(f"cannot watch {watch.folder}: it is not a folder")
    try:
        watch.out.mkdir(parents=True, exist_ok=True)
        for folder in (watch.done_dir, watch.failed_dir):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {error.filename or watch.out}: {error.strerror}") from None
    if watch.folder.samefile(watch.out):
        raise UsageError(f"cannot watch {watch.folder} into itself: name another folder for results")
    if watch.recursive and watch.folder.resolve().is_relative_to(watch.out.resolve()):
        raise UsageError(f"cannot watch {watch.folder} into {watch.out}, which it lies in: results would be watched")
    for folder in (watch.done_dir, watch.failed_dir):
        if folder is not None and (folder.samefile(watch.folder) or folder.samefile(watch.out)):
            raise UsageError(f"cannot put sources aside in {folder}: it is watched, or holds the results")
        if folder is not None and folder.stat().st_dev != watch.folder.stat().st_dev:
            raise UsageError(f"cannot put sources aside in {folder}: it lies on another disk than {watch.folder}")
