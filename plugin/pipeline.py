"""The line: read -> adapt -> tile -> predict weights -> filter -> blend -> restore -> write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mdenoise import guide as g
from mdenoise import tiles
from mdenoise.adapters import adapter_for
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import Cancelled
from mdenoise.filter import apply_filter, fill_nearest, outlier_weight
from mdenoise.frame import Filtered, Planes
from mdenoise.models import ModelCard

OVERLAP_PX = {"fast": 32, "balanced": 64, "best": 64}
FLIPS = {"fast": ((),), "balanced": ((),), "best": ((), (0,), (1,), (0, 1))}
LEAVES_GROUP = 0.01  # a layer with a larger share of values that are not finite must not mask the others

Progress = Callable[[float], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class Report:
    """What was done to one file, for people and logs; counts of pixels are sums over the file's views."""

    src: Path
    dst: Path
    roles_line: str
    notes: tuple[str, ...]
    width: int
    height: int
    seconds: float
    distrusted_px: int
    nearest_px: int
    left_out: tuple[str, ...]
    demodulated: bool


def denoise_file(
    src: Path, dst: Path, engine: Engine, card: ModelCard, options: Options, *,
    overwrite: bool = False, progress: Progress | None = None, cancel: Cancel | None = None,
) -> Report:
    """Denoise one file; the result appears under `dst` whole or not at all."""
    started = time.perf_counter()
    adapter = adapter_for(src)
    frame = adapter.read(src)
    jobs = adapter.adapt(frame, options)
    results = [denoise_planes(job.planes, engine, card, options, progress=progress, cancel=cancel) for job in jobs]
    restored = adapter.restore(frame, jobs, results, provenance(src, card, options))
    adapter.write(restored, dst, overwrite=overwrite)
    return Report(
        src, dst, "; ".join(job.roles.line() for job in jobs), tuple(note for job in jobs for note in job.notes),
        jobs[0].planes.color.shape[1], jobs[0].planes.color.shape[0], time.perf_counter() - started,
        sum(r.distrusted_px for r in results), sum(r.nearest_px for r in results),
        tuple(name for r in results for name in r.left_out), any(r.demodulated for r in results),
    )


def denoise_planes(
    planes: Planes, engine: Engine, card: ModelCard, options: Options, *,
    progress: Progress | None = None, cancel: Cancel | None = None,
) -> Filtered:
    """Filter every layer of `planes` by weights predicted from its guide; each keeps its shape and type."""
    if options.strength == 0.0:
        return Filtered({name: layer.copy() for name, layer in planes.layers.items()})
    look = measure(planes, card, options)
    height, width = planes.color.shape[:2]
    overlap_px = OVERLAP_PX[options.quality] if options.overlap_px is None else options.overlap_px
    plan = tiles.plan(height, width, tile_px=tile_limit(options, look), overlap_px=overlap_px, reach_px=card.reach_px)
    outputs = {name: np.empty_like(layer) for name, layer in planes.layers.items()}
    counts = {"nearest": 0, "tiles": 0}

    def tile(place: tiles.Tile) -> np.ndarray:
        if cancel is not None and cancel():
            raise Cancelled("stopped before the end; nothing was written")
        result, nearest = filter_tile(planes, look, place, engine, FLIPS[options.quality])
        counts["nearest"] += nearest
        counts["tiles"] += 1
        if progress is not None:
            progress(counts["tiles"] / len(plan))
        return result

    def emit(y: int, rows: np.ndarray) -> None:
        store_rows(planes, look, outputs, y, rows, options.strength)

    tiles.run(plan, look.channels, tile, emit)
    return Filtered(outputs, counts["nearest"], look.distrusted_px, look.left_out, look.demodulated, look.exposure)


@dataclass(frozen=True)
class Look:
    """What is measured once per image, never per tile. `groups` lists the layers that share one mask."""

    exposure: float
    depth_median: float
    demodulated: bool
    groups: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]
    hidden_ratio: float
    distrusted_px: int

    columns: dict[str, slice]
    channels: int


def measure(planes: Planes, card: ModelCard, options: Options) -> Look:
    linear = planes.encoding == "linear"
    exposure = g.exposure(planes.color) if linear else 1.0
    demodulated = (
        linear and planes.albedo is not None and bool(planes.demodulated)
        and g.albedo_is_cleaner(planes.color, planes.albedo, exposure)
    )
    finite = {name: finite_px(layer) for name, layer in planes.layers.items()}
    first = next(iter(planes.layers))  # the beauty: it is the guide and never leaves
    left_out = tuple(n for n, ok in finite.items() if n != first and np.mean(~ok) > LEAVES_GROUP)
    joint = tuple(n for n in planes.layers if n not in left_out)
    distrusted = ~finite_px(planes.color)
    for name in joint:
        distrusted |= ~finite[name]
    columns, start = {}, 0
    for name, layer in planes.layers.items():
        count = layer.shape[2] if layer.ndim == 3 else 1
        columns[name] = slice(start, start + count)
        start += count
    hidden_ratio = 0.0 if options.robustness == "auto" else float(options.robustness)
    return Look(
        exposure, 1.0 if planes.depth is None else g.depth_median(planes.depth), demodulated,
        (joint, *((n,) for n in left_out)), left_out, hidden_ratio, int(distrusted.sum()), columns, start,
    )


def finite_px(array: np.ndarray) -> np.ndarray:
    """(H, W) bool: every channel of the pixel is finite."""
    if array.dtype.kind != "f":
        return np.ones(array.shape[:2], bool)
    finite = np.isfinite(array)
    return finite.all(axis=2) if finite.ndim == 3 else finite


def tile_limit(options: Options, look: Look) -> int:
    """Largest tile side: what was asked, less when the memory bound says so (about 500 B/px for engine and filter)."""
    if options.max_memory_mb is None:
        return options.tile_px
    side = int(np.sqrt(options.max_memory_mb * 2**20 / (500 + 24 * look.channels))) // tiles.GRID_PX * tiles.GRID_PX
    return int(np.clip(side, 3 * tiles.GRID_PX, options.tile_px))


def filter_tile(
    planes: Planes, look: Look, place: tiles.Tile, engine: Engine, flips: tuple[tuple[int, ...], ...]
) -> tuple[np.ndarray, int]:
    """One tile: (height, width, channels) float32 filtered layers, and how many pixels took the nearest valid value."""
    rows = slice(place.y, min(place.y + place.height, planes.color.shape[0]))
    cols = slice(place.x, min(place.x + place.width, planes.color.shape[1]))
    size = (rows.stop - rows.start, cols.stop - cols.start)
    view = {name: layer[rows, cols].reshape(*size, -1) for name, layer in planes.layers.items()}
    color = planes.color[rows, cols]
    seen = finite_px(color)
    guide, trust, factor = build_guide(planes, look, rows, cols, seen, (place.height, place.width))
    outputs = np.zeros((place.height, place.width, look.channels), np.float32)
    nearest = 0
    for group in look.groups:
        mask = seen.copy()
        for name in group:
            mask &= finite_px(view[name])
        layers = np.zeros((place.height, place.width, sum(view[n].shape[2] for n in group)), np.float32)
        at = 0
        for name in group:
            plane = view[name].astype(np.float32)
            if factor is not None and name in planes.demodulated:
                plane = plane / factor
            layers[: size[0], : size[1], at : at + plane.shape[2]] = np.where(mask[..., None], plane, 0.0)
            at += plane.shape[2]
        confidence = trust.copy()
        confidence[: size[0], : size[1]] *= mask
        hidden = guide * confidence_mask(guide, confidence)
        mean, valid = filter_flips(engine, hidden, layers, confidence, flips)
        inside = np.s_[: size[0], : size[1]]
        filled = mean[inside]
        nearest += fill_nearest(filled, valid[inside])
        at = 0
        for name in group:
            width = view[name].shape[2]
            plane = filled[..., at : at + width]
            if factor is not None and name in planes.demodulated:
                plane = plane * factor
            outputs[inside][..., look.columns[name]] = plane
            at += width
    return outputs, nearest


def confidence_mask(guide: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(16, H, W) factor that hides the colour and the mask plane where the group's mask is 0, and leaves AOVs alone."""
    factor = np.ones_like(guide)
    known = confidence > 0
    factor[g.COLOR] = known
    factor[g.MASK] = known
    return factor


def filter_flips(
    engine: Engine, guide: np.ndarray, layers: np.ndarray, confidence: np.ndarray, flips: tuple[tuple[int, ...], ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the filtered layers over flips of the whole problem; one flip, (), is the plain single pass."""
    total, valid = None, None
    for axes in flips:
        turned = np.ascontiguousarray(np.flip(guide, [a + 1 for a in axes]))
        logits = engine.predict(turned[None])
        result, ok = apply_filter(np.ascontiguousarray(np.flip(layers, axes)), np.ascontiguousarray(np.flip(confidence, axes)), logits)
        result, ok = np.flip(result, axes), np.flip(ok, axes)
        total = result if total is None else total + result
        valid = ok if valid is None else valid & ok
    return (total if len(flips) == 1 else total / len(flips)), valid


def build_guide(
    planes: Planes, look: Look, rows: slice, cols: slice, seen: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Guide planes (16, H, W) of a tile, zero outside the image; confidence before the network (H, W); and the
    demodulation factor (h, w, 3) on the part of the tile inside the image, or None."""
    color = np.where(seen[..., None], planes.color[rows, cols].astype(np.float32), 0.0)
    inside = np.s_[: seen.shape[0], : seen.shape[1]]
    guide = np.zeros((g.GUIDE_CHANNELS, *size), np.float32)
    trust = np.zeros(size, np.float32)
    lum = None
    if planes.encoding == "linear":
        exposed = np.clip(color * np.float32(look.exposure), -1e30, 1e30)
        lum = g.luminance(exposed)
        trust[inside] = outlier_weight(lum)
        encoded = g.transfer(exposed)
    else:
        trust[inside] = 1.0
        encoded = np.clip(color, 0.0, 1.0)
    trust[inside] *= seen & visible(look.hidden_ratio, rows, cols)
    guide[g.COLOR][(slice(None), *inside)] = np.moveaxis(encoded, -1, 0)
    guide[g.MASK][inside] = trust[inside] > 0
    factor = None
    if planes.albedo is not None:
        albedo = planes.albedo[rows, cols].astype(np.float32)
        known = np.isfinite(albedo).all(axis=-1)
        albedo = np.clip(np.where(known[..., None], albedo, 0.0), 0.0, 1.0)
        guide[g.ALBEDO][(slice(None), *inside)] = np.moveaxis(albedo, -1, 0)
        guide[g.HAS_ALBEDO][inside] = known
        factor = g.demodulation(albedo) if look.demodulated else None
    if planes.normal is not None:
        normal = planes.normal[rows, cols].astype(np.float32)
        known = np.isfinite(normal).all(axis=-1)
        guide[g.NORMAL][(slice(None), *inside)] = np.moveaxis(np.clip(np.where(known[..., None], normal, 0.0), -1, 1), -1, 0)
        guide[g.HAS_NORMAL][inside] = known
    if planes.depth is not None:
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


def store_rows(
    planes: Planes, look: Look, outputs: dict[str, np.ndarray], y: int, rows: np.ndarray, strength: float
) -> None:
    """Blend finished rows with the input by `strength` and store them in the type of each layer."""
    span = slice(y, y + rows.shape[0])
    for name, source in planes.layers.items():
        result = rows[..., look.columns[name]].reshape(source[span].shape)
        noisy = source[span]
        if strength < 1.0:
            original = noisy.astype(np.float32)
            blended = (1.0 - strength) * original + strength * result
            result = np.where(np.isfinite(original), blended, result) if noisy.dtype.kind == "f" else blended
        if noisy.dtype.kind == "u":
            result = np.rint(np.clip(result, 0, np.iinfo(noisy.dtype).max))
        elif noisy.dtype == np.float16:
            result = np.clip(result, -65504.0, 65504.0)
        outputs[name][span] = result


def provenance(src: Path, card: ModelCard, options: Options) -> dict[str, str]:
    """What an output says about its making; written as `mdenoise:*` attributes."""
    from mdenoise import __version__

    default = asdict(Options())
    changed = [f"{k}={v}" for k, v in asdict(options).items() if v != default[k]]
    return {
        "version": __version__, "model": f"{card.name} {card.sha256}", "options": " ".join(changed) or "defaults", "source": src.name,
    }
