"""TIFF as bytes: one directory replaced, everything else where it was, so that no offset of Exif, GPS or makers' notes
changes (TIFF 6.0; BigTIFF: https://libtiff.gitlab.io/libtiff/specification/bigtiff.html)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

BYTE, ASCII, SHORT, LONG, UNDEFINED, LONG8 = 1, 2, 3, 4, 7, 16
_SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, UNDEFINED: 1, LONG8: 8}
_CODES = {SHORT: "H", LONG: "I", LONG8: "Q"}


@dataclass(frozen=True)
class Directory:
    """The first directory of a file: raw entries by tag, and the place of the next one.

    order  "<" or ">"; `big` is BigTIFF.
    """

    order: str
    big: bool
    entries: Mapping[int, bytes]
    next_at: int

    def text(self, data: bytes, tag: int) -> bytes:
        """The bytes of a BYTE, ASCII or UNDEFINED value; b"" when it is absent."""
        entry = self.entries.get(tag)
        if entry is None:
            return b""
        kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), entry, 2)
        start = 12 if self.big else 8
        if _SIZES.get(kind) != 1:
            return b""
        if count <= len(entry) - start:
            return entry[start : start + count]
        (at,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), entry, start)
        return data[at : at + count]


@dataclass(frozen=True)
class Value:
    """A tag's value: bytes for BYTE, ASCII and UNDEFINED, else whole numbers."""

    kind: int
    content: bytes | tuple[int, ...]


EMPTY = b"II*\0\0\0\0\0"
_ORIENTATION = 274


def first_directory(data: bytes) -> Directory:
    """Raises ValueError when the header cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]), "")
    try:
        (version,) = struct.unpack_from(order + "H", data, 2)
        if not order or version not in (42, 43):
            raise ValueError("it is not a TIFF file")
        big = version == 43
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        if at == 0:
            return Directory(order, big, {}, 0)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        at, size = at + (8 if big else 2), 20 if big else 12
        if at + size * count > len(data):
            raise ValueError("it is damaged or cut off")
        entries = {}
        for number in range(count):
            entry = bytes(data[at + size * number : at + size * (number + 1)])
            entries[struct.unpack_from(order + "H", entry)[0]] = entry
        (next_at,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + size * count)
    except struct.error:
        raise ValueError("it is damaged or cut off") from None
    return Directory(order, big, entries, next_at)


def with_tags(data: bytearray, directory: Directory, tags: Mapping[int, Value | None], *, last: bool = True) -> bytes:
    """`data` with its first directory written anew at the end, with `tags` in place; None takes a tag away.

    last  forget the directories that follow (previews). Raises ValueError when the file grows beyond 4 GiB.
    """
    order, big = directory.order, directory.big
    width = "Q" if big else "I"
    entries = {tag: entry for tag, entry in directory.entries.items() if tag not in tags}
    for tag, value in tags.items():
        if value is None:
            continue
        content = value.content
        if not isinstance(content, bytes):
            content = struct.pack(f"{order}{len(content)}{_CODES[value.kind]}", *content)
        count, room = len(content) // _SIZES[value.kind], 8 if big else 4
        if len(content) > room:
            data += b"\0" * (len(data) % 2)
            at, held = len(data), content
            data += held
            content = struct.pack(order + width, at) if big or at < 1 << 32 else b""
        entries[tag] = struct.pack(f"{order}HH{width}", tag, value.kind, count) + content.ljust(room, b"\0")
    data += b"\0" * (len(data) % 2)
    at = len(data)
    if not big and at + 12 * len(entries) + 6 >= 1 << 32:
        raise ValueError("the result would be larger than 4 GiB: save the source as BigTIFF first")
    data += struct.pack(order + ("Q" if big else "H"), len(entries))
    data += b"".join(entries[tag] for tag in sorted(entries))
    data += struct.pack(order + width, 0 if last else directory.next_at)
    struct.pack_into(order + width, data, 8 if big else 4, at)
    return bytes(data)


def orientation(exif: bytes | None) -> int:
    """How an Exif block, or a TIFF file, says that the picture is to be turned, 1..8; 1 when it does not say."""
    try:
        directory = first_directory(exif or EMPTY)
    except ValueError:
        return 1
    entry = directory.entries.get(_ORIENTATION)
    found = struct.unpack_from(directory.order + "H", entry, 12 if directory.big else 8)[0] if entry else 1
    return found if 1 <= found <= 8 else 1


def turned(exif: bytes | None, value: int) -> bytes | None:
    """The Exif block with this orientation; as it is when it says so already."""
    if orientation(exif) == value:
        return exif
    try:
        data, directory = bytearray(exif or EMPTY), first_directory(exif or EMPTY)
    except ValueError:
        data, directory = bytearray(EMPTY), first_directory(EMPTY)
    return with_tags(data, directory, {_ORIENTATION: Value(SHORT, (value,))}, last=False)
