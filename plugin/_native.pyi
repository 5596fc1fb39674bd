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

def isas() -> tuple[str, ...]:
    """Instruction sets that run on this processor, best first: avx512, avx2, base."""
