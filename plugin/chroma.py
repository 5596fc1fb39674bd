"""Encoded colour and mosaics filtered as brightness and colour differences, each by its own set of kernels.

The opponent transform is orthonormal, so white noise stays white and equally strong. Chroma is smoother than
brightness in photographs, hence its own kernels. Not for linear radiance: after it, a channel may leave the range of
its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def orthonormal(rows: list[list[int]]) -> np.ndarray:
    matrix = np.array(rows, np.float64)
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


# By number of channels: R, G, B; and a mosaic's R, G, G, B, where the difference of the greens is detail of brightness.
OPPONENTS = {
    3: orthonormal([[1, 1, 1], [1, 0, -1], [1, -2, 1]]),
    4: orthonormal([[1, 1, 1, 1], [1, 0, 0, -1], [1, -1, -1, 1], [0, 1, -1, 0]]),
}
DIFFERENCES = (1, 2)  # the rows of colour


def filter_colors(
    layers: np.ndarray,
    colors: Sequence[tuple[int, int]],
    filter_layers: Callable[[np.ndarray, list[int]], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, C) `layers` filtered, where the colours, each a first channel and a number of channels of OPPONENTS, take
    the chroma kernels. `filter_layers(layers, differences)` filters them by both sets, `differences` by the second."""
    turned = layers.copy() if colors else layers
    for at, width in colors:
        turned[..., at : at + width] = layers[..., at : at + width] @ OPPONENTS[width].T
    out, valid = filter_layers(turned, [at + i for at, _ in colors for i in DIFFERENCES])
    for at, width in colors:
        out[..., at : at + width] = out[..., at : at + width] @ OPPONENTS[width]
    return out, valid
