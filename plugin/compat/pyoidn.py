"""`pyoidn.denoise`, computed by mdenoise: change the import and nothing else.

    from mdenoise.compat.pyoidn import denoise

The call is that of pyoidn 2.5 (https://pypi.org/project/pyoidn). Differences: normals without albedo are used, and
filter_type "RTLightmap" raises ValueError.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mdenoise import arrays, hooks
from mdenoise.errors import MDenoiseError

# By name, and by value of OIDN_QUALITY_DEFAULT, _FAST, _BALANCED, _HIGH.
_QUALITIES = {"default": "best", "fast": "fast", "balanced": "balanced", "high": "best"}
_CONSTANTS = {0: "default", 4: "fast", 5: "balanced", 6: "high"}


def denoise(
    color: Any,
    albedo: Any = None,
    normal: Any = None,
    *,
    hdr: bool = False,
    clean_aux: bool = False,
    quality: str | int = "high",
    filter_type: str = "RT",
) -> Any:
    """Denoise an RGB image and return a new one.

    Args:
        color: (H, W, 3) float16 or float32, NumPy or torch on the CPU, linear; in [0, 1] unless `hdr`.
        albedo: like color, in [0, 1]. normal: like color, in [-1, 1].
        hdr: whether color is radiance of any scale; else input and result are clipped to [0, 1].
        clean_aux: accepted, and of no effect: noisy albedo and normals are told from clean ones.
        quality: "high", "balanced", "fast", "default", or an OIDN_QUALITY_* number; high is mdenoise's best.
        filter_type: "RT".

    Returns a contiguous image of color's kind, type and shape. Raises TypeError, ValueError and RuntimeError as pyoidn.

    >>> noisy = np.random.default_rng(1).random((32, 48, 3), np.float32)
    >>> clean = denoise(noisy, quality="balanced")
    >>> clean.shape, bool(clean.std() < 0.5 * noisy.std())
    ((32, 48, 3), True)
    """
    if filter_type != "RT":
        raise ValueError(f"filter_type {filter_type!r} cannot be used: mdenoise has 'RT'")
    if not isinstance(hdr, bool) or not isinstance(clean_aux, bool):
        raise TypeError("hdr and clean_aux must be bool values")
    if isinstance(quality, bool) or not isinstance(quality, str | int):
        raise TypeError("quality must be a quality name or an OIDN_QUALITY_* constant")
    name = quality if isinstance(quality, str) else _CONSTANTS.get(quality, "")
    if name not in _QUALITIES:
        raise ValueError("quality must be 'high', 'balanced', 'fast', 'default' or an OIDN_QUALITY_* constant")
    image = _image("color", color, color)
    guides = [
        None if guide is None else _image(label, guide, color)
        for label, guide in (("albedo", albedo), ("normal", normal))
    ]
    try:
        clean = hooks.denoise(image if hdr else np.clip(image, 0, 1), *guides, quality=_QUALITIES[name])
    except MDenoiseError as error:
        raise RuntimeError(str(error)) from None
    return arrays.wrap(color, np.ascontiguousarray(clean))


def _image(name: str, value: Any, color: Any) -> np.ndarray:
    if not (isinstance(value, np.ndarray) or arrays.is_tensor(value)):
        raise TypeError(f"{name} must be a NumPy array or a PyTorch tensor")
    if arrays.is_tensor(value) != arrays.is_tensor(color):
        raise TypeError(f"{name} must be of the same kind of array as color")
    try:
        image = arrays.view(name, value)
    except MDenoiseError as error:  # a tensor on another device, or of a type that NumPy has not
        raise (TypeError if value.device.type == "cpu" else ValueError)(str(error)) from None
    if image.dtype not in (np.float16, np.float32):
        raise TypeError(f"{name} must have dtype float16 or float32")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"{name} must have shape (height, width, 3) with nonzero dimensions")
    if image.shape != tuple(color.shape):
        raise ValueError(f"{name} must have the same shape as color")
    return image
