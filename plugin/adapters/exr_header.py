"""The header of an OpenEXR file as bytes: what it claims before it is decoded, and every attribute exactly.

The OpenEXR binding decodes what a header claims without asking, prints to stderr on damaged files, and cannot
carry a few attributes (strings that are not UTF-8, rationals that can be reduced). The layout followed here is
https://openexr.com/en/latest/OpenEXRFileLayout.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from mdenoise.frame import Window
from mdenoise.machine import memory

MAGIC = b"\x76\x2f\x31\x01"
TILED, DEEP, MULTIPART = 0x200, 0x800, 0x1000
COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_LINES = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256)  # scan lines in one block, by compression
# How much larger pixels can be than their blocks, at most: deflate packs 1032 bytes into one, PXR24 leaves out the
# fourth byte of a float first, RLE packs 128 into 2, B44A 32 into 3; rounded up for PIZ, DWA and whatever comes.
_RATIOS = dict(enumerate((1, 64, 1032, 1032, 8192, 1376, 3, 11)))
_RATIO_UNKNOWN = 1 << 18
_TILE_ROW = 256 << 20
_PIXEL_BYTES = {0: 4, 1: 2, 2: 4}  # uint, half, float
PIXEL_TYPES = ("uint", "half", "float")


@dataclass(frozen=True)
class Attribute:
    """One attribute as stored: its type's name, its bytes, and where these lie in the file."""

    type: str
    data: bytes
    offset: int


@dataclass(frozen=True)
class Channel:
    name: str
    pixel_type: int
    p_linear: int
    x_sampling: int
    y_sampling: int


@dataclass(frozen=True)
class Header:
    """All attributes of all parts; the block tables begin at byte `size`."""

    flags: int
    parts: tuple[Mapping[str, Attribute], ...]
    size: int


def parse(stream: BinaryIO) -> Header:
    """The header at the start of `stream`. Raises ValueError with the reason."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    data, want = b"", 1 << 16
    while True:
        data += stream.read(want)
        if data[:4] != MAGIC:
            raise ValueError("it is not an OpenEXR file")
        try:
            return _parse(data)
        except (IndexError, ValueError, struct.error):
            if len(data) >= length:
                raise ValueError("its header is damaged or cut off") from None
        want = len(data)  # a Cryptomatte manifest can be megabytes long: double until it fits


def _parse(data: bytes) -> Header:
    (flags,) = struct.unpack_from("<I", data, 4)
    position = 8
    parts: list[dict[str, Attribute]] = []
    while not (parts and (not flags & MULTIPART or data[position] == 0)):
        attributes: dict[str, Attribute] = {}
        while data[position]:
            end = data.index(b"\0", position)
            name = data[position:end].decode("utf-8", "surrogateescape")
            kind_end = data.index(b"\0", end + 1)
            (size,) = struct.unpack_from("<i", data, kind_end + 1)
            start = kind_end + 5
            if size < 0 or start + size > len(data):
                raise ValueError
            kind = data[end + 1 : kind_end].decode("latin-1")
            attributes[name] = Attribute(kind, data[start : start + size], start)
            position = start + size
        position += 1
        parts.append(attributes)
    return Header(flags, tuple(parts), position + bool(flags & MULTIPART))


def window(part: Mapping[str, Attribute]) -> Window:
    return Window(*struct.unpack("<4i", part["dataWindow"].data))


def channels(part: Mapping[str, Attribute]) -> tuple[Channel, ...]:
    data, position, found = part["channels"].data, 0, []
    while data[position]:
        end = data.index(b"\0", position)
        kind, p_linear, x, y = struct.unpack_from("<iBxxxii", data, end + 1)
        found.append(Channel(data[position:end].decode("utf-8", "surrogateescape"), kind, p_linear, x, y))
        position = end + 17
    return tuple(found)


def part_label(part: Mapping[str, Attribute], index: int) -> str:
    name = part["name"].data.decode("utf-8", "replace") if "name" in part else ""
    return f"part {index} ({name})" if name else f"part {index}"


def check(header: Header, stream: BinaryIO) -> None:
    """Refuse what cannot be decoded, or carried through bit for bit. Raises ValueError with reason and fix."""
    decoded, table = 0, header.size
    for index, part in enumerate(header.parts):
        label = part_label(part, index)
        try:
            area, planes, tiles, blocks = window(part), channels(part), _tiles(header, part), _blocks(header, part)
            pixel_bytes = sum(_PIXEL_BYTES[plane.pixel_type] for plane in planes)
        except (KeyError, IndexError, ValueError, struct.error):
            raise ValueError("its header is damaged") from None
        _refuse(header, part, planes, tiles, label)
        if area.width < 1 or area.height < 1 or not planes:
            raise ValueError(f"{label} has no pixels or a damaged data window")
        decoded += area.width * area.height * pixel_bytes
        if decoded > memory():
            raise ValueError(
                f"its header claims {area.width} x {area.height} px, {decoded / 2**30:.0f} GiB in all: "
                f"more than the {memory() / 2**30:.0f} GiB that there are for it"
            )
        if blocks is None:
            return  # a newer compression, whose blocks we cannot count: the library's answer decides
        _check_blocks(stream, table, blocks, 20 if tiles else 8, bool(header.flags & MULTIPART), label)
        table += 8 * blocks
        size = area.width * area.height * pixel_bytes
        length = stream.seek(0, os.SEEK_END)
        if size > length * _RATIOS.get(part["compression"].data[0], _RATIO_UNKNOWN):
            raise ValueError(f"its header claims {area.width} x {area.height} px, but it is only {length} bytes long")
        # The library holds a whole row of tiles, however far these reach beyond the picture.
        row = -(-area.width // tiles[0]) * tiles[0] * tiles[1] * pixel_bytes if tiles else 0
        if row > max(8 * size, _TILE_ROW):
            raise ValueError(f"its header is damaged: tiles of {tiles[0]} x {tiles[1]} px")


def _refuse(
    header: Header,
    part: Mapping[str, Attribute],
    planes: tuple[Channel, ...],
    tiles: tuple[int, int, int] | None,
    label: str,
) -> None:
    kind = part["type"].data if "type" in part else b""
    if kind in (b"deepscanline", b"deeptile") or (header.flags & DEEP and not kind):
        raise ValueError(f"{label} is deep data, which cannot be denoised: write it to a file of its own")
    if tiles and tiles[2]:
        raise ValueError(f"{label} has mip-map levels: it is a texture, not a rendered frame")
    sampled = [plane.name for plane in planes if (plane.x_sampling, plane.y_sampling) != (1, 1)]
    if sampled:
        raise ValueError(
            f"channels {', '.join(sampled)} are stored at lower resolution (luminance/chroma): convert it to RGB first"
        )


def _blocks(header: Header, part: Mapping[str, Attribute]) -> int | None:
    """How many entries the part's block table has; None for a compression that we do not know."""
    area, tiles, compression = window(part), _tiles(header, part), part["compression"].data[0]
    if header.flags & MULTIPART:
        return struct.unpack("<i", part["chunkCount"].data)[0]
    if tiles:
        return -(-area.height // tiles[1]) * -(-area.width // tiles[0])
    return -(-area.height // _LINES[compression]) if compression < len(_LINES) else None


def _tiles(header: Header, part: Mapping[str, Attribute]) -> tuple[int, int, int] | None:
    """Tile width, height and level mode (0 = one level); None for scan lines."""
    kind = part["type"].data if "type" in part else b""
    if not (kind == b"tiledimage" or (header.flags & TILED and not header.flags & MULTIPART)):
        return None
    x, y, mode = struct.unpack("<IIB", part["tiles"].data)
    if not x or not y:
        raise ValueError
    return x, y, mode & 15


def _check_blocks(stream: BinaryIO, table: int, blocks: int, leader: int, multipart: bool, label: str) -> None:
    """A frame whose renderer was stopped lacks blocks, or the tail of its last one."""
    length = stream.seek(0, os.SEEK_END)
    if blocks < 1 or table + 8 * blocks > length:
        raise ValueError(f"it is cut off ({length} bytes)")
    leader += 4 * multipart  # the part's number, the block's coordinates, its size in bytes
    stream.seek(table)
    offsets = struct.unpack(f"<{blocks}Q", stream.read(8 * blocks))
    missing = sum(not table < offset <= length - leader for offset in offsets)
    if missing:
        raise ValueError(f"it is cut off or incomplete ({missing} of {blocks} blocks of {label} are missing)")
    last = max(offsets)
    stream.seek(last + leader - 4)
    (size,) = struct.unpack("<i", stream.read(4))
    if size < 0 or last + leader + size > length:
        raise ValueError(f"it is cut off (the last block of {label} is incomplete)")


# --- attributes that the binding cannot carry ---------------------------------------------------------------------

_COMPUTED = {"channels", "chunkCount", "compression", "dataWindow", "displayWindow", "lineOrder", "tiles", "type"}


def tamed(header: Header, data: bytes) -> tuple[bytes, list[dict[str, Attribute]]]:
    """A copy of a file that the binding can read, and for each part the attributes that were disguised.

    Every change keeps the length, so that the block tables stay right: bytes that are not UTF-8 become `?`,
    and types that the binding may reject get a name that it does not know and hence keeps as bytes.
    """
    copy, disguised = bytearray(data), []
    for part in header.parts:
        changed: dict[str, Attribute] = {}
        for name, attribute in part.items():
            if name in _COMPUTED or _readable(attribute):
                continue
            end = attribute.offset + len(attribute.data)
            if attribute.type == "string":
                copy[attribute.offset : end] = bytes(63 if byte > 127 else byte for byte in attribute.data)
            else:
                copy[attribute.offset - 5 - len(attribute.type)] = ord("_")
                changed[name] = attribute
        disguised.append(changed)
    return bytes(copy), disguised


def _readable(attribute: Attribute) -> bool:
    if attribute.type in ("string", "stringvector"):
        try:
            attribute.data.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True
    if attribute.type == "rational":
        return len(attribute.data) == 8 and attribute.data[4:] != bytes(4)
    return attribute.type not in ("keycode", "idmanifest", "deepImageState")


def put_back(stream: BinaryIO, source: tuple[Mapping[str, Attribute], ...]) -> list[str]:
    """Set the attributes of a written file to the exact bytes of the source; names that could not be."""
    lost = []
    for written, original in zip(parse(stream).parts, source, strict=True):
        for name, attribute in original.items():
            if name in _COMPUTED or name.startswith("mdenoise:"):
                continue
            found = written.get(name)
            if found is None or found.type != attribute.type or len(found.data) != len(attribute.data):
                lost.append(name)
            elif found.data != attribute.data:
                stream.seek(found.offset)
                stream.write(attribute.data)
    return lost
