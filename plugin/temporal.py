"""`--temporal N`: what the frames before and after show of the same surface joins this frame's result.

Every frame is filtered by its own weights; the results of its neighbours are then moved to where this frame is and
enter the mean with a confidence of their own: 0 where motion leaves the image or does not lead back (what was hidden
before), small where albedo, normal, depth or the noisy light itself differ by more than noise can. Errors of frames are
nearly independent: their mean takes away flicker, noise and blotches alike. Joining the noisy frames before the filter
was measured, too, and gains a third of that. Every layer takes the same weights: parts that add up still do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise import guide as g
from mdenoise import sequences
from mdenoise.errors import InputError
from mdenoise.frame import Filtered, Planes
from mdenoise.motion import Motion
from mdenoise.warp import at, finite, grid, inside, likeness

# "before" and "after" -> factors of x and y by which a renderer's vectors may have to be taken, the likeliest first.
Ways = dict[str, list[tuple[float, float]]]
BACK_PX, BACK_SHARE = 0.6, 0.1  # how far from its start a way forth and back may end: pixels, and of its length
OPPOSITE = {"before": "after", "after": "before"}
SIGNS = ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0))  # that a renderer's vectors may have
PROBES = 20_000  # pixels that tell what a renderer's vectors mean
LEVEL = 0.98  # of the best meaning's likelihood: no worse than it


@dataclass(frozen=True)
class Still:
    """One image of a frame: the noisy `planes`, what the filter made of them, and how its pixels move."""

    planes: Planes
    result: Filtered
    motion: Motion | None


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


def joined_result(
    still: Still, before: Sequence[Still], after: Sequence[Still], ways: Ways, strength: float
) -> tuple[Filtered, float]:
    """`join`, with vectors as the frames tell them to be meant, blended with the input and in its types."""
    unsure = still.motion is not None and not still.motion.sure
    if unsure:
        narrow(ways, still, before, after)
    stills = [still, *before, *after]
    if unsure:
        factors = {way: left[0] for way, left in ways.items()}
        stills = [one if one.motion is None else replace(one, motion=one.motion.scaled(factors)) for one in stills]
    layers, frames = join(stills[0], stills[1 : 1 + len(before)], stills[1 + len(before) :])
    noisy = still.planes.layers
    return replace(still.result, layers={n: stored(x, noisy[n], strength) for n, x in layers.items()}), frames


def join(still: Still, before: Sequence[Still], after: Sequence[Still]) -> tuple[dict[str, np.ndarray], float]:
    """The layers of a result, float32, with its neighbours' (nearest first) in the mean; and how many frames a pixel
    has in it, in the mean."""
    scale = g.exposure(still.planes.color)
    total = np.ones(still.planes.color.shape[:2], np.float32)
    layers = {name: layer.astype(np.float32) for name, layer in still.result.layers.items()}
    for near, place, known in (*follow(still, before, "before"), *follow(still, after, "after")):
        weight = known * likeness(still.planes, near.planes, place, scale)
        total += weight
        for name, layer in layers.items():
            moved = at(near.result.layers[name].astype(np.float32), place)
            layer += moved * (weight if layer.ndim == 2 else weight[..., None])
    return {n: x / (total if x.ndim == 2 else total[..., None]) for n, x in layers.items()}, float(total.mean())


def follow(still: Still, neighbours: Sequence[Still], way: str) -> Iterator[tuple[Still, np.ndarray, np.ndarray]]:
    """For each neighbour, nearest first: it, the (H, W, 2) places (x, y) of this frame's pixels in it, and where those
    are known (H, W) float32. Ends where motion is not told or the frames differ in size or layers."""
    back = OPPOSITE[way]
    height, width = still.planes.color.shape[:2]
    place = grid(height, width)
    known = np.ones((height, width), np.float32)
    last = still
    for near in neighbours:
        if last.motion is None or not alike(still, near):
            return
        returns = None if near.motion is None else getattr(near.motion, back)
        step = getattr(last.motion, way)
        if step is not None:
            step = at(step, place)
        elif (
            returns is not None
        ):  # told the other way only: as if nothing changed its speed, then as the neighbour says
            step = -at(getattr(last.motion, back), place)
            step = -at(returns, finite(place + step))
        else:
            return
        place = place + step
        known = known * inside(place, height, width)
        place = finite(place)
        if returns is not None:
            away = np.linalg.norm(step + at(returns, place), axis=-1)
            known = known * (away <= BACK_PX + BACK_SHARE * np.linalg.norm(step, axis=-1))
        yield near, place, known
        last = near


def alike(one: Still, other: Still) -> bool:
    return {n: x.shape for n, x in one.result.layers.items()} == {n: x.shape for n, x in other.result.layers.items()}


def narrow(ways: Ways, still: Still, before: Sequence[Still], after: Sequence[Still]) -> None:
    """Leave of `ways` what leads pixels to their like about as well as the best does. Renderers differ in signs and
    unit, and their manuals do not tell; where nothing moves all are as good, and stay."""
    scale = g.exposure(still.planes.color)
    for way, there, here in (("before", before[:1], after[:1]), ("after", after[:1], before[:1])):
        pairs = [*((still, near) for near in there), *((near, still) for near in here)]
        if not pairs or pairs[0][0].motion is None:
            continue
        (one, two), *_ = pairs
        step = getattr(one.motion, way)
        if step is None:
            continue
        left = ways.setdefault(way, meanings(step))
        if len(left) > 1:
            found = {factors: likelihood(one, two, step * np.array(factors, np.float32), scale) for factors in left}
            enough = LEVEL * max(found.values())
            ways[way] = sorted((f for f in left if found[f] >= enough), key=lambda f: -found[f])


def meanings(step: np.ndarray) -> list[tuple[float, float]]:
    """Factors that may make pixels, y downwards, of vectors as read: pixels a frame, or a shutter of half a frame, or
    where they are short the picture's sides or half of them; nothing at all when none of these is right."""
    height, width = step.shape[:2]
    units = [(1.0, 1.0), (2.0, 2.0)]
    if np.nanpercentile(np.abs(step), 99) <= 2:
        units += [(width / 2, height / 2), (float(width), float(height))]
    return [*((x * a, y * b) for x, y in units for a, b in SIGNS), (0.0, 0.0)]


def likelihood(still: Still, near: Still, step: np.ndarray, scale: float) -> float:
    """How alike pixels are to where `step` leads in `near`, in the mean."""
    height, width = still.planes.color.shape[:2]
    if not alike(still, near):
        return 1.0
    every = max(1, round((height * width / PROBES) ** 0.5))
    few = np.s_[::every, ::every]
    names = ("color", "albedo", "normal", "depth")
    thin = replace(still.planes, **{n: x[few] for n in names if (x := getattr(still.planes, n)) is not None})
    place = (grid(height, width) + step)[few]
    return float((inside(place, height, width) * likeness(thin, near.planes, finite(place), scale)).mean())


def stored(layer: np.ndarray, noisy: np.ndarray, strength: float) -> np.ndarray:
    """A joined layer blended with the input by `strength`, in the type of the file."""
    if strength == 0.0:
        return noisy
    if strength < 1.0:
        original = noisy.astype(np.float32)
        layer = np.where(np.isfinite(original), (1 - strength) * original + strength * layer, layer)
    if noisy.dtype.kind == "u":
        layer = np.rint(np.clip(layer, 0, np.iinfo(noisy.dtype).max))
    elif noisy.dtype == np.float16:
        layer = np.clip(layer, -65504, 65504)
    return layer.astype(noisy.dtype)
