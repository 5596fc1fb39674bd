"""The layers of a tile as the `fused` graph takes them: triples of planes, first planes first.

Of a model with two kernel sets plane 0 of every triple is filtered by the first set, planes 1 and 2 by the second.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Triples:
    """Where the channels of (H, W, C) layers go: `places[i]` is the triple of channel i and the plane in it."""

    places: tuple[tuple[int, int], ...]
    count: int
    second: bool  # whether a channel takes the second kernel set

    def pack(self, layers: np.ndarray, first: int, out: np.ndarray) -> None:
        """Write the triples from number `first` on into `out` (L, 3, H, W) float32; what no channel fills is 0."""
        if self.count * 3 != len(self.places):
            out[:] = 0.0
        for channel, (triple, plane) in enumerate(self.places):
            if first <= triple < first + len(out):
                out[triple - first, plane] = layers[..., channel]

    def unpack(self, filtered: np.ndarray, first: int, out: np.ndarray) -> None:
        """Write what `pack` took for `first`, filtered, into the channels of `out` (H, W, C)."""
        for channel, (triple, plane) in enumerate(self.places):
            if first <= triple < first + len(filtered):
                out[..., channel] = filtered[triple - first, plane]

    def valid(self, answered: np.ndarray) -> np.ndarray:
        """(H, W) bool where all kernel sets in use are valid, from what the graph answered, (1, S, H, W)."""
        return answered[0].all(0) if self.second else answered[0, 0].copy()


def arrange(channels: int, differences: Collection[int], sets: int) -> Triples:
    """The plan for (H, W, `channels`) layers, of which `differences` take the second of `sets` kernel sets."""
    if sets == 1:
        return Triples(tuple(divmod(i, 3) for i in range(channels)), -(-channels // 3), False)
    places, firsts, seconds = [], 0, 0
    for i in range(channels):
        if i in differences:
            places.append((seconds // 2, 1 + seconds % 2))
            seconds += 1
        else:
            places.append((firsts, 0))
            firsts += 1
    return Triples(tuple(places), max(firsts, -(-seconds // 2)), seconds > 0)
