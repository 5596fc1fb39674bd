"""What lies in a watched folder: the scan is the truth, and most of it is at rest."""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mdenoise import sequences
from mdenoise.errors import InputError
from mdenoise.inputs import file_format

UNFINISHED = (".tmp", ".part", ".partial", ".inprogress")
_IDLE_SHARE = 0.01  # of a core, for scans of all files

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class State:
    """What tells one version of a file from another without reading it."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class Seen:
    """A version of a file, and since when, on this machine's monotonic clock, it has looked like that.

    File times are compared with each other only, never with the clock: on a network they come from another machine.
    """

    state: State
    since_s: float


def look(states: Mapping[Key, State], before: Mapping[Key, Seen], now_s: float) -> dict[Key, Seen]:
    """Views after a scan: a version that was there before keeps its time, a new one starts now."""
    return {
        key: before[key] if key in before and before[key].state == state else Seen(state, now_s)
        for key, state in states.items()
    }


def state_of(path: Path) -> State | None:
    """The version of a file now; None when there is no regular file (any more)."""
    try:
        return _state(path.stat())
    except OSError:
        return None


def scan(folder: Path) -> dict[Path, State]:
    """Files of a folder that could be denoised, by path. Raises InputError when it cannot be listed."""
    return {folder / name: state for name, state in Scanner(folder).scan().items()}


class Scanner:
    """Scans of one folder that cost little when nothing happens.

    `rest` holds files that need nothing while they look the same, by name relative to the folder; its owner adds to
    it. A full scan looks at every file. One that would take more than 1 % of a core is made less often, and in
    between only new names and files not at rest are looked at: a folder's own time tells when names come and go.
    """

    def __init__(
        self,
        folder: Path,
        *,
        patterns: Sequence[str] = ("*",),
        recursive: bool = False,
        barred: Iterable[Path] = (),
        since_ns: float = float("-inf"),
    ) -> None:
        self.folder, self.patterns, self.recursive, self.since_ns = folder, tuple(patterns), recursive, since_ns
        self.rest: dict[str, State] = {}
        self._barred = {os.path.realpath(path) for path in barred}
        self._known: dict[str, bool] = {}  # by file name: one that could be denoised?
        self._listed: dict[str, int] = {}  # folders below, with their times
        self._open: dict[str, State] = {}
        self._full_at_s = float("-inf")

    def is_full_due(self) -> bool:
        return time.monotonic() >= self._full_at_s

    def wake(self, name: str) -> State:
        """A file at rest that needs something after all; its version."""
        self._open[name] = self.rest.pop(name)
        return self._open[name]

    def scan(self, *, full: bool = True) -> dict[str, State]:
        """Files that are not at rest, by name. Raises InputError when the folder, or one below, cannot be listed for
        a reason that may pass; what may not be read by us or has gone meanwhile is left out."""
        self._open = self._full() if full else self._quick()
        return dict(self._open)

    def spent(self, cpu_s: float) -> None:
        """What a full scan, and all that it led to, has cost: the next is due when that is a small share."""
        self._full_at_s = time.monotonic() + cpu_s / _IDLE_SHARE

    def _full(self) -> dict[str, State]:
        kept: dict[str, State] = {}
        found: dict[str, State] = {}
        known, self._known = self._known, {}
        listed: dict[str, int] = {}
        below = [""]
        while below:
            folder = below.pop()
            changed = self._changed(folder)
            if changed is None:
                continue
            listed[folder] = changed
            for entry in self._entries(folder):
                name = folder + entry.name
                takes = name in self.rest or self._takes(entry.name, known)
                state = self._state(entry) if takes else None
                if state is not None:
                    (kept if self.rest.get(name) == state else found)[name] = state
                elif self._enters(entry):
                    below.append(name + os.sep)
        self.rest, self._listed = kept, listed
        return found

    def _quick(self) -> dict[str, State]:
        found: dict[str, State] = {}
        changed = {}
        below = list(self._listed)
        while below:
            folder = below.pop()
            time_ns = self._changed(folder)
            if time_ns is None:
                continue
            changed[folder] = time_ns
            if time_ns == self._listed.get(folder):
                continue
            for entry in self._entries(folder):
                name = folder + entry.name
                if name in self.rest or name in self._open:
                    continue
                state = self._state(entry) if self._takes(entry.name, self._known) else None
                if state is not None:
                    found[name] = state
                elif name + os.sep not in self._listed and self._enters(entry):
                    below.append(name + os.sep)
        self._listed = changed
        for name in self._open:
            state = state_of(self.folder / name)
            if state is not None and self.rest.get(name) != state:
                found[name] = state
        return found

    def _changed(self, folder: str) -> int | None:
        """The time of a folder below, read before its names are; None when it may not be read."""
        try:
            return os.stat(os.path.join(self.folder, folder)).st_mtime_ns  # noqa: PTH116, PTH118 (names, not paths)
        except OSError as error:
            return self._excuse(folder, error)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:  # noqa: PTH118
                return list(entries)
        except OSError as error:
            self._excuse(folder, error)
            return []

    def _excuse(self, folder: str, error: OSError) -> None:
        if not (folder and isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError)):
            raise InputError(f"cannot watch {self.folder / folder}: {error.strerror}") from None

    def _state(self, entry: os.DirEntry[str]) -> State | None:
        try:
            state = _state(entry.stat())
        except OSError:  # gone since it was listed, or a link that leads nowhere: the next scan tells
            return None
        return state if state is not None and state.mtime_ns >= self.since_ns else None

    def _enters(self, entry: os.DirEntry[str]) -> bool:
        """Whether a folder below is searched; no links, which may lead round in circles or to results."""
        if not self.recursive or entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            return False
        return os.path.realpath(entry.path) not in self._barred

    def _takes(self, name: str, known: Mapping[str, bool]) -> bool:
        answer = known.get(name)
        if answer is None:
            answer = (
                not name.startswith(".")
                and not name.lower().endswith(UNFINISHED)
                and any(fnmatch.fnmatchcase(name, pattern) for pattern in self.patterns)
                and file_format(Path(name)) is not None
                and not sequences.is_denoised_name(Path(name))
            )
        self._known[name] = answer
        return answer


def _state(info: os.stat_result) -> State | None:
    return State(info.st_size, info.st_mtime_ns, info.st_ino) if stat.S_ISREG(info.st_mode) else None
