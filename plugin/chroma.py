"""Encoded colour filtered as brightness and two colour differences, each by its own set of kernels.

The opponent transform is orthonormal, so white noise stays white and equally strong. Chroma is smoother than
brightness in photographs, hence its own kernels. Only for encoded images: after it, a channel may leave the range of
its input, which linear radiance must not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdenoise.filter import TAPS, apply_filter

# Rows Y = (R+G+B)/sqrt 3, U = (R-B)/sqrt 2, V = (R-2G+B)/sqrt 6.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float64)
OPPONENT = (OPPONENT / np.linalg.norm(OPPONENT, axis=1, keepdims=True)).astype(np.float32)


def filter_colors(
    layers: np.ndarray, confidence: np.ndarray, logits: Sequence[np.ndarray], colors: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """`apply_filter` where the triples of (H, W, C) `layers` that start at `colors` take the chroma kernels.

    `logits` are eight arrays: four levels for brightness and all other planes, then (1, 104, H/2, W/2) and three more
    for chroma, whose confidence is that of the first level.
    """
    turned = layers.copy()
    for at in colors:
        turned[..., at : at + 3] = layers[..., at : at + 3] @ OPPONENT.T
    differences = [at + i for at in colors for i in (1, 2)]
    others = [i for i in range(layers.shape[2]) if i not in differences]
    confident = np.concatenate([logits[4], logits[0][:, 4 * (TAPS + 1) :]], axis=1)
    out = np.empty_like(layers)
    out[..., others], valid = apply_filter(turned[..., others], confidence, logits[:4])
    if differences:
        chroma = (confident, *logits[5:])
        out[..., differences], known = apply_filter(turned[..., differences], confidence, chroma)
        valid = valid & known
    for at in colors:
        out[..., at : at + 3] = out[..., at : at + 3] @ OPPONENT
    return out, valid
