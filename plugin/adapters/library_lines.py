"""What C and C++ libraries print to stderr about damaged files: caught, so that a refusal is one line."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ANY = re.compile(b"")


@contextmanager
def library_messages(known: re.Pattern[bytes] = ANY) -> Iterator[list[str]]:
    """Catch the lines on stderr that `known` finds; all others are passed on.

    The descriptor belongs to the whole process, so it is borrowed only while no other Python thread runs.
    """
    messages: list[str] = []
    try:
        saved = os.dup(2) if threading.active_count() == 1 else None
    except OSError:
        saved = None  # a process without stderr
    if saved is None:
        yield messages
        return
    with tempfile.TemporaryFile() as caught:
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(caught.fileno(), 2)
        try:
            yield messages
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            caught.seek(0)
            for line in caught.read().splitlines(keepends=True):
                if known.search(line):
                    messages.append(line.decode("utf-8", "replace"))
                else:
                    os.write(2, line)
