"""A sensor's mosaic as the network sees it: variance-stabilised, so that noise is equally strong everywhere.

A photosite's value x (black 0, white 1) has noise of variance shot * x + read: the two numbers of a DNG NoiseProfile.
The curve is the generalised Anscombe transform (Starck, Murtagh and Bijaoui 1998), scaled so that 0 -> 0 and 1 -> 1.
Only the guide passes through it; what is filtered stays linear, and its mean unbiased.
Functions take NumPy arrays and torch tensors alike: inference and training share them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

Array = TypeVar("Array", np.ndarray, Any)

LEAST_SHOT = 1e-7  # below it the curve is a square root whatever the noise; keeps the formula finite


def stabilise(x: Array, shot: Array, read: Array) -> Array:
    """Linear x to the curve's domain; `shot` and `read` broadcast against x. What lies below the curve's start, far
    under black, becomes its first value."""
    offset = 0.375 * shot * shot + read
    low = offset**0.5
    high = (shot + offset) ** 0.5
    return ((shot * x + offset).clip(0) ** 0.5 - low) / (high - low)


def stabilised_noise(shot: Array, read: Array) -> Array:
    """Standard deviation of the noise of `stabilise(x)`, which hardly depends on x."""
    offset = 0.375 * shot * shot + read
    return 0.5 * shot / ((shot + offset) ** 0.5 - offset**0.5)


def guide_color(planes: np.ndarray, shot: np.ndarray, read: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32 stabilised red, mean of both greens, blue.

    `planes` (h, w, 4): red, green of red's rows, green of blue's rows, blue; `shot`, `read` (4,) of the same planes.
    Not finite stays not finite.
    """
    shot = np.maximum(np.asarray(shot, np.float32), np.float32(LEAST_SHOT))
    curved = stabilise(planes.astype(np.float32), shot, np.asarray(read, np.float32))
    return np.stack([curved[..., 0], (curved[..., 1] + curved[..., 2]) * np.float32(0.5), curved[..., 3]], axis=2)


def guide_noise(shot: np.ndarray, read: np.ndarray) -> float:
    """Root mean square over the four planes of the standard deviation of the stabilised noise, in (0, 1)."""
    shot = np.maximum(np.asarray(shot, np.float64), LEAST_SHOT)
    return float(np.sqrt(np.mean(stabilised_noise(shot, np.asarray(read, np.float64)) ** 2)))
