"""What the network sees of a picture, and how the result is blended with its source."""

from __future__ import annotations

import numpy as np

from mdenoise.adapters.srgb_photo import Photo

_BAND_ROWS = 256  # blended at once


def guide(photo: Photo) -> np.ndarray:
    """(H, W, 3) as the network sees it: [0, 1] for integers; of CMYK, what would be seen on paper, roughly."""
    color, white = photo.color, np.float32(photo.white)
    if color.dtype.kind == "f":
        return np.broadcast_to(color[..., None], (*color.shape, 3)) if color.ndim == 2 else color[..., :3]
    if photo.model == "CMYK":
        out = color[..., :3] / -white
        out += 1
        out *= 1 - color[..., 3:] / white
        return out
    grey = color / white
    if photo.kind == "tiff" and photo.layout.white_is_zero:
        grey = 1 - grey
    return np.broadcast_to(grey[..., None], (*grey.shape, 3)) if grey.ndim == 2 else grey


def blended(source: np.ndarray, result: np.ndarray, luma: float, chroma: float) -> np.ndarray:
    """`source` with `luma` of what the filter changed in brightness (the channels' mean), `chroma` of the rest."""
    out = np.empty_like(source)
    for y in range(0, source.shape[0], _BAND_ROWS):
        rows = slice(y, y + _BAND_ROWS)
        before = source[rows].astype(np.float32)
        change = result[rows].astype(np.float32) - before
        brightness = change.mean(axis=-1, keepdims=True)
        mixed = before + np.float32(luma) * brightness + np.float32(chroma) * (change - brightness)
        if out.dtype.kind == "u":
            mixed = np.rint(np.clip(mixed, 0, np.iinfo(out.dtype).max))
        out[rows] = mixed
    return out
