"""A picture file in memory: its pixels as stored, and its bytes, from which everything else is carried over."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mdenoise.errors import InputError

# A picture of one colour is 1,032 times smaller as PNG, and 1,540 times as progressive JPEG; none is a photograph.
_LARGEST_RATIO = 4096
_ALWAYS_FINE = 1 << 26
_SILENT = logging.NullHandler()
EXTRAS = {"PIL": "photo", "imagecodecs": "photo", "tifffile": "photo", "pillow_heif": "heif"}


@dataclass(frozen=True)
class Photo:
    """One picture.

    kind    the format: png, jpeg, tiff, webp, avif or heic.
    data    the source file, byte for byte.
    color   (H, W) grey, (H, W, 3) RGB or (H, W, 4) CMYK, in the file's own encoding and type: uint8, uint16,
            float16 or float32; not rotated.
    white   the code of full scale: 255, 1023, 65535, ...; 1.0 for floats.
    alpha   (H, W) of the same type, carried untouched; None when there is none.
    icc, exif, xmp   profile, TIFF structure and packet, for files of another format; None when absent.
    layout  what the format's own module needs to write it again.
    notes   what a user should know.
    changed whether `color` differs from what `data` holds.
    """

    path: Path
    kind: str
    data: bytes
    color: np.ndarray
    white: float
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    layout: Any = None
    notes: tuple[str, ...] = ()
    changed: bool = False

    @property
    def bits(self) -> int:
        return int(self.white).bit_length() if self.color.dtype.kind == "u" else 8 * self.color.dtype.itemsize

    @property
    def model(self) -> str:
        return "grey" if self.color.ndim == 2 else {3: "RGB", 4: "CMYK"}[self.color.shape[2]]

    def joined(self) -> np.ndarray:
        """Colour and alpha as one array, as encoders take them; (H, W) when it is grey alone."""
        if self.alpha is None:
            return np.ascontiguousarray(self.color)
        return np.dstack([self.color, self.alpha])


def split(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha of what decoders return: (H, W), or (H, W, 1 to 4) with alpha in an even last channel."""
    if pixels.ndim == 2:
        return pixels, None
    count = pixels.shape[2]
    color = pixels[..., 0] if count < 3 else pixels[..., :3]
    return np.ascontiguousarray(color), np.ascontiguousarray(pixels[..., -1]) if count in (2, 4) else None


def library(name: str) -> ModuleType:
    """A library that reads files of some kind. Raises InputError with what to install."""
    logging.getLogger(name).addHandler(_SILENT)  # else what it finds odd in a file goes to stderr
    try:
        return import_module(name)
    except ImportError:
        top = name.split(".")[0]
        raise InputError(
            f'{top} is not installed, which files of this kind need: pip install "mdenoise[{EXTRAS[top]}]"'
        ) from None


def quiet() -> warnings.catch_warnings:
    """While it lasts, libraries do not print what they find odd in a file."""
    return warnings.catch_warnings(action="ignore")


def check_size(width: int, height: int, bytes_per_px: int, file_bytes: int) -> None:
    """Refuse sizes that a header claims and the file cannot hold, before anything is allocated. Raises ValueError."""
    if width < 1 or height < 1:
        raise ValueError("it has no pixels")
    claimed = width * height * bytes_per_px
    if claimed > _ALWAYS_FINE and claimed > _LARGEST_RATIO * file_bytes:
        raise ValueError(f"it is damaged: it claims {width} x {height} px, but is {file_bytes} bytes long")


def stamp_text(stamp: Mapping[str, str]) -> bytes:
    """A provenance stamp as one line of ASCII, which every format can hold."""
    return json.dumps(dict(stamp)).encode("ascii")


def stamp_values(text: bytes) -> dict[str, str]:
    """The stamp of `stamp_text`; empty for anything else."""
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in values.items()} if isinstance(values, dict) else {}
