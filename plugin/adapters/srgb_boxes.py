"""HEIF and AVIF files as items, references and properties (ISO/IEC 23008-12, 14496-12): parsed, and written again."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_ITEM_HEADER = {2: ">HHI", 3: ">IHI"}


@dataclass(frozen=True)
class Item:
    """`info` is what its infe box holds after the type: its name, and the content type of metadata."""

    kind: bytes
    data: bytes
    flags: int = 0
    info: bytes = b"\0"


@dataclass(frozen=True)
class Container:
    """A file of one or more still pictures.

    brands      the payload of ftyp.
    items       by id; `references` are (type, from, to); `properties` are (type, payload) in order.
    associated  by item: (index into `properties` from 0, essential).
    others      boxes of meta that are carried as they are (hdlr, grpl, ...); `sequence` when there is a movie.
    """

    brands: bytes
    primary: int
    items: Mapping[int, Item]
    references: tuple[tuple[bytes, int, tuple[int, ...]], ...] = ()
    properties: tuple[tuple[bytes, bytes], ...] = ()
    associated: Mapping[int, tuple[tuple[int, bool], ...]] = field(default_factory=dict)
    others: tuple[tuple[bytes, bytes], ...] = ()
    sequence: bool = False

    def of(self, item: int) -> list[tuple[bytes, bytes]]:
        """Properties of an item, in order."""
        return [self.properties[index] for index, _ in self.associated.get(item, ()) if index < len(self.properties)]

    def to(self, kind: bytes, item: int) -> list[int]:
        """Items that refer to this one."""
        return [start for name, start, ends in self.references if name == kind and item in ends]

    def parts(self, item: int) -> list[int]:
        """Items that this one is put together from (the tiles of a grid)."""
        return [end for name, start, ends in self.references if name == b"dimg" and start == item for end in ends]


def boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of payload, end) of each box. Raises ValueError where one does not fit."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        size, kind, start = struct.unpack_from(">I", data, at)[0], data[at + 4 : at + 8], at + 8
        if size == 1 and at + 16 <= end:
            size, start = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        stop = end if size == 0 else at + size
        if stop > end or stop < start:
            raise ValueError("it is damaged or cut off")
        yield kind, start, stop
        at = stop


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) + 8) + kind + payload


def parse(data: bytes) -> Container:
    """Raises ValueError for what is damaged, or is no file of still pictures."""
    try:
        return _parse(data)
    except (struct.error, IndexError, KeyError):
        raise ValueError("it is damaged or cut off") from None


def _parse(data: bytes) -> Container:
    top = {kind: (start, end) for kind, start, end in reversed(list(boxes(data)))}
    if b"ftyp" not in top or b"meta" not in top:
        raise ValueError("it holds no still picture")
    start, end = top[b"meta"]
    inner = {kind: data[a:b] for kind, a, b in boxes(data, start + 4, end)}
    primary = struct.unpack_from(">I" if inner[b"pitm"][0] else ">H", inner[b"pitm"], 4)[0]
    content = _contents(data, inner[b"iloc"], inner.get(b"idat", b""))
    items = {}
    info = inner[b"iinf"]
    for kind, a, b in boxes(info, 8 if info[0] else 6):
        if kind != b"infe" or info[a] not in _ITEM_HEADER:
            continue
        form = _ITEM_HEADER[info[a]]
        number, _, name = struct.unpack_from(form, info, a + 4)
        flags = int.from_bytes(info[a + 1 : a + 4])
        rest = info[a + 4 + struct.calcsize(form) : b]
        items[number] = Item(name.to_bytes(4), content.get(number, b""), flags, rest)
    if primary not in items:
        raise ValueError("it is damaged: its main picture is missing")
    properties, associated = _properties(inner.get(b"iprp", b""))
    known = (b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat")
    others = tuple((kind, data[a:b]) for kind, a, b in boxes(data, start + 4, end) if kind not in known)
    return Container(
        data[slice(*top[b"ftyp"])],
        primary,
        items,
        tuple(_references(inner.get(b"iref", b""))),
        properties,
        associated,
        others,
        b"moov" in top,
    )


def _contents(data: bytes, iloc: bytes, idat: bytes) -> dict[int, bytes]:
    version, sizes = iloc[0], struct.unpack_from(">H", iloc, 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    at, found, total = 6, {}, 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(iloc):
            raise IndexError
        return int.from_bytes(iloc[at - size : at])

    for _ in range(number(2 if version < 2 else 4)):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)
        base, pieces = number(base_size), []
        source = idat if method == 1 else data
        for _ in range(number(2)):
            number(index_size if version else 0)
            start, length = base + number(offset_size), number(length_size)
            length = length or len(source) - start
            if method > 1 or start + length > len(source) or length < 0:
                raise ValueError("it is damaged or cut off")
            pieces.append(source[start : start + length])
            total += length
            if total > 4 * len(data):
                raise ValueError("it is damaged: its items overlap")
        found[item] = b"".join(pieces)
    return found


def _references(iref: bytes) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
    code = "I" if iref and iref[0] else "H"
    for kind, a, _ in boxes(iref, 4):
        start, count = struct.unpack_from(f">{code}H", iref, a)
        yield kind, start, struct.unpack_from(f">{count}{code}", iref, a + struct.calcsize(f">{code}H"))


def _properties(iprp: bytes) -> tuple[tuple[tuple[bytes, bytes], ...], dict[int, tuple[tuple[int, bool], ...]]]:
    properties, associated = [], {}
    for kind, start, end in boxes(iprp):
        if kind == b"ipco":
            properties = [(name, iprp[a:b]) for name, a, b in boxes(iprp, start, end)]
        elif kind == b"ipma":
            wide, long, at = iprp[start + 3] & 1, iprp[start] > 0, start + 8
            for _ in range(struct.unpack_from(">I", iprp, start + 4)[0]):
                item, count = struct.unpack_from(">IB" if long else ">HB", iprp, at)
                at += 5 if long else 3
                codes = struct.unpack_from(f">{count}{'H' if wide else 'B'}", iprp, at)
                at += count * (2 if wide else 1)
                top = 0x8000 if wide else 0x80
                associated[item] = tuple((code % top - 1, bool(code & top)) for code in codes if code % top)
    return tuple(properties), associated


def build(container: Container, tail: bytes = b"") -> bytes:
    """The bytes of a file with these items, and `tail` after them."""
    numbers = sorted(container.items)
    info = b"".join(
        box(
            b"infe",
            bytes((3,))
            + container.items[n].flags.to_bytes(3)
            + struct.pack(">IH", n, 0)
            + container.items[n].kind
            + container.items[n].info,
        )
        for n in numbers
    )
    references = b"".join(
        box(kind, struct.pack(f">IH{len(ends)}I", start, len(ends), *ends))
        for kind, start, ends in container.references
    )
    links = b"".join(
        struct.pack(f">IB{len(links)}H", item, len(links), *(index + 1 | essential << 15 for index, essential in links))
        for item, links in sorted(container.associated.items())
    )
    properties = b"".join(box(kind, payload) for kind, payload in container.properties)

    def meta(offset: int) -> bytes:
        places = b""
        for n in numbers:
            size = len(container.items[n].data)
            places += struct.pack(">IHHHQQ", n, 0, 0, 1, offset, size)
            offset += size
        inner = [box(kind, payload) for kind, payload in container.others if kind == b"hdlr"]
        inner += [
            box(b"pitm", b"\1\0\0\0" + struct.pack(">I", container.primary)),
            box(b"iloc", b"\2\0\0\0\x88\0" + struct.pack(">I", len(numbers)) + places),
            box(b"iinf", b"\1\0\0\0" + struct.pack(">I", len(numbers)) + info),
            *([box(b"iref", b"\1\0\0\0" + references)] if references else []),
            box(
                b"iprp",
                box(b"ipco", properties)
                + box(b"ipma", b"\1\0\0\1" + struct.pack(">I", len(container.associated)) + links),
            ),
        ]
        inner += [box(kind, payload) for kind, payload in container.others if kind != b"hdlr"]
        return box(b"meta", b"\0\0\0\0" + b"".join(inner))

    start = box(b"ftyp", container.brands)
    before = len(start) + len(meta(0)) + 16
    content = b"".join(container.items[n].data for n in numbers)
    return b"".join(
        [
            start,
            meta(before),
            struct.pack(">I4sQ", 1, b"mdat", len(content) + 16),
            content,
            tail,
        ]
    )
