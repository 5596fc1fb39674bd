"""Strips and tiles of TIFF files, coded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mdenoise.adapters.srgb_photo import library

CODINGS = {1: "none", 5: "lzw", 8: "zlib", 32946: "zlib", 32773: "packbits", 34925: "lzma", 50000: "zstd"}


@dataclass(frozen=True)
class Layout:
    """How the source lies in its file; `pixels` is (H, W, samples) as decoded, further samples included."""

    pixels: np.ndarray
    compression: int
    predictor: int
    planar: bool
    tile: tuple[int, int] | None
    rows: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    white_is_zero: bool
    dropped: tuple[int, ...]


def segments(pixels: np.ndarray, layout: Layout) -> Iterator[np.ndarray]:
    """Strips or tiles in the file's order, (rows, columns, samples); tiles that reach over the edge repeat it."""
    height, width, samples = pixels.shape
    tall, wide = layout.tile or (layout.rows, width)
    for plane in range(samples) if layout.planar else (slice(None),):
        part = pixels[..., plane].reshape(height, width, -1)
        for y in range(0, height, tall):
            for x in range(0, width, wide):
                one = part[y : y + tall, x : x + wide]
                if layout.tile and one.shape[:2] != (tall, wide):
                    one = np.pad(one, ((0, tall - one.shape[0]), (0, wide - one.shape[1]), (0, 0)), "edge")
                yield np.ascontiguousarray(one)


def encode(segment: np.ndarray, layout: Layout, order: str) -> bytes:
    codecs = library("imagecodecs")
    stored = segment.dtype.newbyteorder(order)
    if layout.predictor == 3:
        content = bytes(codecs.floatpred_encode(segment.astype(stored), axis=-2))
    else:
        values = codecs.delta_encode(segment, axis=-2) if layout.predictor == 2 else segment
        content = np.asarray(values).view(segment.dtype).astype(stored).tobytes()
    how = CODINGS[layout.compression]
    if how == "none":
        return content
    if how == "zlib":
        return zlib.compress(content, 6)
    if how == "packbits":  # row by row, as the format asks
        row = len(content) // segment.shape[0]
        return b"".join(bytes(codecs.packbits_encode(content[at : at + row])) for at in range(0, len(content), row))
    return bytes(getattr(codecs, f"{how}_encode")(content))
