"""Pixels of one frame found in another, and how surely they show the same surface in the same light."""

from __future__ import annotations

import numpy as np

from mdenoise import guide as g
from mdenoise.frame import Planes

ALBEDO_STEP, NORMAL_STEP, DEPTH_STEP = 0.16, 0.35, 0.12  # differences at which confidence has fallen to 1/e
LIGHT_RADIUS_PX, LIGHT_SIGMAS = 2, 1.0  # window whose mean light is compared, and what of its error is let pass


def likeness(planes: Planes, other: Planes, place: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) float32 in [0, 1]: how surely the pixel at `place` of `other` shows the same surface in the same light."""
    distance = np.zeros(planes.color.shape[:2], np.float32)
    for name, step in (("albedo", ALBEDO_STEP), ("normal", NORMAL_STEP)):
        a, b = getattr(planes, name), getattr(other, name)
        if a is not None and b is not None:
            away = np.abs(box(np.nan_to_num(a.astype(np.float32)), 1) - box(at(b, place), 1)).max(axis=-1)
            distance += (away / step) ** 2
    if planes.depth is not None and other.depth is not None:
        one, two = (np.clip(np.abs(d), 1e-6, 1e6) for d in (planes.depth, at(other.depth, place)))
        distance += (np.nan_to_num(np.log(two / one)) / DEPTH_STEP) ** 2
    pixels = (2 * LIGHT_RADIUS_PX + 1) ** 2
    lights = [shown(color, scale) for color in (planes.color, nearest(other.color, place))]
    means = [box(light, LIGHT_RADIUS_PX) for light in lights]
    noise = sum(box(x * x, LIGHT_RADIUS_PX) - m * m for x, m in zip(lights, means, strict=True))
    error = (means[0] - means[1]) ** 2 / (np.maximum(noise, 0) / pixels + np.float32(1e-4))
    distance += np.maximum(error - np.float32(LIGHT_SIGMAS**2), 0)[..., 0] / 2
    return np.exp(-distance)


def shown(color: np.ndarray, scale: float) -> np.ndarray:
    """Luminance (H, W, 1) in the network's domain, 0 where it is not finite."""
    sane = np.where(g.trusted_px(color)[..., None], color, 0).astype(np.float32)
    return g.transfer(g.luminance(sane) * np.float32(scale))[..., None]


def grid(height: int, width: int) -> np.ndarray:
    """(H, W, 2) float32: x and y of every pixel."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)


def inside(place: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where a place lies in the image; one that is not finite does not."""
    return (place >= -0.5).all(-1) & (place[..., 0] <= width - 0.5) & (place[..., 1] <= height - 0.5)


def finite(place: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(place), place, 0)


def nearest(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The pixel nearest to each (x, y) of `place`: its noise stays that of one pixel."""
    x, y = np.rint(place[..., 0]), np.rint(place[..., 1])
    return plane[np.clip(y, 0, plane.shape[0] - 1).astype(int), np.clip(x, 0, plane.shape[1] - 1).astype(int)]


def at(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of (H, W[, C]) at each (x, y) of `place`, float32; NaN counts 0, the border repeats."""
    height, width = plane.shape[:2]
    plane = np.nan_to_num(plane.astype(np.float32), posinf=0, neginf=0)
    x, y = np.clip(place[..., 0], 0, width - 1), np.clip(place[..., 1], 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left).astype(np.float32), (y - top).astype(np.float32)
    if plane.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    upper = plane[top, left] * (1 - fx) + plane[top, right] * fx
    lower = plane[bottom, left] * (1 - fx) + plane[bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def box(planes: np.ndarray, radius: int, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """Mean over (2 radius + 1)^2 along two axes, those of (H, W, C) or others; the edge repeated."""
    for axis in axes:
        around = [(0, 0)] * planes.ndim
        around[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(planes, around, mode="edge"), axis, 0)
        length, total = planes.shape[axis], None
        for start in range(2 * radius + 1):
            part = padded[start : start + length]
            total = part.copy("K") if total is None else np.add(total, part, out=total)
        planes = np.moveaxis(total, 0, axis) / (2 * radius + 1)
    return planes
