"""What a farm reads while a task runs: OpenJD's lines on stdout, in `mdenoise --farm openjd ...`.

The lines are those of https://github.com/OpenJobDescription/openjd-specifications/wiki/How-Jobs-Are-Run:
`openjd_progress: 42`, `openjd_status: text`, `openjd_fail: text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from mdenoise.batch import Outcome
from mdenoise.cli import console
from mdenoise.errors import MDenoiseError


def frames(text: str) -> str:
    """A range as OpenJD hands it to a task, `1-9:2,20`, in the way of --frames, `1-9x2,20`."""
    return text.replace(":", "x")


@contextmanager
def failures() -> Iterator[None]:
    """Say an error that ends the whole task in the farm's way, too."""
    try:
        yield
    except MDenoiseError as error:
        _line("fail", str(error))
        raise


@contextmanager
def lines(files: int) -> Iterator[Callable[[int, str, float], None]]:
    """A function (file number, name, files done) that prints percent of all files as it rises, and each name once."""
    percent, current = 0, -1

    def move(number: int, name: str, done: float) -> None:
        nonlocal percent, current
        if number > current:  # of several files at a time, the last one that was begun
            current = number
            _line("status", f"{number + 1}/{files} {name}")
        now = int(100 * done / files)
        if now > percent:
            percent = now
            _line("progress", str(now))

    yield move


def finish(outcomes: Iterable[Outcome]) -> None:
    """Say why a task failed, or that it is done when no file had to be."""
    outcomes = list(outcomes)
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        _line("fail", f"{len(failed)} of {len(outcomes)} files failed: {failed[0].error}")
    elif not any(outcome.status == "denoised" for outcome in outcomes):
        _line("status", "nothing left to do")
        _line("progress", "100")


def _line(kind: str, text: str) -> None:
    console.result(f"openjd_{kind}: {console.printable(text)}")
