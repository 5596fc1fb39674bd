"""The command line. Whatever happens, from the first import on, ends in one line and an exit code."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_SECOND_SIGNAL_S = 2.0


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt, which click would answer by itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `mdenoise` with these arguments (sys.argv without the program by default) and return its exit code."""
    gc.set_threshold(100_000)  # what imports make stays: to look through it again and again takes time
    try:
        with _signals() as interrupted:
            from mdenoise.cli.app import run

            return run(list(sys.argv[1:] if arguments is None else arguments), interrupted)
    except (Interrupted, KeyboardInterrupt):
        sys.stderr.write("mdenoise: interrupted\n")
        return 130


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Raise Interrupted at SIGINT and SIGTERM, and answer whether there was one.

    The answer is asked between tiles: a library with a bare `except` may have swallowed the exception. A second
    signal right after the first, or while the program ends, does not cut its clean-up short.
    """
    last = [float("-inf")]

    def interrupted() -> bool:
        return last[0] > float("-inf")

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - last[0] > _SECOND_SIGNAL_S:
            last[0] = now
            raise Interrupted

    if threading.current_thread() is not threading.main_thread():  # the host program owns the signals
        yield interrupted
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler not in (None, signal.SIG_IGN)]  # nohup stays nohup
    try:
        for number in ours:
            signal.signal(number, stop)
        yield interrupted
    finally:
        for number in ours:  # Python's own shutdown would let one more signal kill it
            signal.signal(number, signal.SIG_IGN if interrupted() else before[number])
