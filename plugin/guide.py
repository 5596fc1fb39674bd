"""What the network sees: transfer curve, exposure, noise estimate, albedo factor and the 17 guide planes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

try:
    from mdenoise import _native
except ImportError:  # installed without a compiler
    _native = None

GUIDE_CHANNELS = 17
COLOR, MASK, ALBEDO, NORMAL, DEPTH, VARIANCE = slice(0, 3), 3, slice(4, 7), slice(7, 10), 10, 11
HAS_ALBEDO, HAS_NORMAL, HAS_DEPTH, HAS_VARIANCE = 12, 13, 14, 15
# What colour is: without it the network takes a render that has no auxiliary planes for a photograph (-3 dB).
KIND = 16
KINDS = {"linear": 1.0, "srgb": 0.0, "mosaic": -1.0}

# Bounded log curve: 0 -> 0, 1 -> 1, mid grey 0.18 -> 0.50: exposed radiance looks to the network like encoded sRGB.
CURVE_SLOPE = 20.0
CURVE_MAX = 64.0
KEY = 0.18
ABSURD = 1e20  # no radiance; beyond it products and sums of float32 would overflow
BLOCK_PX = 16
OUTLIER_MULTIPLE = 128.0  # 32 dims small lamps by 0.5 dB more, 512 lets 0.4 dB of fireflies through
OUTLIER_FLOOR = 1.0
OUTLIER_COMPANY = 2
ALBEDO_FLOOR = 0.1  # 0.05 loses 0.15 dB on the validation renders, 0.4 loses 0.4
# Below the first an albedo says nothing (glass, emitter); above the second all of it is used.
BLACK_ALBEDO = (0.004, 0.05)
DIVIDED_NOISE = 1.1  # of an albedo without noise the light has 1.0 to 1.1 times the noise of the colour, else 1.3
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709


def transfer(radiance: np.ndarray) -> np.ndarray:
    """Exposed linear radiance to the guide's bounded domain [0, 2.36]; negatives become 0."""
    x = np.clip(radiance, np.float32(0), np.float32(CURVE_MAX))
    x *= np.float32(CURVE_SLOPE)
    np.log1p(x, out=x)
    x *= np.float32(1 / np.log1p(CURVE_SLOPE))
    return x


def luminance(color: np.ndarray, axis: int = -1) -> np.ndarray:
    """Linear colour, channels on `axis`, to Rec. 709 luminance, negatives clamped to 0."""
    r, g, b = np.moveaxis(np.maximum(color, np.float32(0)), axis, 0)
    return LUMINANCE[0] * r + LUMINANCE[1] * g + LUMINANCE[2] * b


def demodulation(albedo: np.ndarray, axis: int = -1) -> np.ndarray:
    """(H, W) albedo, channels on `axis`, to the factor d in [0.1, 1] that layers are divided by before filtering.

    Where albedo is black (background, emitters, glass) d is 1: dividing by a small number there would
    amplify light that never touched the albedo. So it would where an antialiased edge mixes a surface with a bright
    sky behind it: the pixels beside black ones count as black. The passage between is smooth.
    """
    a = np.clip(albedo, np.float32(0), np.float32(1))
    r, g, b = np.moveaxis(a, axis, 0)
    brightest = np.expand_dims(darkest_near(np.maximum(np.maximum(r, g), b)), axis)
    low, high = (np.float32(x) for x in BLACK_ALBEDO)
    t = np.clip((brightest - low) / (high - low), np.float32(0), np.float32(1))
    w = t * t * (np.float32(3) - np.float32(2) * t)
    return w * np.maximum(a, np.float32(ALBEDO_FLOOR)) + (np.float32(1) - w)


def darkest_near(plane: np.ndarray) -> np.ndarray:
    """Minimum over 3x3 of an (H, W) plane, the edge repeated."""
    tall = np.pad(plane, ((1, 1), (0, 0)), mode="edge")
    rows = np.minimum(np.minimum(tall[:-2], tall[1:-1]), tall[2:])
    wide = np.pad(rows, ((0, 0), (1, 1)), mode="edge")
    return np.minimum(np.minimum(wide[:, :-2], wide[:, 1:-1]), wide[:, 2:])


def brightness(color: np.ndarray, axis: int = -1) -> np.ndarray:
    """Largest magnitude of the channels on `axis`: what bounds the pull of a pixel, be it blue, or a negative lobe."""
    r, g, b = np.moveaxis(np.abs(color), axis, 0)
    return np.maximum(np.maximum(r, g), b)


def trusted_px(array: np.ndarray, axis: int = -1) -> np.ndarray:
    """(H, W) bool: every channel is finite and no absurd number; `array` is (H, W) or has its channels on `axis`."""
    shape = array.shape if array.ndim == 2 else np.moveaxis(array, axis, 0).shape[1:]
    if array.dtype.kind != "f":
        return np.ones(shape, bool)
    last = array.ndim == 2 or axis in (-1, 2)
    if _native is not None and array.ndim in (2, 3) and last and array.dtype in (np.float16, np.float32):
        return _native.trusted(array[..., None] if array.ndim == 2 else array, ABSURD).view(bool)
    # Half floats end far below the bound, which they could not even hold; a comparison with NaN is False.
    sane = np.isfinite(array) if array.dtype == np.float16 else np.abs(array) < ABSURD
    if array.ndim == 2:
        return sane
    planes = np.moveaxis(sane, axis, 0)
    known = planes[0].copy()
    for plane in planes[1:]:
        known &= plane
    return known


def exposure(color: np.ndarray) -> float:
    """Scale that brings the log-mean luminance of an HDR image to 0.18.

    Means over 16x16 blocks first, so that one sample a pixel measures like a thousand. Pixels that are not trusted are
    left out, as is the brightest 2 % of every block, so that one firefly cannot darken the guide; so are black blocks.
    Returns 1 for an image with no light.
    """
    height, width = color.shape[:2]
    means = []
    for y in range(0, height, BLOCK_PX * 8):
        band = np.asarray(color[y : y + BLOCK_PX * 8], np.float32)
        finite = trusted_px(band)
        if finite.all():
            lum = luminance(band)
        else:
            lum = np.where(finite, luminance(np.where(finite[..., None], band, np.float32(0))), np.float32(np.nan))
        rows, cols = -lum.shape[0] % BLOCK_PX, -width % BLOCK_PX
        if rows or cols:
            lum = np.pad(lum, ((0, rows), (0, cols)), constant_values=np.nan)
        blocks = lum.reshape(lum.shape[0] // BLOCK_PX, BLOCK_PX, -1, BLOCK_PX).transpose(0, 2, 1, 3)
        blocks = np.sort(blocks.reshape(-1, BLOCK_PX * BLOCK_PX), axis=1)  # NaN last
        count = blocks.shape[1] - np.isnan(blocks).sum(axis=1)
        # Without the brightest 2 % a block's mean is robust and still close to the true mean of Monte Carlo noise.
        kept = np.ceil(count * 0.98)
        blocks[np.arange(blocks.shape[1]) >= kept[:, None]] = 0
        means.append((blocks.sum(axis=1) / np.maximum(kept, 1))[count > 0])
    values = np.concatenate(means).astype(np.float64)
    values = values[values > 1e-8 * values.max(initial=0.0)]
    if values.size == 0:
        return 1.0
    return float(np.clip(KEY / np.exp(np.log(values).mean()), 1e-20, 1e20))


def noise_level(plane: np.ndarray, curve: Callable[[np.ndarray], np.ndarray] | None = None) -> float:
    """Standard deviation of the noise of an (H, W[, C]) image in its own unit, or after `curve`.

    Median absolute response of the Laplacian-difference mask of Immerkaer (1996), which ignores planes and
    most edges; the median makes it robust against texture and outliers.
    """
    height, width = plane.shape[:2]
    if min(height, width) < 3:
        return 0.0
    responses = []
    for patch in patches(plane):
        x = np.where(np.isfinite(patch), patch, 0).astype(np.float32)
        x = x if curve is None else curve(x)
        rows = x[:-2] - 2.0 * x[1:-1] + x[2:]
        mask = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
        responses.append(np.abs(mask).ravel())
    found = np.concatenate(responses)
    middle = [(found.size - 1) // 2, found.size // 2]
    # What np.median would answer, without the masked arrays that it loads.
    return float(np.partition(found, middle)[middle].mean() / (0.6745 * 6.0))


def exposed_noise_level(color: np.ndarray, scale: float) -> float:
    """`noise_level` of linear (H, W, 3) colour, exposed by `scale`, in the domain that the network sees."""
    return noise_level(color, lambda x: transfer(x * np.float32(scale)))


def known_noise(sigma: float) -> float:
    """Standard deviation of a stabilised mosaic's noise to the value of its variance plane, in [0, 1]."""
    return min(1.0, float(np.log2(1.0 + 64.0 * sigma)) / 4.0)


def patches(image: np.ndarray, side: int = 96, count: int = 6) -> Iterator[np.ndarray]:
    """At most count x count patches spread over an image: they tell as much as all of it, in bounded time."""
    for y in np.unique(np.linspace(0, max(0, image.shape[0] - side), count).astype(int)):
        for x in np.unique(np.linspace(0, max(0, image.shape[1] - side), count).astype(int)):
            yield image[y : y + side, x : x + side]


def albedo_is_cleaner(color: np.ndarray, albedo: np.ndarray, scale: float) -> bool:
    """Whether dividing by the albedo removes more noise and texture than it adds.

    Print, for one, is finer than the noise of many samples: where the albedo has more, the light without it decides.
    """
    if noise_level(albedo) <= exposed_noise_level(color, scale):
        return True
    levels = []
    for shown, surface in zip(patches(color), patches(albedo), strict=True):
        factor = demodulation(np.nan_to_num(surface.astype(np.float32)))
        divided = np.where(np.isfinite(shown), shown, 0).astype(np.float32) / factor * factor.mean()
        levels.append([exposed_noise_level(plane, scale) for plane in (shown, divided)])
    before, after = np.median(levels, axis=0)
    return bool(after <= DIVIDED_NOISE * before)


def relative_depth(depth: np.ndarray, median: float) -> np.ndarray:
    """(H, W) distance to log2 of its ratio to the image's median, in [-1, 1]; 1 where a ray hit nothing.

    That is written as 0, infinity or a huge number. Camera-space z may be negative: its magnitude counts.
    """
    distance = np.abs(depth)
    far = ~(distance < 1e4 * median) | (distance == 0)
    ratio = np.log2(np.maximum(np.where(far, median, distance), 1e-4 * median) / median) / 4.0
    return np.where(far, 1.0, np.clip(ratio, -1.0, 1.0)).astype(np.float32)


def depth_median(depth: np.ndarray) -> float | None:
    """Median magnitude of the distances of what was hit; None when nothing was."""
    d = np.abs(np.asarray(depth[::2, ::2], np.float32))
    d = d[(d > 0) & (d < 6e4)]
    return float(np.median(d)) if d.size else None


def relative_variance(variance: np.ndarray, lum: np.ndarray) -> np.ndarray:
    """(H, W) variance of the mean and luminance of one exposure to log2(1 + 4 sigma/L)/4, in [0, 1]."""
    relative = np.sqrt(np.maximum(np.nan_to_num(variance), 0.0)) / (lum + 0.02)
    return np.clip(np.log2(1.0 + 4.0 * relative) / 4.0, 0.0, 1.0).astype(np.float32)
