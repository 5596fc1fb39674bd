"""How much memory there is: for the machine, its container, and this process."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_UNKNOWN = 64 << 30
_CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """Bytes that this process may use: the least of the machine's, its container's, and its own limit."""
    found = []
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _CONTAINER:
        with suppress(OSError, ValueError):  # "max" is no number
            found.append(int(Path(path).read_text("ascii")))
    with suppress(ImportError):
        import resource

        own = resource.getrlimit(resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS)[0]
        if own != resource.RLIM_INFINITY:
            found.append(own)
    return min(found, default=_UNKNOWN)
