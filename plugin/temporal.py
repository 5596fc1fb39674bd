"""`--temporal N`: what the frames before and after show of the same surface joins this frame's result.

Every frame is filtered by its own weights; the results of its neighbours are then moved to where this frame is and
enter the mean with a confidence of their own: 0 where motion leaves the image or does not lead back (what was hidden
before), small where albedo, normal, depth or the noisy light itself differ by more than noise can. Errors of frames are
nearly independent: their mean takes away flicker, noise and blotches alike. Joining the noisy frames before the filter
was measured, too, and gains a third of that. Every layer takes the same weights: parts that add up still do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mdenoise import guide as g
from mdenoise import sequences
from mdenoise.errors import InputError
from mdenoise.frame import Filtered, Planes
from mdenoise.motion import Motion

BACK_PX, BACK_SHARE = 0.6, 0.1  # how far from its start a way forth and back may end: pixels, and of its length
ALBEDO_STEP, NORMAL_STEP, DEPTH_STEP = 0.16, 0.35, 0.12  # differences at which confidence has fallen to 1/e
LIGHT_RADIUS_PX, LIGHT_SIGMAS = 2, 1.0  # window whose mean light is compared, and what of its error is let pass
TURNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # signs that a renderer's vectors may have


@dataclass(frozen=True)
class Still:
    """One image of a frame: the noisy `planes`, what the filter made of them, and how its pixels move."""

    planes: Planes
    result: Filtered
    motion: Motion | None


class Window:
    """The stills of the frames around the current one, each made once while a sequence goes by: memory is flat."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, int, int], tuple[Still, ...]] = {}
        self._turns: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def results(
        self, src: Path, reach: int, make: Callable[[Path], Sequence[Still]], strength: float
    ) -> tuple[list[Filtered], tuple[str, ...]]:
        """The results of `src` joined with those of at most `reach` frames to either side, and what to say of it.

        `make` reads and filters a file. Raises what it raises for `src`; a neighbour that fails is left out.
        """
        notes: list[str] = []
        now = self._stills(src, make)
        sides, used = [], {key_of(src)}
        for step in (-1, 1):
            side = []
            for path in neighbours(src, step, reach):
                try:
                    stills = self._stills(path, make)
                except InputError as error:
                    notes.append(f"left out of the mean over frames: {error}")
                    break
                if len(stills) != len(now):
                    break
                side.append(stills)
                used.add(key_of(path))
            sides.append(side)
        self._kept = {key: stills for key, stills in self._kept.items() if key in used}
        joined = []
        for number, still in enumerate(now):
            before, after = ([stills[number] for stills in side] for side in sides)
            if still.motion is not None and not still.motion.sure and self._turns is None:
                self._turns = turns_of(still, before, after)
            turned = [with_turns(one, self._turns or (1, 1)) for one in (still, *before, *after)]
            layers, frames = join(turned[0], turned[1 : 1 + len(before)], turned[1 + len(before) :])
            noisy = still.planes.layers
            layers = {name: stored(layer, noisy[name], strength) for name, layer in layers.items()}
            joined.append(replace(still.result, layers=layers))
            why = "" if still.motion is not None else ": it has no motion vectors"
            notes.append(f"mean over {frames:.1f} frames{why}")
        return joined, tuple(notes)

    def _stills(self, path: Path, make: Callable[[Path], Sequence[Still]]) -> tuple[Still, ...]:
        key = key_of(path)
        if key not in self._kept:
            self._kept[key] = tuple(make(path))
        return self._kept[key]


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
    back = {"before": "after", "after": "before"}[way]
    height, width = still.planes.color.shape[:2]
    place = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    known = np.ones((height, width), np.float32)
    last = still
    for near in neighbours:
        step = None if last.motion is None else getattr(last.motion, way)
        if step is None or not alike(still, near):
            return
        step = at(step, place)
        place = place + step
        inside = (place >= -0.5).all(-1) & (place[..., 0] <= width - 0.5) & (place[..., 1] <= height - 0.5)
        known = known * inside  # a place that is not finite is not inside
        place = np.where(np.isfinite(place), place, 0)
        returns = None if near.motion is None else getattr(near.motion, back)
        if returns is not None:
            away = np.linalg.norm(step + at(returns, place), axis=-1)
            known = known * (away <= BACK_PX + BACK_SHARE * np.linalg.norm(step, axis=-1))
        yield near, place, known
        last = near


def alike(one: Still, other: Still) -> bool:
    return {n: x.shape for n, x in one.result.layers.items()} == {n: x.shape for n, x in other.result.layers.items()}


def likeness(planes: Planes, other: Planes, place: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) float32 in [0, 1]: how surely the pixel at `place` of `other` shows the same surface in the same light."""
    distance = np.zeros(planes.color.shape[:2], np.float32)
    for name, step in (("albedo", ALBEDO_STEP), ("normal", NORMAL_STEP)):
        a, b = getattr(planes, name), getattr(other, name)
        if a is not None and b is not None:
            away = np.abs(box(np.nan_to_num(a.astype(np.float32)), 1) - box(at(b, place), 1)).max(axis=-1)
            distance += (away / step) ** 2
    if planes.depth is not None and other.depth is not None:
        one, two = (np.clip(np.abs(d), 1e-6, 1e6) for d in (planes.depth, at(other.depth, place)))
        distance += (np.nan_to_num(np.log(two / one)) / DEPTH_STEP) ** 2
    pixels = (2 * LIGHT_RADIUS_PX + 1) ** 2
    lights = [shown(color, scale) for color in (planes.color, nearest(other.color, place))]
    means = [box(light, LIGHT_RADIUS_PX) for light in lights]
    noise = sum(box(x * x, LIGHT_RADIUS_PX) - m * m for x, m in zip(lights, means, strict=True))
    error = (means[0] - means[1]) ** 2 / (np.maximum(noise, 0) / pixels + np.float32(1e-4))
    distance += np.maximum(error - np.float32(LIGHT_SIGMAS**2), 0)[..., 0] / 2
    return np.exp(-distance)


def shown(color: np.ndarray, scale: float) -> np.ndarray:
    """Luminance (H, W, 1) in the network's domain, 0 where it is not finite."""
    sane = np.where(g.trusted_px(color)[..., None], color, 0).astype(np.float32)
    return g.transfer(g.luminance(sane) * np.float32(scale))[..., None]


def turns_of(still: Still, before: Sequence[Still], after: Sequence[Still]) -> tuple[int, int]:
    """The signs under which the vectors of a renderer lead from each pixel to its like: manuals do not tell y's."""
    scale = g.exposure(still.planes.color)

    def likely(turns: tuple[int, int]) -> float:
        turned = with_turns(still, turns)
        found = [list(follow(turned, side[:1], way)) for side, way in ((before, "before"), (after, "after"))]
        return sum(
            float((known * likeness(still.planes, near.planes, place, scale)).mean())
            for each in found
            for near, place, known in each
        )

    return max(TURNS, key=likely)


def with_turns(still: Still, turns: tuple[int, int]) -> Still:
    if still.motion is None or still.motion.sure:
        return still
    return replace(still, motion=still.motion.turned(turns))


def stored(layer: np.ndarray, noisy: np.ndarray, strength: float) -> np.ndarray:
    """A joined layer blended with the input by `strength`, in the type of the file."""
    if strength < 1.0:
        original = noisy.astype(np.float32)
        layer = np.where(np.isfinite(original), (1 - strength) * original + strength * layer, layer)
    return np.clip(layer, -65504, 65504).astype(np.float16) if noisy.dtype == np.float16 else layer.astype(noisy.dtype)


def nearest(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The pixel nearest to each (x, y) of `place`: its noise stays that of one pixel."""
    x, y = np.rint(place[..., 0]), np.rint(place[..., 1])
    return plane[np.clip(y, 0, plane.shape[0] - 1).astype(int), np.clip(x, 0, plane.shape[1] - 1).astype(int)]


def at(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of (H, W[, C]) at each (x, y) of `place`, float32; NaN counts 0, the border repeats."""
    height, width = plane.shape[:2]
    plane = np.nan_to_num(plane.astype(np.float32), posinf=0, neginf=0)
    x, y = np.clip(place[..., 0], 0, width - 1), np.clip(place[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    if plane.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    upper = plane[top, left] * (1 - fx) + plane[top, right] * fx
    lower = plane[bottom, left] * (1 - fx) + plane[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def box(planes: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)^2 of (H, W, C), the edge repeated."""
    for axis in (0, 1):
        p = np.moveaxis(planes, axis, 0)
        p = np.concatenate([p[:1]] * radius + [p] + [p[-1:]] * radius)
        length = planes.shape[axis]
        planes = np.moveaxis(sum(p[i : i + length] for i in range(2 * radius + 1)) / (2 * radius + 1), 0, axis)
    return planes
