"""How far the denoised colour may be off, per pixel: disagreement between predictions that see different pixels.

Four extra predictions each have a quarter of the pixels hidden from them. Where noise or doubt is large they differ
from each other and from the full one; where the filter blurs, its input stays on one side of its output. What was
taken away, and the slopes of what is left, tell the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LAYOUT = "scatter4"
# Exponents of the clues in their geometric mean, and the factor that makes it a standard deviation: fitted to the
# errors of the validation renders (python -m mdenoise.training.uncertainty).
SPREAD, SHIFT, RESIDUAL, LOOKS, NOISE, SLOPE = 0.30, 0.30, 0.15, 0.15, 0.50, 0.30
SCALE = 1.8
OUTLIER = 4.0  # an input this many times as bright as its result is a firefly, not a clue


def estimate(
    noisy: np.ndarray, mean: np.ndarray, looks: Sequence[np.ndarray], probes: Sequence[np.ndarray]
) -> np.ndarray:
    """(h, w) float32 standard deviation of the denoised colour, in its own unit; it scales with the image.

    Args:
        noisy, mean: (h, w, C) input and result.
        looks: the predictions that `mean` is the mean of; with two or more, their spread is a clue, too.
        probes: predictions (h, w, C) with complementary parts of the pixels hidden.
    """
    limit = OUTLIER * box(np.abs(mean), 3)
    rest = noisy.astype(np.float32) - mean
    rest = np.clip(np.where(np.isfinite(rest), rest, np.float32(0)), -limit, limit)
    clues = [
        (SPREAD, box(spread(probes), 1)),
        (SHIFT, (mean - np.mean(probes, axis=0)) ** 2),
        (RESIDUAL, box(box(rest, 1), 1) ** 2),
        (NOISE, box(rest**2, 1)),
        (SLOPE, box(slopes(mean), 1)),
    ]
    if len(looks) > 1:
        clues.append((LOOKS, box(spread(looks), 1)))
    total = sum(exponent for exponent, _ in clues)
    log = np.zeros(mean.shape[:2], np.float32)
    for exponent, variance in clues:
        with np.errstate(divide="ignore"):  # no disagreement at all: certain
            log += np.float32(0.5 * exponent / total) * np.log(variance.mean(axis=-1, dtype=np.float32))
    return np.float32(SCALE) * np.exp(log)


def spread(results: Sequence[np.ndarray]) -> np.ndarray:
    return np.var(np.stack(results), axis=0)


def slopes(planes: np.ndarray) -> np.ndarray:
    """Squared gradient of (h, w, C); 0 along an axis of one pixel."""
    total = np.zeros_like(planes)
    for axis in (0, 1):
        if planes.shape[axis] > 1:
            total += np.gradient(planes, axis=axis) ** 2
    return total


def box(planes: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)^2 of (h, w, C), of what lies inside."""
    for axis in (0, 1):
        length = planes.shape[axis]
        sums = np.cumsum(planes, axis=axis, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums.take([0], axis)), sums], axis)
        last = np.minimum(np.arange(length) + radius + 1, length)
        first = np.maximum(np.arange(length) - radius, 0)
        count = (last - first).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        planes = ((sums.take(last, axis) - sums.take(first, axis)) / count).astype(np.float32)
    return planes
