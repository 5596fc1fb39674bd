"""AVIF and HEIC: the main picture newly coded in the place of the source's; every other item stays, byte for byte."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from mdenoise.adapters import srgb_boxes as boxes
from mdenoise.adapters.srgb_boxes import Container, Item
from mdenoise.adapters.srgb_items import swapped, without
from mdenoise.adapters.srgb_photo import Photo, check_size, library, split
from mdenoise.adapters.srgb_tiff_file import orientation, turned

STAMP = bytes.fromhex("6d64656e6f697365a1d34c0b9e6f7a52")  # a box type of our own: readers skip it
QUALITY = 90  # the files do not tell with which they were made
_PICTURES = (b"av01", b"hvc1", b"hev1", b"grid", b"iovl", b"iden")
_TURNED = (b"irot", b"imir")
# Exif orientation -> quarter turns against the clock, then the axis to be mirrored; and what else comes to the same.
_TURNS = {1: (0, None), 2: (0, 1), 3: (2, None), 4: (0, 0), 5: (1, 0), 6: (3, None), 7: (3, 0), 8: (1, None)}
_EXIF_TURNS = {turn: value for value, turn in _TURNS.items()} | {(2, 0): 2, (2, 1): 4, (1, 1): 7, (3, 1): 5}
_SUBSAMPLING = {0: "400", 1: "420", 2: "422", 3: "444"}


def read(path: Path, data: bytes, kind: str) -> Photo:
    """The main picture in `data`, `kind` avif or heic, in stored order. Raises ValueError with the reason."""
    found = boxes.parse(data)
    tiles = set(found.parts(found.primary))
    parts = {part for item in found.items for part in found.parts(item)}
    aux = {item for name, item, _ in found.references if name in (b"auxl", b"thmb")}
    others = [
        number
        for number, item in found.items.items()
        if item.kind in _PICTURES and not item.flags & 1 and number not in {found.primary} | parts | aux
    ]
    if found.sequence or others:
        raise ValueError("it holds several pictures (an animation or a burst): save them as files of their own")
    bits, sampling, size = _coding(found, next(iter(tiles), found.primary))
    check_size(*size, 8, 64 * len(data))
    try:
        pixels = _decode_avif(data) if kind == "avif" else _decode_heic(data, found)
    except (ValueError, RuntimeError, OSError, EOFError, SyntaxError) as error:
        raise ValueError(f"it is damaged or not supported ({error})") from None
    color, alpha = split(pixels)
    colr = dict((payload[:4], payload[4:]) for name, payload in found.of(found.primary) if name == b"colr")
    notes = (f"written with quality {QUALITY}: {kind.upper()} files do not tell theirs",)
    return Photo(
        path,
        kind,
        data,
        color,
        float(2**bits - 1),
        alpha,
        colr.get(b"prof") or colr.get(b"rICC"),
        _exif(found),
        _metadata(found, b"mime", b"application/rdf+xml"),
        (found, sampling),
        notes,
    )


def rewrite(photo: Photo, stamp: bytes) -> bytes:
    """The source with the picture of `photo` in place of its main one, and our stamp."""
    found, sampling = photo.layout
    tail = boxes.box(b"uuid", STAMP + stamp)
    if not photo.changed:
        if found == boxes.parse(photo.data):  # nothing was taken away
            return b"".join(photo.data[a:b] for a, b in _outside_stamp(photo.data)) + tail
        return boxes.build(found, tail)
    coded = boxes.parse(encode(replace(photo, alpha=None), photo.kind, sampling))
    thumbnails = found.to(b"thmb", found.primary)
    tiles = [
        part
        for part in found.parts(found.primary)
        if not any(part in found.parts(item) for item in found.items if item != found.primary)
    ]
    stay = without(found, [*thumbnails, *tiles]) if thumbnails or tiles else found
    return boxes.build(swapped(replace(stay, others=found.others), coded), tail)


def make(photo: Photo, stamp: bytes, kind: str) -> bytes:
    """A new file of `kind` with the picture of `photo`, its profile, Exif and XMP, and our stamp.

    The Exif orientation becomes a rotation of the container, since readers of these formats go by that alone.
    """
    coded = boxes.parse(encode(photo, kind, "444" if photo.model == "RGB" else "400"))
    items, references = dict(coded.items), list(coded.references)
    properties, associated = list(coded.properties), dict(coded.associated)
    added = [(b"Exif", b"\0", struct.pack(">I", 0) + photo.exif)] if photo.exif else []
    added += [(b"mime", b"\0application/rdf+xml\0", photo.xmp)] if photo.xmp else []
    for name, info, data in added:
        number = max(items) + 1
        items[number] = Item(name, data, 1, info)
        references.append((b"cdsc", number, (coded.primary,)))
    for name, payload in _placed(photo):
        properties.append((name, payload))
        associated[coded.primary] = (*associated[coded.primary], (len(properties) - 1, name in _TURNED))
    return boxes.build(
        replace(coded, items=items, references=tuple(references), properties=tuple(properties), associated=associated),
        boxes.box(b"uuid", STAMP + stamp),
    )


def encode(photo: Photo, kind: str, sampling: str) -> bytes:
    pixels, bits = photo.joined(), photo.bits
    if kind == "avif":
        if pixels.ndim == 2:
            sampling = "400"
        return bytes(
            library("imagecodecs").avif_encode(
                pixels, level=QUALITY, speed=6, bitspersample=bits, pixelformat=sampling, numthreads=1
            )
        )
    heif = library("pillow_heif")
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # its decoder knows no grey with alpha
        pixels = np.dstack([photo.color] * 3 + [photo.alpha])
    mode = {2: "L", 3: "RGB", 4: "RGBA"}[pixels.ndim if pixels.ndim == 2 else pixels.shape[2]]
    mode, stored = (mode, pixels) if bits == 8 else (f"{mode};{bits}", pixels.astype("<u2"))
    stream = io.BytesIO()
    chroma = {} if sampling == "400" else {"chroma": int(sampling)}
    heif.encode(mode, pixels.shape[1::-1], np.ascontiguousarray(stored).tobytes(), stream, quality=QUALITY, **chroma)
    return stream.getvalue()


def stamp_of(data: bytes) -> bytes:
    """Our stamp, b"" where there is none."""
    return next(
        (
            bytes(data[start + 16 : end])
            for kind, start, end in boxes.boxes(data)
            if kind == b"uuid" and data[start : start + 16] == STAMP
        ),
        b"",
    )


def _outside_stamp(data: bytes) -> list[tuple[int, int]]:
    at, kept = 0, []
    for kind, start, end in boxes.boxes(data):
        if not (kind == b"uuid" and data[start : start + 16] == STAMP):
            kept.append((at, end))
        at = end
    return kept


def _placed(photo: Photo) -> list[tuple[bytes, bytes]]:
    """Properties of a new main picture: the profile, and how it is to be turned."""
    quarter, axis = _TURNS[orientation(photo.exif)]
    found = [(b"colr", b"prof" + photo.icc)] if photo.icc else []
    found += [(b"irot", bytes((quarter,)))] if quarter else []
    return found + ([(b"imir", bytes((axis,)))] if axis is not None else [])


def _decode_avif(data: bytes) -> np.ndarray:
    return library("imagecodecs").avif_decode(data, numthreads=1)


def _decode_heic(data: bytes, found: Container) -> np.ndarray:
    picture = library("pillow_heif").open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    pixels = np.asarray(picture)
    for name, payload in reversed(found.of(found.primary)):  # the library has turned them: back to what is stored
        if name == b"irot":
            pixels = np.rot90(pixels, -(payload[0] & 3))
        elif name == b"imir":
            pixels = np.flip(pixels, payload[0] & 1)
    return pixels


def _coding(found: Container, item: int) -> tuple[int, str, tuple[int, int]]:
    """Bits a channel, chroma subsampling and size of a coded item; the size is the main picture's."""
    properties = dict(found.of(item))
    width, height = struct.unpack_from(">II", dict(found.of(found.primary)).get(b"ispe", b"\0" * 12), 4)
    if b"av1C" in properties and len(properties[b"av1C"]) >= 4:
        flags = properties[b"av1C"][2]
        bits = 12 if flags & 0x20 else 10 if flags & 0x40 else 8
        grey, half_x, half_y = flags & 0x10, flags & 8, flags & 4
        return bits, "400" if grey else "420" if half_y else "422" if half_x else "444", (width, height)
    if b"hvcC" in properties and len(properties[b"hvcC"]) > 18:
        config = properties[b"hvcC"]
        return 8 + (config[17] & 7), _SUBSAMPLING[config[16] & 3], (width, height)
    raise ValueError(f"its coding {found.items[item].kind.decode('latin-1')} is not supported")


def _metadata(found: Container, kind: bytes, info: bytes = b"") -> bytes | None:
    for number in found.to(b"cdsc", found.primary):
        item = found.items.get(number)
        if item is not None and item.kind == kind and info in item.info:
            return item.data
    return None


def _exif(found: Container) -> bytes | None:
    """As files of other formats need it: there, the orientation tag turns the picture."""
    data = _metadata(found, b"Exif") or b""
    exif = data[4 + struct.unpack_from(">I", data)[0] :] if len(data) > 4 else b""
    turn = {
        name: payload[0] & (3 if name == b"irot" else 1)
        for name, payload in found.of(found.primary)
        if name in _TURNED and payload
    }
    return turned(exif or None, _EXIF_TURNS[turn.get(b"irot", 0), turn.get(b"imir")])
