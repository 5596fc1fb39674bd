"""Compiled models on disk. One is code: it is read only where no one else could have written it, and checked whole.

A file is one line of JSON, what the plan is for and its hash, and the plan. It appears whole or not at all, and is
made once, however many processes ask for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from mdenoise import atomic
from mdenoise.errors import OutputError

log = logging.getLogger(__name__)


def private_folder(name: str) -> Path | None:
    """A folder in the user's cache that no one else can write to; None where there is none, which only costs time."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("mdenoise")) / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        problem = _problem(folder.stat())
    except OSError as error:
        problem = error.strerror or str(error)
    if problem is None and not os.access(folder, os.W_OK):
        problem = "it cannot be written"
    if problem is not None:
        log.warning("compiled models are not kept: %s: %s", folder, problem)
        return None
    return folder


@contextmanager
def held_alone(folder: Path) -> Iterator[Path | None]:
    """`folder`, made for this user, while no other process is in here; None where that cannot be.

    For libraries that keep files of their own there and do not expect another process to write the same one.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            held.enter_context(_locked(folder / "lock"))
        except OSError as error:
            log.warning("compiled models are not kept: %s: %s", folder, error.strerror)
            found = None
        else:
            found = folder
        yield found


def trim(folder: Path, pattern: str, count: int) -> None:
    """Leave the `count` youngest files that match."""
    with suppress(OSError):  # in use, or gone: the next one will do it
        files = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) - count)]:
            path.unlink()


def load_or_build(path: Path, key: Mapping[str, object], build: Callable[[], bytes]) -> tuple[bytes, bool]:
    """The plan for `key` and whether it was made now; `path` keeps it. What cannot be used is made again.

    Processes that ask at once wait for the first. Raises what `build` raises; then nothing is kept.
    """
    with ExitStack() as held:
        try:
            held.enter_context(_locked(path.with_name(f"{path.name}.lock")))
        except OSError as error:
            log.warning("a compiled model is not kept: cannot lock %s: %s", path, error.strerror)
            return build(), True
        atomic.sweep(path)  # what a killed writer left: whoever holds the lock is the only one
        plan = read(path, key)
        if plan is not None:
            return plan, False
        plan = build()
        keep(path, key, plan)
        return plan, True


def read(path: Path, key: Mapping[str, object]) -> bytes | None:
    """The plan that `path` keeps for `key`, or None; why a file that is there cannot be used is logged."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s is not used and made again: %s", path, error.strerror)
        return None
    with os.fdopen(descriptor, "rb") as file:
        problem = _problem(os.fstat(descriptor))
        if problem is None:
            header, plan = file.readline(65536), file.read()
            try:
                told = json.loads(header)
                if told["key"] != dict(key):
                    problem = "it is of another version, model, driver or GPU"
                elif len(plan) != told["bytes"] or hashlib.sha256(plan).hexdigest() != told["sha256"]:
                    problem = "it is damaged"
            except (ValueError, KeyError, TypeError):
                problem = "it is damaged"
    if problem is None:
        return plan
    log.warning("%s is not used and made again: %s", path, problem)
    return None


def keep(path: Path, key: Mapping[str, object], plan: bytes) -> None:
    """Publish a plan for this user alone. A disk that is full costs the next start time, not this one its result."""
    header = json.dumps({"key": dict(key), "bytes": len(plan), "sha256": hashlib.sha256(plan).hexdigest()})

    def write(temp: Path) -> None:
        temp.chmod(0o600)  # before there is anything in it
        temp.write_bytes(header.encode() + b"\n" + plan)

    with suppress(OSError):
        if path.is_symlink():
            path.unlink()  # a link would be followed
    try:
        atomic.publish(path, write, overwrite=True)
    except OutputError as error:
        log.warning("a compiled model is not kept: %s", error)


def _problem(status: os.stat_result) -> str | None:
    """Why a file or folder cannot be trusted: it is not ours, or others can write to it."""
    if not hasattr(os, "getuid"):  # Windows: the profile folder is the user's own
        return None
    if status.st_uid != os.getuid():
        return "it belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others can write to it"
    return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system takes back when this process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        if os.name == "nt":
            import msvcrt
            import time

            while True:
                try:
                    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                    break
                except OSError:
                    time.sleep(0.2)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
