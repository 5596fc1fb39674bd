"""A column of the image in bands, from top to bottom: guide, network and filter, each row once.

What `predict` does for tiles, where the engine keeps rows from one band to the next (see `engines.bands`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from mdenoise import tiles
from mdenoise.engines import Engine
from mdenoise.predict import Pass, Work, added, compiled_reads, filter_group, seen_group
from mdenoise.tile_guide import packed_guide

FILTER_PX = 48  # so far a filtered pixel depends on logits, confidence and layers: 38, in steps of the filter
GUIDE_PX = 2  # so far the guide of a pixel depends on planes
STEP_PX = 16  # sides of guide and filter


def possible(work: Work, engine: Engine) -> bool:
    """Whether bands serve this image: by compiled code, and without the uncertainty, which looks around."""
    served = hasattr(engine, "bands") and not work.probes and all(map(compiled_reads, work.passes))
    return served and engine.cuttable(4 * work.look.guide_channels)


def filter_column(
    work: Work, place: tiles.Tile, engine: Engine, cuts: Sequence[int], outputs: Mapping[str, np.ndarray]
) -> Iterator[int]:
    """The one pass over an image of one column into the layers' `outputs`, each in its type: nothing is written twice
    but the rows between bands. Yields, for every band, how many pixels took the nearest valid value."""
    (one,) = work.passes
    height, width = one.planes.color.shape[:2]
    spans = _spans(place, cuts)
    into = {name: output.reshape(height, width, -1) for name, output in outputs.items()}
    groups = [_Group(one, group, place, engine, spans) for group in one.look.groups]
    for i, (first, end) in enumerate(spans):
        span = {name: output[first : min(end, height)] for name, output in into.items()}
        done = {name: rows[: cuts[i] - first].copy("K") for name, rows in span.items()}  # by the band before, better
        nearest = sum(group.filter(i, span) for group in groups)
        for name, rows in done.items():
            span[name][: len(rows)] = rows
        yield nearest
    for group in groups:
        group.close()


def _spans(place: tiles.Tile, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Rows that the filter of each band looks at."""
    return [(max(top - FILTER_PX, 0), min(end + FILTER_PX, place.height)) for top, end in pairwise(cuts)]


def denoise_column(
    work: Work, place: tiles.Tile, engine: Engine, cuts: Sequence[int]
) -> Iterator[tuple[np.ndarray, int]]:
    """For every band, rows `cuts[i]` to `cuts[i + 1]`: (rows, width, channels) float32, the mean over all passes; and
    how many pixels took the nearest valid value. Raises bands.UnknownGraph before the first."""
    spans = _spans(place, cuts)
    passes = [[_Group(one, group, place, engine, spans) for group in one.look.groups] for one in work.passes]
    for i, (top, end) in enumerate(pairwise(cuts)):
        total = None
        for one, groups in zip(work.passes, passes, strict=True):
            result = np.zeros((spans[i][1] - spans[i][0], place.width, work.look.channels), np.float32)
            nearest = sum(group.filter(i, result) for group in groups)
            total = added(total, result, one.weight)
        yield work.mean(total)[top - spans[i][0] : end - spans[i][0]], nearest
    for group in (group for groups in passes for group in groups):
        group.close()


class _Group:
    """The layers of one pass that share a mask: the network's rows, and what the filter needs of rows before."""

    def __init__(
        self, one: Pass, names: Sequence[str], place: tiles.Tile, engine: Engine, spans: Sequence[tuple[int, int]]
    ):
        self._one, self._names, self._place, self._spans = one, names, place, spans
        shape = (1, place.height // 2, place.width // 2, 4 * one.look.guide_channels)
        self._network = engine.bands(shape, spans)
        self._bf16 = engine.packed == "bf16"
        self._cols = slice(place.x, min(place.x + place.width, one.planes.color.shape[1]))
        self._first = self._end = 0  # rows that trust and factor are held of
        self._trust: list[np.ndarray] = []
        self._factor: list[np.ndarray] = []

    def filter(self, number: int, outputs: np.ndarray | Mapping[str, np.ndarray]) -> int:
        logits = self._network.predict(number, self._guide(*self._network.guide_rows(number)))
        first, end = self._spans[number]
        height = self._one.planes.color.shape[0]
        view, mask = seen_group(self._one, self._names, slice(first, min(end, height)), self._cols)
        trust, factor = (np.concatenate(rows) if rows else None for rows in (self._trust, self._factor))
        inside = None if factor is None else factor[first - self._first :][: mask.shape[0]]
        nearest = filter_group(
            self._one, view, self._names, mask, trust[first - self._first : end - self._first], inside, logits, outputs
        )
        later = self._spans[min(number + 1, len(self._spans) - 1)][0]
        self._trust = [trust[later - self._first :].copy()]
        self._factor = [] if factor is None else [factor[later - self._first :].copy()]
        self._first = later
        return nearest

    def close(self) -> None:
        self._network.close()

    def _guide(self, first: int, end: int) -> np.ndarray | None:
        """The guide of these rows; trust and factor of those that are new are held."""
        if first >= end:
            return None
        height = self._one.planes.color.shape[0]
        top = max(min(first - GUIDE_PX, height - 1), 0) // STEP_PX * STEP_PX
        bottom = min(-(-(end + GUIDE_PX) // STEP_PX) * STEP_PX, self._place.height)
        rows = slice(top, min(bottom, height))
        _, mask = seen_group(self._one, self._names, rows, self._cols)
        size = (bottom - top, self._place.width)
        guide, trust, factor = packed_guide(self._one.planes, self._one.look, rows, self._cols, mask, size, self._bf16)
        self._trust.append(trust[self._end - top : end - top])
        if factor is not None:
            self._factor.append(factor[self._end - top : end - top])
        self._end = end
        return guide[:, (first - top) // 2 : (end - top) // 2]
