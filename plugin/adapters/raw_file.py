"""What a raw file holds: the sensor's samples, where each colour lies, and the levels that give them a meaning.

LibRaw (rawpy) decodes; the levels of a DNG are read from its tags, as LibRaw rounds them. DNGs compressed by JPEG XL,
which LibRaw's wheels cannot decode, pass through tifffile and imagecodecs.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.adapters import dng_tags as t
from mdenoise.adapters import dng_tiff as tiff
from mdenoise.adapters.dng_tags import DngTags, Levels
from mdenoise.adapters.library_lines import library_messages
from mdenoise.errors import EngineError, InputError

# First bytes of files that say what they hold, at an offset. LibRaw would also open any heap of numbers, by its size.
_HEADERS = (
    (0, b"II*\0"), (0, b"MM\0*"), (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"), (0, b"IIU\0"), (0, b"IIII"), (0, b"MMMM"),
    (0, b"FUJIFILM"), (0, b"\0MRM"), (0, b"FOVb"), (4, b"ftypcrx"), (6, b"HEAPCCDR"),
)  # fmt: skip
_JPEG_XL = (52546, 50002)  # DNG 1.7, and tifffile's older number
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's `flip` to Exif
XYZ_TO_SRGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.204, 1.057]])


@dataclass(frozen=True)
class RawFile:
    """A raw file in memory.

    samples  (H, W) uint16 mosaic, or (H, W, 3) linear RGB, as stored but linearised, masked borders included.
    pattern  (rows, cols) colour of each photosite (0 red, 1 green, 2 blue) from the area's top left; None for RGB.
    area     (top, left, bottom, right) of the photosites that see light.
    """

    path: Path
    samples: np.ndarray
    pattern: np.ndarray | None
    levels: Levels
    area: tuple[int, int, int, int]
    tags: DngTags

    @property
    def active(self) -> np.ndarray:
        top, left, bottom, right = self.area
        return self.samples[top:bottom, left:right]


def read(path: Path) -> RawFile:
    """Read a raw file of any kind that LibRaw opens. Raises InputError; EngineError when a library is missing."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if not any(head[at:].startswith(magic) for at, magic in _HEADERS):
        raise InputError(
            f"cannot denoise {path}: it has no header, so its size, pattern and levels can only be guessed. "
            "Convert it to DNG first"
        )
    tags = t.source_tags(path)
    frame = _read_dng(path, tags) if tags.kind else _read_other(path, tags)
    height, width = frame.active.shape[:2]
    if min(height, width) < 4:
        raise InputError(f"cannot denoise {path}: its picture is {width}x{height}, smaller than a mosaic needs")
    if frame.active.max() == frame.active.min():
        raise InputError(f"cannot denoise {path}: all samples are {frame.active.max()}, it holds no picture")
    return frame


def _read_dng(path: Path, tags: DngTags) -> RawFile:
    stored = _raw_directory(path)

    def first(tag: int, default: int) -> int:
        return int(stored[tag].values[0]) if tag in stored and stored[tag].count else default

    if first(339, 1) != 1:
        raise InputError(
            f"cannot denoise {path}: its samples are floating-point numbers, as of merged exposures. "
            "Denoise the single exposures"
        )
    if (found := first(277, 1)) != (expected := 1 if tags.kind == "cfa" else 3):
        what = "a monochrome sensor" if found == 1 else f"{found} samples a pixel"
        raise InputError(f"cannot denoise {path}: {what}, not {expected} as a {tags.kind} DNG with colours has")
    if first(259, 1) in _JPEG_XL:
        samples = _decode_jpeg_xl(path, first(50975, 1), first(52547, 1))
    else:
        with _libraw(path) as raw:
            samples = _samples(path, raw)
    if samples.shape[:2] != tags.size:
        raise InputError(
            f"cannot denoise {path}: its picture decodes to {samples.shape[1]}x{samples.shape[0]}, "
            f"its tags say {tags.size[1]}x{tags.size[0]}"
        )
    top, left, bottom, right = tags.active_area
    if not (0 <= top < bottom <= tags.size[0] and 0 <= left < right <= tags.size[1]):
        raise InputError(f"cannot denoise {path}: its active area {tags.active_area} lies outside the picture")
    if tags.kind == "cfa" and tags.pattern is None:
        raise InputError(f"cannot denoise {path}: it does not say how its colours are arranged (no CFAPattern)")
    return _checked(RawFile(path, samples, tags.pattern, tags.levels, tags.active_area, tags))


def _read_other(path: Path, tags: DngTags) -> RawFile:
    with _libraw(path) as raw:
        samples = _samples(path, raw)
        sizes = raw.sizes
        area = sizes.top_margin, sizes.left_margin, sizes.top_margin + sizes.height, sizes.left_margin + sizes.width
        names = raw.color_desc.decode("ascii", "replace")
        pattern, black = None, np.asarray(raw.black_level_per_channel, np.float64)
        if samples.ndim == 2:
            if raw.raw_pattern is None or set(names) != set("RGB"):
                raise InputError(f"cannot denoise {path}: its sensor sees {names or 'no colours'}, not RGB")
            rows, cols = raw.raw_pattern.shape
            # Colour 3 of LibRaw is the green of the other rows: its black level may differ.
            index = np.array([[raw.raw_color(area[0] + y, area[1] + x) for x in range(cols)] for y in range(rows)])
            pattern = np.array(["RGB".index(c) for c in names])[index].astype(np.uint8)
            black = black[index][..., None]
        else:
            black = black[None, None, :3]
        gains = next(
            (gain for gain in (raw.camera_whitebalance[:3], raw.daylight_whitebalance[:3]) if min(gain) > 0), (1, 1, 1)
        )
        matrix = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
        if abs(np.linalg.det(matrix)) < 1e-6:
            matrix = XYZ_TO_SRGB  # nobody measured this camera: LibRaw takes its colours for sRGB, too
            tags = replace(tags, lost=(*tags.lost, "colour calibration (unknown camera)"))
        make, model = (tags.main[n].text.strip("\0 ") if n in tags.main else "" for n in (t.MAKE, t.MODEL))
        tags = t.with_camera(
            tags, make=make, model=model or path.suffix[1:].upper(), xyz_to_camera=matrix,
            neutral=1 / np.asarray(gains), orientation=_ORIENTATIONS.get(sizes.flip, 1),
        )  # fmt: skip
        levels = Levels(black, np.full(black.shape[2], float(raw.white_level)))
    return _checked(RawFile(path, samples, pattern, levels, area, tags))


def _checked(frame: RawFile) -> RawFile:
    levels, height, width = frame.levels, *frame.active.shape[:2]
    if not (levels.white > levels.black.reshape(-1, levels.black.shape[2]).max(axis=0)).all():
        raise InputError(f"cannot denoise {frame.path}: its white level {levels.white.min():g} is not above its black")
    for name, delta, size in (("H", levels.delta_h, width), ("V", levels.delta_v, height)):
        if delta.size not in (0, size):
            raise InputError(f"cannot denoise {frame.path}: BlackLevelDelta{name} has {delta.size} values for {size}")
    return frame


@contextmanager
def _libraw(path: Path) -> Any:
    try:
        import rawpy
    except ImportError:
        raise EngineError(f'cannot read {path}: rawpy is not installed (pip install "mdenoise[raw]")') from None
    try:
        with library_messages(), rawpy.imread(str(path)) as raw:
            yield raw
    except rawpy.LibRawError as error:
        why = error.args[0] if error.args else type(error).__name__
        why = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
        raise InputError(f"cannot read {path}: LibRaw says {why!r}") from None


def _samples(path: Path, raw: Any) -> np.ndarray:
    """A copy of LibRaw's samples, whose memory goes with `raw`."""
    image = raw.raw_image
    if image is None or image.dtype != np.uint16 or image.ndim not in (2, 3):
        raise InputError(f"cannot denoise {path}: LibRaw gives no samples of it, only a developed picture")
    if image.ndim == 3 and image.shape[2] < 3:
        raise InputError(f"cannot denoise {path}: a monochrome sensor, colours are needed")
    return np.array(image[..., :3] if image.ndim == 3 else image, order="C")


def _raw_directory(path: Path) -> dict[int, tiff.Field]:
    """The fields of the directory that holds the raw picture of a DNG; its pixels must lie within the file."""
    with path.open("rb") as stream:
        source = tiff.open_tiff(stream)
        found = [] if source is None else [
            one for one in tiff.read_directories(source)
            if 262 in one and int(one[262].values[0]) in (t.CFA, t.LINEAR_RAW)
        ]  # fmt: skip
    stored = next((one for one in found if 254 not in one or int(one[254].values[0]) == 0), found[0])
    for offsets, counts in ((273, 279), (324, 325)):
        if offsets in stored and counts in stored and stored[offsets].count == stored[counts].count:
            ends = stored[offsets].values.astype(np.int64) + stored[counts].values.astype(np.int64)
            if ends.max(initial=0) > source.size:
                raise InputError(
                    f"cannot read {path}: it is cut off, its picture ends {ends.max()} bytes into the "
                    f"file, which has {source.size}"
                )
    return stored


def _decode_jpeg_xl(path: Path, row_fields: int, column_fields: int) -> np.ndarray:
    try:
        import imagecodecs  # noqa: F401 (tifffile decodes with it)
        import tifffile
    except ImportError as error:
        raise EngineError(
            f"cannot read {path}: it is compressed by JPEG XL, for which {error.name} is needed "
            '(pip install "mdenoise[raw]")'
        ) from None
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for first in file.pages for page in (first, *(first.pages or ()))]
            page = next(p for p in pages if p.compression in _JPEG_XL and p.photometric in (t.CFA, t.LINEAR_RAW))
            samples = page.asarray()
            table = page.tags.get(50712)
    except Exception as error:  # of tifffile, imagecodecs and libjxl, each its own
        why = " ".join(str(error).split())
        raise InputError(f"cannot read {path}: its JPEG XL picture is damaged ({why})") from None
    if samples.dtype == np.uint8 and table is None:
        samples = samples.astype(np.uint16)
    if table is not None:
        curve = np.asarray(table.value, np.uint16)
        samples = curve[np.minimum(samples, curve.size - 1)]
    if samples.dtype != np.uint16:
        raise InputError(f"cannot denoise {path}: its samples are {samples.dtype}, not 8 or 16 bit numbers")
    return np.ascontiguousarray(_without_fields(samples, row_fields, column_fields))


def _without_fields(samples: np.ndarray, row_fields: int, column_fields: int) -> np.ndarray:
    """Undo (Row|Column)InterleaveFactor of DNG 1.7: every n-th row and column lies in a block of its own."""
    if row_fields == column_fields == 1:
        return samples
    out, y = np.empty_like(samples), 0
    for row in range(row_fields):
        height, x = len(range(row, samples.shape[0], row_fields)), 0
        for column in range(column_fields):
            width = len(range(column, samples.shape[1], column_fields))
            out[row::row_fields, column::column_fields] = samples[y : y + height, x : x + width]
            x += width
        y += height
    return out
