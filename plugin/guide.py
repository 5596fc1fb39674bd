"""What the network sees: transfer curve, exposure, noise estimate, albedo factor and the 16 guide planes."""

from __future__ import annotations

import numpy as np

GUIDE_CHANNELS = 16
COLOR, MASK, ALBEDO, NORMAL, DEPTH, VARIANCE = slice(0, 3), 3, slice(4, 7), slice(7, 10), 10, 11
HAS_ALBEDO, HAS_NORMAL, HAS_DEPTH, HAS_VARIANCE = 12, 13, 14, 15

# Bounded log curve: 0 -> 0, 1 -> 1, mid grey 0.18 -> 0.50, so exposed radiance looks to the network like encoded sRGB does.
CURVE_SLOPE = 20.0
CURVE_MAX = 64.0
KEY = 0.18
BLOCK_PX = 16
OUTLIER_MULTIPLE = 32.0
OUTLIER_FLOOR = 0.25
ALBEDO_FLOOR = 0.05
BLACK_ALBEDO = (0.004, 0.03)  # below the first an albedo says nothing (glass, emitter); above the second all of it is used
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709


def transfer(radiance: np.ndarray) -> np.ndarray:
    """Exposed linear radiance to the guide's bounded domain [0, 2.36]; negatives become 0."""
    x = np.clip(radiance, 0.0, CURVE_MAX)
    return (np.log1p(CURVE_SLOPE * x) / np.log1p(CURVE_SLOPE)).astype(np.float32)


def luminance(color: np.ndarray) -> np.ndarray:
    """(H, W, 3) linear colour to (H, W) Rec. 709 luminance, negatives clamped to 0."""
    return np.maximum(color, 0.0) @ LUMINANCE


def demodulation(albedo: np.ndarray) -> np.ndarray:
    """(..., 3) albedo to the factor d in [0.05, 1] that layers are divided by before filtering.

    Where albedo is black (background, emitters, glass) d is 1: dividing by a small number there would
    amplify light that never touched the albedo. The passage between is smooth so that no edge is made.
    """
    a = np.clip(albedo, 0.0, 1.0)
    brightest = a.max(axis=-1, keepdims=True)
    t = np.clip((brightest - BLACK_ALBEDO[0]) / (BLACK_ALBEDO[1] - BLACK_ALBEDO[0]), 0.0, 1.0)
    w = t * t * (3.0 - 2.0 * t)
    return (w * np.maximum(a, ALBEDO_FLOOR) + (1.0 - w)).astype(np.float32)


def exposure(color: np.ndarray) -> float:
    """Scale that brings the log-mean luminance of an HDR image to 0.18.

    Means over 16x16 blocks first, so that one sample a pixel measures like a thousand; values that are not
    finite count as absent and each pixel is bounded by 64 times its block's median plus mean, so that one
    firefly cannot darken the guide. Black blocks are left out. Returns 1 for an image with no light.
    """
    height, width = color.shape[:2]
    logs = []
    for y in range(0, height, BLOCK_PX * 8):
        band = np.asarray(color[y : y + BLOCK_PX * 8], np.float32)
        finite = np.isfinite(band).all(axis=-1)
        lum = np.where(finite, luminance(np.where(finite[..., None], band, 0.0)), np.nan)
        rows, cols = -lum.shape[0] % BLOCK_PX, -width % BLOCK_PX
        lum = np.pad(lum, ((0, rows), (0, cols)), constant_values=np.nan)
        blocks = lum.reshape(lum.shape[0] // BLOCK_PX, BLOCK_PX, -1, BLOCK_PX).transpose(0, 2, 1, 3)
        blocks = np.sort(blocks.reshape(-1, BLOCK_PX * BLOCK_PX), axis=1)  # NaN last
        count = np.isfinite(blocks).sum(axis=1)
        # Without the brightest 2 % a block's mean is robust and still close to the true mean of Monte Carlo noise.
        keep = np.arange(blocks.shape[1]) < np.ceil(count * 0.98)[:, None]
        mean = np.where(keep, np.nan_to_num(blocks, nan=0.0), 0.0).sum(axis=1) / np.maximum(keep.sum(axis=1), 1)
        logs.append(np.log(mean[(count > 0) & (mean > 1e-8)]))
    values = np.concatenate(logs) if logs else np.empty(0)
    if values.size == 0:
        return 1.0
    return float(np.clip(KEY / np.exp(values.mean()), 1e-6, 1e6))


def noise_level(plane: np.ndarray) -> float:
    """Standard deviation of the noise of an (H, W[, C]) image in its own unit.

    Median absolute response of the Laplacian-difference mask of Immerkaer (1996), which ignores planes and
    most edges; the median makes it robust against texture and outliers.
    """
    x = np.asarray(plane, np.float32)
    x = x if x.ndim == 3 else x[..., None]
    if min(x.shape[:2]) < 3:
        return 0.0
    x = np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    rows = x[:-2] - 2.0 * x[1:-1] + x[2:]
    mask = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
    step = max(1, int(np.sqrt(mask.shape[0] * mask.shape[1] / 2**20)))
    return float(np.median(np.abs(mask[::step, ::step])) / (0.6745 * 6.0))


def albedo_is_cleaner(color: np.ndarray, albedo: np.ndarray, scale: float) -> bool:
    """Whether dividing by the albedo removes more noise and texture than it adds."""
    return noise_level(albedo) <= noise_level(transfer(np.nan_to_num(color, nan=0.0, posinf=0.0, neginf=0.0) * scale))


def relative_depth(depth: np.ndarray, median: float) -> np.ndarray:
    """(H, W) distance to log2 of its ratio to the image's median, in [-1, 1]; background (not finite, huge) is 1."""
    far = ~np.isfinite(depth) | (depth > 1e4 * median)
    ratio = np.log2(np.maximum(np.where(far, median, depth), 1e-4 * median) / median) / 4.0
    return np.where(far, 1.0, np.clip(ratio, -1.0, 1.0)).astype(np.float32)


def depth_median(depth: np.ndarray) -> float:
    """Median of the positive, finite distances; 1 when there is none."""
    d = np.asarray(depth[::2, ::2], np.float32)
    d = d[np.isfinite(d) & (d > 0) & (d < 6e4)]
    return float(np.median(d)) if d.size else 1.0


def relative_variance(variance: np.ndarray, lum: np.ndarray) -> np.ndarray:
    """(H, W) variance of the mean and luminance of one exposure to log2(1 + 4 sigma/L)/4, in [0, 1]."""
    relative = np.sqrt(np.maximum(np.nan_to_num(variance), 0.0)) / (lum + 0.02)
    return np.clip(np.log2(1.0 + 4.0 * relative) / 4.0, 0.0, 1.0).astype(np.float32)
