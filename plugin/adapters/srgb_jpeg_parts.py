"""What a JPEG file holds beside its picture: gain maps, previews and other pictures, named by an MPF index
(CIPA DC-007) or only appended (Ultra HDR, https://developer.android.com/media/platform/hdr-image-format), and the
data of makers after them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

MPF = b"MPF\0"
# The end of entropy-coded data: a marker that is neither a stuffed zero nor a restart.
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_ISO = b"urn:iso:std:iso:ts:21496:-1"
_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", _ISO, b"hdrgainmap")
_PREVIEWS = (0x010001, 0x010002)
# What says in XMP that there is a gain map: blanked with spaces, so that all else keeps its bytes.
_SAYS_SO = re.compile(
    rb"""hdrgm:\w+\s*=\s*("[^"]*"|'[^']*')|<hdrgm:(\w+)[^>]*>.*?</hdrgm:\2>|"""
    rb"""<(\w*Container):Directory\b.*?</\3:Directory>""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Segment:
    """`start` is the place of its 0xFF in the file; `payload` has no marker and no length."""

    marker: int
    payload: bytes
    start: int


@dataclass(frozen=True)
class Picture:
    """One picture of the MPF index: where its entry lies, relative to the index' own base; where it is in the file."""

    entry: int
    kind: int
    start: int
    size: int


@dataclass(frozen=True)
class Extra:
    """What follows the picture, from `end` on.

    base      where the offsets of the MPF index count from; 0 without an index.
    gain_map  whether there is one; `dropped` ranges (start, end) in the source are left out of the result.
    """

    data: bytes
    end: int
    base: int = 0
    order: str = ">"
    pictures: tuple[Picture, ...] = ()
    gain_map: bool = False
    dropped: tuple[tuple[int, int], ...] = ()
    blank: bool = False
    notes: tuple[str, ...] = ()


def segments(data: bytes) -> tuple[list[Segment], int]:
    """All segments before the first scan, and the place after the picture's end. Raises ValueError."""
    found = list(header(data))
    if not found or found[-1].marker != 0xDA:
        raise ValueError("it is damaged or cut off")
    at = found[-1].start + 4 + len(found[-1].payload)
    while marker := _MARKER.search(data, at):
        kind, at = data[marker.end() - 1], marker.end()
        if kind == 0xD9:
            return found, at
        if at + 2 > len(data):
            break
        at += struct.unpack_from(">H", data, at)[0]
    raise ValueError("it is cut off")


def header(data: bytes) -> Iterator[Segment]:
    """Segments up to and with the start of the first scan, or to where the file is damaged."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:
            at += 1
            continue
        marker, (size,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or size < 2 or at + 2 + size > len(data):
            return
        yield Segment(marker, data[at + 4 : at + 2 + size], at)
        if marker == 0xDA:
            return
        at += 2 + size


def find(data: bytes, end: int, found: Sequence[Segment]) -> Extra:
    """What lies behind the picture that ends at `end`; its previews, which show the noise, are marked to be dropped.
    Raises ValueError for several pictures of equal rank (panorama, stereo)."""
    extra = Extra(data, end)
    for one in found:
        if one.marker == 0xE2 and one.payload.startswith(MPF):
            try:
                extra = _index(extra, one.payload, one.start + 8)
            except (struct.error, IndexError):
                raise ValueError("it is damaged: its index of pictures (MPF) cannot be read") from None
            break
    if any(one.kind >> 16 == 2 for one in extra.pictures):
        raise ValueError(f"it holds {len(extra.pictures)} pictures (panorama, stereo): save them as files of their own")
    said = [one.payload for one in found if one.marker in (0xE1, 0xE2)]
    behind = data[end:] if extra.pictures or data[end : end + 2] == b"\xff\xd8" else b""
    gain_map = bool(behind) and any(key in text for text in (*said, behind) for key in _GAIN_MAPS)
    previews = [one for one in extra.pictures[1:] if one.kind in _PREVIEWS]
    if previews and not gain_map:
        what = "its large preview, which shows the noise, is left out"
        return replace(extra, dropped=tuple((one.start, one.start + one.size) for one in previews), notes=(what,))
    others = 0 if gain_map else len(extra.pictures[1:])  # a portrait's depth map, say
    notes = (f"{others} further pictures in it are kept as they are",) if others else ()
    return replace(extra, gain_map=gain_map, notes=notes)


def without_gain_map(extra: Extra) -> Extra:
    """The same without the pictures behind the first, and with nothing that speaks of them."""
    ranges = [(one.start, one.start + one.size) for one in extra.pictures[1:]]
    if not ranges:  # only appended: it starts where the picture ends
        ranges = [(extra.end, extra.end + segments(extra.data[extra.end :])[1])]
    return replace(extra, dropped=tuple(ranges), blank=True)


def payload_without(extra: Extra, payload: bytes) -> bytes | None:
    """A segment of the source as it goes into the result; None when it speaks only of what is dropped."""
    if extra.dropped and payload.startswith(MPF):
        return None
    if not extra.blank:
        return payload
    if payload.startswith(_ISO):
        return None
    return _SAYS_SO.sub(lambda found: b" " * len(found[0]), payload) if b"hdr-gain-map" in payload else payload


def moved(extra: Extra, picture: bytes, base: int) -> bytes:
    """`picture`, the new first one, and what follows it; its MPF index, with offsets that count from `base`, tells the
    new places."""
    tail, at = b"", extra.end
    for start, stop in sorted(extra.dropped):
        tail += extra.data[at : max(at, start)]
        at = max(at, stop)
    tail += extra.data[at:]
    if not extra.pictures or extra.dropped:
        return picture + tail
    shift = (len(picture) - base) - (extra.end - extra.base)
    out = bytearray(picture)
    for index, one in enumerate(extra.pictures):
        size, start = struct.unpack_from(f"{extra.order}II", out, base + one.entry + 4)
        if index == 0:
            size = len(picture)
        elif extra.base + start >= extra.end:
            start += shift
        struct.pack_into(f"{extra.order}II", out, base + one.entry + 4, size, start)
    return bytes(out) + tail


def _index(extra: Extra, payload: bytes, base: int) -> Extra:
    """The MPF index in `payload`, whose offsets count from the place `base` of the file."""
    index = payload[len(MPF) :]
    order = "<" if index[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", index, 4)
    (count,) = struct.unpack_from(f"{order}H", index, at)
    for number in range(count):
        tag, _, size, place = struct.unpack_from(f"{order}HHII", index, at + 2 + 12 * number)
        if tag != 0xB002:
            continue
        pictures = []
        for entry in range(place, place + size, 16):
            kind, length, start = struct.unpack_from(f"{order}III", index, entry)
            pictures.append(Picture(entry, kind & 0xFFFFFF, base + start if start else 0, length))
        return replace(extra, base=base, order=order, pictures=tuple(pictures))
    return extra
