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
_TEMP = re.compile(r"(?P<prefix>.*\.)(?P<pid>[0-9]+)\.[0-9a-f]{8}\.tmp", re.DOTALL)


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
            _name(temp, final, overwrite)
        finally:
            with suppress(OSError):
                temp.unlink(missing_ok=True)
    except FileExistsError:
        raise OutputError(f"cannot write {path}: it exists already (use --overwrite to replace it)") from None
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
    with suppress(OSError):
        _sync(final.parent, os.O_RDONLY)


def adopt(made: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished file, on the file system of `path`, that name in one step; afterwards `made` is gone.

    A symbolic link at `path` is itself replaced. Raises FileExistsError when `path` is taken and `overwrite` is false,
    and OSError; `made` is still there then.
    """
    _sync(made, os.O_RDONLY)
    _name(made, path, overwrite)
    if not overwrite:
        made.unlink(missing_ok=True)
    with suppress(OSError):
        _sync(path.parent, os.O_RDONLY)


def sweep(*paths: Path, of: Callable[[int], bool] = lambda pid: True) -> None:
    """Remove the temporary files that killed writers of `paths` left; a writer at work now would fail with OutputError.

    `of` tells by the writer's process number which go. Nothing is raised: what cannot be removed stays.
    """
    folders: dict[Path, set[str]] = {}
    for path in map(Path, paths):
        final = Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 (raises for no name)
        folders.setdefault(final.parent, set()).add(_temp_prefix(final))
    for folder, prefixes in folders.items():
        with suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208 (names are all that is needed)
                found = _TEMP.fullmatch(name)
                if found and found["prefix"] in prefixes and of(int(found["pid"])):
                    with suppress(OSError):
                        (folder / name).unlink()


def is_gone(pid: int) -> bool:
    """Whether no process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _temp_prefix(final: Path) -> str:
    shown = os.fsdecode(os.fsencode(final.name)[:200])  # the longest name a file may have is 255 bytes
    return f".{shown}."


def _name(temp: Path, final: Path, overwrite: bool) -> None:
    """Give `temp` the name `final`. Without `overwrite`, FileExistsError when that is taken."""
    before = temp.stat()
    try:
        if overwrite:
            temp.replace(final)
        else:
            _claim(temp, final)
    except OSError:
        # A file server may have done it, and only its answer was lost: asked again, it finds `temp` gone, or the name
        # taken.
        try:
            after = final.lstat()
        except OSError:
            after = None
        if after is None or not os.path.samestat(before, after):
            raise


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
