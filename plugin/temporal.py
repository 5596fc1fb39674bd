"""`--temporal N`: the frames of a sequence go by, and each is joined with those beside it. Memory is flat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from mdenoise import sequences
from mdenoise.errors import InputError
from mdenoise.frame import Filtered
from mdenoise.joining import Still, Ways, joined_result


@dataclass(frozen=True)
class Shot:
    """A file of a sequence: its images and, until its result is written, what was read of it."""

    stills: tuple[Still, ...]
    source: Any = None


class Window:
    """The shots around the current one, each made once while a sequence goes by: memory is flat."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, int, int], Shot] = {}
        self._ways: Ways = {}

    def __len__(self) -> int:
        return len(self._kept)

    def results(
        self, src: Path, reach: int, make: Callable[[Path], Shot], strength: float
    ) -> tuple[Any, list[Filtered], tuple[str, ...]]:
        """The source of `src`, its results joined with those of at most `reach` frames to either side, and notes.

        `make` reads and filters a file. Raises what it raises for `src`; a neighbour that fails is left out.
        """
        key = key_of(src)
        now = self._kept.get(key)
        if now is None or now.source is None:
            now = make(src)
        notes: list[str] = []
        sides, used = [], {key: spent(now)}
        moves = any(still.motion is not None for still in now.stills)
        for step in (-1, 1):
            side = []
            for path in neighbours(src, step, reach) if moves else ():
                try:
                    near = key_of(path)
                    shot = self._kept.get(near) or make(path)
                except InputError as error:
                    notes.append(f"left out of the mean over frames: {error}")
                    break
                used[near] = shot if step > 0 else spent(shot)
                if len(shot.stills) != len(now.stills):
                    break
                side.append(shot.stills)
            sides.append(side)
        self._kept = used
        joined = []
        for number, still in enumerate(now.stills):
            before, after = ([stills[number] for stills in side] for side in sides)
            result, frames = joined_result(still, before, after, self._ways, strength)
            joined.append(result)
            why = "" if still.motion is not None else ": it has no motion vectors"
            notes.append(f"mean over {frames:.1f} frames{why}")
        return now.source, joined, tuple(notes)


def stream(stills: Iterable[Still], reach: int, strength: float) -> Iterator[Filtered]:
    """The result of each still, joined with those of at most `reach` to either side; holds 2 `reach` + 1 of them."""
    ways: Ways = {}
    source = iter(stills)
    before: deque[Still] = deque(maxlen=reach)
    ahead: deque[Still] = deque()
    while True:
        ahead.extend(islice(source, reach + 1 - len(ahead)))
        if not ahead:
            return
        now = ahead.popleft()
        yield joined_result(now, [*before], [*ahead], ways, strength)[0]
        before.appendleft(now)


def spent(shot: Shot) -> Shot:
    """What the frames that follow need of a shot."""
    return Shot(tuple(replace(still, planes=replace(still.planes, layers={})) for still in shot.stills))


def key_of(path: Path) -> tuple[Path, int, int]:
    """A file as it is now. Raises InputError."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    return path, state.st_mtime_ns, state.st_size


def neighbours(src: Path, step: int, reach: int) -> Iterator[Path]:
    """The files of the next frames in one direction, nearest first, up to the first that is missing."""
    number = sequences.frame_number(src)
    if number is None:
        return
    digits = len(src.stem) - len(src.stem.rstrip("0123456789"))
    for away in range(1, reach + 1):
        near = number + step * away
        path = src.with_name(f"{src.stem[: len(src.stem) - digits]}{near:0{digits}d}{src.suffix}")
        if near < 0 or not path.is_file():
            return
        yield path
