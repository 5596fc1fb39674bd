"""DNG out: a mosaic (CFA) or linear DNG with new samples and everything else as the source has it.

Tags and layout: DNG specification 1.7.1. Uncompressed 16 bit, which every reader opens.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise import atomic
from mdenoise.adapters import dng_opcodes as opcodes
from mdenoise.adapters import dng_preview
from mdenoise.adapters import dng_tags as tag
from mdenoise.adapters import dng_tiff as tiff
from mdenoise.adapters.dng_tags import DngTags, Levels, source_tags, with_camera
from mdenoise.adapters.dng_tiff import Field

__all__ = ["DngTags", "Levels", "headroom", "provenance", "source_tags", "with_camera", "write_cfa", "write_linear"]

STRIP_ROWS = 64
HISTORY = 37395  # ImageHistory of TIFF/EP, beside Exif's fields
PREVIEW_APPLICATION, PREVIEW_COLOR_SPACE = 50966, 50970
# Filtering leaves some noise at any strength, and hosts take a profile of zeros for a missing one.
LEAST_RESIDUAL = 0.05
_LEVELS = {tag.BLACK_DIM, tag.BLACK, tag.BLACK_DELTA_H, tag.BLACK_DELTA_V, tag.WHITE}
_CFA_ONLY = {tag.CFA_DIM, tag.CFA_PATTERN, tag.CFA_PLANE_COLOR, tag.CFA_LAYOUT, 50733}


def headroom(levels: Levels, tags: DngTags, strength: float) -> int:
    """Power of two to multiply samples (and `Levels.scaled`) by before rounding: a phone's 10 bits band when cleaned.

    1 at strength 0, where samples come back as they were (demosaicing is not quite free of scale in all readers),
    and where an opcode of the source counts in stored values.
    """
    if strength == 0.0 or not opcodes.scale_free(tags.raw.get(tag.OPCODES_1)):
        return 1
    return 1 << max(0, 16 - int(levels.white.max()).bit_length())


def write_cfa(
    path: Path,
    samples: np.ndarray,
    pattern: np.ndarray,
    levels: Levels,
    tags: DngTags,
    *,
    strength: float,
    noise_profile: Sequence[tuple[float, float]] = (),
    active_area: tuple[int, int, int, int] | None = None,
    preview: np.ndarray | None = None,
    stamp: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write a mosaic as DNG, whole or not at all; returns what the source has and the result lost, in words.

    samples   (H, W) uint16 as `levels` says, of the whole stored picture with masked borders (`tags.size` of a DNG).
    pattern   (rows, cols) colours 0 red, 1 green, 2 blue, from the top left of the active area.
    strength  0..1 of the denoising: NoiseProfile becomes that of the noise left over, NoiseReductionApplied rises.
    noise_profile  (S, O) of the source, one pair or one for each of R, G, B; empty = the source's own tag.
    active_area    (top, left, bottom, right) for sources other than DNG; None = the source's, or everything.
    preview   (h, w, 3) uint8 sRGB, not rotated; None = rendered from `samples`.
    stamp     provenance, read back by `provenance`.
    Raises OutputError; ValueError where shapes contradict each other.
    """
    if samples.ndim != 2 or samples.dtype != np.uint16:
        raise ValueError(f"a mosaic is (H, W) uint16, not {samples.shape} {samples.dtype}")
    if tags.size is not None and samples.shape != tags.size:
        raise ValueError(f"samples of {samples.shape} for a picture of {tags.size}")
    area = active_area or tags.active_area or (0, 0, *samples.shape)
    raw = dict(tags.raw)
    raw[262] = tiff.field(tiff.SHORT, tag.CFA)
    raw[tag.CFA_DIM] = tiff.field(tiff.SHORT, *pattern.shape)
    raw[tag.CFA_PATTERN] = tiff.field(tiff.BYTE, *pattern.ravel())
    raw.setdefault(tag.CFA_PLANE_COLOR, tiff.field(tiff.BYTE, 0, 1, 2))
    raw.setdefault(tag.CFA_LAYOUT, tiff.field(tiff.SHORT, 1))
    raw[tag.ACTIVE_AREA] = tiff.field(tiff.LONG, *area)
    if preview is None:
        preview = dng_preview.from_mosaic(samples, pattern, levels, tags, area)
    return _write(
        path, samples, _with_levels(raw, levels), tags, strength, noise_profile, preview, stamp or {}, overwrite
    )


def write_linear(
    path: Path,
    samples: np.ndarray,
    tags: DngTags,
    *,
    strength: float,
    demosaic: str = "",
    noise_profile: Sequence[tuple[float, float]] = (),
    preview: np.ndarray | None = None,
    stamp: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Write camera RGB without white balance as linear DNG, whole or not at all; returns what was lost, in words.

    samples   (H, W, 3) uint16 of the active area, black 0 and white 65535: other levels break readers.
    demosaic  the method that made RGB of a mosaic, named in the file; "" for sources that are linear themselves.
              Of a mosaic's opcode lists 1 and 2 must have been applied (`dng_linear.demosaic` does), 3 is copied.
    The rest as for `write_cfa`.
    """
    if samples.ndim != 3 or samples.shape[2] != 3 or samples.dtype != np.uint16:
        raise ValueError(f"a linear picture is (H, W, 3) uint16, not {samples.shape} {samples.dtype}")
    height, width = samples.shape[:2]
    raw = {number: value for number, value in tags.raw.items() if number not in _CFA_ONLY | {tag.MASKED_AREAS}}
    if tags.kind == "cfa":
        raw = {number: value for number, value in raw.items() if number not in (tag.OPCODES_1, tag.OPCODES_2)}
    raw[262] = tiff.field(tiff.SHORT, tag.LINEAR_RAW)
    raw[tag.ACTIVE_AREA] = tiff.field(tiff.LONG, 0, 0, height, width)
    levels = Levels(np.zeros((1, 1, 3)), np.full(3, 65535.0))
    if preview is None:
        preview = dng_preview.from_linear(samples, tags)
    stamp = dict(stamp or {}) | ({"demosaic": demosaic} if demosaic else {})
    return _write(path, samples, _with_levels(raw, levels), tags, strength, noise_profile, preview, stamp, overwrite)


def provenance(path: Path) -> dict[str, str]:
    """What mdenoise wrote into a result about its making, by name; empty for other files. Raises InputError."""
    found = source_tags(path).exif.get(HISTORY)
    lines = found.text.splitlines() if isinstance(found, Field) else []
    if lines[:1] != ["mdenoise"]:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _with_levels(raw: dict[int, Field], levels: Levels) -> dict[int, Field]:
    levelled = {number: value for number, value in raw.items() if number not in _LEVELS}
    levelled[tag.BLACK_DIM] = tiff.field(tiff.SHORT, *levels.black.shape[:2])
    levelled[tag.BLACK] = _numbers(levels.black.ravel())
    levelled[tag.WHITE] = _numbers(np.rint(levels.white))
    for number, delta in ((tag.BLACK_DELTA_H, levels.delta_h), (tag.BLACK_DELTA_V, levels.delta_v)):
        if delta.any():
            levelled[number] = tiff.field(tiff.SRATIONAL, *delta)
    return levelled


def _numbers(values: np.ndarray) -> Field:
    if (values != np.rint(values)).any() or values.min() < 0:
        return tiff.field(tiff.RATIONAL, *values.clip(0))
    return tiff.field(tiff.SHORT if values.max() < 65536 else tiff.LONG, *values)


def _write(
    path: Path,
    samples: np.ndarray,
    raw: dict[int, Field],
    tags: DngTags,
    strength: float,
    noise_profile: Sequence[tuple[float, float]],
    preview: np.ndarray,
    stamp: Mapping[str, str],
    overwrite: bool,
) -> tuple[str, ...]:
    height, width = samples.shape[:2]
    channels = samples.size // (height * width)
    pixels = tiff.Strips(
        memoryview(np.ascontiguousarray(samples, "<u2")).cast("B"), min(height, STRIP_ROWS) * width * channels * 2
    )
    jpeg = dng_preview.jpeg(preview)
    residual = max(1.0 - strength, LEAST_RESIDUAL)
    reduced = 1.0 - (1.0 - tags.reduction_applied) * (1.0 - strength)
    raw = raw | _picture(height, width, 16, channels, pixels) | {
        254: tiff.field(tiff.LONG, 0),
        259: tiff.field(tiff.SHORT, 1),
        278: tiff.field(tiff.LONG, min(height, STRIP_ROWS)),
    }  # fmt: skip
    if reduced:
        raw[tag.REDUCTION_APPLIED] = tiff.field(tiff.RATIONAL, reduced)
    if noise := noise_profile or tags.noise_profile:
        left = [residual**2 * value for pair in noise for value in pair]
        raw[tag.NOISE_PROFILE] = tiff.field(tiff.DOUBLE, *left)
    version = max((1, 4, 0, 0), min(tags.version, (1, 6, 0, 0)))  # 1.7 adds but compression, and old readers refuse it
    main = tags.main | _picture(*preview.shape[:2], 8, 3, tiff.Strips(jpeg, len(jpeg))) | {
        254: tiff.field(tiff.LONG, 1),
        259: tiff.field(tiff.SHORT, 7),
        262: tiff.field(tiff.SHORT, 6),
        278: tiff.field(tiff.LONG, preview.shape[0]),
        530: tiff.field(tiff.SHORT, 2, 2),
        tag.DNG_VERSION: tiff.field(tiff.BYTE, *version),
        tag.DNG_BACKWARD: tiff.field(tiff.BYTE, 1, 4, 0, 0),
        tag.SUB_IFDS: raw,
        PREVIEW_COLOR_SPACE: tiff.field(tiff.LONG, 2),  # sRGB
        PREVIEW_APPLICATION: tiff.text("mdenoise"),
    }  # fmt: skip
    history = "\n".join(["mdenoise", *(f"{name}={' '.join(value.split())}" for name, value in stamp.items())])
    main[tag.EXIF_IFD] = tags.exif | {HISTORY: tiff.text(history)}
    if tags.gps:
        main[tag.GPS_IFD] = tags.gps
    lost = list(tags.lost)

    def fill(temp: Path) -> None:
        if not tags.maker_notes:
            with temp.open("r+b") as stream:
                tiff.write(stream, main)
            return
        # exiftool works beside its file and leaves remains when killed: so in a folder of its own.
        with tempfile.TemporaryDirectory(prefix="mdenoise") as folder:
            draft = Path(folder, "draft.dng")
            with draft.open("w+b") as stream:
                tiff.write(stream, main)
            lost.extend(_exiftool(tags, draft))
            shutil.copyfile(draft, temp)

    atomic.publish(Path(path), fill, overwrite=overwrite)
    return tuple(lost)


def _picture(height: int, width: int, bits: int, channels: int, pixels: tiff.Strips) -> dict[int, Any]:
    return {
        256: tiff.field(tiff.LONG, width),
        257: tiff.field(tiff.LONG, height),
        258: tiff.field(tiff.SHORT, *[bits] * channels),
        273: pixels,
        277: tiff.field(tiff.SHORT, channels),
        279: tiff.field(tiff.LONG, *pixels.sizes),
        284: tiff.field(tiff.SHORT, 1),
    }


def _exiftool(tags: DngTags, draft: Path) -> tuple[str, ...]:
    """Copy by exiftool what only it can: maker notes, and of files that are no TIFF all metadata; returns the lost."""
    what = "maker notes" if tags.exif else "Exif, GPS, XMP and maker notes"
    program = shutil.which("exiftool")
    if program is None:
        return (f"{what} (install exiftool to keep them)",)
    wanted = ["-MakerNotes"] if tags.exif else ["-exif:all", "-gps:all", "-xmp:all", "-MakerNotes"]
    command = [program, "-q", "-q", "-m", "-overwrite_original", "-TagsFromFile", str(tags.path.absolute()), *wanted]
    try:
        done = subprocess.run([*command, str(draft)], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return (f"{what} (exiftool: {type(error).__name__})",)
    if done.returncode:
        return (f"{what} (exiftool: {' '.join(done.stderr.split())[:200]})",)
    return ()
