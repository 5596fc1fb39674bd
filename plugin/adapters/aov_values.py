"""The values of AOVs: placed in the colour's window, decoded, and judged where a name is not enough."""

from __future__ import annotations

import numpy as np

from mdenoise.frame import Frame, Layer, Window

# Rec. 709 luminance, for a variance that is stored per channel.
_LUMINANCE = (0.2126, 0.7152, 0.0722)
ROWS = 256  # that are looked at together: what is computed on the way does not grow with the image


def placed(frame: Frame, layer: Layer, window: Window) -> np.ndarray:
    """The channels of a layer, (H, W) or (H, W, C), in the pixels of `window`; NaN where the layer has none.

    The type is the file's (float16, float32), float32 for whole numbers. Coordinates are absolute pixels.
    """
    part = frame.parts[layer.part]
    planes = [part.channels[channel] for channel in layer.channels]
    plane = planes[0] if len(planes) == 1 else _together(planes)
    if part.window == window:
        return plane if plane.dtype != np.uint32 else plane.astype(np.float32)
    kind = np.float32 if plane.dtype == np.uint32 else plane.dtype
    out = np.full((window.height, window.width, *plane.shape[2:]), np.nan, dtype=kind)
    x0, x1 = max(window.x_min, part.window.x_min), min(window.x_max, part.window.x_max) + 1
    y0, y1 = max(window.y_min, part.window.y_min), min(window.y_max, part.window.y_max) + 1
    if x0 < x1 and y0 < y1:
        out[y0 - window.y_min : y1 - window.y_min, x0 - window.x_min : x1 - window.x_min] = plane[
            y0 - part.window.y_min : y1 - part.window.y_min, x0 - part.window.x_min : x1 - part.window.x_min
        ]
    return out


def _together(planes: list[np.ndarray]) -> np.ndarray:
    """Planes (H, W) as (H, W, C): a view where they follow each other in one block, as `exr_file.read` puts them."""
    block = planes[0].base
    if block is not None and block.ndim == 3 and all(plane.base is block for plane in planes):
        places = [plane.ctypes.data for plane in planes]
        first = next((i for i, one in enumerate(block) if one.ctypes.data == places[0]), len(block))
        part = block[first : first + len(planes)]
        if [one.ctypes.data for one in part] == places and part.shape[1:] == planes[0].shape:
            return np.moveaxis(part, 0, -1)
    return np.stack(planes, axis=-1)


def albedo(plane: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1]: environments and emitters may exceed it; NaN where the file has no finite value."""
    return plane if _within(plane, 0) else np.clip(np.where(np.isfinite(plane), plane, np.nan), 0, 1)


def normal(plane: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [-1, 1], 0 on the background; normals stored as (n + 1) / 2 are decoded.

    World or camera space: both serve as a guide. Stored encoded means: nothing below 0 or above 1, and the
    decoded vectors are nearer to unit length than the stored ones.
    """
    within = _within(plane, -1)
    finite = None if within else np.isfinite(plane).all(axis=-1, keepdims=True)
    values = plane if within else np.where(finite, plane, np.nan)
    # A sample of the pixels that hold a vector at all decides; float32, because half overflows at 65504 squared.
    step = max(1, int(np.sqrt(plane.shape[0] * plane.shape[1] / 65536)))
    some = plane[::step, ::step]
    vectors = (some.reshape(-1, plane.shape[-1]) if within else some[finite[::step, ::step, 0]]).astype(np.float32)
    drawn = vectors[np.any(np.abs(vectors) > 1e-3, axis=-1)]
    encoded = drawn[np.any(np.abs(drawn - 0.5) > 0.01, axis=-1)]  # the background of encoded normals is 0.5
    if len(encoded) and encoded.min() >= 0 and encoded.max() <= 1.001:
        stored_error = abs(np.median(np.linalg.norm(encoded, axis=-1)) - 1)
        if abs(np.median(np.linalg.norm(2 * encoded - 1, axis=-1)) - 1) < stored_error:
            black = (plane == 0).all(axis=-1, keepdims=True)  # nothing was drawn there, not (-1, -1, -1)
            values, within = np.where(black, 0, 2 * values - 1), False
    return plane if within else np.clip(values, -1, 1).astype(plane.dtype)


def _within(plane: np.ndarray, low: int) -> bool:
    """Whether every value lies in [low, 1], low being 0 or -1. Of halves the bits tell: NumPy is slow to clip them."""
    if plane.dtype == np.float16:
        rows = (plane[y : y + ROWS].view(np.uint16) for y in range(0, len(plane), ROWS))
        return all(bool(((bits if low == 0 else bits & 0x7FFF) <= 0x3C00).all()) for bits in rows)
    return plane.dtype == np.float32 and plane.size > 0 and bool(plane.min() >= low and plane.max() <= 1)


def depth(plane: np.ndarray) -> np.ndarray:
    """(H, W) as stored, any unit; the first channel where a renderer writes it three times (LuxCore)."""
    return plane[..., 0] if plane.ndim == 3 else plane


def variance(plane: np.ndarray) -> np.ndarray:
    """(H, W) of the mean luminance. Noise of the channels is taken as correlated, as path tracing makes it."""
    if plane.ndim == 2:
        return plane
    spread = np.sqrt(np.maximum(plane.astype(np.float32), 0))
    return np.square(spread @ np.array(_LUMINANCE, np.float32))


def looks_lit(plane: np.ndarray, beauty: np.ndarray) -> str:
    """Why a layer cannot be an albedo, or "": values beyond 1, or the noise of the beauty in it.

    An albedo is flat where the material is; light is noisy everywhere, with the same noise as the beauty.
    """
    values = plane.astype(np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "it has no finite values"
    beyond = float(np.mean((finite > 1.01) | (finite < -0.01)))
    if beyond > 0.01:
        return f"{beyond:.0%} of its values lie outside 0 to 1, so it is lit"
    if beauty.ndim == 3 and beauty.shape == plane.shape:
        own, other = _detail(plane), _detail(beauty)
        level = max(float(np.mean(np.abs(finite))), 1e-6)
        flat = float(np.mean(np.abs(own) < 1e-3 * level))
        spread = float(np.std(own) * np.std(other))
        if flat < 0.5 and spread > 0 and float(np.mean(own * other)) > 0.3 * spread:
            return "it has the noise of the beauty, so it is lit"
    return ""


def _detail(plane: np.ndarray) -> np.ndarray:
    """What a 3x3 median takes away, of the mean of the channels, in the middle 256 x 256 pixels, clipped robustly."""
    height, width = plane.shape[:2]
    y, x = max(0, (height - 256) // 2), max(0, (width - 256) // 2)
    gray = np.nan_to_num(plane[y : y + 256, x : x + 256].astype(np.float32).mean(axis=-1), posinf=0, neginf=0)
    padded = np.pad(gray, 1, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    rest = gray - np.median(windows, axis=(-2, -1))
    limit = 3 * np.mean(np.abs(rest)) + 1e-12  # one firefly must not decide
    return np.clip(rest, -limit, limit)
