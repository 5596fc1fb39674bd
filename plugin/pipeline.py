"""The line: read -> adapt -> tile -> predict weights -> filter -> blend -> restore -> write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise import columns, predict, render_noise, tiles
from mdenoise.adapters import adapter_for
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import Cancelled, InputError
from mdenoise.frame import Filtered, Frame, Planes
from mdenoise.guide import ABSURD
from mdenoise.joining import Still
from mdenoise.memory import largest_area
from mdenoise.models import ModelCard
from mdenoise.motion import find_motion
from mdenoise.prefilter import prefiltered, steadied
from mdenoise.temporal import Shot, Window

# Context beyond the pixels a tile delivers. On flat noise single pixels differ from the untiled image by up to 9 % of
# the mean with 64 px, 2 % with 128 and 1e-7 with 160: windows lie on the same grid in every tile.
AREA_PX = 1920 * 1088  # of a tile: 1080p in one
BAND_PX = 4096 * 192  # of a band of a larger image: as much memory as a 1080p tile, a tenth more time a pixel
PHOTO_BYTES = 1100 << 20  # of a photograph's planes and one tile of it: 48 megapixels of raw stay below 1.5 GB in all
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
    said: tuple[str, ...] = ()
    if options.temporal and options.strength:
        make = partial(shot, engine=engine, card=card, options=options, progress=progress, cancel=cancel)
        window = Window() if window is None else window
        (frame, jobs), results, said = window.results(src, options.temporal, make, options.strength)
    else:
        frame = adapter.read(src)
        jobs = adapter.adapt(frame, options)
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


def shot(
    path: Path,
    engine: Engine,
    card: ModelCard,
    options: Options,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Shot:
    """One frame of a sequence: as it was read, and its images, filtered, with their motion."""
    adapter = adapter_for(path)
    frame = adapter.read(path)
    jobs = adapter.adapt(frame, options)
    whole = replace(options, strength=1.0)
    stills = (
        Still(
            job.planes,
            denoise_planes(job.planes, engine, card, whole, progress=progress, cancel=cancel),
            find_motion(frame, job.roles.color) if isinstance(frame, Frame) else None,
        )
        for job in jobs
    )
    return Shot(tuple(stills), (frame, jobs))


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
    said: tuple[str, ...] = ()
    if options.prefilter == "auto":
        planes, said = steadied(planes)
    elif options.prefilter:
        plain = replace(options, prefilter=False, strength=1.0, uncertainty=False, quality="balanced", robustness=0.0)
        planes = prefiltered(planes, lambda aux: denoise_planes(aux, engine, card, plain, cancel=cancel))
    work = predict.plan(planes, card, options, clean_aux=not said)
    look = work.look
    height, width = planes.color.shape[:2]
    most_px = largest_area(options, engine, work)
    tile_px = int(min(options.tile_px, most_px**0.5 // tiles.GRID_PX * tiles.GRID_PX))
    overlap_px = options.overlap_px
    if overlap_px is None:  # small tiles cannot afford all of it
        overlap_px = min(OVERLAP_PX[options.quality], (tile_px - tiles.GRID_PX) // 64 * 32)
    # An engine without fixed shapes takes tiles of any form, unless a size was asked for.
    area_px = area_limit(planes, look) if getattr(engine, "packed", None) and tile_px == Options().tile_px else None
    size = {"overlap_px": overlap_px, "reach_px": card.reach_px}
    in_bands = area_px is not None and tiles.padded_area(height, width) > area_px and columns.possible(work, engine)
    if in_bands:
        plan = tiles.plan_bands(height, width, area_px=int(min(BAND_PX, most_px)), **size)
    else:
        plan = tiles.plan(height, width, tile_px=tile_px, area_px=area_px, **size)
    outputs = {name: np.empty_like(layer) for name, layer in planes.layers.items()}
    unsure = np.empty((height, width), np.float32) if work.probes else None
    counts = {"nearest": 0, "tiles": 0}

    def check() -> None:
        if cancel is not None and cancel():
            raise Cancelled("stopped before the end; nothing was written")

    def counted(parts: Iterable[tuple[Any, int]]) -> Iterator[Any]:
        check()
        for result, nearest in parts:
            counts["nearest"] += nearest
            counts["tiles"] += 1
            if progress is not None:
                progress(counts["tiles"] / len(plan))
            yield result
            check()

    def emit(y: int, x: int, block: np.ndarray) -> None:
        place = np.s_[y : y + block.shape[0], x : x + block.shape[1]]
        store(planes, look, outputs, place, block, options.strength)
        if unsure is not None:
            unsure[place] = block[..., -1]

    straight = options.strength == 1.0 and predict.direct(work, engine)
    if straight and len(plan) == 1:
        (place,) = plan.row(0)
        check()
        counts["nearest"] = predict.filter_image(work, place, engine, outputs)
        check()
        if progress is not None:
            progress(1.0)
    elif straight and in_bands and len(plan.xs) == 1:
        (place,) = plan.columns()
        found = columns.filter_column(work, place, engine, plan.cuts, outputs)
        for _ in counted((None, nearest) for nearest in found):
            pass
    elif in_bands:
        tiles.run_bands(plan, lambda place: counted(columns.denoise_column(work, place, engine, plan.cuts)), emit)
    else:
        tiles.run(plan, lambda place: next(counted(predict.predict_tile(work, p, engine) for p in (place,))), emit)
    if look.noise is not None:
        render_noise.weigh(look.noise, planes, look.exposure, outputs, options.strength)
    return Filtered(
        outputs,
        counts["nearest"],
        look.distrusted_px,
        look.left_out,
        look.demodulated,
        look.exposure,
        unsure,
        (*said, *work.notes),
    )


def area_limit(planes: Planes, look: predict.Look) -> int:
    """Pixels of a tile. With two sets of kernels each takes 800 bytes: large photographs leave less memory for them."""
    if not look.chroma:
        return AREA_PX
    held = planes.color.nbytes + 2 * sum(layer.nbytes for layer in planes.layers.values())
    return int(np.clip((PHOTO_BYTES - held) / 800, AREA_PX // 4, AREA_PX))


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
        outputs[name][place] = predict.as_type(result, noisy.dtype)


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
