"""The predicted-kernel filter: linear in the layers, blind to masked pixels, free of overshoot.

A network predicts, per pixel and level, a 5x5 kernel and a blend, and a confidence at full resolution; this module
applies them. The NumPy functions define the filter, the compiled `mdenoise._native` does the same faster, and
`mdenoise.training.filter` is the differentiable twin; tests hold the three to 1e-5.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from mdenoise.guide import OUTLIER_COMPANY, OUTLIER_FLOOR, OUTLIER_MULTIPLE

try:
    from mdenoise import _native
except ImportError:  # installed without a compiler (-C wheel.cmake=false): right, but some fifty times slower
    _native = None

LEVELS = 4
TAPS = 25
BLEND, CONFIDENCE = 25, 26
MIN_DENOMINATOR = 1e-6
SIZE_MULTIPLE = 16
# Kernels carry this factor, which cancels: 25 taps of the largest float stay finite. A power of two rounds nothing.
TAP_SCALE = np.float32(2.0**-5)


def native_available() -> bool:
    """Whether the compiled filter is installed; without it the NumPy one is used."""
    return _native is not None


def apply_filter(
    layers: np.ndarray, confidence_in: np.ndarray, logits: Sequence[np.ndarray], *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Filter linear planes by the network's weights.

    Args:
        layers: (H, W, C) float32, any C >= 1; H and W multiples of 16. Finite, any range, any unit.
        confidence_in: (H, W) float32 in [0, 1]; 0 hides a pixel, and what `layers` holds there is not used, even NaN.
        logits: four arrays below 1e38 in magnitude, the output of the network, float32 or bfloat16 seen as uint16:
            (1, 108, H/2, W/2) 27 entries of each pixel, unshuffled x2: 25 taps (row-major), blend, confidence;
            (1, 26, H/2, W/2) and (1, 26, H/4, W/4) taps and blend; (1, 25, H/8, W/8) taps.
        threads: of the compiled filter; None = every processor this process may use.

    Returns:
        The filtered planes (H, W, C) float32, within the range of the trusted input and 0 where invalid;
        and (H, W) bool, False where no level holds a trusted pixel.

    Raises:
        ValueError: an array has another shape or is not numeric.
    """
    layers, confidence_in, logits = _checked(layers, confidence_in, logits)
    if _native is None:
        return apply_filter_numpy(layers, confidence_in, logits)
    out = np.empty_like(layers)
    valid = _native.filter([layers], [False], None, None, confidence_in, logits, out, threads=threads or usable_cpus())
    return out, valid.view(bool)


def filter_planes(
    layers: Sequence[np.ndarray],
    divided: Sequence[bool],
    factor: np.ndarray | None,
    mask: np.ndarray | None,
    trust: np.ndarray,
    logits: Sequence[np.ndarray],
    out: np.ndarray | list[np.ndarray],
    *,
    threads: int | None = None,
) -> np.ndarray:
    """The compiled `apply_filter` on layers as they lie in an image, without a copy of them.

    Args:
        layers: (h, w, C) each, float16, float32, uint8 or uint16, any strides; the upper left part of a tile.
        divided: of each layer, whether it is divided by the (h, w, 3) float32 `factor` before and multiplied after.
        mask: (h, w) bool, False hides a pixel, whatever a layer holds there; None = all are seen.
        trust: (H, W) float32, the confidence of the tile; H and W multiples of 16.
        logits: as in `apply_filter`.
        out: (h, w, sum of C) float32, or a list of arrays like the layers, of the same types; written.

    Returns (h, w) bool, False where no level holds a trusted pixel. Raises ValueError on other shapes.
    """
    logits = tuple(_level(level, f"logits[{i}]") for i, level in enumerate(logits))
    count = threads or usable_cpus()
    return _native.filter(list(layers), list(divided), factor, mask, trust, logits, out, threads=count).view(bool)


def as_float32(logits: np.ndarray) -> np.ndarray:
    """Logits as float32: of bfloat16, which NumPy does not know, seen as uint16."""
    return (logits.astype(np.uint32) << np.uint32(16)).view(np.float32) if logits.dtype == np.uint16 else logits


def apply_filter_numpy(
    layers: np.ndarray, confidence_in: np.ndarray, logits: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """`apply_filter` in NumPy: the definition."""
    layers, confidence_in, logits = _checked(layers, confidence_in, logits)
    logits = [as_float32(level) for level in logits]
    heads = [_pixel_shuffle(logits[0][0]), *(level[0] for level in logits[1:])]
    c = confidence_in * np.clip(heads[0][CONFIDENCE] / np.float32(6) + np.float32(0.5), 0, 1)
    trusted = np.where(c[..., None] > 0, layers, np.float32(0))
    pooled = [np.stack([c, *(c * trusted[..., i] for i in range(layers.shape[2]))])]
    for _ in range(LEVELS - 1):
        pooled.append(_mean_2x2(pooled[-1]))
    out, valid = _gather(pooled[-1], heads[-1][:TAPS])
    for level in range(LEVELS - 2, -1, -1):
        fine, fine_valid = _gather(pooled[level], heads[level][:TAPS])
        coarse_weight = _upsample(valid[None].astype(np.float32))[0]
        coarse_valid = coarse_weight > 0
        coarse = _upsample(out) / np.where(coarse_valid, coarse_weight, np.float32(1))
        share = np.where(coarse_valid, _sigmoid(heads[level][BLEND]), np.float32(1))
        share = np.where(fine_valid, share, np.float32(0))
        # Not coarse + share * (fine - coarse): a dark pixel beside a bright one would get the latter's rounding.
        out = (np.float32(1) - share) * coarse + share * fine
        valid = fine_valid | coarse_valid
    return np.ascontiguousarray(out.transpose(1, 2, 0)), valid


def outlier_weight(
    luminance: np.ndarray,
    multiple: float = OUTLIER_MULTIPLE,
    floor: float = OUTLIER_FLOOR,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """Confidence min(1, t / L) with t = multiple * (5x5 median of L) + floor: bounds the pull of a single pixel.

    A pixel beyond its limit is a firefly, of confidence 0, when it stands alone: when no more than `OUTLIER_COMPANY`
    others of its 5x5 exceed a quarter of it. Highlights and splatted samples have company and are bounded only.

    Args:
        luminance: (H, W) float32 L, finite, >= 0, linear, exposed. Beyond the border the edge repeats.
        threads: of the compiled filter; None = every processor this process may use.

    Returns:
        (H, W) float32 in [0, 1]; 1 where L is 0.

    Raises:
        ValueError: `luminance` has another shape or is not numeric.
    """
    luminance = _checked_luminance(luminance)
    if _native is None:
        return outlier_weight_numpy(luminance, multiple, floor)
    count = threads or usable_cpus()
    return _native.outlier_weight(luminance, multiple, floor, count, company=OUTLIER_COMPANY)


def outlier_weight_numpy(
    luminance: np.ndarray, multiple: float = OUTLIER_MULTIPLE, floor: float = OUTLIER_FLOOR
) -> np.ndarray:
    """`outlier_weight` in NumPy: the definition."""
    luminance = _checked_luminance(luminance)
    h, w = luminance.shape
    padded = np.pad(luminance, 2, mode="edge")
    window = np.stack([padded[dy : dy + h, dx : dx + w] for dy in range(5) for dx in range(5)])
    limit = np.float32(multiple) * np.partition(window, 12, axis=0)[12] + np.float32(floor)
    weight = np.divide(limit, luminance, out=np.ones_like(luminance), where=luminance > limit)
    y, x = np.nonzero(weight < 1)
    dark = np.pad(luminance, 2)  # a firefly at the border is not its own company
    bright = np.stack([dark[y + dy, x + dx] for dy in range(5) for dx in range(5)]) > luminance[y, x] / 4
    alone = bright.sum(axis=0) <= 1 + OUTLIER_COMPANY
    weight[y[alone], x[alone]] = 0
    return weight


def fill_nearest(out: np.ndarray, valid: np.ndarray) -> int:
    """Give every invalid pixel of `out`, in place, the value of the nearest valid one (Euclidean distance).

    Args:
        out: (H, W) or (H, W, C), written in place.
        valid: (H, W) bool, left as it is. If nothing is valid, `out` is left as it is.

    Returns:
        The number of invalid pixels.

    Raises:
        ValueError: the two differ in height or width.
    """
    if out.ndim not in (2, 3) or out.shape[:2] != valid.shape:
        raise ValueError(f"cannot fill {out.shape} by validity {valid.shape}: height and width differ")
    y, x = np.nonzero(~valid)
    if y.size == 0 or y.size == valid.size:
        return y.size
    row = _nearest_row(valid)
    # Columns are searched outwards: at column distance d nothing is nearer than d, so a pixel is done once d >= best.
    best = np.full(y.size, np.inf)
    from_y, from_x = np.zeros_like(y), np.zeros_like(x)
    active = np.arange(y.size)
    for distance in range(valid.shape[1]):
        active = active[best[active] > distance**2]
        if active.size == 0:
            break
        for step in (-distance, distance) if distance else (0,):
            inside = active[(x[active] + step >= 0) & (x[active] + step < valid.shape[1])]
            column = x[inside] + step
            found = row[y[inside], column]
            square = np.where(found >= 0, (found - y[inside]) ** 2 + float(distance**2), np.inf)
            nearer = square < best[inside]
            hit = inside[nearer]
            best[hit], from_y[hit], from_x[hit] = square[nearer], found[nearer], column[nearer]
    out[y, x] = out[from_y, from_x]
    return y.size


def usable_cpus() -> int:
    """Processors that this process may run on, which a scheduler or container can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _nearest_row(valid: np.ndarray) -> np.ndarray:
    """(H, W) row of the nearest valid pixel in the same column, the upper of two; -1 where the column has none."""
    h = valid.shape[0]
    rows = np.arange(h)[:, None]
    above = np.maximum.accumulate(np.where(valid, rows, -1), axis=0)
    below = np.minimum.accumulate(np.where(valid, rows, 2 * h)[::-1], axis=0)[::-1]
    nearest = np.where((above >= 0) & (rows - above <= below - rows), above, below)
    return np.where((above < 0) & (below == 2 * h), -1, nearest)


def _gather(planes: np.ndarray, taps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Planes (1 + C, h, w), confidence first, by softmax kernels (25, h, w): (C, h, w) and validity (h, w)."""
    h, w = planes.shape[1:]
    kernel = np.exp(taps - taps.max(0)) * TAP_SCALE
    padded = np.pad(planes, ((0, 0), (2, 2), (2, 2)))
    summed, total = np.zeros_like(planes), np.zeros((h, w), np.float32)
    for k in range(TAPS):
        dy, dx = divmod(k, 5)
        summed += kernel[k] * padded[:, dy : dy + h, dx : dx + w]
        total += kernel[k]
    valid = summed[0] > np.float32(MIN_DENOMINATOR) * total
    return np.divide(summed[1:], summed[0], out=np.zeros_like(planes[1:]), where=valid), valid


def _mean_2x2(planes: np.ndarray) -> np.ndarray:
    quarter = np.float32(0.25) * planes  # scaled before they are added: no finite input overflows
    even, odd = quarter[:, 0::2], quarter[:, 1::2]
    return (even[..., 0::2] + even[..., 1::2]) + (odd[..., 0::2] + odd[..., 1::2])


def _upsample(planes: np.ndarray) -> np.ndarray:
    """Bilinear x2 of (C, h, w), half-pixel centres, edges repeated."""
    for axis in (1, 2):
        n = planes.shape[axis]
        near = np.float32(0.75) * planes
        before = near + np.float32(0.25) * planes.take(np.maximum(np.arange(n) - 1, 0), axis)
        after = near + np.float32(0.25) * planes.take(np.minimum(np.arange(n) + 1, n - 1), axis)
        shape = list(planes.shape)
        shape[axis] = 2 * n
        planes = np.stack([before, after], axis + 1).reshape(shape)
    return planes


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.float32(1)) / (np.float32(1) + e)


def _pixel_shuffle(planes: np.ndarray) -> np.ndarray:
    """(4 K, h, w) with channel 4 k + 2 dy + dx to (K, 2 h, 2 w)."""
    h, w = planes.shape[1:]
    return planes.reshape(-1, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(-1, 2 * h, 2 * w)


def _checked(layers, confidence_in, logits) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    layers, confidence_in = _float32(layers, "layers"), _float32(confidence_in, "confidence_in")
    if layers.ndim != 3 or layers.shape[2] < 1:
        raise ValueError(f"layers has shape {layers.shape}, not (height, width, layers)")
    h, w = layers.shape[:2]
    if h < SIZE_MULTIPLE or w < SIZE_MULTIPLE or h % SIZE_MULTIPLE or w % SIZE_MULTIPLE:
        raise ValueError(f"layers is {h} pixels high and {w} wide: both must be multiples of {SIZE_MULTIPLE}")
    if len(logits) != LEVELS:
        raise ValueError(f"{len(logits)} arrays of logits given, not one for each of {LEVELS} levels")
    logits = tuple(_level(level, f"logits[{i}]") for i, level in enumerate(logits))
    expected = (
        ("confidence_in", confidence_in, (h, w)),
        ("logits[0]", logits[0], (1, 4 * (TAPS + 2), h // 2, w // 2)),
        ("logits[1]", logits[1], (1, TAPS + 1, h // 2, w // 2)),
        ("logits[2]", logits[2], (1, TAPS + 1, h // 4, w // 4)),
        ("logits[3]", logits[3], (1, TAPS, h // 8, w // 8)),
    )
    for name, array, shape in expected:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, not {shape} as layers of {h} x {w} pixels need")
    return layers, confidence_in, logits


def _checked_luminance(luminance: np.ndarray) -> np.ndarray:
    luminance = _float32(luminance, "luminance")
    if luminance.ndim != 2 or luminance.size == 0:
        raise ValueError(f"luminance has shape {luminance.shape}, not (height, width)")
    return luminance


def _level(array: np.ndarray, name: str) -> np.ndarray:
    """Logits as the compiled filter reads them: as they are when their channels lie last in memory."""
    array = np.asarray(array)
    if array.ndim == 4 and array.dtype in (np.float32, np.uint16) and array.transpose(0, 2, 3, 1).flags.c_contiguous:
        return array
    return _float32(as_float32(array), name)


def _float32(array: np.ndarray, name: str) -> np.ndarray:
    """C-contiguous float32, without a copy when it is so already."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {array.dtype}, not real numbers")
    return np.ascontiguousarray(array, np.float32)
