"""Tile plan and feathered blend: equal tiles whose origins and sides are multiples of 64 from the data window.

Where an engine keeps rows from one band to the next, an image is cut into bands, of columns where it is very wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mdenoise.errors import UsageError

GRID_PX = 64
FEATHER_PX = 32
LEAST_BAND_PX = 256  # in lower bands the filter, which looks 48 px further, does too much twice


@dataclass(frozen=True)
class Tile:
    """A tile's place in the image: rows y..y+height, columns x..x+width; it may stick out at the right and bottom."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class TilePlan:
    """Tiles of one image (height, width), all of one size, and the feather between neighbours.

    `ys`, `xs` are the origins. Every pixel of non-zero weight has at least `overlap_px` minus half the feather of
    context inside its tile, or the image ends there.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    ys: tuple[int, ...]
    xs: tuple[int, ...]
    feather_px: int

    def __len__(self) -> int:
        return len(self.ys) * len(self.xs)

    def row(self, y: int) -> Iterator[Tile]:
        return (Tile(y, x, self.tile_height, self.tile_width) for x in self.xs)


def _axis(length: int, tile_px: int, overlap_px: int) -> tuple[int, tuple[int, ...]]:
    """Side and origins of the tiles along one axis."""
    padded = -(-length // GRID_PX) * GRID_PX
    if padded <= tile_px:
        return padded, (0,)
    shared = 2 * overlap_px
    if tile_px - shared < GRID_PX:
        raise UsageError(
            f"overlap {overlap_px} leaves nothing of a tile of {tile_px}: use a tile of {shared + GRID_PX} or more"
        )
    count = 2
    while count * tile_px - (count - 1) * shared < padded:
        count += 1
    side = -(-(padded + (count - 1) * shared) // count // GRID_PX) * GRID_PX
    while count * side - (count - 1) * shared < padded:
        side += GRID_PX
    room = padded - side
    return side, tuple(i * room // (count - 1) // GRID_PX * GRID_PX for i in range(count))


def plan(
    height: int,
    width: int,
    *,
    tile_px: int = 1280,
    overlap_px: int = 160,
    reach_px: int | None = None,
    area_px: int | None = None,
) -> TilePlan:
    """Plan the tiles of an image. Where the overlap is the model's reach, neighbours agree and nothing is feathered.

    `area_px` bounds the area of a tile in place of `tile_px`, its sides: of all shapes the cheapest is taken.
    """
    if area_px is not None:
        tile_height, tile_width = _cheapest(height, width, area_px, overlap_px)
        ys, xs = _axis(height, tile_height, overlap_px)[1], _axis(width, tile_width, overlap_px)[1]
        return _plan(height, width, tile_height, tile_width, ys, xs, overlap_px, reach_px)
    tile_height, ys = _axis(height, tile_px, overlap_px)
    tile_width, xs = _axis(width, tile_px, overlap_px)
    return _plan(height, width, tile_height, tile_width, ys, xs, overlap_px, reach_px)


def _plan(
    height: int,
    width: int,
    tile_height: int,
    tile_width: int,
    ys: tuple[int, ...],
    xs: tuple[int, ...],
    overlap_px: int,
    reach_px: int | None,
) -> TilePlan:
    return TilePlan(height, width, tile_height, tile_width, ys, xs, _feather(overlap_px, reach_px))


def _feather(overlap_px: int, reach_px: int | None) -> int:
    exact = reach_px is not None and overlap_px >= reach_px
    return 0 if exact else min(FEATHER_PX, 2 * overlap_px)


def _cheapest(height: int, width: int, area_px: int, overlap_px: int) -> tuple[int, int]:
    """Height and width of the tiles that cover the image with the fewest pixels in all, context included."""
    best: tuple[int, int, int] | None = None
    least = 2 * overlap_px + GRID_PX  # of a side that is cut
    tile_width = -(-width // GRID_PX) * GRID_PX
    while True:
        tallest = area_px // tile_width // GRID_PX * GRID_PX
        if tallest >= min(least, -(-height // GRID_PX) * GRID_PX):
            side, ys = _axis(height, tallest, overlap_px)
            across, xs = _axis(width, tile_width, overlap_px)
            cost = len(ys) * len(xs) * side * across
            if best is None or cost < best[0]:
                best = cost, side, across
        if tile_width <= least:
            break
        tile_width -= GRID_PX
    if best is None:  # a small area: square tiles that have some context at least
        side = max(GRID_PX, int(area_px**0.5) // GRID_PX * GRID_PX)
        return side, side
    return best[1:]


def padded_area(height: int, width: int) -> int:
    """Pixels of the one tile that holds an image."""
    return (-(-height // GRID_PX) * GRID_PX) * (-(-width // GRID_PX) * GRID_PX)


@dataclass(frozen=True)
class BandPlan:
    """Bands of one image (height, width): rows `cuts[i]` to `cuts[i + 1]`, the last ones below the image, of columns of
    one width at `xs`, which overlap as tiles do."""

    height: int
    width: int
    column_width: int
    xs: tuple[int, ...]
    cuts: tuple[int, ...]
    feather_px: int

    def __len__(self) -> int:
        return len(self.xs) * (len(self.cuts) - 1)

    def columns(self) -> Iterator[Tile]:
        return (Tile(0, x, self.cuts[-1], self.column_width) for x in self.xs)


def plan_bands(height: int, width: int, *, area_px: int, overlap_px: int, reach_px: int | None = None) -> BandPlan:
    """Bands of about `area_px` pixels."""
    widest = max(area_px // LEAST_BAND_PX, 2 * overlap_px + GRID_PX) // GRID_PX * GRID_PX
    column_width, xs = _axis(width, widest, overlap_px)
    step = max(GRID_PX, area_px // column_width // GRID_PX * GRID_PX)
    rows = -(-height // GRID_PX) * GRID_PX
    # The first is what is left over: it is the one that computes what the others look ahead, and the last needs to be
    # a whole one, or the network would be through with the image before it, which takes one more graph.
    cuts = (0, *range((rows - 1) % step + 1, rows + 1, step))
    return BandPlan(height, width, column_width, xs, cuts, _feather(overlap_px, reach_px))


def axis_weights(origins: tuple[int, ...], side: int, length: int, feather_px: int) -> list[np.ndarray]:
    """Weights of each tile along one axis, (side,) float32; they sum to exactly one on every pixel of the image.

    Ramps step by 1/64 of a power of two, so that sums and products of weights are exact in float32.
    """
    weights = [np.zeros(side, np.float32) for _ in origins]
    for i, origin in enumerate(origins):
        weights[i][: max(0, min(side, length - origin))] = 1.0
    for i in range(len(origins) - 1):
        first, second = origins[i], origins[i + 1]
        cut = (second + first + side) // 2
        start, stop = cut - feather_px // 2, cut + feather_px // 2
        ramp = (
            ((np.arange(feather_px) + 0.5) / feather_px).astype(np.float32) if feather_px else np.empty(0, np.float32)
        )
        weights[i][stop - first :] = 0.0
        weights[i][start - first : stop - first] *= 1.0 - ramp
        weights[i + 1][: start - second] = 0.0
        weights[i + 1][start - second : stop - second] *= ramp
    return weights


def run(plan: TilePlan, tile: Callable[[Tile], np.ndarray], emit: Callable[[int, int, np.ndarray], None]) -> None:
    """Compute every tile and hand finished pixels on.

    `tile` answers (tile_height, tile_width, C) float32, which is written to; `emit(y, x, block)` gets blocks
    (h, w, C), each pixel once. Of finished tiles only the seams to the next ones are held.
    """
    down = axis_weights(plan.ys, plan.tile_height, plan.height, plan.feather_px)
    across = axis_weights(plan.xs, plan.tile_width, plan.width, plan.feather_px)
    feather = plan.feather_px
    above: dict[int, np.ndarray] = {}  # by column of the image: the seam to the row of tiles below
    for i, y in enumerate(plan.ys):
        below: dict[int, np.ndarray] = {}
        left: np.ndarray | None = None  # the seam to the tile on the right
        top, bottom = _span(down[i])
        for j, (place, weights) in enumerate(zip(plan.row(y), across, strict=True)):
            start, stop = _span(weights)
            block = tile(place)[top:bottom, start:stop]
            if feather and len(plan) > 1:
                _fade(block, down[i][top:bottom, None, None], i > 0, i + 1 < len(plan.ys), feather, 0)
                _fade(block, weights[None, start:stop, None], j > 0, j + 1 < len(plan.xs), feather, 1)
            if left is not None:
                block[:, :feather] += left
            column = place.x + start
            if feather and j + 1 < len(plan.xs):
                left = block[:, -feather:].copy()
                block = block[:, :-feather]
            if i > 0 and feather:
                block[:feather] += above.pop(column)
            if feather and i + 1 < len(plan.ys):
                below[column] = block[-feather:].copy()
                block = block[:-feather]
            emit(y + top, column, block)
        above = below


def run_bands(
    plan: BandPlan, column: Callable[[Tile], Iterator[np.ndarray]], emit: Callable[[int, int, np.ndarray], None]
) -> None:
    """`run` for bands: `column` answers those of one column after another, (rows, column_width, C) float32."""
    feather = plan.feather_px
    seam: np.ndarray | None = None  # to the column on the right, all of its rows
    for j, (place, weights) in enumerate(
        zip(plan.columns(), axis_weights(plan.xs, plan.column_width, plan.width, plan.feather_px), strict=True)
    ):
        start, stop = _span(weights)
        before, seam = seam, None
        last = j + 1 == len(plan.xs)
        for y, block in zip(plan.cuts, column(place), strict=False):
            block = block[: plan.height - y, start:stop]
            if feather and len(plan.xs) > 1:
                _fade(block, weights[None, start:stop, None], j > 0, not last, feather, 1)
            if before is not None:
                block[:, :feather] += before[y : y + block.shape[0]]
            if feather and not last:
                if seam is None:
                    seam = np.empty((plan.height, feather, block.shape[2]), np.float32)
                seam[y : y + block.shape[0]] = block[:, -feather:]
                block = block[:, :-feather]
            emit(y, place.x + start, block)


def _span(weights: np.ndarray) -> tuple[int, int]:
    used = np.flatnonzero(weights)
    return int(used[0]), int(used[-1]) + 1


def _fade(block: np.ndarray, weights: np.ndarray, first: bool, last: bool, feather: int, axis: int) -> None:
    """Multiply the seams of a block, in place; the weights are 1 between them."""
    ends = [slice(None, feather)] * first + [slice(-feather, None)] * last
    for end in ends:
        part = (slice(None),) * axis + (end,)
        block[part] *= weights[part]
