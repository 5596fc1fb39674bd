"""The guide of one tile: colour in the network's domain, masks, and auxiliary planes."""

from __future__ import annotations

import numpy as np

from mdenoise import guide as g
from mdenoise import masks
from mdenoise.filter import _native, outlier_weight, usable_cpus
from mdenoise.frame import Planes
from mdenoise.look import Look


def build_guide(
    planes: Planes, look: Look, rows: slice, cols: slice, seen: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Guide planes (`look.guide_channels`, H, W) of a tile, zero outside the image; confidence before the network
    (H, W); and the demodulation factor (h, w, 3) on the part of the tile inside the image, or None."""
    color = channels_first(planes.color[rows, cols])
    if not seen.all():
        color = np.where(seen, color, np.float32(0))
    inside = np.s_[: seen.shape[0], : seen.shape[1]]
    guide = np.zeros((g.GUIDE_CHANNELS, *size), np.float32)
    trust = np.zeros(size, np.float32)
    lum = None
    if planes.encoding == "linear":
        with np.errstate(over="ignore"):
            exposed = np.clip(color * np.float32(look.exposure), np.float32(-1e30), np.float32(1e30))
        lum = g.luminance(exposed, axis=0)
        trust[inside] = outlier_weight(g.brightness(exposed, axis=0))
        encoded = g.transfer(exposed)
    elif planes.encoding == "mosaic":
        trust[inside] = 1.0
        encoded = color
    else:
        trust[inside] = 1.0
        encoded = np.clip(color, 0.0, 1.0) if look.curve is None else look.curve(np.clip(color, -1.0, 2.0))
    shown = seen & masks.scattered(look.hidden_ratio, look.offset, rows, cols) & masks.visible(look.pattern, rows, cols)
    if look.hidden_px is not None:
        shown = shown & ~look.hidden_px[rows, cols]
    trust[inside] *= shown
    shown = trust[inside] > 0
    guide[g.COLOR][(slice(None), *inside)] = encoded if shown.all() else encoded * shown
    guide[g.MASK][inside] = shown
    factor = None
    if planes.albedo is not None:
        albedo, known = known_planes(planes.albedo[rows, cols], 0.0, 1.0)
        guide[g.ALBEDO][(slice(None), *inside)] = albedo
        guide[g.HAS_ALBEDO][inside] = known
        factor = np.moveaxis(g.demodulation(albedo, axis=0), 0, -1) if look.demodulated else None
    if planes.normal is not None:
        normal, known = known_planes(planes.normal[rows, cols], -1.0, 1.0)
        guide[g.NORMAL][(slice(None), *inside)] = normal
        guide[g.HAS_NORMAL][inside] = known
    if planes.depth is not None and look.depth_median is not None:
        depth = planes.depth[rows, cols].astype(np.float32)
        known = ~np.isnan(depth)
        guide[g.DEPTH][inside] = np.where(known, g.relative_depth(depth, look.depth_median), 0.0)
        guide[g.HAS_DEPTH][inside] = known
    if planes.variance is not None and lum is not None:
        variance = planes.variance[rows, cols].astype(np.float32) * np.float32(look.exposure**2)
        known = np.isfinite(variance)
        guide[g.VARIANCE][inside] = np.where(known, g.relative_variance(variance, lum), 0.0)
        guide[g.HAS_VARIANCE][inside] = known
    if look.told is not None:
        guide[g.VARIANCE][inside] = look.told
        guide[g.HAS_VARIANCE][inside] = 1.0
    if planes.encoding == "mosaic":
        guide[g.VARIANCE][inside] = g.known_noise(planes.noise)
        guide[g.HAS_VARIANCE][inside] = 1.0
    guide[g.KIND][inside] = g.KINDS[planes.encoding]
    return guide[: look.guide_channels], trust, factor


def packed_guide(
    planes: Planes, look: Look, rows: slice, cols: slice, mask: np.ndarray, size: tuple[int, int], bf16: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """`build_guide` of linear colour by compiled code, hidden where the (h, w) `mask` is False, and laid out as the
    network's first layer reads it: (1, H/2, W/2, 4 channels) float32, or bfloat16 seen as uint16."""
    numbers = {
        "exposure": look.exposure,
        "slope": g.CURVE_SLOPE,
        "most": g.CURVE_MAX,
        "scale": 1 / np.log1p(g.CURVE_SLOPE),
        "absurd": g.ABSURD,
        "black_low": g.BLACK_ALBEDO[0],
        "black_high": g.BLACK_ALBEDO[1],
        "albedo_floor": g.ALBEDO_FLOOR,
        "outlier_multiple": g.OUTLIER_MULTIPLE,
        "outlier_floor": g.OUTLIER_FLOOR,
        "outlier_company": g.OUTLIER_COMPANY,
        "kind": g.KINDS["linear"],
        "channels": look.guide_channels,
    }
    starts = (g.COLOR.start, g.MASK, g.ALBEDO.start, g.NORMAL.start, g.DEPTH, g.VARIANCE)
    places = [*starts, g.HAS_ALBEDO, g.HAS_NORMAL, g.HAS_DEPTH, g.HAS_VARIANCE, g.KIND]
    depth = variance = None
    if planes.depth is not None and look.depth_median is not None:
        distance = planes.depth[rows, cols].astype(np.float32)
        depth = np.where(np.isnan(distance), np.nan, g.relative_depth(distance, look.depth_median))
    if planes.variance is not None:
        color = np.clip(planes.color[rows, cols].astype(np.float32), -g.ABSURD, g.ABSURD)
        with np.errstate(over="ignore"):
            lum = g.luminance(np.clip(color * np.float32(look.exposure), np.float32(-1e30), np.float32(1e30)))
        known = planes.variance[rows, cols].astype(np.float32) * np.float32(look.exposure**2)
        variance = np.where(np.isfinite(known), g.relative_variance(known, np.nan_to_num(lum)), np.nan)
    elif look.told is not None:
        variance = np.full(mask.shape, look.told, np.float32)
    shown = mask & masks.scattered(look.hidden_ratio, look.offset, rows, cols) & masks.visible(look.pattern, rows, cols)
    if look.hidden_px is not None:
        shown = shown & ~look.hidden_px[rows, cols]
    return _native.guide(
        planes.color[rows, cols],
        None if planes.albedo is None else planes.albedo[rows, cols],
        None if planes.normal is None else planes.normal[rows, cols],
        depth,
        variance,
        None if shown.all() else shown,
        size,
        planes.albedo is not None and look.demodulated,
        bf16,
        numbers,
        places,
        threads=usable_cpus(),
    )


def channels_first(array: np.ndarray) -> np.ndarray:
    """(h, w, C) of any type to (C, h, w) float32, contiguous: arithmetic on whole planes is several times faster."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 0), np.float32)


def known_planes(array: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """An auxiliary layer as (C, h, w) clipped to its range, 0 where a channel is not finite, and where it is known."""
    planes = channels_first(array)
    known = g.trusted_px(planes, axis=0)
    if not known.all():
        planes = np.where(known, planes, np.float32(0))
    return np.clip(planes, np.float32(low), np.float32(high)), known


def hide(guide: np.ndarray, mask: np.ndarray) -> None:
    """Take colour and mask plane out of the guide, in place, where the group's (h, w) mask is false; AOVs stay."""
    if not mask.all():
        guide[g.COLOR, : mask.shape[0], : mask.shape[1]] *= mask
        guide[g.MASK, : mask.shape[0], : mask.shape[1]] *= mask
