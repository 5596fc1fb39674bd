"""Where output goes: results on stdout, everything else on stderr, each message one line."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_screen = threading.RLock()  # progress comes from the threads of several files
_bar: Any = None  # the rich progress bar on the screen, if any: text must not be written into it


def result(value: str | Path | Mapping[str, Any]) -> None:
    """One line on stdout: a path byte for byte as the system names it, or an object as JSON."""
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=True, default=str, allow_nan=False)
    with _off_screen():
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(value) + b"\n")
        sys.stdout.buffer.flush()


def say(message: str) -> None:
    """One line on stderr, whatever a file name holds."""
    with _off_screen():
        sys.stderr.write(f"mdenoise: {printable(message)}\n")
        sys.stderr.flush()


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def relay(quiet: bool) -> None:
    """Show what the library logs: that it compiles a model, which engine it passes over and why."""
    logger = logging.getLogger("mdenoise")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


def printable(message: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)


def fail(message: str, code: int) -> int:
    say(message)
    return code


def internal(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"internal error: {type(error).__name__}{': ' + text if text else ''}; rerun with -v for the traceback"


def traceback(error: BaseException) -> None:
    import traceback as formatter

    with _off_screen():
        sys.stderr.write("".join(formatter.format_exception(error)))


@contextmanager
def bar(files: int, shown: bool) -> Iterator[Any]:
    """A function (file number, name, files done) that moves the bar, or None unless stderr is a terminal."""
    global _bar
    if not (shown and files and sys.stderr.isatty()):
        yield None
        return
    from rich import progress as rich
    from rich.console import Console

    progress = rich.Progress(
        rich.TextColumn("{task.fields[name]}", markup=False),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # No refresh thread: while there is one, the EXR reader cannot keep its library's messages off the terminal.
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    row = progress.add_task("", total=files, name="")
    _bar = progress
    progress.start()
    try:

        def move(number: int, name: str, done: float) -> None:
            with _screen:
                label = f"{number + 1}/{files} {name}" if files > 1 else name
                progress.update(row, completed=done, name=label, refresh=_bar is not None)

        yield move
    finally:
        with _screen:
            progress.stop()
            _bar = None


@contextmanager
def _off_screen() -> Iterator[None]:
    """Take the bar off the terminal while a line is written."""
    with _screen:
        if _bar is None:
            yield
            return
        _bar.stop()
        try:
            yield
        finally:
            _bar.start()
