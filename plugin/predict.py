"""One tile of the line: build the guide, predict the weights, filter the layers.

What depends on the whole image (exposure, depth scale, demodulation, masks' groups) is measured once and passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mdenoise import guide as g
from mdenoise import tiles
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.filter import apply_filter, fill_nearest, outlier_weight
from mdenoise.frame import Planes

LEAVES_GROUP = 0.01  # a layer with a larger share of values that are not finite must not mask the others


@dataclass(frozen=True)
class Look:
    """What is measured once per image, never per tile. `groups` lists the layers that share one mask."""

    exposure: float
    depth_median: float | None
    demodulated: bool
    groups: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]
    hidden_ratio: float
    distrusted_px: int

    columns: dict[str, slice]
    channels: int


def measure(planes: Planes, options: Options) -> Look:
    linear = planes.encoding == "linear"
    exposure = g.exposure(planes.color) if linear else 1.0
    demodulated = (
        linear
        and planes.albedo is not None
        and bool(planes.demodulated)
        and g.albedo_is_cleaner(planes.color, planes.albedo, exposure)
    )
    finite = {name: g.trusted_px(layer) for name, layer in planes.layers.items()}
    first = next(iter(planes.layers))  # the beauty: it is the guide and never leaves
    left_out = tuple(
        n for n, ok in finite.items() if n != first and ok.size - np.count_nonzero(ok) > LEAVES_GROUP * ok.size
    )
    joint = tuple(n for n in planes.layers if n not in left_out)
    distrusted = ~g.trusted_px(planes.color)
    for name in joint:
        distrusted |= ~finite[name]
    columns, start = {}, 0
    for name, layer in planes.layers.items():
        count = layer.shape[2] if layer.ndim == 3 else 1
        columns[name] = slice(start, start + count)
        start += count
    hidden_ratio = 0.0 if options.robustness == "auto" else float(options.robustness)
    return Look(
        exposure,
        None if planes.depth is None else g.depth_median(planes.depth),
        demodulated,
        (joint, *((n,) for n in left_out)),
        left_out,
        hidden_ratio,
        int(np.count_nonzero(distrusted)),
        columns,
        start,
    )


@dataclass(frozen=True)
class Pass:
    """One prediction for every tile: what the network sees, and along which axes of the tile it is flipped."""

    planes: Planes
    look: Look
    flip: tuple[int, ...] = ()


def passes(planes: Planes, options: Options) -> tuple[Pass, ...]:
    """The predictions whose results are averaged. `best` looks once with and once without auxiliary planes, which
    err in other places (+0.3 dB on the validation renders); where there are none, at four flips."""
    look = measure(planes, options)
    if options.quality != "best":
        return (Pass(planes, look),)
    if planes.albedo is None and planes.normal is None and planes.depth is None:
        return tuple(Pass(planes, look, flip) for flip in ((), (0,), (1,), (0, 1)))
    bare = replace(planes, albedo=None, normal=None, depth=None, demodulated=frozenset())
    return Pass(planes, look), Pass(bare, replace(look, demodulated=False))


def filter_tile(one: Pass, place: tiles.Tile, engine: Engine) -> tuple[np.ndarray, int]:
    """One tile: (height, width, channels) float32 filtered layers, and how many pixels took the nearest valid value."""
    planes, look = one.planes, one.look
    rows = slice(place.y, min(place.y + place.height, planes.color.shape[0]))
    cols = slice(place.x, min(place.x + place.width, planes.color.shape[1]))
    size = (rows.stop - rows.start, cols.stop - cols.start)
    view = {name: layer[rows, cols].reshape(*size, -1) for name, layer in planes.layers.items()}
    color = planes.color[rows, cols]
    seen = g.trusted_px(color)
    guide, trust, factor = build_guide(planes, look, rows, cols, seen, (place.height, place.width))
    outputs = np.zeros((place.height, place.width, look.channels), np.float32)
    nearest = 0
    for group in look.groups:
        mask = seen.copy()
        for name in group:
            mask &= g.trusted_px(view[name])
        layers = np.zeros((place.height, place.width, sum(view[n].shape[2] for n in group)), np.float32)
        at = 0
        for name in group:
            plane = view[name].astype(np.float32)
            if not mask.all():
                plane[~mask] = 0.0
            if factor is not None and name in planes.demodulated and plane.shape[2] == 3:
                plane = plane / factor
            layers[: size[0], : size[1], at : at + plane.shape[2]] = plane
            at += plane.shape[2]
        confidence = trust.copy()
        confidence[: size[0], : size[1]] *= mask
        shown = guide if len(look.groups) == 1 else guide.copy()
        hide(shown, mask)
        mean, valid = predict_and_filter(engine, shown, layers, confidence, one.flip)
        inside = np.s_[: size[0], : size[1]]
        filled, known = mean[inside], valid[inside]
        if not known.all():
            # A pixel that was only hidden, with nothing around it to be filtered from, keeps its own value.
            alone = mask & ~known
            filled[alone] = layers[inside][alone]
            nearest += fill_nearest(filled, known | alone)
        at = 0
        for name in group:
            width = view[name].shape[2]
            plane = filled[..., at : at + width]
            if factor is not None and name in planes.demodulated and plane.shape[2] == 3:
                plane = plane * factor
            outputs[inside][..., look.columns[name]] = plane
            at += width
    return outputs, nearest


def hide(guide: np.ndarray, mask: np.ndarray) -> None:
    """Take colour and mask plane out of the guide, in place, where the group's (h, w) mask is false; AOVs stay."""
    if not mask.all():
        guide[g.COLOR, : mask.shape[0], : mask.shape[1]] *= mask
        guide[g.MASK, : mask.shape[0], : mask.shape[1]] *= mask


def predict_and_filter(
    engine: Engine, guide: np.ndarray, layers: np.ndarray, confidence: np.ndarray, flip: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Filtered (H, W, C) layers and (H, W) validity; the whole problem is flipped along `flip` and the answer back."""
    if not flip:
        return apply_filter(layers, confidence, engine.predict(guide[None]))
    logits = engine.predict(np.ascontiguousarray(np.flip(guide, [axis + 1 for axis in flip]))[None])
    turned = (np.ascontiguousarray(np.flip(array, flip)) for array in (layers, confidence))
    result, valid = apply_filter(*turned, logits)
    return np.flip(result, flip), np.flip(valid, flip)


def build_guide(
    planes: Planes, look: Look, rows: slice, cols: slice, seen: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Guide planes (16, H, W) of a tile, zero outside the image; confidence before the network (H, W); and the
    demodulation factor (h, w, 3) on the part of the tile inside the image, or None."""
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
    else:
        trust[inside] = 1.0
        encoded = np.clip(color, 0.0, 1.0)
    trust[inside] *= seen & visible(look.hidden_ratio, rows, cols)
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
    return guide, trust, factor


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


def visible(hidden_ratio: float, rows: slice, cols: slice) -> np.ndarray | bool:
    """Input mask at inference: hides a share of the pixels by a hash of their place, so that tiles agree."""
    if hidden_ratio == 0.0:
        return True
    y = np.arange(rows.start, rows.stop, dtype=np.uint32)[:, None]
    x = np.arange(cols.start, cols.stop, dtype=np.uint32)[None]
    h = y * np.uint32(0x9E3779B1) ^ x * np.uint32(0x85EBCA77)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return (h ^ (h >> np.uint32(15))) >= np.uint32(hidden_ratio * 2**32)
