"""The compiled twin of mdenoise.filter and mdenoise.tile_guide (plugin/native)."""

import numpy as np
from numpy.typing import NDArray

def filter(
    layers: list[np.ndarray],
    divided: list[bool],
    factor: NDArray[np.float32] | None,
    mask: NDArray[np.bool_] | None,
    trust: NDArray[np.float32],
    logits: tuple[np.ndarray, ...],
    out: NDArray[np.float32] | list[np.ndarray],
    threads: int = 0,
    isa: str = "",
) -> NDArray[np.uint8]:
    """Writes filtered layers to `out` (h, w, C), or to a list of arrays of the layers' shapes, each of any of their
    types (rounded to nearest, clipped to its range), and returns their validity (h, w), 1 or 0.

    layers (h, w, c) each, float32, float16, uint16 or uint8 of any strides, the part of the tile inside the image;
    those `divided` by factor (h, w, 3) are multiplied afterwards; mask (h, w), False = hidden; trust (H, W) in [0, 1],
    H and W multiples of 16. logits (1, 108, H/2, W/2), (1, 26, H/2, W/2), (1, 26, H/4, W/4), (1, 25, H/8, W/8):
    float32 planar or with channels last in memory, or bfloat16 seen as uint16 with channels last; see
    mdenoise.filter.apply_filter. threads 0 = one a processor. isa "" = the best of isas(). The GIL is released.
    ValueError on any other shape or type.
    """

def guide(
    color: np.ndarray,
    albedo: np.ndarray | None,
    normal: np.ndarray | None,
    depth: NDArray[np.float32] | None,
    variance: NDArray[np.float32] | None,
    shown: NDArray[np.bool_] | None,
    size: tuple[int, int],
    factor: bool,
    bf16: bool,
    numbers: dict[str, float],
    places: list[int],
    threads: int = 0,
    isa: str = "",
) -> tuple[np.ndarray, NDArray[np.float32], NDArray[np.float32] | None]:
    """Guide (1, H/2, W/2, 4 channels), trust (H, W) and albedo factor (h, w, 3) of a tile of `size`; see
    mdenoise.tile_guide.packed_guide. depth and variance as the network takes them, NaN where unknown."""

def pack(planes: NDArray[np.float32], bf16: bool, threads: int = 0, isa: str = "") -> np.ndarray:
    """(C, H, W), no NaN, to (1, H/2, W/2, 4 C): channel 4 c + 2 dy + dx of a cell is channel c of one of its pixels.
    float32, or bfloat16 seen as uint16."""

def trusted(array: np.ndarray, absurd: float, threads: int = 0) -> NDArray[np.uint8]:
    """(h, w) of an (h, w, C) array of any strides: 1 where every channel is below `absurd` in magnitude."""

def outlier_weight(
    luminance: NDArray[np.float32],
    multiple: float,
    floor: float,
    threads: int = 0,
    isa: str = "",
    company: int = 2,
) -> NDArray[np.float32]:
    """min(1, (multiple * median5x5 + floor) / L) of an (H, W) luminance >= 0 of any size, 0 where that is below 1 and
    no more than `company` others of the 5x5 exceed L / 4; see mdenoise.filter."""

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
