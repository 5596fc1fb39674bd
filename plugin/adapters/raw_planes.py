"""A mosaic as planes of one colour each, and back.

A Bayer mosaic is four planes of half its size, red first: where its pattern starts with another colour, one row or
column is added by reflection, which keeps the pattern. In a Quad-Bayer mosaic every second photosite of every second
row is a Bayer mosaic: there are four of those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdenoise.adapters.raw_file import RawFile

PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of red, green of red's rows, green of blue's rows, blue in a cell
_RGGB = np.array([[0, 1], [1, 2]])


@dataclass(frozen=True)
class Lattice:
    """The photosites of the active area at `start` + `step` * n, a Bayer mosaic whose red lies at `red`, or RGB.

    red  (row, column), each 0 or 1, of the lattice's first red; None for RGB.
    """

    start: tuple[int, int] = (0, 0)
    step: int = 1
    red: tuple[int, int] | None = None


def lattices(pattern: np.ndarray | None) -> tuple[Lattice, ...]:
    """The Bayer mosaics that a pattern of photosites consists of; () where it is no such pattern."""
    if pattern is None:
        return (Lattice(),)
    period = np.tile(pattern, (1 if pattern.shape[0] % 2 == 0 else 2, 1 if pattern.shape[1] % 2 == 0 else 2))
    for step in (1, 2):
        found = [Lattice((y, x), step, _red(period[y::step, x::step])) for y in range(step) for x in range(step)]
        if all(one.red is not None for one in found):
            return tuple(found)
    return ()


def _red(pattern: np.ndarray) -> tuple[int, int] | None:
    if pattern.shape[0] % 2 or pattern.shape[1] % 2 or pattern.shape[0] < 2 or pattern.shape[1] < 2:
        return None
    for y, x in PLACES:
        cell = np.roll(_RGGB, (y, x), (0, 1))
        if (pattern == np.tile(cell, (pattern.shape[0] // 2, pattern.shape[1] // 2))).all():
            return y, x
    return None


def span(frame: RawFile) -> np.ndarray:
    """(samples,) what one unit of light is worth in stored values (DNG 1.7.1, chapter 5: from the highest black)."""
    levels = frame.levels
    deltas = sum(delta.max(initial=0) for delta in (levels.delta_h, levels.delta_v))
    return (levels.white - levels.black.max(axis=(0, 1)) - deltas).astype(np.float32)


def gather(active: np.ndarray, lattice: Lattice) -> list[np.ndarray]:
    """Views of the four planes of a mosaic's lattice in an array of the active area, each as large as the others."""
    sites = active[lattice.start[0] :: lattice.step, lattice.start[1] :: lattice.step]
    added = [(red, (size + red) % 2) for size, red in zip(sites.shape, lattice.red, strict=True)]
    padded = np.pad(sites, added, "reflect") if np.any(added) else sites
    return [padded[y::2, x::2] for y, x in PLACES]


def take(frame: RawFile, lattice: Lattice) -> np.ndarray:
    """(h, w, 4) or (h, w, 3) float32 linear planes of a lattice: black 0, white 1, nothing clipped."""
    active = frame.active
    if lattice.red is None:
        out = active - _black(frame, *(np.arange(size) for size in active.shape[:2]))
        out /= span(frame)
        return out
    planes = gather(active, lattice)
    out = np.empty((*planes[0].shape, 4), np.float32)
    sizes = [-(-(size - start) // lattice.step) for size, start in zip(active.shape, lattice.start, strict=True)]
    for k, (plane, place) in enumerate(zip(planes, PLACES, strict=True)):
        black = _black(frame, *(_sites(lattice, place, axis, out.shape[axis], sizes[axis]) for axis in (0, 1)))
        np.subtract(plane, black[..., 0], out=out[..., k])
    out /= span(frame)
    return out


def put(planes: np.ndarray, frame: RawFile, lattice: Lattice, factor: int, active: np.ndarray) -> None:
    """Store the planes of a mosaic's lattice in `active` (height, width) uint16, in the frame's levels x `factor`."""
    sites = active[lattice.start[0] :: lattice.step, lattice.start[1] :: lattice.step]
    for k, place in enumerate(PLACES):
        # What was added by reflection has no place to go.
        first = [int(at < red) for at, red in zip(place, lattice.red, strict=True)]
        begin = [2 * n + at - red for n, at, red in zip(first, place, lattice.red, strict=True)]
        target = sites[begin[0] :: 2, begin[1] :: 2]
        rows, cols = (np.arange(start, size, 2) for start, size in zip(begin, sites.shape, strict=True))
        black = _black(frame, *(at + lattice.step * n for at, n in zip(lattice.start, (rows, cols), strict=True)))
        value = planes[first[0] :, first[1] :, k][: target.shape[0], : target.shape[1]] * span(frame)
        value += black[..., 0]
        value *= factor
        target[...] = np.rint(value, out=value).clip(0, 65535, out=value)


def _sites(lattice: Lattice, place: tuple[int, int], axis: int, count: int, size: int) -> np.ndarray:
    """Coordinates in the active area of `count` sites of a plane, of which the added ones are reflections."""
    n = np.abs(2 * np.arange(count) + place[axis] - lattice.red[axis])
    return lattice.start[axis] + lattice.step * np.minimum(n, 2 * (size - 1) - n)


def _black(frame: RawFile, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Black level of the sites at `rows` and `cols` of the active area: broadcasts against (rows, cols, samples)."""
    levels = frame.levels
    black = levels.black[rows % levels.black.shape[0]][:, cols % levels.black.shape[1]].astype(np.float32)
    if (black == black[:1, :1]).all():
        black = black[:1, :1]
    if levels.delta_v.size:
        black = black + levels.delta_v.astype(np.float32)[rows, None, None]
    if levels.delta_h.size:
        black = black + levels.delta_h.astype(np.float32)[None, cols, None]
    return black
