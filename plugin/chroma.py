"""Encoded colour and mosaics filtered as brightness and colour differences, each by its own set of kernels.

The opponent transform is orthonormal, so white noise stays white and equally strong. Chroma is smoother than
brightness in photographs, hence its own kernels. Not for linear radiance: after it, a channel may leave the range of
its input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdenoise.filter import TAPS, apply_filter


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
    layers: np.ndarray, confidence: np.ndarray, logits: Sequence[np.ndarray], colors: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """`apply_filter` where the colours of (H, W, C) `layers`, each a first channel and a number of channels of
    OPPONENTS, take the chroma kernels.

    `logits` are eight arrays: four levels for brightness and all other planes, then (1, 104, H/2, W/2) and three more
    for chroma, whose confidence is that of the first level.
    """
    turned = layers.copy()
    for at, width in colors:
        turned[..., at : at + width] = layers[..., at : at + width] @ OPPONENTS[width].T
    differences = [at + i for at, _ in colors for i in DIFFERENCES]
    others = [i for i in range(layers.shape[2]) if i not in differences]
    confident = np.concatenate([logits[4], logits[0][:, 4 * (TAPS + 1) :]], axis=1)
    out = np.empty_like(layers)
    out[..., others], valid = apply_filter(turned[..., others], confidence, logits[:4])
    if differences:
        chroma = (confident, *logits[5:])
        out[..., differences], known = apply_filter(turned[..., differences], confidence, chroma)
        valid = valid & known
    for at, width in colors:
        out[..., at : at + width] = out[..., at : at + width] @ OPPONENTS[width]
    return out, valid
