"""TIFF: new pixels in the strips or tiles of the source, coded as they were."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.adapters import srgb_tiff_file as file
from mdenoise.adapters.srgb_photo import Photo, check_size, library, quiet
from mdenoise.adapters.srgb_tiff_file import ASCII, BYTE, LONG, LONG8, SHORT, UNDEFINED, Value
from mdenoise.adapters.srgb_tiff_pixels import CODINGS, Layout, encode, segments

STAMP = 65117  # a private tag, so that no field of the user's is taken
_ICC, _XMP, _SUBIFDS, _PHOTOSHOP_LAYERS = 34675, 700, 330, 37724
_MODELS = {0: 1, 1: 1, 2: 3, 5: 4}  # colour channels by photometric interpretation
# Of the picture itself, which Exif for another format does not speak of.
_STRUCTURE = (
    *range(254, 260),
    262,
    266,
    273,
    *range(277, 280),
    284,
    317,
    *range(320, 326),
    _SUBIFDS,
    338,
    339,
    _XMP,
    33723,
    34377,
    _ICC,
    _PHOTOSHOP_LAYERS,
    STAMP,
)


def read(path: Path, data: bytes) -> Photo:
    """The picture in `data`: grey, RGB or CMYK with any further samples. Raises ValueError with the reason."""
    directory = file.first_directory(data)
    tifffile = library("tifffile")
    library("imagecodecs")
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            pages = list(tiff.pages)
            page = pages[0]
            _check(page, len(data))
            others = [one for one in pages[1:] if not int(one.subfiletype) & 1]
            if others:
                raise _Refused(f"it has {len(others) + 1} pages: save them as files of their own")
            pixels = page.asarray()
            layout = _layout(page, pixels)
            # Photoshop would show its layers, and a viewer its smaller copies: both hold the noise.
            dropped = tuple(tag for tag in (_SUBIFDS, _PHOTOSHOP_LAYERS) if tag in page.tags)
            kinds = page.extrasamples
    except _Refused:
        raise
    except Exception as error:  # damaged files raise whatever the parser happened to do
        told = isinstance(error, OSError | RuntimeError | tifffile.TiffFileError)
        raise ValueError(f"it is damaged ({error})" if told else "it is damaged or cut off") from None
    count = _MODELS[int(page.photometric)]
    color = layout.pixels[..., 0] if count == 1 else layout.pixels[..., :count]
    notes = []
    if _PHOTOSHOP_LAYERS in dropped:
        notes.append("its Photoshop layers, which hold the noise, are left out")
    if len(pages) > 1 or _SUBIFDS in dropped:
        notes.append("its smaller copies, which show the noise, are left out")
    white = float(np.iinfo(color.dtype).max) if color.dtype.kind == "u" else 1.0
    alpha = layout.pixels[..., count] if kinds and int(kinds[0]) in (1, 2) else None
    layout = Layout(**{**vars(layout), "dropped": dropped})
    return Photo(
        path,
        "tiff",
        data,
        np.ascontiguousarray(color),
        white,
        alpha,
        directory.text(data, _ICC) or None,
        None,
        directory.text(data, _XMP) or None,
        layout,
        tuple(notes),
    )


class _Refused(ValueError):
    pass


def rewrite(photo: Photo, stamp: bytes) -> bytes:
    """The source with the pixels of `photo` in its strips or tiles, and our stamp; nothing else moves."""
    layout: Layout = photo.layout
    directory = file.first_directory(photo.data)
    data = bytearray(photo.data)
    tags: dict[int, Value | None] = {STAMP: Value(ASCII, stamp + b"\0")}
    if photo.changed:
        pixels = layout.pixels.copy()
        color = photo.color.reshape(*photo.color.shape[:2], -1)
        pixels[..., : color.shape[2]] = color
        offsets, counts = [], []
        own_place = len(set(layout.offsets)) == len(layout.offsets)
        for segment, at, room in zip(segments(pixels, layout), layout.offsets, layout.counts, strict=True):
            coded = encode(segment, layout, directory.order)
            if not own_place or not at or len(coded) > room:
                data += b"\0" * (len(data) % 2)
                at = len(data)
                data += coded
            else:
                data[at : at + len(coded)] = coded
            offsets.append(at)
            counts.append(len(coded))
        kind = LONG8 if directory.big else LONG
        if max(offsets) >= 1 << 32 and not directory.big:
            raise ValueError("the result would be larger than 4 GiB: save the source as BigTIFF first")
        where, size = (324, 325) if layout.tile else (273, 279)
        tags |= {where: Value(kind, tuple(offsets)), size: Value(kind, tuple(counts))}
        tags |= dict.fromkeys(layout.dropped)
    return file.with_tags(data, directory, tags, last=photo.changed)


def make(photo: Photo, stamp: bytes) -> bytes:
    """A new file with the picture of `photo`, its profile, Exif and XMP, and our stamp; deflated."""
    try:  # Exif is itself a TIFF file without a picture: it stays what it is, byte for byte, and gets one
        directory, data = file.first_directory(photo.exif or file.EMPTY), bytearray(photo.exif or file.EMPTY)
    except ValueError:
        directory, data = file.first_directory(file.EMPTY), bytearray(file.EMPTY)
    pixels = photo.joined()
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, samples = pixels.shape
    floats = pixels.dtype.kind == "f"
    rows = max(1, (1 << 20) // (width * samples * pixels.itemsize))
    layout = Layout(pixels, 8, 3 if floats else 2, False, None, rows, (), (), False, ())
    offsets, counts = [], []
    for segment in segments(pixels, layout):
        coded = encode(segment, layout, directory.order)
        data += b"\0" * (len(data) % 2)
        offsets.append(len(data))
        counts.append(len(coded))
        data += coded
    short = {
        258: (8 * pixels.itemsize,) * samples,
        259: (8,),
        262: ({"grey": 1, "RGB": 2, "CMYK": 5}[photo.model],),
        277: (samples,),
        284: (1,),
        317: (layout.predictor,),
        339: (3 if floats else 1,) * samples,
    }
    if photo.alpha is not None:
        short[338] = (2,)
    tags: dict[int, Value | None] = {tag: Value(SHORT, numbers) for tag, numbers in short.items()}
    long = {256: (width,), 257: (height,), 273: tuple(offsets), 278: (rows,), 279: tuple(counts)}
    tags |= {tag: Value(LONG, numbers) for tag, numbers in long.items()}
    tags |= {_ICC: Value(UNDEFINED, photo.icc)} if photo.icc else {}
    tags |= {_XMP: Value(BYTE, photo.xmp)} if photo.xmp else {}
    return file.with_tags(data, directory, tags | {STAMP: Value(ASCII, stamp + b"\0")})


def exif_of(data: bytes) -> bytes | None:
    """The Exif of a TIFF file as other formats hold it."""
    exif = library("PIL.Image").Exif()
    try:
        with quiet():
            exif.load(b"Exif\0\0" + data)
            for tag in _STRUCTURE:
                exif.pop(tag, None)
            return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else None
    except Exception:  # tags of users hold anything, and the library raises anything
        return file.turned(None, file.orientation(data))


def stamp_of(data: bytes) -> bytes:
    """Our stamp, b"" where there is none."""
    return file.first_directory(data).text(data, STAMP).rstrip(b"\0")


def _check(page: Any, file_bytes: int) -> None:
    if int(page.compression) not in CODINGS:
        how = getattr(page.compression, "name", page.compression)
        raise _Refused(f"its compression {how} is not supported: save it with LZW or Deflate")
    name = getattr(page.photometric, "name", page.photometric)
    if int(page.photometric) not in _MODELS or (int(page.photometric) == 5 and page.samplesperpixel < 4):
        raise _Refused(f"its colours are {name}, which is not supported: convert it to RGB")
    if page.samplesperpixel < _MODELS[int(page.photometric)]:
        raise _Refused("it is damaged: it has too few channels")
    if (
        page.dtype is None
        or page.dtype.name not in ("uint8", "uint16", "float16", "float32")
        or (page.bitspersample != 8 * page.dtype.itemsize)
        or int(page.fillorder) != 1
        or page.imagedepth > 1
    ):
        raise _Refused(f"{page.bitspersample} bits of this kind are not supported: save it with 8, 16 or float 32 bits")
    if int(page.predictor) not in (1, 2, 3):
        raise _Refused(f"its predictor {page.predictor} is not supported: save it with LZW or Deflate")
    check_size(page.imagewidth, page.imagelength, page.samplesperpixel * page.dtype.itemsize, file_bytes)


def _layout(page: Any, pixels: np.ndarray) -> Layout:
    planar = int(page.planarconfig) == 2 and page.samplesperpixel > 1
    size = (page.imagelength, page.imagewidth)
    stored = pixels.reshape(page.samplesperpixel, *size) if planar else pixels.reshape(*size, page.samplesperpixel)
    pixels = np.ascontiguousarray(np.moveaxis(stored, 0, -1)) if planar else stored
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
    rows = min(page.rowsperstrip or size[0], size[0])
    tall, wide = tile or (rows, size[1])
    count = -(-size[0] // tall) * -(-size[1] // wide) * (page.samplesperpixel if planar else 1)
    if not len(page.dataoffsets) == len(page.databytecounts) == count:
        raise _Refused("it is damaged or cut off")
    return Layout(
        pixels.astype(pixels.dtype.newbyteorder("="), copy=False),
        int(page.compression),
        int(page.predictor),
        planar,
        tile,
        rows,
        tuple(page.dataoffsets),
        tuple(page.databytecounts),
        int(page.photometric) == 0,
        (),
    )
