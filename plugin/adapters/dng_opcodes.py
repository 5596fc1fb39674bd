"""Opcode lists of DNG (specification 1.7.1, chapter 7): bad pixels and lens shading, the two that denoising touches.

A list is big-endian whatever the file: a count, then for each opcode its number, version, flags, size and parameters.
Coordinates of list 1 count from the stored picture, those of list 2 from the active area.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mdenoise.adapters.dng_tiff import Field

BAD_CONSTANT, BAD_LIST, GAIN_MAP = 4, 5, 9
# Warps, bad pixels by place, trimming, gains: the same whatever the stored values are multiplied by.
_SCALE_FREE = {1, 2, 3, BAD_LIST, 6, GAIN_MAP, 12, 13}


@dataclass(frozen=True)
class GainMap:
    """Gains on a grid over the whole active area, for the samples of a region at a pitch.

    region  (top, left, bottom, right) px; planes (first, count); pitch (rows, columns).
    spacing, origin  of the grid (vertical, horizontal) as parts of the area's size; gains (v, h, planes) float32.
    """

    region: tuple[int, int, int, int]
    planes: tuple[int, int]
    pitch: tuple[int, int]
    spacing: tuple[float, float]
    origin: tuple[float, float]
    gains: np.ndarray


def parse(opcodes: Field | None) -> Iterator[tuple[int, bytes]]:
    """(number, parameters) of each opcode. Raises ValueError where the list is damaged."""
    data = opcodes.data if opcodes is not None else b"\0\0\0\0"
    try:
        count, at = struct.unpack_from(">I", data)[0], 4
        for _ in range(count):
            number, _, _, size = struct.unpack_from(">IIII", data, at)
            if at + 16 + size > len(data):
                raise struct.error
            yield number, data[at + 16 : at + 16 + size]
            at += 16 + size
    except struct.error:
        raise ValueError("an opcode list is damaged") from None


def scale_free(opcodes: Field | None) -> bool:
    """Whether stored samples may be multiplied without a change to the list. A damaged list: no."""
    try:
        return all(number in _SCALE_FREE for number, _ in parse(opcodes))
    except ValueError:
        return False


def bad_pixels(opcodes: Field | None, samples: np.ndarray) -> np.ndarray:
    """Where OpcodeList1 says that stored `samples` (H, W), as in the source, are to be replaced: (H, W) bool.

    Raises ValueError where the list is damaged.
    """
    bad = np.zeros(samples.shape, bool)
    for number, data in parse(opcodes):
        try:
            if number == BAD_CONSTANT:
                bad |= samples == struct.unpack_from(">I", data)[0]
            elif number == BAD_LIST:
                _, points, rects = struct.unpack_from(">III", data)
                where = np.frombuffer(data, ">u4", 2 * points, 12).reshape(-1, 2)
                where = where[(where[:, 0] < bad.shape[0]) & (where[:, 1] < bad.shape[1])]
                bad[where[:, 0], where[:, 1]] = True
                for top, left, bottom, right in np.frombuffer(data, ">u4", 4 * rects, 12 + 8 * points).reshape(-1, 4):
                    bad[top:bottom, left:right] = True
        except (struct.error, ValueError):
            raise ValueError("a list of bad pixels is damaged") from None
    return bad


def gain_map(data: bytes) -> GainMap:
    """The parameters of opcode 9. Raises ValueError."""
    try:
        ten = struct.unpack_from(">10I", data)
        spacing_v, spacing_h, origin_v, origin_h, planes = struct.unpack_from(">4dI", data, 40)
        gains = np.frombuffer(data, ">f4", ten[8] * ten[9] * planes, 76).astype(np.float32)
    except (struct.error, ValueError):
        raise ValueError("a gain map is damaged") from None
    if not (gains.size and min(ten[6:8]) and spacing_v >= 0 and spacing_h >= 0 and np.isfinite(gains).all()):
        raise ValueError("a gain map is damaged")
    grid = gains.reshape(ten[8], ten[9], planes)
    return GainMap(ten[:4], ten[4:6], ten[6:8], (spacing_v, spacing_h), (origin_v, origin_h), grid)


def apply_gain_maps(opcodes: Field | None, picture: np.ndarray) -> set[int]:
    """Multiply `picture` (H, W, planes) float32, black 0, by the gain maps of OpcodeList2, in place.

    Returns the numbers of the opcodes that were left out as they are none. Raises ValueError.
    """
    left_out = set()
    for number, data in parse(opcodes):
        if number != GAIN_MAP:
            left_out.add(number)
            continue
        one = gain_map(data)
        rows = np.arange(one.region[0], min(one.region[2], picture.shape[0]), one.pitch[0])
        columns = np.arange(one.region[1], min(one.region[3], picture.shape[1]), one.pitch[1])
        low, high, part = _between(rows, picture.shape[0], one.spacing[0], one.origin[0], one.gains.shape[0])
        left, right, side = _between(columns, picture.shape[1], one.spacing[1], one.origin[1], one.gains.shape[1])
        for plane in range(one.planes[0], min(sum(one.planes), picture.shape[2])):
            grid = one.gains[..., min(plane - one.planes[0], one.gains.shape[2] - 1)]
            across = grid[:, left] * (1 - side) + grid[:, right] * side
            for at, row in enumerate(rows):
                gain = across[low[at]] * (1 - part[at]) + across[high[at]] * part[at]
                picture[row, columns, plane] *= gain
    return left_out


def _between(
    pixels: np.ndarray, size: int, spacing: float, origin: float, points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The grid points before and after the centre of each pixel, and how far between them it lies."""
    where = ((pixels + 0.5) / size - origin) / (spacing or 1.0)
    where = where.clip(0, points - 1)
    low = np.minimum(where.astype(np.intp), max(points - 2, 0))
    return low, np.minimum(low + 1, points - 1), (where - low).astype(np.float32)
