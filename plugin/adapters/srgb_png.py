"""PNG: new pixels between the chunks of the source (https://www.w3.org/TR/png-3/)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mdenoise.adapters.srgb_photo import Photo, check_size, library, split

MAGIC = b"\x89PNG\r\n\x1a\n"
STAMP = b"mdenoise\0"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_XMP = b"XML:com.adobe.xmp"
# What the encoder makes anew, and what speaks of palette indices or of one colour that is to be transparent.
_PIXELS = (b"IHDR", b"IDAT")
_BY_INDEX = (b"PLTE", b"tRNS", b"hIST", b"bKGD", b"sBIT")


def read(path: Path, data: bytes) -> Photo:
    """The picture in `data`; palettes, and a colour that means transparent, become RGB or grey and alpha.

    Raises ValueError with the reason.
    """
    found = list(chunks(data))
    kinds = [kind for kind, _ in found]
    if kinds[:1] != [b"IHDR"] or len(found[0][1]) != 13:
        raise ValueError("it is damaged or not a standard PNG file")
    width, height, depth, color_type = struct.unpack_from(">IIBB", found[0][1])
    if b"acTL" in kinds:
        raise ValueError("it is an animation: save its frames as files of their own")
    if b"IEND" not in kinds or b"IDAT" not in kinds or color_type not in _CHANNELS:
        raise ValueError("it is damaged or cut off")
    check_size(width, height, _CHANNELS[color_type] * (2 if depth == 16 else 1), len(data))
    try:
        pixels = library("imagecodecs").png_decode(data)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"it is damaged ({error})") from None
    notes: tuple[str, ...] = ()
    expanded = color_type == 3 or depth < 8 or b"tRNS" in kinds
    if expanded:
        what = "its palette" if color_type == 3 else "its transparent colour" if b"tRNS" in kinds else f"{depth} bit"
        notes = (f"{what} cannot hold the result: written with {16 if depth == 16 else 8} bits a channel",)
    color, alpha = split(pixels)
    if color.shape[:2] != (height, width):
        raise ValueError("it is damaged")
    return Photo(
        path,
        "png",
        data,
        color,
        float(np.iinfo(color.dtype).max),
        alpha,
        _icc(found),
        _first(found, b"eXIf"),
        _xmp(found),
        expanded,
        notes,
    )


def rewrite(photo: Photo, stamp: bytes) -> bytes:
    """The source with the pixels of `photo` and our stamp; every other chunk keeps its bytes and its place."""
    new = list(chunks(encode(photo) if photo.changed else photo.data))
    out, placed = [MAGIC, *(chunk(k, d) for k, d in new if k == b"IHDR")], False
    for kind, payload in chunks(photo.data):
        if kind == b"IDAT" and not placed:
            placed = True
            out += [chunk(b"tEXt", STAMP + stamp), *(chunk(k, d) for k, d in new if k == b"IDAT")]
        if kind in _PIXELS or (kind == b"tEXt" and payload.startswith(STAMP)):
            continue
        if photo.changed and photo.layout and kind in _BY_INDEX:
            continue
        out.append(chunk(kind, payload))
    return b"".join(out)


def make(photo: Photo, stamp: bytes) -> bytes:
    """A new file with the picture of `photo`, its profile, Exif and XMP, and our stamp."""
    extra = [chunk(b"tEXt", STAMP + stamp)]
    if photo.icc:
        extra.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc)))
    if photo.exif:
        extra.append(chunk(b"eXIf", photo.exif))
    if photo.xmp:
        extra.append(chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + photo.xmp))
    new = [chunk(kind, payload) for kind, payload in chunks(encode(photo))]
    return b"".join([MAGIC, new[0], *extra, *new[1:]])


def encode(photo: Photo) -> bytes:
    return bytes(library("imagecodecs").png_encode(photo.joined(), level=6))


def stamp_of(data: bytes) -> bytes:
    """Our stamp, b"" where there is none."""
    for kind, payload in chunks(data):
        if kind == b"tEXt" and payload.startswith(STAMP):
            return payload[len(STAMP) :]
        if kind == b"IDAT":
            break
    return b""


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, payload) of every chunk up to IEND, or to where the file is cut off."""
    at = len(MAGIC)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            return
        yield kind, data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return
        at += 12 + size


def chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _first(found: list[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((payload for kind, payload in found if kind == wanted), None)


def _icc(found: list[tuple[bytes, bytes]]) -> bytes | None:
    payload = _first(found, b"iCCP") or b""
    return _inflate(payload.partition(b"\0")[2][1:])


def _xmp(found: list[tuple[bytes, bytes]]) -> bytes | None:
    for kind, payload in found:
        keyword, _, rest = payload.partition(b"\0")
        if kind == b"iTXt" and keyword == _XMP and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            return _inflate(text) if rest[0] else text
    return None


def _inflate(packed: bytes) -> bytes | None:
    """At most 64 MiB: a few bytes can claim to be gigabytes."""
    try:
        return zlib.decompressobj().decompress(packed, 1 << 26) or None
    except zlib.error:
        return None
