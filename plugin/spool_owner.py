"""Who holds a claim: a process, so named that another can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """`born` is when the process started, so that a reused pid is another; `space` names the boot of the machine and
    the pid namespace in which it can be looked up, empty where the system tells neither."""

    host: str
    pid: str
    born: str
    space: str


def myself() -> Owner:
    return Owner(socket.gethostname(), str(os.getpid()), _born("self") or "", _space())


def is_dead(owner: Owner) -> bool:
    """Whether the process surely has ended; False wherever that cannot be told from here."""
    if not (owner.space and owner.space == _space() and owner.pid.isdecimal()):
        return False
    born = _born(owner.pid)
    if born is not None:
        return born != owner.born
    try:
        os.kill(int(owner.pid), 0)  # /proc may hide other users' processes
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _born(pid: str) -> str | None:
    """Start time in ticks since boot; empty for one that has ended and waits for its parent; None when not listed."""
    try:
        fields = Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


@cache
def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""
