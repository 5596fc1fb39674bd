"""The adapter of pictures: PNG, JPEG, TIFF, WebP, AVIF and HEIC with all that lies beside their pixels.

Pixels are filtered in their own encoding: a profile is carried and not converted, the orientation tag is carried and
nothing is turned. What is not pixels goes from the source's bytes into the result's.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mdenoise import atomic
from mdenoise.adapters import (
    srgb_convert,
    srgb_heif,
    srgb_items,
    srgb_jpeg,
    srgb_jpeg_parts,
    srgb_pixels,
    srgb_png,
    srgb_tiff,
    srgb_webp,
)
from mdenoise.adapters.srgb_photo import Photo, stamp_text, stamp_values
from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.frame import Filtered, InWords, Planes

LAYER = "color"
_MODULES: dict[str, ModuleType] = {
    "png": srgb_png,
    "jpeg": srgb_jpeg,
    "tiff": srgb_tiff,
    "webp": srgb_webp,
    "avif": srgb_heif,
    "heic": srgb_heif,
}
_KINDS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".avif": "avif",
    ".heic": "heic",
    ".heif": "heic",
    ".hif": "heic",
}
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx")


@dataclass(frozen=True)
class Job:
    """The one picture of a file; `photo` is the source as the gain map's option leaves it."""

    planes: Planes
    roles: InWords
    photo: Photo
    options: Options
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restored:
    """What `write` writes."""

    photo: Photo
    stamp: bytes


def read(path: Path) -> Photo:
    """The picture of a file, recognised by its content: telephones and web pages misname theirs.

    Raises InputError, one line, for what is missing, damaged, animated, of several pages or not supported.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        kind = kind_of(data)
        module = _MODULES[kind]
        return module.read(path, data, kind) if module is srgb_heif else module.read(path, data)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, InputError) as error:
        raise InputError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    except MemoryError:
        raise InputError(f"cannot read {path}: it does not fit into memory") from None


def kind_of(data: bytes) -> str:
    """The format that the first bytes tell. Raises ValueError."""
    if data[:8] == srgb_png.MAGIC:
        return "png"
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        brands = data[8 : 8 + max(0, int.from_bytes(data[:4]) - 8)][:256]
        if data[8:12] in (b"avif", b"avis") or b"avif" in brands:
            return "avif"
        if data[8:12] in _HEIC:
            return "heic"
    raise ValueError("it is not a PNG, JPEG, TIFF, WebP, AVIF or HEIC file")


def adapt(frame: Photo, options: Options) -> tuple[Job]:
    """The picture as Planes. Raises InputError for a gain map that is to be refused, UsageError for options that only
    files with layers know."""
    named = [
        name
        for name in ("color", "albedo", "normal", "depth", "variance")
        if getattr(options, name) not in (None, "none")
    ]
    if options.uncertainty or named:
        what = f"--{named[0]} names" if named else "--uncertainty writes"
        raise UsageError(f"cannot denoise {frame.path}: {what} a layer, and a picture has none. Leave it out")
    photo, notes = _with_gain_map(frame, options.gain_map)
    integers = photo.color.dtype.kind == "u"
    encoding = options.encoding if options.encoding != "auto" else "srgb" if integers else "linear"
    words = f"{photo.model} {photo.color.shape[1]}x{photo.color.shape[0]}"
    how = f"{photo.bits} bits" if integers else "float"
    roles = InWords(f"{photo.kind.upper()} picture, {words}, {how}, {'encoded' if encoding == 'srgb' else 'linear'}")
    return (
        Job(
            Planes(srgb_pixels.guide(photo), {LAYER: photo.color}, encoding=encoding),
            roles,
            photo,
            options,
            (*(photo.notes if options.strength > 0 else ()), *notes),
        ),
    )


def restore(frame: Photo, jobs: Sequence[Job], results: Sequence[Filtered], provenance: Mapping[str, str]) -> Restored:
    """The picture with filtered pixels; alpha, profile and all else are the source's. A strength of 0 changes none."""
    (job,) = jobs
    options, photo = job.options, job.photo
    stamp = stamp_text(provenance)
    if options.strength * max(options.luma, options.chroma) == 0:
        return Restored(photo, stamp)
    color = results[0].layers[LAYER]
    if photo.color.ndim == 3 and (options.luma, options.chroma) != (1.0, 1.0):
        color = srgb_pixels.blended(photo.color, color, options.luma, options.chroma)
    elif photo.color.ndim == 2 and options.luma != 1.0:
        color = srgb_pixels.blended(photo.color[..., None], color[..., None], options.luma, 0.0)[..., 0]
    if photo.white < np.iinfo(color.dtype).max if color.dtype.kind == "u" else False:
        color = np.minimum(color, color.dtype.type(photo.white))
    return Restored(replace(photo, color=color, changed=True), stamp)


def write(restored: Restored, path: Path, *, overwrite: bool = False) -> tuple[str, ...]:
    """Write the picture, whole or not at all, in the source's format, or that of another extension; returns what such
    a file does not hold. Raises OutputError."""
    path, photo = Path(path), restored.photo
    kind = _KINDS.get(path.suffix.lower(), photo.kind)
    if _KINDS.get(photo.path.suffix.lower()) == kind:
        kind = photo.kind
    module = _MODULES[kind]
    notes: tuple[str, ...] = ()
    try:
        if kind == photo.kind:
            data = module.rewrite(photo, restored.stamp)
        else:
            photo, notes = srgb_convert.fit(photo, kind)
            more = (kind,) if module is srgb_heif else ()
            data = module.make(photo, restored.stamp, *more)
    except (ValueError, OSError, RuntimeError, InputError) as error:
        raise OutputError(f"cannot write {path}: {' '.join(str(error).split())}") from None

    def fill(temp: Path) -> None:
        temp.write_bytes(data)

    atomic.publish(path, fill, overwrite=overwrite)
    return notes


def provenance(path: Path) -> dict[str, str]:
    """What mdenoise wrote into a result, by name; empty for other files. Raises InputError."""
    try:
        with Path(path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return stamp_values(_MODULES[kind_of(data[:256])].stamp_of(data))  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from None


def describe(frame: Photo, options: Options | None = None) -> dict[str, Any]:
    """Everything `mdenoise info` shows about a file, as plain JSON-able values."""
    height, width = frame.color.shape[:2]
    names = {"grey": ["Y"], "RGB": ["R", "G", "B"], "CMYK": ["C", "M", "Y", "K"]}[frame.model]
    alpha = None if frame.alpha is None else "A"
    kind = f"{frame.bits} bits" if frame.color.dtype.kind == "u" else str(frame.color.dtype)
    roles = InWords(f"{frame.kind.upper()} picture, {frame.model}, {kind}")
    beside = [name for name, value in (("ICC profile", frame.icc), ("Exif", frame.exif), ("XMP", frame.xmp)) if value]
    return {
        "path": str(frame.path),
        "parts": [
            {
                "name": "",
                "view": "",
                "type": frame.kind.upper(),
                "compression": ", ".join(beside) or "no metadata",
                "width": width,
                "height": height,
                "data_window": [0, 0, width - 1, height - 1],
                "channels": dict.fromkeys([*names, *([alpha] if alpha else [])], kind),
            }
        ],
        "layers": [{"name": LAYER, "part": 0, "view": "", "kind": "color", "channels": names, "alpha": alpha}],
        "images": [
            {
                "line": roles.line(),
                "view": "",
                "renderer": "",
                "roles": {"color": LAYER},
                "reasons": {},
                "additive": "none",
            }
        ],
    }


def _with_gain_map(photo: Photo, policy: str) -> tuple[Photo, list[str]]:
    if photo.kind == "jpeg":
        coding, extra = photo.layout
        found = extra.gain_map
    elif photo.kind in ("avif", "heic"):
        container, sampling = photo.layout
        found = bool(srgb_items.gain_maps(container))
    else:
        found = False
    if not found:
        return photo, []
    if policy == "refuse":
        raise InputError(f"cannot denoise {photo.path}: it has a gain map. Give --gain-map keep or drop")
    if policy == "keep":
        return photo, ["its gain map is kept as it is: it was made for the noisy picture (--gain-map drop|refuse)"]
    if photo.kind == "jpeg":
        return replace(photo, layout=(coding, srgb_jpeg_parts.without_gain_map(extra))), ["its gain map is left out"]
    smaller = srgb_items.without(container, srgb_items.gain_maps(container))
    return replace(photo, layout=(smaller, sampling)), ["its gain map is left out"]
