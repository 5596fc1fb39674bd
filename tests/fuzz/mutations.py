"""Damage to files: blind (cut off, bits flipped, pieces swapped) and by someone who knows the format's header.

`mutate(seeds, kind, seed, number)` is a pure function, so that any file of any run can be made again.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np

Random = np.random.Generator
_KINDS = ("exr", "raw", "srgb")
_NUMBERS = (
    *(0, 1, 2, 7, 16, 63, 64, 127, 128, 255, 256, 4095, 32767, 32768, 65535, 65536),
    *(1 << 20, 1 << 24, (1 << 28) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1),
)  # fmt: skip
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def mutate(seeds: Mapping[str, bytes], kind: str, seed: int, number: int) -> tuple[str, bytes]:
    """(name of the file it came from, damaged content)."""
    rng = np.random.default_rng([seed, _KINDS.index(kind), number])
    name = sorted(seeds)[rng.integers(len(seeds))]
    data = bytearray(seeds[name])
    magic = bytes(data[:4])
    aware = _boxes if data[4:8] == b"ftyp" else _AWARE[magic if magic in _AWARE else magic[:2]]
    for _ in range(min(4, int(rng.geometric(0.75)))):
        if len(data) > 16 and rng.random() < 0.6:
            with suppress(struct.error, IndexError, ValueError):  # what is damaged already may not be followed
                aware(data, rng)
        elif len(data) > 16:
            other = seeds[sorted(seeds)[rng.integers(len(seeds))]]
            _BLIND[rng.integers(len(_BLIND))](data, other, rng)
    return name, bytes(data)


def _number(rng: Random, bits: int) -> int:
    if rng.random() < 0.25:
        return int(rng.integers(1 << bits))
    return (_NUMBERS[rng.integers(len(_NUMBERS))] + int(rng.integers(-1, 2))) % (1 << bits)


# --- blind ----------------------------------------------------------------------------------------------------------


def _cut(data: bytearray, other: bytes, rng: Random) -> None:
    del data[int(rng.integers(len(data))) :]


def _flip(data: bytearray, other: bytes, rng: Random) -> None:
    front = rng.random() < 0.5  # headers are a small part of a file
    for place in rng.integers(min(len(data), 2048) if front else len(data), size=int(rng.integers(1, 17))):
        data[place] ^= 1 << int(rng.integers(8))


def _overwrite(data: bytearray, other: bytes, rng: Random) -> None:
    place = int(rng.integers(len(data) - 8))
    size = (1, 2, 4, 8)[rng.integers(4)]
    data[place : place + size] = _number(rng, 8 * size if size < 8 else 63).to_bytes(
        size, ("little", "big")[rng.integers(2)]
    )


def _splice(data: bytearray, other: bytes, rng: Random) -> None:
    length = int(rng.integers(1, 256))
    start = int(rng.integers(len(other)))
    place = int(rng.integers(len(data)))
    data[place : place + (length if rng.random() < 0.7 else 0)] = other[start : start + length]


def _drop(data: bytearray, other: bytes, rng: Random) -> None:
    place = int(rng.integers(len(data)))
    del data[place : place + int(rng.integers(1, 64))]


def _fill(data: bytearray, other: bytes, rng: Random) -> None:
    place, length = int(rng.integers(len(data))), int(rng.integers(1, 128))
    data[place : place + length] = bytes([(0, 255, 0x7F, 0x80)[rng.integers(4)]]) * min(length, len(data) - place)


_BLIND = (_cut, _flip, _flip, _overwrite, _splice, _drop, _fill)


# --- with knowledge -------------------------------------------------------------------------------------------------


def _exr(data: bytearray, rng: Random) -> None:
    """One attribute (its value, size, type or name), a channel, the version, a block's offset or leader."""
    attributes, table = _exr_attributes(bytes(data))
    choice = rng.random()
    if choice < 0.08 or not attributes:
        struct.pack_into("<I", data, 4, _number(rng, 32) if rng.random() < 0.3 else 2 | 1 << int(rng.integers(9, 14)))
    elif choice < 0.3 and table + 8 < len(data):
        blocks = min(64, (len(data) - table) // 8)
        entry = table + 8 * int(rng.integers(max(1, min(blocks, 6))))
        (offset,) = struct.unpack_from("<Q", data, entry)
        if rng.random() < 0.5 and offset + 20 < len(data):  # part, coordinates, size of a block, or its first bytes
            struct.pack_into("<I", data, offset + 4 * int(rng.integers(6)) % 20, _number(rng, 32))
        else:
            struct.pack_into(
                "<Q", data, entry, _number(rng, 63) if rng.random() < 0.5 else int(rng.integers(len(data)))
            )
    else:
        name, start, value, size = attributes[rng.integers(len(attributes))]
        if rng.random() < 0.1:
            struct.pack_into("<i", data, value - 4, np.int32(np.uint32(_number(rng, 32))))
        elif rng.random() < 0.1:
            place = start + int(rng.integers(value - 4 - start))
            data[place] = int(rng.integers(256))
        elif name == b"channels" and size > 18:
            ends = [found.end() for found in re.finditer(rb"[^\0]+\0", bytes(data[value : value + size - 17]))]
            place = value + ends[rng.integers(len(ends))] + (0, 4, 8, 12)[rng.integers(4)]
            struct.pack_into("<I", data, place, (0, 1, 2, 3, _number(rng, 32))[rng.integers(5)])
        elif name in (b"compression", b"lineOrder"):
            data[value] = int(rng.integers(14))
        elif size >= 4:
            struct.pack_into("<I", data, value + 4 * int(rng.integers(size // 4)), _number(rng, 32))
        elif size:
            data[value + int(rng.integers(size))] = int(rng.integers(256))


def _exr_attributes(data: bytes) -> tuple[list[tuple[bytes, int, int, int]], int]:
    """(name, start, start of its value, size) as far as the header can be followed, and where it ends."""
    found, position = [], 8
    while position < len(data) - 12:
        if data[position] == 0:
            position += 1
            if data[position] == 0 or not struct.unpack_from("<I", data, 4)[0] & 0x1000:
                break
            continue
        name_end = data.find(b"\0", position)
        kind_end = data.find(b"\0", name_end + 1)
        if not 0 < name_end < kind_end < len(data) - 8:
            break
        (size,) = struct.unpack_from("<i", data, kind_end + 1)
        if not 0 <= size <= len(data) - kind_end - 5:
            break
        found.append((data[position:name_end], position, kind_end + 5, size))
        position = kind_end + 5 + size
    return found, position


def _tiff(data: bytearray, rng: Random) -> None:
    """One entry of a directory: its tag, type, count, offset or value, or how many entries there are."""
    order = "<" if data[:2] == b"II" else ">"
    entries, counts = [], []
    waiting, seen = [struct.unpack_from(f"{order}I", data, 4)[0]], set()
    while waiting:
        place = waiting.pop()
        if place in seen or place + 2 > len(data):
            continue
        seen.add(place)
        (count,) = struct.unpack_from(f"{order}H", data, place)
        counts.append(place)
        for entry in range(place + 2, min(place + 2 + 12 * count, len(data) - 12), 12):
            entries.append(entry)
            tag, _, _, value = struct.unpack_from(f"{order}HHII", data, entry)
            if tag in (0x14A, 0x8769, 0x8825):
                waiting.append(value)
    if not entries or rng.random() < 0.05:
        place = counts[rng.integers(len(counts))] if counts else 4
        struct.pack_into(f"{order}H", data, min(place, len(data) - 2), _number(rng, 16))
        return
    entry = entries[rng.integers(len(entries))]
    _, kind, count, value = struct.unpack_from(f"{order}HHII", data, entry)
    choice = rng.random()
    if choice < 0.1:
        struct.pack_into(f"{order}H", data, entry, int(rng.integers(65536)))
    elif choice < 0.2:
        struct.pack_into(f"{order}H", data, entry + 2, int(rng.integers(20)))
    elif choice < 0.4:
        struct.pack_into(f"{order}I", data, entry + 4, _number(rng, 32))
    elif choice < 0.7 or _TIFF_SIZES.get(kind, 1) * count <= 4:
        size = "H" if kind == 3 and rng.random() < 0.8 else "I"
        struct.pack_into(f"{order}{size}", data, entry + 8, _number(rng, 16 if size == "H" else 32))
    elif value + 4 < len(data):
        place = value + int(rng.integers(_TIFF_SIZES.get(kind, 1) * count))
        struct.pack_into(f"{order}I", data, min(place, len(data) - 4), _number(rng, 32))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def _png(data: bytearray, rng: Random) -> None:
    """A chunk changed, dropped, doubled or moved, its checksum made right again; pixels that inflate to far more."""
    chunks, position = [], 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append((bytes(data[position + 4 : position + 8]), bytes(data[position + 8 : position + 8 + length])))
        position += 12 + length
    if not chunks:
        return
    index = int(rng.integers(len(chunks)))
    kind, content = chunks[index]
    choice = rng.random()
    if choice < 0.1:
        del chunks[index]
    elif choice < 0.2:
        chunks.insert(int(rng.integers(len(chunks))), chunks[index])
    elif choice < 0.3:
        chunks[index] = (b"IDAT", zlib.compress(bytes(int(rng.integers(1, 1 << 22)))))
    elif choice < 0.6 and chunks[0][0] == b"IHDR":
        header = bytearray(chunks[0][1])
        if len(header) == 13:
            place = int(rng.integers(13))
            header[place : place + 1] = bytes([int(rng.integers(256)) if rng.random() < 0.5 else place % 9])
        chunks[0] = (b"IHDR", bytes(header))
    elif content:
        changed = bytearray(content)
        changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
        chunks[index] = (kind, bytes(changed))
    else:
        extra = (b"iCCP", b"zTXt", b"eXIf", b"tRNS", b"PLTE", b"iTXt", b"acTL")[rng.integers(7)]
        chunks.insert(1, (extra, b"x\0\0" + zlib.compress(bytes(int(rng.integers(1, 1 << 20))))))
    data[8:] = b"".join(png_chunk(*chunk) for chunk in chunks)


def _jpeg(data: bytearray, rng: Random) -> None:
    """A marker segment: its length, kind or content; dropped, doubled."""
    segments, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        segments.append(position)
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if not segments:
        return
    start = segments[rng.integers(len(segments))]
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    choice = rng.random()
    if choice < 0.1:
        del data[start:end]
    elif choice < 0.2:
        data[start:start] = data[start:end]
    elif choice < 0.35:
        data[start + 2 : start + 4] = _number(rng, 16).to_bytes(2, "big")
    elif choice < 0.45:
        data[start + 1] = int(rng.integers(0xC0, 0xFF))
    elif end > start + 4:
        place = start + 4 + int(rng.integers(min(end - start - 4, 24)))
        if place < len(data):
            data[place] = _number(rng, 8)


def _riff(data: bytearray, rng: Random) -> None:
    """The sizes, names and first bytes of WebP's chunks."""
    starts, position = [4], 12
    while position + 8 <= len(data):
        starts += [position, position + 4, position + 8]
        position += 8 + struct.unpack_from("<I", data, position + 4)[0] + 1 & ~1
    place = starts[rng.integers(len(starts))] + int(rng.integers(4))
    if place + 4 <= len(data):
        struct.pack_into("<I", data, place, _number(rng, 32))


_FULL_BOXES = {b"meta": 4, b"iref": 4}  # what stands before the boxes inside them
_NESTED = (b"meta", b"iref", b"iprp", b"ipco", b"dinf")


def _boxes(data: bytearray, rng: Random) -> None:
    """The sizes, names and first numbers of the boxes of HEIC and AVIF, those inside others as well."""
    starts, spans = [], [(0, len(data))]
    while spans:
        position, end = spans.pop()
        while position + 8 <= end:
            size, kind = int.from_bytes(data[position : position + 4], "big"), bytes(data[position + 4 : position + 8])
            if size < 8:
                break
            starts.append(position)
            if kind in _NESTED:
                spans.append((position + 8 + _FULL_BOXES.get(kind, 0), min(end, position + size)))
            position += size
    start = starts[rng.integers(len(starts))]
    choice = rng.random()
    place = start + (0 if choice < 0.25 else 4 if choice < 0.35 else 8 + int(rng.integers(24)))
    width = int(rng.choice([1, 2, 4]))
    if place + width <= len(data):
        data[place : place + width] = _number(rng, 8 * width).to_bytes(width, "big")


_AWARE: dict[bytes, Callable[[bytearray, Random], None]] = {
    b"\x76\x2f\x31\x01": _exr, b"II*\0": _tiff, b"MM\0*": _tiff, b"\x89PNG": _png, b"\xff\xd8": _jpeg, b"RIFF": _riff,
}  # fmt: skip
