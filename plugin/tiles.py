"""Tile plan and feathered blend: equal tiles whose origins and sides are multiples of 64 from the data window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mdenoise.errors import UsageError

GRID_PX = 64
FEATHER_PX = 32


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
    count = 2
    while count * tile_px - (count - 1) * shared < padded:
        count += 1
    side = -(-(padded + (count - 1) * shared) // count // GRID_PX) * GRID_PX
    while count * side - (count - 1) * shared < padded:
        side += GRID_PX
    room = padded - side
    return side, tuple(i * room // (count - 1) // GRID_PX * GRID_PX for i in range(count))


def plan(
    height: int, width: int, *, tile_px: int = 1280, overlap_px: int = 160, reach_px: int | None = None
) -> TilePlan:
    """Plan the tiles of an image. Where the overlap is the model's reach, neighbours agree and nothing is feathered."""
    if tile_px - 2 * overlap_px < GRID_PX and max(height, width) > tile_px:
        raise UsageError(
            f"overlap {overlap_px} leaves nothing of a tile of {tile_px}: "
            f"use a tile of {2 * overlap_px + GRID_PX} or more"
        )
    tile_height, ys = _axis(height, tile_px, overlap_px)
    tile_width, xs = _axis(width, tile_px, overlap_px)
    exact = reach_px is not None and overlap_px >= reach_px
    return TilePlan(height, width, tile_height, tile_width, ys, xs, 0 if exact else min(FEATHER_PX, 2 * overlap_px))


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


def run(
    plan: TilePlan, channels: int, tile: Callable[[Tile], np.ndarray], emit: Callable[[int, np.ndarray], None]
) -> None:
    """Compute every tile and hand finished rows on.

    `tile` answers (tile_height, tile_width, channels) float32; `emit(y, rows)` gets (n, width, channels) float32 rows
    from the top down, each once. Only one row of tiles is held at a time.
    """
    down = axis_weights(plan.ys, plan.tile_height, plan.height, plan.feather_px)
    across = axis_weights(plan.xs, plan.tile_width, plan.width, plan.feather_px)
    band = np.zeros((plan.tile_height, plan.width, channels), np.float32)
    done = 0  # rows handed on
    for i, y in enumerate(plan.ys):
        used = np.flatnonzero(down[i])
        top, bottom = used[0], used[-1] + 1
        for place, wx in zip(plan.row(y), across, strict=True):
            used = np.flatnonzero(wx)
            left, right = used[0], used[-1] + 1
            weight = down[i][top:bottom, None, None] * wx[None, left:right, None]
            band[top:bottom, place.x + left : place.x + right] += tile(place)[top:bottom, left:right] * weight
        if i + 1 == len(plan.ys):
            emit(done, band[done - y : plan.height - y])
            return
        following = plan.ys[i + 1] + int(np.flatnonzero(down[i + 1])[0])  # from here the next row of tiles adds
        emit(done, band[done - y : following - y])
        open_rows = band[following - y :].copy()
        band[:] = 0.0
        start = following - plan.ys[i + 1]
        band[start : start + len(open_rows)] = open_rows
        done = following
