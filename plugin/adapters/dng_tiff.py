"""Fields of TIFF files as bytes: read them without loss, write a file of nested directories (TIFF 6.0, EP and DNG)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from mdenoise.errors import OutputError

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, FLOAT, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 11, 12
# type: (bytes of one value, bytes of the number to be swapped, NumPy kind of that number)
_TYPES = {
    1: (1, 1, "u"), 2: (1, 1, "u"), 3: (2, 2, "u"), 4: (4, 4, "u"), 5: (8, 4, "u"), 6: (1, 1, "i"), 7: (1, 1, "u"),
    8: (2, 2, "i"), 9: (4, 4, "i"), 10: (8, 4, "i"), 11: (4, 4, "f"), 12: (8, 8, "f"), 13: (4, 4, "u"),
}  # fmt: skip
_ALIGN = 16  # of pixels in the file
_MOST_FIELDS = 4096  # of one directory; real ones have less than 200


@dataclass(frozen=True)
class Field:
    """One TIFF field: its type, and its values as little-endian bytes."""

    type: int
    data: bytes

    @property
    def count(self) -> int:
        return len(self.data) // _TYPES[self.type][0]

    @property
    def values(self) -> np.ndarray:
        """The numbers, (count,); rationals as float64, NaN for n/0."""
        _, unit, kind = _TYPES[self.type]
        numbers = np.frombuffer(self.data, f"<{kind}{unit}")
        if self.type not in (RATIONAL, SRATIONAL):
            return numbers
        pairs = numbers.reshape(-1, 2).astype(np.float64)
        return np.divide(pairs[:, 0], pairs[:, 1], out=np.full(len(pairs), np.nan), where=pairs[:, 1] != 0)

    @property
    def text(self) -> str:
        return self.data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()


@dataclass(frozen=True)
class Strips:
    """Bytes outside the directories, in strips of `step` bytes (the last may be shorter); the field holds offsets."""

    data: memoryview | bytes
    step: int

    @property
    def sizes(self) -> list[int]:
        return [min(self.step, len(self.data) - at) for at in range(0, len(self.data), self.step)]


Directory = Mapping[int, "Field | Strips | Directory"]


def field(kind: int, *values: float) -> Field:
    """A field of numbers; rationals are given as numbers and stored to a relative 1e-9 or better where they fit."""
    if kind in (RATIONAL, SRATIONAL):
        values = tuple(part for value in values for part in _ratio(value, 2**31 - 1))
    _, unit, letter = _TYPES[kind]
    return Field(kind, np.array(values).astype(f"<{letter}{unit}").tobytes())


def text(value: str) -> Field:
    return Field(ASCII, value.encode("utf-8") + b"\0")


def _ratio(value: float, limit: int) -> tuple[int, int]:
    exact = Fraction(float(value))
    if abs(exact) > limit:
        raise ValueError(f"{value} does not fit a TIFF rational")
    bound = limit if abs(exact) <= 1 else max(1, int(limit / abs(exact)))
    near = exact.limit_denominator(bound)
    return near.numerator, near.denominator


@dataclass(frozen=True)
class Source:
    """An open TIFF file: byte order ("<" or ">"), size in bytes, offset of its first directory."""

    stream: BinaryIO
    order: str
    size: int
    first: int


def open_tiff(stream: BinaryIO) -> Source | None:
    """The source of a classic TIFF; None for any other file."""
    head = stream.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return None
    return Source(stream, order, stream.seek(0, 2), struct.unpack(f"{order}I", head[4:])[0])


def read_directory(source: Source, offset: int, skip: Iterable[int] = ()) -> tuple[dict[int, Field], int]:
    """The fields of a directory by tag number but those of `skip`, and the offset of the next directory.

    Fields of unknown type, or whose bytes lie outside the file, are left out. Raises ValueError.
    """
    source.stream.seek(min(offset, source.size))
    head = source.stream.read(2)
    count = struct.unpack(f"{source.order}H", head)[0] if len(head) == 2 else 0
    table = source.stream.read(12 * count + 4)
    if not 0 < count <= _MOST_FIELDS or len(table) < 12 * count:
        raise ValueError("a TIFF directory is damaged")
    fields, left_out = {}, set(skip)
    budget = source.size  # overlapping values may not add up to more than the file
    for at in range(0, 12 * count, 12):
        tag, kind, values, inside = struct.unpack_from(f"{source.order}HHI4s", table, at)
        if tag in left_out or kind not in _TYPES or not values:
            continue
        one, unit, letter = _TYPES[kind]
        size = one * values
        if size > 4:
            place = struct.unpack(f"{source.order}I", inside)[0]
            budget -= size
            if place + size > source.size or budget < 0:
                continue
            source.stream.seek(place)
            inside = source.stream.read(size)
        data = inside[:size]
        if source.order == ">" and unit > 1:
            data = np.frombuffer(data, f">{letter}{unit}").astype(f"<{letter}{unit}").tobytes()
        fields[tag] = Field(kind, data)
    after = table[12 * count :]
    return fields, struct.unpack(f"{source.order}I", after)[0] if len(after) == 4 else 0


def read_directories(source: Source, skip: Iterable[int] = ()) -> Iterator[dict[int, Field]]:
    """All directories of pictures: the chain, each with its SubIFDs (tag 330) after it. Raises ValueError."""
    seen: set[int] = set()
    waiting = [source.first]
    while waiting:
        offset = waiting.pop(0)
        if offset in seen or not offset:
            continue
        if len(seen) > 64:
            raise ValueError("a TIFF file of more than 64 directories")
        seen.add(offset)
        fields, after = read_directory(source, offset, skip)
        children = [int(child) for child in fields[330].values] if 330 in fields else []
        waiting = children + waiting + [after]
        yield fields


def write(stream: BinaryIO, root: Directory) -> None:
    """Write a little-endian TIFF: directories with their values first, all strips after them. Raises OutputError."""
    tables: list[tuple[int, Directory]] = []
    places: dict[tuple[int, int], int] = {}  # (offset of a directory, tag) -> offset of what the field points to
    end = 8

    def take(size: int) -> int:
        nonlocal end
        start, end = end, end + size + size % 2
        return start

    def place(directory: Directory) -> int:
        start = take(6 + 12 * len(directory))
        tables.append((start, directory))
        for tag, value in sorted(directory.items()):
            if isinstance(value, Mapping):
                places[start, tag] = place(value)
            elif (size := len(value.data) if isinstance(value, Field) else 4 * len(value.sizes)) > 4:
                places[start, tag] = take(size)
        return start

    place(root)
    pixels: list[tuple[int, Strips]] = []
    for start, directory in tables:
        rows = []
        for tag, value in sorted(directory.items()):
            if isinstance(value, Mapping):
                kind, data, count = LONG, struct.pack("<I", places[start, tag]), 1
            elif isinstance(value, Field):
                kind, data, count = value.type, value.data, value.count
            else:
                end += -end % _ALIGN
                offsets = end + value.step * np.arange(len(value.sizes))
                pixels.append((end, value))
                end += len(value.data)
                kind, data, count = LONG, offsets.astype("<u4").tobytes(), len(offsets)
            if len(data) > 4:
                stream.seek(places[start, tag])
                stream.write(data)
                data = struct.pack("<I", places[start, tag])
            rows.append(struct.pack("<HHI4s", tag, kind, count, data))
        stream.seek(start)
        stream.write(struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4))
    if end > 2**32 - 1:
        raise OutputError(f"a picture of {end / 2**30:.1f} GiB does not fit a TIFF file (4 GiB)")
    for offset, strips in pixels:
        stream.seek(offset)
        stream.write(strips.data)
    stream.seek(0)
    stream.write(struct.pack("<2sHI", b"II", 42, 8))
