"""JPEG: newly coded pixels between the segments of the source, made with its own tables and subsampling."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.adapters import srgb_jpeg_parts as parts
from mdenoise.adapters.srgb_photo import Photo, check_size, library, quiet

STAMP = b"mdenoise\0"  # in a segment of our own: programs show one comment, and that is the user's
EXIF, XMP, ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
QUALITY = 95  # of files that were no JPEG before
_LARGEST = 65533  # bytes that fit into one segment
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_ADOBE, _COMMENT, _APP0, _OURS = 0xEE, 0xFE, 0xE0, 0xEF


@dataclass(frozen=True)
class Coding:
    """How the source was coded: `sampling` is Pillow's number, `tables` are those of its components in order."""

    tables: tuple[tuple[int, ...], ...]
    sampling: int
    progressive: bool
    rgb: bool


def read(path: Path, data: bytes) -> Photo:
    """The first picture in `data`: grey, RGB or CMYK. Raises ValueError with the reason."""
    found, end = parts.segments(data)
    frame = next((one for one in found if one.marker in _FRAMES), None)
    if frame is None or len(frame.payload) < 6:
        raise ValueError("it is damaged: it has no picture")
    precision, height, width, count = struct.unpack_from(">BHHB", frame.payload)
    if precision != 8:
        raise ValueError(f"it has {precision} bits a channel, which is not supported: convert it to 16-bit PNG or TIFF")
    check_size(width, height, count, end)
    plugin = library("PIL.JpegImagePlugin")
    try:
        with quiet():
            image = plugin.JpegImageFile(io.BytesIO(data[:end]))
            pixels = np.asarray(image)
            coding = _coding(image, found, frame)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise ValueError(f"it is damaged ({error})") from None
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        raise ValueError(f"it has {pixels.shape[2]} channels, not 1, 3 or 4")
    extra = parts.find(data, end, found)
    return Photo(
        path,
        "jpeg",
        data,
        pixels,
        255.0,
        None,
        _icc(found),
        _first(found, EXIF),
        _first(found, XMP),
        (coding, extra),
        extra.notes,
    )


def rewrite(photo: Photo, stamp: bytes) -> bytes:
    """The source with the pixels of `photo` and our stamp; all other segments, and what follows the picture (gain map,
    motion, maker's data), keep their bytes."""
    coding, extra = photo.layout
    found, end = parts.segments(photo.data)
    carried = [one for one in found if is_metadata(one) and not _is_stamp(one)]
    if photo.changed:
        fresh = encode(photo, coding)
        new, _ = parts.segments(fresh)
        adobe = any(one.marker == _ADOBE for one in found)
        if adobe or coding.rgb:
            carried = [one for one in carried if one.marker != _ADOBE]
            carried += [one for one in new if one.marker == _ADOBE]
        coded = b"".join(_bytes(one.marker, one.payload) for one in _tables(new)) + _scans(fresh)
    else:
        coded = b"".join(_bytes(one.marker, one.payload) for one in _tables(found)) + _scans(photo.data[:end])
    head = [(one.marker, parts.payload_without(extra, one.payload)) for one in carried]
    head = [(marker, payload) for marker, payload in head if payload is not None]
    head.append((_OURS, STAMP + stamp))
    places = accumulate((4 + len(payload) for _, payload in head), initial=2)
    index = next((at + 8 for at, (_, payload) in zip(places, head, strict=False) if payload.startswith(parts.MPF)), 0)
    return parts.moved(extra, b"\xff\xd8" + b"".join(_bytes(*one) for one in head) + coded, index)


def make(photo: Photo, stamp: bytes) -> bytes:
    """A new file with the picture of `photo`, its profile, Exif and XMP, and our stamp."""
    fresh = encode(photo, None)
    found, _ = parts.segments(fresh)
    head = [(one.marker, one.payload) for one in found if is_metadata(one)]
    head += [(0xE1, key + value) for key, value in ((EXIF, photo.exif), (XMP, photo.xmp)) if value and fits(key, value)]
    if photo.icc:
        step = _LARGEST - len(ICC) - 2
        pieces = [photo.icc[i : i + step] for i in range(0, len(photo.icc), step)]
        head += [(0xE2, ICC + bytes((i + 1, len(pieces))) + piece) for i, piece in enumerate(pieces)]
    head.append((_OURS, STAMP + stamp))
    rest = b"".join(_bytes(one.marker, one.payload) for one in _tables(found)) + _scans(fresh)
    return b"\xff\xd8" + b"".join(_bytes(*one) for one in head) + rest


def fits(key: bytes, value: bytes) -> bool:
    return len(key) + len(value) <= _LARGEST


def encode(photo: Photo, coding: Coding | None) -> bytes:
    """The bare picture, coded as the source was, or with quality 95 and full colour."""
    image = library("PIL.Image")
    mode = {"grey": "L", "RGB": "RGB", "CMYK": "CMYK"}[photo.model]
    height, width = photo.color.shape[:2]
    picture = image.frombytes(mode, (width, height), np.ascontiguousarray(photo.color).tobytes())
    how: dict[str, Any] = {"quality": QUALITY, "subsampling": 0}
    if coding is not None:
        how = {
            "qtables": [list(table) for table in coding.tables],
            "subsampling": coding.sampling,
            "progressive": coding.progressive,
            "keep_rgb": coding.rgb,
        }
    stream = io.BytesIO()
    try:
        picture.save(stream, "JPEG", **how)
    except OSError:  # the encoder bounds the size of progressive files, and noise of high quality is larger
        stream = io.BytesIO()
        picture.save(stream, "JPEG", **how | {"progressive": False})
    return stream.getvalue()


def stamp_of(data: bytes) -> bytes:
    """Our stamp, b"" where there is none. Reads as far as the pixels."""
    return next((one.payload[len(STAMP) :] for one in parts.header(data) if _is_stamp(one)), b"")


def is_metadata(one: parts.Segment) -> bool:
    return _APP0 <= one.marker <= 0xEF or one.marker == _COMMENT


def _coding(image: Any, found: list[parts.Segment], frame: parts.Segment) -> Coding:
    from PIL import JpegImagePlugin

    count = frame.payload[5]
    components = [frame.payload[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    tables = [tuple(image.quantization[table]) for _, _, table in components]
    while len(tables) > 1 and tables[-1] == tables[-2]:  # the encoder takes the last one for the rest
        tables.pop()
    ids = bytes(one[0] for one in components)
    jfif = any(one.marker == _APP0 and one.payload.startswith(b"JFIF") for one in found)
    adobe = next((one.payload for one in found if one.marker == _ADOBE and one.payload.startswith(b"Adobe")), b"")
    transform = adobe[11] if len(adobe) > 11 else None
    rgb = count == 3 and not jfif and (transform == 0 or (transform is None and ids == b"RGB"))
    sampling = JpegImagePlugin.get_sampling(image) if count == 3 else 0
    # 4:4:0 and 4:1:1, which the encoder does not know, become full colour: larger, and nothing is lost.
    return Coding(tuple(tables), max(sampling, 0), bool(image.info.get("progressive")), rgb)


def _tables(found: list[parts.Segment]) -> list[parts.Segment]:
    return [one for one in found if not is_metadata(one) and one.marker != 0xDA]


def _scans(data: bytes) -> bytes:
    return data[list(parts.header(data))[-1].start :]


def _bytes(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _is_stamp(one: parts.Segment) -> bool:
    return one.marker == _OURS and one.payload.startswith(STAMP)


def _first(found: list[parts.Segment], key: bytes) -> bytes | None:
    return next((one.payload[len(key) :] for one in found if one.marker == 0xE1 and one.payload.startswith(key)), None)


def _icc(found: list[parts.Segment]) -> bytes | None:
    pieces = [one.payload for one in found if one.marker == 0xE2 and one.payload.startswith(ICC)]
    pieces.sort(key=lambda piece: piece[len(ICC) : len(ICC) + 1])
    return b"".join(piece[len(ICC) + 2 :] for piece in pieces) or None
