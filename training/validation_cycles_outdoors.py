"""Validation scenes for Blender's Cycles, outdoors: grass, snow, and a fair with the shutter open."""

from __future__ import annotations

import math
import random
from pathlib import Path

import bpy
from validation_cycles_matter import bricks, material, wood
from validation_cycles_parts import (
    ball,
    box,
    camera,
    cone,
    cylinder,
    grass,
    model,
    move,
    plane,
    relief,
    sun,
    surround,
    torus,
)


def meadow(assets: Path) -> None:
    """Late sun and sky: grass, trees, a car, a brick wall."""
    surround(sky=True, strength=1.1), sun(34, -40, 9.0, 1.5)
    plane(
        (0, 8, 0),
        (60, 60),
        material(
            texture=("Noise", {"Scale": 3.0, "Detail": 6.0}),
            ends=((0.06, 0.08, 0.02), (0.20, 0.17, 0.08)),
            roughness=1.0,
        ),
    )
    (
        grass(3, 45000, 4.0, 0.15, material((0.10, 0.19, 0.03), 0.6)),
        grass(5, 9000, 4.0, 0.19, material((0.26, 0.28, 0.07), 0.6)),
    )
    (
        model(assets, "low-poly-tree", (-1.7, 2.4, 0), 2.7),
        model(assets, "low-poly-tree", (2.5, 4.0, 0), 3.4, 110),
        model(assets, "suv", (0.55, 0.9, 0.02), 1.15, 55),
    )
    (
        model(assets, "spot", (-1.0, -0.1, 0), 0.8, -30, material((0.55, 0.45, 0.35), 0.6)),
        model(assets, "plant", (1.55, -0.6, 0), 0.7),
    )
    plane((0, 6.5, 0.9), (30, 1.8), bricks((0.38, 0.13, 0.07), (0.22, 0.08, 0.05), 3.0), (90, 0, 0))
    camera((-0.2, -4.0, 1.25), (0.1, 1.0, 0.75), 36)


def snow(assets: Path) -> None:
    """Noon in the mountains: snow near white and above it, firs, a red car, blue shadows."""
    rng = random.Random(41)
    surround(sky=True, strength=1.3), sun(38, -55, 4.2, 0.6)
    white = material((0.88, 0.89, 0.92), 0.55, ("Noise", {"Scale": 45.0, "Detail": 8.0}), None, 0.012)

    def drift(x: float, y: float) -> float:
        hill = 0.035 * max(y, 0) ** 1.5
        return (
            hill
            + 0.14 * math.sin(0.9 * x + 0.5 * y)
            + 0.09 * math.sin(1.7 * y - 0.6 * x + 1)
            + 0.03 * math.sin(5 * x + 3 * y)
        )

    relief((0, 0, 0), 14, 220, drift, white)
    needle = material(
        (0.02, 0.055, 0.03), 0.8, ("Noise", {"Scale": 60.0}), ((0.012, 0.04, 0.02), (0.05, 0.1, 0.05)), 0.02
    )
    bark = material((0.1, 0.06, 0.04), 0.9)
    for _ in range(26):
        x, y, tall = rng.uniform(-6, 6), rng.uniform(2.0, 11), rng.uniform(1.2, 2.6)
        z = drift(x, y)
        cylinder((x, y, z + 0.1 * tall), 0.04 * tall, 0.25 * tall, bark)
        for i in range(4):
            cone((x, y, z + (0.32 + 0.2 * i) * tall), (0.27 - 0.055 * i) * tall, 0.36 * tall, needle)
            if rng.random() < 0.7:
                cone((x, y, z + (0.37 + 0.2 * i) * tall), (0.19 - 0.045 * i) * tall, 0.26 * tall, white)
    model(
        assets, "suv", (0.75, 0.2, drift(0.75, 0.2) - 0.03), 1.0, 60, material((0.5, 0.02, 0.02), 0.25, Coat_Weight=1.0)
    )
    for i in range(9):
        x, y = -2.9 + 0.62 * i, 1.3 - 0.12 * i
        box((x, y, drift(x, y) + 0.2), (0.07, 0.07, 0.6), wood(scale=8.0), 10 * i)
    for z in (0.25, 0.4):
        box((-0.4, 0.82, z), (5.2, 0.03, 0.06), wood(scale=8.0), -11)
    camera((-0.5, -3.6, 1.25), (0.1, 1.0, 0.62), 33)


def shutter(assets: Path) -> None:
    """A turning wheel, a passing car and falling balls with the shutter open: colour and planes are smeared."""
    surround(sky=True, strength=0.7), sun(30, -50, 4.0, 2.0, (1, 0.85, 0.7))
    plane(
        (0, 3, 0),
        (24, 24),
        material(
            texture=("Noise", {"Scale": 30.0, "Detail": 8.0}),
            ends=((0.16, 0.16, 0.17), (0.34, 0.33, 0.32)),
            roughness=0.7,
        ),
    )
    plane((0, 5.2, 1.1), (24, 2.2), bricks((0.55, 0.5, 0.42), (0.42, 0.36, 0.3), 2.2), (90, 0, 0))
    stripes = material(texture=("Checker", {"Scale": 5.0}), ends=((0.75, 0.72, 0.66), (0.5, 0.05, 0.05)), roughness=0.5)
    box((-2.1, 3.2, 0.8), (1.5, 1.0, 1.6), stripes, 12, 0.03)
    hub = bpy.data.objects.new("hub", None)
    bpy.context.collection.objects.link(hub)
    hub.location = (0.9, 2.6, 1.45)
    spokes = [torus((0.9, 2.6, 1.45), 1.15, 0.05, material((0.7, 0.7, 0.72), 0.3, Metallic=1.0), (math.pi / 2, 0, 0))]
    for i in range(8):
        a = i * math.pi / 4
        color = ((0.7, 0.08, 0.05), (0.05, 0.2, 0.6), (0.75, 0.55, 0.05), (0.05, 0.4, 0.2))[i % 4]
        spokes.append(
            ball(
                (0.9 + 1.15 * math.cos(a), 2.6, 1.45 + 1.15 * math.sin(a)), 0.17, material(color, 0.25, Coat_Weight=1.0)
            )
        )
        bar = box(
            (0.9 + 0.55 * math.cos(a), 2.6, 1.45 + 0.55 * math.sin(a)),
            (1.1, 0.05, 0.05),
            material((0.6, 0.58, 0.5), 0.5),
        )
        bar.rotation_euler[1] = -a
        spokes.append(bar)
    for part in spokes:
        part.parent, part.matrix_parent_inverse = hub, hub.matrix_world.inverted()
        part.matrix_parent_inverse.translation = (-0.9, -2.6, -1.45)
    move(hub, turn=(0, 12, 0))
    move(model(assets, "suv", (-0.7, 0.6, 0), 0.95, 90), (0.24, 0, 0))
    for i in range(5):
        falling = ball(
            (1.25 + 0.22 * i, 0.2 - 0.1 * i, 0.25 + 0.27 * i),
            0.09,
            material((0.1 + 0.15 * i, 0.5 - 0.08 * i, 0.45), 0.2),
        )
        move(falling, (0, 0, 0.03 + 0.018 * i))
    cylinder((0.9, 2.75, 0.7), 0.06, 1.4, material((0.2, 0.2, 0.22), 0.4))
    camera((0.2, -3.9, 1.3), (0.1, 1.4, 1.0), 35)


OUTDOORS = {f.__name__: f for f in (meadow, snow, shutter)}
