"""What the worlds of the training scenes are put together from: cameras, lights, skies, fog, furniture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdenoise.training.scenes_materials import Described, Palette, bitmap, hue, matte, octaves, photo, rgb
from mdenoise.training.scenes_shapes import transform

Light = Callable[[bool], Any]  # whether it is on -> its description, or None


@dataclass(frozen=True)
class Motion:
    """From the opening to the closing of the shutter."""

    turn: tuple[float, float, float]  # of the camera about its axes, degrees
    drift: tuple[float, float, float]  # of the camera along its axes
    travels: dict[int, np.ndarray]  # of meshes by their index in `World.things`


@dataclass(frozen=True)
class World:
    sensor: Described
    things: list[Any]
    lights: tuple[list[Light], list[Light]]  # the second may be empty
    fog: Described | None = None
    motion: Motion | None = None
    patience: int = 1  # how many times the samples of other references it may take
    panes: bool = False  # light comes in through thin glass, which only the volumetric integrator connects through


def glowing(make: Callable[..., Any], radiance: np.ndarray) -> Light:
    """`make(bsdf=...)` or `make(light=...)`, a shape."""
    return lambda on: make(light=rgb(*radiance)) if on else make(bsdf=matte(rgb(0.02, 0.02, 0.02)))


def only(emitter: Described) -> Light:
    return lambda on: emitter if on else None


def tint(p: Palette, strength: float) -> np.ndarray:
    """Lamp colours from candle to overcast sky."""
    warm = p.uniform(-1, 1)
    return strength * np.array([1 + 0.45 * warm, 1 + 0.05 * warm, 1 - 0.5 * warm])


def camera(p: Palette, origin: Any, target: Any, fov: float) -> Described:
    origin, target = np.asarray(origin, float), np.asarray(target, float)
    sensor = {
        "type": "perspective",
        "fov": fov,
        "to_world": transform().look_at(origin.tolist(), target.tolist(), [p.uniform(-0.08, 0.08), 1, 0]),
    }
    if p.chance(0.15):
        distance = float(np.linalg.norm(target - origin)) * p.uniform(0.6, 1.1)
        lens = {"aperture_radius": distance * p.uniform(0.008, 0.035), "focus_distance": distance}
        sensor |= {"type": "thinlens"} | lens
    return sensor


def sky(p: Palette, sun: bool) -> Described:
    """Generated weather, or a mirrored photograph with its highlights stretched."""
    if p.chance(0.35) and p.photos:
        seen = photo(p) ** 2.2
        values = np.concatenate([seen, seen[:, ::-1]], 1)
        values = values * (1 + 8 * np.clip(values.mean(-1, keepdims=True) - 0.7, 0, 1))
    else:
        up = np.linspace(1, -1, 128)[:, None, None]
        zenith, horizon, ground = hue(p, 0.5, 0.4) * [0.7, 0.9, 1.3], hue(p, 0.2, 0.8), hue(p, 0.3, 0.2)
        values = np.where(up > 0, horizon + (zenith - horizon) * np.abs(up) ** 0.5, ground) * np.ones((1, 256, 1))
        clouds = np.repeat(octaves(p, 4, 4)[::2], 1, 1)[..., None]
        values = values * np.where(up > 0, 0.6 + 0.8 * clouds, 1)
    if sun:
        y, x = int(values.shape[0] * p.uniform(0.1, 0.42)), int(p.rng.integers(values.shape[1]))
        values[y : y + 2, x : x + 2] += tint(p, p.uniform(100, 2500) * (values.shape[0] / 128) ** 2)
    described = bitmap(p, values, 1.0, raw=True)
    return {
        "type": "envmap",
        "bitmap": described["bitmap"],
        "to_world": transform().rotate([0, 1, 0], p.uniform(0, 360)),
    }


def fog(p: Palette, center: tuple[float, ...], half: tuple[float, ...]) -> Described:
    medium = {
        "type": "homogeneous",
        "albedo": rgb(*np.clip(hue(p, 0.1, 0.85), 0.6, 0.95)),
        "sigma_t": p.uniform(0.3, 1.5) / max(half),
    }
    box = transform().translate(list(center)).scale(list(half))
    return {"type": "cube", "to_world": box, "bsdf": {"type": "null"}, "interior": medium}


# --- furniture ----------------------------------------------------------------------------------------------------


def table(p: Palette, x: float, z: float) -> tuple[list[Any], float]:
    """Its boxes and the height of its top."""
    w, d, h, turn = p.uniform(0.3, 0.8), p.uniform(0.25, 0.5), p.uniform(0.35, 0.8), p.uniform(-20, 20)
    a = np.radians(turn)
    parts = [((x, h, z), (w, 0.025, d), turn)]
    for i in (-1, 1):
        for k in (-1, 1):
            u, v = i * (w - 0.04), k * (d - 0.04)
            at = (x + u * np.cos(a) + v * np.sin(a), h / 2, z - u * np.sin(a) + v * np.cos(a))
            parts.append((at, (0.03, h / 2, 0.03), turn))
    return parts, h + 0.025


def shelf(p: Palette, x: float, z: float, turn: float) -> tuple[list[Any], list[Any]]:
    """The boards, and what stands on them."""
    w, h, d, floors = p.uniform(0.4, 0.9), p.uniform(1.0, 2.0), 0.16, int(p.rng.integers(3, 6))
    boards, books = [], []
    a = np.radians(turn)

    def at(u: float, y: float, v: float) -> tuple[float, float, float]:
        return (x + u * np.cos(a) + v * np.sin(a), y, z - u * np.sin(a) + v * np.cos(a))

    boards += [(at(s * w, h / 2, 0), (0.015, h / 2, d), turn) for s in (-1, 1)]
    boards.append((at(0, h / 2, -d), (w, h / 2, 0.01), turn))
    for i in range(floors + 1):
        boards.append((at(0, 0.02 + i * (h - 0.03) / floors, 0), (w, 0.012, d), turn))
        u = -w + 0.03
        while i < floors and u < w - 0.1:
            thick, tall = p.uniform(0.012, 0.04), p.uniform(0.4, 0.85) * h / floors / 2
            if p.chance(0.8):
                books.append((at(u + thick, 0.03 + i * (h - 0.03) / floors + tall, 0), (thick, tall, 0.1), turn))
            u += 2 * thick + 0.004
    return boards, books


def sofa(p: Palette, x: float, z: float, turn: float) -> list[Any]:
    w, a = p.uniform(0.6, 1.1), np.radians(turn)
    parts = (
        ((0, 0.22, 0), (w, 0.2, 0.4)),
        ((0, 0.5, -0.35), (w, 0.4, 0.1)),
        ((-w, 0.3, 0), (0.1, 0.3, 0.4)),
        ((w, 0.3, 0), (0.1, 0.3, 0.4)),
    )
    return [
        ((x + u * np.cos(a) + v * np.sin(a), y, z - u * np.sin(a) + v * np.cos(a)), half, turn)
        for (u, y, v), half in parts
    ]
