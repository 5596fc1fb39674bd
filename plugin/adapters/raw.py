"""The adapter of camera raw files: a mosaic in, a clean DNG (or a developed picture) out.

The mosaic is filtered as planes of one colour each, on linear data, before white balance, lens shading and anything
else that would change its noise. The result has the layout of the source, so that what developed the source develops
the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise import mosaic, sensor_noise
from mdenoise.adapters import dng, dng_opcodes, dng_tags, raw_defects, raw_detail, raw_develop, raw_planes
from mdenoise.adapters.raw_file import RawFile, read
from mdenoise.adapters.raw_planes import Lattice
from mdenoise.config import Options
from mdenoise.errors import InputError
from mdenoise.frame import Filtered, InWords, Planes

__all__ = ["Job", "adapt", "describe", "provenance", "read", "restore", "result_suffix", "write"]

LAYER = "mosaic"
BAND_ROWS = 256  # of planes that are worked on at once: keeps the copies of a large picture small
_SUFFIXES = {"auto": ".dng", "dng": ".dng", "tiff": ".tif", "png": ".png", "exr": ".exr", "jpeg": ".jpg"}
_QUIETEST = 1e-12  # shot noise of a profile that says there is none


@dataclass(frozen=True)
class Job:
    """One Bayer mosaic of a file (a Quad-Bayer sensor has four), or its linear RGB.

    noise  (S, O) of red, green and blue by which it is denoised: of the file, or estimated.
    """

    planes: Planes
    roles: InWords
    lattice: Lattice
    options: Options
    noise: tuple[tuple[float, float], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restored:
    """What `write` writes: `raw` with its new samples and levels, and how it came to them."""

    raw: RawFile
    linear: bool
    strength: float
    noise: tuple[tuple[float, float], ...]
    stamp: Mapping[str, str]


def result_suffix(path: Path, options: Options) -> str:
    """The extension of a result: raw files are read in many formats and written in one."""
    return _SUFFIXES[options.format]


def adapt(frame: RawFile, options: Options) -> tuple[Job, ...]:
    """What is to be denoised. Raises InputError for mosaics other than Bayer and Quad-Bayer."""
    lattices = raw_planes.lattices(frame.pattern)
    if not lattices:
        rows, cols = frame.pattern.shape
        name = "X-Trans" if (rows, cols) == (6, 6) else "neither Bayer nor Quad-Bayer"
        raise InputError(
            f"cannot denoise {frame.path}: its mosaic repeats every {rows}x{cols} photosites ({name}). "
            "Convert it to a linear DNG first"
        )
    if options.dng == "cfa" and frame.pattern is None:
        raise InputError(f"cannot denoise {frame.path} to --dng cfa: it is linear RGB. Leave --dng out")
    bad = _known_bad(frame) if options.strength > 0 else None
    return tuple(_job(frame, lattice, options, bad) for lattice in lattices)


def _job(frame: RawFile, lattice: Lattice, options: Options, bad: np.ndarray | None) -> Job:
    planes = raw_planes.take(frame, lattice)
    notes = []
    if bad is not None and lattice.red is not None:
        marked = np.stack(raw_planes.gather(bad, lattice), axis=-1)
        raw_defects.repair_marked(planes, marked)
        notes.append(f"{np.count_nonzero(marked)} photosites that the file names as bad repaired")
    # Where black is stored as 0 the noise of darkness is cut in half, and says nothing.
    floor = -float(frame.levels.black.min()) / float(raw_planes.span(frame).min())
    noise, source = _profile(frame), "by the file's profile"
    if not noise:  # demosaiced noise is correlated, which the finer estimate takes for less
        measure = sensor_noise.of_flat_blocks if lattice.red is None else sensor_noise.estimate
        noise, source = (measure(planes, floor),) * 3, "estimated"
    elif lattice.red is not None and options.strength > 0:
        factor = sensor_noise.correction(planes, noise[1], floor)
        noise = tuple((factor * shot, factor * read_noise) for shot, read_noise in noise)
        if factor != 1:
            notes.append(f"noise as measured: its variance is {factor:.2g} times that of the file's profile")
    shot, read_noise = (np.array(values) for values in zip(*noise, strict=True))
    if lattice.red is not None:
        shot, read_noise = shot[[0, 1, 1, 2]], read_noise[[0, 1, 1, 2]]
        if options.strength > 0:
            notes += _repair(planes, shot, read_noise)
    color = np.empty((*planes.shape[:2], 3), np.float32)
    for y in range(0, planes.shape[0], BAND_ROWS):
        color[y : y + BAND_ROWS] = _guide(planes[y : y + BAND_ROWS], shot, read_noise)
    kind = "linear RGB" if frame.pattern is None else "mosaic"
    green = noise[len(noise) // 2]
    height, width = frame.active.shape[:2]
    roles = InWords(f"{kind} {width}x{height}, noise {source}: shot {green[0]:.2g}, read {green[1]:.2g}")
    found = Planes(color, {LAYER: planes}, encoding="mosaic", noise=mosaic.guide_noise(shot, read_noise))
    return Job(found, roles, lattice, options, noise, tuple(notes))


def _guide(planes: np.ndarray, shot: np.ndarray, read_noise: np.ndarray) -> np.ndarray:
    if planes.shape[2] == 4:
        return mosaic.guide_color(planes, shot, read_noise)
    least = np.maximum(shot, mosaic.LEAST_SHOT).astype(np.float32)
    return mosaic.stabilise(planes, least, read_noise.astype(np.float32))


def _repair(planes: np.ndarray, shot: np.ndarray, read_noise: np.ndarray) -> list[str]:
    notes = []
    if hot := raw_defects.repair_hot(planes, shot, read_noise):
        notes.append(f"{hot} hot or dead photosites repaired")
    banding = raw_defects.remove_banding(planes)
    for what, deviation in zip(("rows", "columns"), banding, strict=True):
        if deviation:
            notes.append(f"banding of {what} removed (deviation {deviation:.2g} of white)")
    return notes


def _known_bad(frame: RawFile) -> np.ndarray | None:
    if frame.pattern is None or dng_tags.OPCODES_1 not in frame.tags.raw:
        return None
    try:
        bad = dng_opcodes.bad_pixels(frame.tags.raw[dng_tags.OPCODES_1], frame.samples)
    except ValueError as error:
        raise InputError(f"cannot read {frame.path}: {error}") from None
    top, left, bottom, right = frame.area
    return bad[top:bottom, left:right] if bad.any() else None


def _profile(frame: RawFile) -> tuple[tuple[float, float], ...]:
    """(S, O) of red, green, blue as the file states them; () where it does not, or what it states is none."""
    pairs = frame.tags.noise_profile
    if not pairs or not np.isfinite(pairs).all() or not all(_QUIETEST < shot < 1 for shot, _ in pairs):
        return ()
    if len(pairs) == 4:  # as of four planes of a mosaic
        pairs = (pairs[0], tuple(np.mean(pairs[1:3], axis=0)), pairs[3])
    pairs = tuple((float(shot), max(float(read_noise), 0.0)) for shot, read_noise in pairs)
    return pairs if len(pairs) == 3 else pairs[:1] * 3


def restore(frame: RawFile, jobs: Sequence[Job], results: Sequence[Filtered], stamp: Mapping[str, str]) -> Restored:
    """The raw file with its denoised samples, as fine as 16 bits allow where they are not the source's own."""
    options = jobs[0].options
    strength = options.strength * min(options.luma, options.chroma)
    noise = jobs[0].noise if options.strength > 0 else ()
    linear = frame.pattern is None
    if options.strength == 0:
        raw = frame if not linear else _as_linear(frame, jobs[0].planes.layers[LAYER])
    elif linear:
        raw = _as_linear(frame, _blended(frame, jobs[0], results[0]))
    else:
        factor = dng.headroom(frame.levels, frame.tags, options.strength)
        samples = frame.samples * np.uint16(factor)
        top, left, bottom, right = frame.area
        for job, result in zip(jobs, results, strict=True):
            shot, read_noise = (np.array(values)[[0, 1, 1, 2]] for values in zip(*job.noise, strict=True))
            source = job.planes.layers[LAYER]
            raw_detail.refine(source, result.layers[LAYER], shot, read_noise, options.strength)
            planes = _blended(frame, job, result)
            raw_planes.put(planes, frame, job.lattice, factor, samples[top:bottom, left:right])
        raw = replace(frame, samples=samples, levels=frame.levels.scaled(factor))
    return Restored(raw, linear or options.dng == "linear", strength, noise, stamp)


def _as_linear(frame: RawFile, planes: np.ndarray) -> RawFile:
    """Linear RGB with black 0 and white 65535, the active area alone."""
    samples = np.empty(planes.shape, np.uint16)
    for y in range(0, planes.shape[0], BAND_ROWS):
        samples[y : y + BAND_ROWS] = np.rint(planes[y : y + BAND_ROWS] * np.float32(65535)).clip(0, 65535)
    levels = dng_tags.Levels(np.zeros((1, 1, 3)), np.full(3, 65535.0))
    return replace(frame, samples=samples, levels=levels, area=(0, 0, *planes.shape[:2]))


def _blended(frame: RawFile, job: Job, result: Filtered) -> np.ndarray:
    """The filtered planes with brightness changed by `--luma` and colour by `--chroma` of what the filter changed."""
    done, options = result.layers[LAYER], job.options
    if options.luma == options.chroma == 1:
        return done
    neutral = frame.tags.neutral if frame.tags.neutral is not None else np.ones(3)
    grey = neutral[[0, 1, 1, 2] if done.shape[2] == 4 else [0, 1, 2]].astype(np.float32)
    for y in range(0, done.shape[0], BAND_ROWS):
        source, out = job.planes.layers[LAYER][y : y + BAND_ROWS], done[y : y + BAND_ROWS]
        change = out - source
        brightness = (change / grey).mean(axis=-1, keepdims=True) * grey
        change -= brightness
        out[...] = source + np.float32(options.chroma) * change + np.float32(options.luma) * brightness
    return done


def write(restored: Restored, dst: Path, *, overwrite: bool = False) -> tuple[str, ...]:
    """Write the result as the extension of `dst` says; returns what was lost on the way, in words.

    Raises OutputError, EngineError where a library for it is missing.
    """
    if Path(dst).suffix.lower() != ".dng":
        lost = raw_develop.write(restored.raw, restored.stamp, dst, overwrite=overwrite)
    else:
        lost = _write_dng(restored, dst, overwrite)
    return (f"not carried over: {', '.join(lost)}",) if lost else ()


def _write_dng(restored: Restored, dst: Path, overwrite: bool) -> tuple[str, ...]:
    raw = restored.raw
    common: dict[str, Any] = {
        "strength": restored.strength, "noise_profile": restored.noise, "stamp": restored.stamp, "overwrite": overwrite,
    }  # fmt: skip
    if not restored.linear:
        return dng.write_cfa(dst, raw.samples, raw.pattern, raw.levels, raw.tags, active_area=raw.area, **common)
    rgb, method, lost = raw_develop.linear_rgb(raw)
    return (*lost, *dng.write_linear(dst, rgb, raw.tags, demosaic=method, **common))


def provenance(path: Path) -> dict[str, str]:
    """What mdenoise wrote into a DNG about its making, by name; empty for other files."""
    return dng.provenance(path)


def describe(frame: RawFile, options: Options | None = None) -> dict[str, Any]:
    """Everything `mdenoise info` shows about a file, as plain JSON-able values."""
    height, width = frame.active.shape[:2]
    kind = "linear RGB" if frame.pattern is None else "mosaic " + "/".join(
        "".join("RGB"[color] for color in row) for row in frame.pattern
    )  # fmt: skip
    top, left, bottom, right = frame.area
    levels = f"black {frame.levels.black.mean():g}, white {frame.levels.white.min():g}"
    part = {
        "name": kind, "view": "", "type": levels, "compression": "raw", "width": width, "height": height,
        "data_window": [left, top, right - 1, bottom - 1], "channels": {},
    }  # fmt: skip
    report: dict[str, Any] = {"path": str(frame.path), "parts": [part], "layers": []}
    try:
        jobs = adapt(frame, options or Options())
    except InputError as error:
        return report | {"images": [], "error": str(error)}
    lines = [{"line": job.roles.line(), "view": "", "renderer": "", "roles": {}, "reasons": {}, "additive": "none"}
             for job in jobs]  # fmt: skip
    return report | {"images": lines}
