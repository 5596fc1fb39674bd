"""Processes that tests start, watch and stop: by what they have done, never by how long that takes."""

import time
from pathlib import Path

from mdenoise import isolation

from .fuzz.batches import children_of

__all__ = ["alive", "children_of", "holding", "in_workers", "program", "wait_for"]

PATIENCE_S = 300  # for a machine that has other things to do, too


def wait_for(condition):
    """Until `condition()` is true; what it answers."""
    until = time.monotonic() + PATIENCE_S
    while not (answer := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
    return answer


def alive(pid):
    """Whether a process runs or sleeps, on Linux; one that has ended and that nobody asked for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def in_workers(code):
    """The command of `isolation.Worker`, with `code` run before it serves."""
    head, _, serve = isolation._COMMAND.rpartition("; ")
    return f"{head}\n{code}\n{serve}"


def holding(name):
    """Code for a process that writes, but never publishes, a result of this name: whoever stops it is never late."""
    return f"""
import time
from mdenoise import atomic
go_on = atomic._sync
def hold(path, flags):
    while path.name.startswith({f".{name}."!r}):
        time.sleep(1)
    go_on(path, flags)
atomic._sync = hold
"""


def program(code):
    """Arguments of a Python that is the command line, with `code` run in its workers."""
    start = "import sys; from mdenoise import isolation; from mdenoise.cli import main"
    return ["-c", f"{start}; isolation._COMMAND = {in_workers(code)!r}; sys.exit(main(sys.argv[1:]))"]
