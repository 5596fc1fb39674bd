"""Sources put aside when their work is done: never over another file, and never a version that nobody looked at."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from mdenoise import atomic
from mdenoise.watch_scan import State, state_of


def move_aside(src: Path, state: State, folder: Path, name: str, ready_suffix: str | None = None) -> Path:
    """Move `src`, when it still is the version `state` (whatever its inode), to `folder`/`name` or, where that is
    taken, to a numbered name; its ready marker is removed. Answers the new place.

    A rename within one file system: nothing is copied, and a folder that is away is an error. Raises OSError.
    """
    now = state_of(src)
    if now is None or (now.size, now.mtime_ns) != (state.size, state.mtime_ns):
        raise FileNotFoundError(errno.ENOENT, "it has changed meanwhile")
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder is not there")
    wanted = folder / name
    wanted.parent.mkdir(parents=True, exist_ok=True)
    number, dst = 0, wanted
    while os.path.lexists(dst) and not _same(src, dst):  # the same: killed between its new name and its old
        number += 1
        dst = wanted.with_name(f"{wanted.stem}.{number}{wanted.suffix}")
    atomic.adopt(src, dst, overwrite=False)
    if ready_suffix:
        with suppress(OSError):
            src.with_name(src.name + ready_suffix).unlink()
    return dst


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
