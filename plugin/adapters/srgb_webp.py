"""WebP: new pixels between the chunks of the source (RFC 9649)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mdenoise.adapters.srgb_photo import Photo, check_size, library, quiet, split

STAMP = b"mdns"  # a chunk of our own: readers are told to ignore those they do not know
_IMAGE = (b"ALPH", b"VP8 ", b"VP8L")
_ICC, _ALPHA, _EXIF, _XMP, _ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
QUALITY = 95  # the file does not tell with which it was made


def read(path: Path, data: bytes) -> Photo:
    """The picture in `data`. Raises ValueError with the reason."""
    found = dict(reversed(list(chunks(data))))
    if b"ANIM" in found or b"ANMF" in found:
        raise ValueError("it is an animation: save its frames as files of their own")
    plugin, bomb = library("PIL.WebPImagePlugin"), library("PIL.Image").DecompressionBombError
    try:
        with quiet():
            image = plugin.WebPImageFile(io.BytesIO(data))
            check_size(*image.size, 4, 64 * len(data))  # a lossless picture of one colour is a few bytes
            pixels = np.asarray(image.convert("RGBA") if image.mode == "RGBX" else image)
    except bomb:  # twice as many pixels as Pillow takes for sane
        raise ValueError("its header claims more than 178 million pixels: save it as PNG or TIFF") from None
    except (OSError, SyntaxError, RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"it is damaged ({error})") from None
    color, alpha = split(pixels)
    lossless = b"VP8L" in found
    notes = () if lossless else (f"written with quality {QUALITY}: WebP files do not tell theirs",)
    exif = found.get(b"EXIF")
    exif = exif.removeprefix(b"Exif\0\0") if exif else None
    return Photo(path, "webp", data, color, 255.0, alpha, found.get(b"ICCP"), exif, found.get(b"XMP "), lossless, notes)


def rewrite(photo: Photo, stamp: bytes) -> bytes:
    """The source with the pixels of `photo` and our stamp; every other chunk keeps its bytes."""
    source = [(kind, payload) for kind, payload in chunks(photo.data) if kind != STAMP]
    new = list(chunks(encode(photo) if photo.changed else photo.data))
    pixels = [(kind, payload) for kind, payload in new if kind in _IMAGE]
    before = [one for one in source if one[0] == b"ICCP"]
    after = [one for one in source if one[0] not in (*_IMAGE, b"ICCP", b"VP8X")]
    return _file(photo, [*before, *pixels, *after, (STAMP, stamp)])


def make(photo: Photo, stamp: bytes) -> bytes:
    """A new file with the picture of `photo`, its profile, Exif and XMP, and our stamp."""
    pixels = [one for one in chunks(encode(photo)) if one[0] in _IMAGE]
    around = [(b"ICCP", photo.icc), *pixels, (b"EXIF", photo.exif), (b"XMP ", photo.xmp), (STAMP, stamp)]
    return _file(photo, [(kind, payload) for kind, payload in around if payload])


def encode(photo: Photo) -> bytes:
    image = library("PIL.Image")
    color = photo.color if photo.model == "RGB" else np.repeat(photo.color[..., None], 3, axis=2)
    stream = io.BytesIO()
    pixels = color if photo.alpha is None else np.dstack([color, photo.alpha])
    lossless = photo.layout if photo.kind == "webp" else False
    image.fromarray(np.ascontiguousarray(pixels)).save(
        stream, "WEBP", lossless=lossless, quality=QUALITY, alpha_quality=100, exact=True
    )
    return stream.getvalue()


def stamp_of(data: bytes) -> bytes:
    """Our stamp, b"" where there is none."""
    return next((payload for kind, payload in chunks(data) if kind == STAMP), b"")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(FourCC, payload) of every chunk, up to where the file is cut off."""
    at = 12
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + size > len(data):
            return
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _file(photo: Photo, content: list[tuple[bytes, bytes]]) -> bytes:
    kinds = {kind for kind, _ in content}
    flags = sum(flag for kind, flag in ((b"ICCP", _ICC), (b"EXIF", _EXIF), (b"XMP ", _XMP)) if kind in kinds)
    flags |= _ALPHA if photo.alpha is not None else 0
    height, width = photo.color.shape[:2]
    sizes = b"".join(struct.pack("<I", side - 1)[:3] for side in (width, height))
    content = [(b"VP8X", struct.pack("<I", flags) + sizes), *content]
    body = b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2) for kind, payload in content
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
