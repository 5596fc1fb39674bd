"""The line: read -> adapt -> tile -> predict weights -> filter -> blend -> restore -> write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mdenoise import predict, tiles
from mdenoise.adapters import adapter_for
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import Cancelled, InputError
from mdenoise.frame import Filtered, Planes
from mdenoise.guide import ABSURD
from mdenoise.models import ModelCard

# Context beyond the pixels a tile delivers. On flat noise single pixels differ from the untiled image by up to 9 % of
# the mean with 64 px, 2 % with 128 and 1e-7 with 160: windows lie on the same grid in every tile.
OVERLAP_PX = {"fast": 64, "balanced": 160, "best": 160}

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
    src: Path,
    dst: Path,
    engine: Engine,
    card: ModelCard,
    options: Options,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Report:
    """Denoise one file; the result appears under `dst` whole or not at all."""
    started = time.perf_counter()
    adapter = adapter_for(src)
    stamp = provenance(src, card, options)  # before reading: a source that changes meanwhile is not taken for done
    frame = adapter.read(src)
    jobs = adapter.adapt(frame, options)
    results = [denoise_planes(job.planes, engine, card, options, progress=progress, cancel=cancel) for job in jobs]
    restored = adapter.restore(frame, jobs, results, stamp)
    adapter.write(restored, dst, overwrite=overwrite)
    return Report(
        src,
        dst,
        "; ".join(job.roles.line() for job in jobs),
        tuple(note for one in (*jobs, *results) for note in one.notes),
        jobs[0].planes.color.shape[1],
        jobs[0].planes.color.shape[0],
        time.perf_counter() - started,
        sum(r.distrusted_px for r in results),
        sum(r.nearest_px for r in results),
        tuple(name for r in results for name in r.left_out),
        any(r.demodulated for r in results),
    )


def denoise_planes(
    planes: Planes,
    engine: Engine,
    card: ModelCard,
    options: Options,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Filtered:
    """Filter every layer of `planes` by weights predicted from its guide; each keeps its shape and type."""
    if options.strength == 0.0:
        return Filtered({name: layer.copy() for name, layer in planes.layers.items()})
    work = predict.plan(planes, card, options)
    look = work.look
    height, width = planes.color.shape[:2]
    tile_px, overlap_px = tile_limit(options, look), options.overlap_px
    if overlap_px is None:  # small tiles cannot afford all of it
        overlap_px = min(OVERLAP_PX[options.quality], (tile_px - tiles.GRID_PX) // 64 * 32)
    plan = tiles.plan(height, width, tile_px=tile_px, overlap_px=overlap_px, reach_px=card.reach_px)
    outputs = {name: np.empty_like(layer) for name, layer in planes.layers.items()}
    unsure = np.empty((height, width), np.float32) if work.probes else None
    counts = {"nearest": 0, "tiles": 0}

    def tile(place: tiles.Tile) -> np.ndarray:
        if cancel is not None and cancel():
            raise Cancelled("stopped before the end; nothing was written")
        result, nearest = predict.predict_tile(work, place, engine)
        counts["nearest"] += nearest
        counts["tiles"] += 1
        if progress is not None:
            progress(counts["tiles"] / len(plan))
        return result

    def emit(y: int, rows: np.ndarray) -> None:
        store_rows(planes, look, outputs, y, rows, options.strength)
        if unsure is not None:
            unsure[y : y + rows.shape[0]] = rows[..., -1]

    tiles.run(plan, work.channels, tile, emit)
    return Filtered(
        outputs,
        counts["nearest"],
        look.distrusted_px,
        look.left_out,
        look.demodulated,
        look.exposure,
        unsure,
        work.notes,
    )


def tile_limit(options: Options, look: predict.Look) -> int:
    """Largest tile side: what was asked, less when the memory bound says so (about 500 B/px for engine and filter)."""
    if options.max_memory_mb is None:
        return options.tile_px
    side = int(np.sqrt(options.max_memory_mb * 2**20 / (500 + 24 * look.channels))) // tiles.GRID_PX * tiles.GRID_PX
    return int(np.clip(side, 3 * tiles.GRID_PX, options.tile_px))


def store_rows(
    planes: Planes, look: predict.Look, outputs: dict[str, np.ndarray], y: int, rows: np.ndarray, strength: float
) -> None:
    """Blend finished rows with the input by `strength` and store them in the type of each layer."""
    span = slice(y, y + rows.shape[0])
    for name, source in planes.layers.items():
        result = rows[..., look.columns[name]].reshape(source[span].shape)
        noisy = source[span]
        if strength < 1.0:
            original = noisy.astype(np.float32)
            blended = (1.0 - strength) * original + strength * result
            result = np.where(np.abs(original) < ABSURD, blended, result)
        if noisy.dtype.kind == "u":
            result = np.rint(np.clip(result, 0, np.iinfo(noisy.dtype).max))
        elif noisy.dtype == np.float16:
            result = np.clip(result, -65504.0, 65504.0)
        outputs[name][span] = result


def provenance(src: Path, card: ModelCard, options: Options) -> dict[str, str]:
    """What an output says about its making and the version of its source; written as `mdenoise:*` attributes."""
    from mdenoise import __version__

    try:
        state = src.stat()
    except OSError as error:
        raise InputError(f"cannot read {src}: {error.strerror}") from None

    default = asdict(Options())
    changed = [f"{k}={v}" for k, v in asdict(options).items() if v != default[k]]
    return {
        "version": __version__,
        "model": f"{card.name} {card.sha256}",
        "options": " ".join(changed) or "defaults",
        "source": src.name,
        "source_size": str(state.st_size),
        "source_mtime_ns": str(state.st_mtime_ns),
    }
