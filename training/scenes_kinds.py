"""The table of training scenes: those made as they are, and some of them anew, moving or out of focus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mitsuba as mi
import numpy as np

from mdenoise.training.scenes_detail import PICTURE, gloss, textile
from mdenoise.training.scenes_lights import lamps, stage, sunroom
from mdenoise.training.scenes_materials import Palette
from mdenoise.training.scenes_parts import Motion, World
from mdenoise.training.scenes_worlds import caustics, foliage, indoor, night, outdoor, product

Make = Callable[[Palette], World]
MOVED: tuple[Make, ...] = (indoor, product, outdoor, foliage, lamps, lamps, stage, textile, gloss)
BLURRED: tuple[Make, ...] = (indoor, product, foliage, lamps, lamps, textile, gloss)
MIDDLE = np.array([0.0, 0.5, -0.5])  # about where every kind has its things


def away(world: World) -> float:
    return float(np.linalg.norm(np.array(world.sensor["to_world"].matrix)[:3, 3] - MIDDLE))


def moving(p: Palette) -> World:
    """Any kind in an exposure of which the camera, or some of its things, move by 2 to 25 pixels."""
    world = p.pick(MOVED)(p)
    fov = world.sensor["fov"]
    pixel = 2 * away(world) * np.tan(np.radians(fov / 2)) / PICTURE

    def pixels() -> float:
        return float(np.exp(p.uniform(np.log(2), np.log(25))))

    light = [
        i
        for i, part in enumerate(world.things)
        if isinstance(part, mi.Mesh) and np.ptp(np.array(mi.traverse(part)["vertex_positions"])) < 1.5
    ]
    chosen = [int(i) for i in p.rng.permutation(light)[: int(p.rng.integers(1, 4))]] if p.chance(0.6) else []
    travels = {}
    for i in chosen:
        way = p.rng.normal(0, 1, 3)
        travels[i] = way / np.linalg.norm(way) * pixels() * pixel
    turn, drift = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    if not chosen or p.chance(0.5):
        kind, a = p.rng.random(), p.uniform(0, 2 * np.pi)
        if kind < 0.5:
            degrees = pixels() * fov / PICTURE
            turn = (degrees * np.cos(a), degrees * np.sin(a), 0.0)
        elif kind < 0.65:
            turn = (0.0, 0.0, np.degrees(pixels() / PICTURE * 2))
        else:
            drift = tuple(pixels() * pixel * np.array([np.cos(a), 0.3 * np.sin(a), np.sin(a)]))
    return replace(world, motion=Motion(turn, drift, travels))


def lens(p: Palette) -> World:
    """Any kind through a lens wide open: albedo and normal as noisy as the colour."""
    world = p.pick(BLURRED)(p)
    distance = away(world) * p.uniform(0.5, 1.2)
    opened = {"type": "thinlens", "aperture_radius": distance * p.uniform(0.03, 0.1), "focus_distance": distance}
    return replace(world, sensor=world.sensor | opened)


KINDS: dict[str, tuple[Make, float]] = {  # each with its share
    "indoor": (indoor, 0.36),
    "product": (product, 0.18),
    "outdoor": (outdoor, 0.16),
    "foliage": (foliage, 0.12),
    "caustics": (caustics, 0.08),
    "night": (night, 0.10),
    "lamps": (lamps, 0.35),
    "stage": (stage, 0.30),
    "moving": (moving, 0.35),
    "textile": (textile, 0.35),
    "gloss": (gloss, 0.25),
    "lens": (lens, 0.2),
    "sunroom": (sunroom, 0.05),
}
