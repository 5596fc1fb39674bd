"""Which pixels of the noisy colour the network sees: patterns by absolute place, so that all tiles agree.

A layout cuts the image into parts; a pattern shows one part alone, or hides it alone. The patterns of all parts of a
layout are complementary: every pixel is shown, or hidden, exactly once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def phase_grid(period: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Part of a pixel by its phase in a grid: neighbours within a part are `period` px apart."""
    return lambda y, x: (y % period) * period + x % period


def place_hash(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """uint32 hash of each place; looks like white noise."""
    h = y * np.uint32(0x9E3779B1) ^ x * np.uint32(0x85EBCA77)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return h ^ (h >> np.uint32(15))


# Layout: number of parts, and the part of each place (y, x), two uint32 arrays that broadcast.
LAYOUTS: dict[str, tuple[int, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "grid2": (4, phase_grid(2)),
    "grid3": (9, phase_grid(3)),
    "checkerboard": (2, lambda y, x: (y + x) % 2),
    "blocks2": (2, lambda y, x: (y // 2 + x // 2) % 2),
    "scatter2": (2, lambda y, x: place_hash(y, x) >> np.uint32(31)),
    "scatter4": (4, lambda y, x: place_hash(y, x) >> np.uint32(30)),
    "scatter8": (8, lambda y, x: place_hash(y, x) >> np.uint32(29)),
}


@dataclass(frozen=True)
class Pattern:
    """`part` of `layout` is all that is visible, or with `shows=False` all that is hidden."""

    layout: str
    part: int
    shows: bool = True


def complementary(layout: str, shows: bool = True) -> tuple[Pattern, ...]:
    """The patterns of a layout: each pixel is visible (`shows`) or hidden (not `shows`) in exactly one of them."""
    return tuple(Pattern(layout, part, shows) for part in range(LAYOUTS[layout][0]))


def visible(pattern: Pattern | None, rows: slice, cols: slice) -> np.ndarray | bool:
    """(h, w) bool of the pixels in these rows and columns of the image; True when there is no pattern."""
    if pattern is None:
        return True
    part = LAYOUTS[pattern.layout][1](*places(rows, cols))
    return part == pattern.part if pattern.shows else part != pattern.part


def scattered(hidden_ratio: float, offset: float, rows: slice, cols: slice) -> np.ndarray | bool:
    """(h, w) bool: hides a share of the pixels by a hash of their place; True when the share is 0.

    Offsets k/n, k = 0..n-1, hide every pixel equally often, give or take one.
    """
    if hidden_ratio == 0.0:
        return True
    return place_hash(*places(rows, cols)) - np.uint32(offset * 2**32) >= np.uint32(hidden_ratio * 2**32)


def places(rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
    """y (h, 1) and x (1, w) of an area, uint32."""
    return np.arange(rows.start, rows.stop, dtype=np.uint32)[:, None], np.arange(
        cols.start, cols.stop, dtype=np.uint32
    )[None]
