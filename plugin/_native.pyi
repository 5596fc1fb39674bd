"""The compiled twin of mdenoise.filter (plugin/native). Arrays are C-contiguous; others are copied first."""

import numpy as np
from numpy.typing import NDArray

def filter(
    layers: NDArray[np.float32],
    confidence_in: NDArray[np.float32],
    l0: NDArray[np.float32],
    l1: NDArray[np.float32],
    l2: NDArray[np.float32],
    l3: NDArray[np.float32],
    threads: int = 0,
    isa: str = "",
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Filtered layers (H, W, C) and validity (H, W), 1 or 0.

    layers (H, W, C), H and W multiples of 16; confidence_in (H, W) in [0, 1]; l0 (1, 108, H/2, W/2),
    l1 (1, 26, H/2, W/2), l2 (1, 26, H/4, W/4), l3 (1, 25, H/8, W/8): see mdenoise.filter.apply_filter.
    threads 0 = one a processor. isa "" = the best of isas(). The GIL is released. ValueError on any other shape.
    """

def outlier_weight(
    luminance: NDArray[np.float32], multiple: float, floor: float, threads: int = 0, isa: str = ""
) -> NDArray[np.float32]:
    """min(1, (multiple * median5x5 + floor) / L) of an (H, W) luminance >= 0 of any size; see mdenoise.filter."""

def window(
    logits: NDArray[np.float32] | NDArray[np.int16],
    planes: NDArray[np.float32],
    unshuffled: bool,
    threads: int = 0,
    isa: str = "",
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One level of the filter over a batch, for training: 5x5 sums by softmax weights, over that of the last plane.

    logits (B, H, W, K) float32, or bfloat16 seen as int16, the first 25 channels the taps; `unshuffled`
    (B, H/2, W/2, K), channel 4 k + 2 dy + dx being tap k. planes (B, C + 1, H, W), the confidence last.
    Returns (B, C, H, W), 0 where invalid, and (B, 2, H, W): the largest logit, and 1 / (sum of the confidence), 0
    where invalid. Arrays are C-contiguous, TypeError or ValueError if not; ValueError on any other shape.
    """

def window_backward(
    logits: NDArray[np.float32] | NDArray[np.int16],
    planes: NDArray[np.float32],
    out: NDArray[np.float32],
    stats: NDArray[np.float32],
    out_grad: NDArray[np.float32],
    unshuffled: bool,
    threads: int = 0,
    isa: str = "",
) -> tuple[NDArray[np.float32] | NDArray[np.int16], NDArray[np.float32]]:
    """Derivatives by the logits, 0 in channels that are no taps, and by the planes, from that by `window`'s result."""

def isas() -> tuple[str, ...]:
    """Instruction sets that run on this processor, best first: avx512, avx2, base."""
