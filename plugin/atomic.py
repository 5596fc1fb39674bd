"""Publish a file whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mdenoise.errors import OutputError

# What file systems answer that know no fsync (or no hard links): not a failure of the write itself.
_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EMLINK}


def publish(path: Path, write_fn: Callable[[Path], None], *, overwrite: bool) -> None:
    """Let `write_fn(temp)` fill a temporary file beside `path`, then give it its name in one step.

    Readers of `path` see the old file or the finished new one, never a part. Without `overwrite` a file
    that appeared meanwhile is kept. With it, a symbolic link stays a link and its target is replaced.
    Raises OutputError; whatever is raised (KeyboardInterrupt included), the temporary file is gone.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a folder")
        if not overwrite and os.path.lexists(path):
            raise FileExistsError
        final = Path(os.path.realpath(path)) if path.is_symlink() else path
        temp = final.with_name(f"{_temp_prefix(final)}{os.getpid()}.{secrets.token_hex(4)}.tmp")
        try:
            # Created here and not by write_fn: exclusive, and with the permissions that the umask gives.
            os.close(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            write_fn(temp)
            _sync(temp, os.O_RDWR)
            if overwrite:
                temp.replace(final)
            else:
                _claim(temp, final)
        finally:
            with suppress(OSError):
                temp.unlink(missing_ok=True)
    except FileExistsError:
        raise OutputError(f"cannot write {path}: it exists already (use --overwrite to replace it)") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    with suppress(OSError):
        _sync(final.parent, os.O_RDONLY)


def sweep(path: Path) -> None:
    """Remove the temporary files that killed writers of `path` left; a writer at work now would fail with OutputError.

    Nothing is raised: what cannot be removed stays.
    """
    path = Path(path)
    final = Path(os.path.realpath(path)) if path.is_symlink() else path
    leftover = re.compile(re.escape(_temp_prefix(final)) + r"[0-9]+\.[0-9a-f]{8}\.tmp")
    with suppress(OSError):
        for name in os.listdir(final.parent):  # noqa: PTH208 (names are all that is needed)
            if leftover.fullmatch(name):
                with suppress(OSError):
                    (final.parent / name).unlink()


def _temp_prefix(final: Path) -> str:
    shown = os.fsdecode(os.fsencode(final.name)[:200])  # the longest name a file may have is 255 bytes
    return f".{shown}."


def _claim(temp: Path, final: Path) -> None:
    """Give `temp` the name `final` unless that is taken: FileExistsError then."""
    try:
        os.link(temp, final)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        # No hard links here (FAT, some network shares): take the name first, then replace our own empty file.
        os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            temp.replace(final)
        except BaseException:
            final.unlink(missing_ok=True)
            raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)
