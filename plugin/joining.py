"""One frame's result joined with what the frames before and after show of the same surface.

Every frame is filtered by its own weights; the results of its neighbours are then moved to where this frame is and
enter the mean with a confidence of their own: 0 where motion leaves the image or does not lead back (what was hidden
before), small where albedo, normal, depth or the noisy light itself differ by more than noise can. Errors of frames are
nearly independent: their mean takes away flicker, noise and blotches alike. Joining the noisy frames before the filter
was measured, too, and gains a third of that. Every layer takes the same weights: parts that add up still do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mdenoise import guide as g
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
