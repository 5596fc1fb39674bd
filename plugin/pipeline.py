"""The line: read -> adapt -> tile -> predict weights -> filter -> blend -> restore -> write."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from mdenoise import predict, tiles
from mdenoise.adapters import adapter_for
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import Cancelled, InputError
from mdenoise.frame import Filtered, Frame, Planes
from mdenoise.guide import ABSURD
from mdenoise.models import ModelCard
from mdenoise.motion import find_motion
from mdenoise.prefilter import prefiltered
from mdenoise.temporal import Still, Window

# Context beyond the pixels a tile delivers. On flat noise single pixels differ from the untiled image by up to 9 % of
# the mean with 64 px, 2 % with 128 and 1e-7 with 160: windows lie on the same grid in every tile.
AREA_PX = 1920 * 1088  # of a tile: 1080p in one; engine and filter take about 300 bytes for each pixel
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
    window: Window | None = None,
) -> Report:
    """Denoise one file; the result appears under `dst` whole or not at all. `window` keeps the frames around it for
    the next file of a sequence."""
    started = time.perf_counter()
    adapter = adapter_for(src)
    stamp = provenance(src, card, options)  # before reading: a source that changes meanwhile is not taken for done
    frame = adapter.read(src)
    jobs = adapter.adapt(frame, options)
    said: tuple[str, ...] = ()
    if options.temporal and options.strength:
        filter_all = partial(stills, engine=engine, card=card, options=options, progress=progress, cancel=cancel)
        window = Window() if window is None else window
        results, said = window.results(src, options.temporal, filter_all, options.strength)
    else:
        results = [denoise_planes(job.planes, engine, card, options, progress=progress, cancel=cancel) for job in jobs]
    restored = adapter.restore(frame, jobs, results, stamp)
    left_behind = adapter.write(restored, dst, overwrite=overwrite) or ()
    return Report(
        src,
        dst,
        "; ".join(job.roles.line() for job in jobs),
        (*(note for one in (*jobs, *results) for note in one.notes), *said, *left_behind),
        jobs[0].planes.color.shape[1],
        jobs[0].planes.color.shape[0],
        time.perf_counter() - started,
        sum(r.distrusted_px for r in results),
        sum(r.nearest_px for r in results),
        tuple(name for r in results for name in r.left_out),
        any(r.demodulated for r in results),
    )


def stills(
    path: Path,
    engine: Engine,
    card: ModelCard,
    options: Options,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Still]:
    """The images of one frame of a sequence, filtered, with their motion."""
    adapter = adapter_for(path)
    frame = adapter.read(path)
    whole = replace(options, strength=1.0)
    return [
        Still(
            job.planes,
            denoise_planes(job.planes, engine, card, whole, progress=progress, cancel=cancel),
            find_motion(frame, job.roles.color) if isinstance(frame, Frame) else None,
        )
        for job in adapter.adapt(frame, options)
    ]


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
    if options.prefilter:
        plain = replace(options, prefilter=False, strength=1.0, uncertainty=False, quality="balanced")
        planes = prefiltered(planes, lambda aux: denoise_planes(aux, engine, card, plain, cancel=cancel))
    work = predict.plan(planes, card, options)
    look = work.look
    height, width = planes.color.shape[:2]
    tile_px, overlap_px = tile_limit(options, look), options.overlap_px
    if overlap_px is None:  # small tiles cannot afford all of it
        overlap_px = min(OVERLAP_PX[options.quality], (tile_px - tiles.GRID_PX) // 64 * 32)
    # An engine without fixed shapes takes tiles of any form, unless a size was asked for.
    area_px = AREA_PX if getattr(engine, "packed", None) and tile_px == Options().tile_px else None
    plan = tiles.plan(height, width, tile_px=tile_px, overlap_px=overlap_px, reach_px=card.reach_px, area_px=area_px)
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

    def emit(y: int, x: int, block: np.ndarray) -> None:
        place = np.s_[y : y + block.shape[0], x : x + block.shape[1]]
        store(planes, look, outputs, place, block, options.strength)
        if unsure is not None:
            unsure[place] = block[..., -1]

    tiles.run(plan, tile, emit)
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


def store(
    planes: Planes,
    look: predict.Look,
    outputs: dict[str, np.ndarray],
    place: tuple[slice, slice],
    block: np.ndarray,
    strength: float,
) -> None:
    """Blend finished pixels with the input by `strength` and store them in the type of each layer."""
    for name, source in planes.layers.items():
        noisy = source[place]
        result = block[..., look.columns[name]].reshape(noisy.shape)
        if strength < 1.0:
            original = noisy.astype(np.float32)
            blended = (1.0 - strength) * original + strength * result
            result = np.where(np.abs(original) < ABSURD, blended, result)
        if noisy.dtype.kind == "u":
            result = np.rint(np.clip(result, 0, np.iinfo(noisy.dtype).max))
        elif noisy.dtype == np.float16:
            result = np.clip(result, -65504.0, 65504.0)
        outputs[name][place] = result


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
