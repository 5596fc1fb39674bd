"""Validation scenes for Blender's Cycles, close by: a studio, a table, cloth, wax, beads before a lens."""

from __future__ import annotations

import math
import random
from pathlib import Path

import bpy
from validation_cycles_matter import boards, glow, material, wood
from validation_cycles_parts import (
    Height,
    backdrop,
    ball,
    box,
    camera,
    cylinder,
    lamp,
    model,
    plane,
    relief,
    surround,
    torus,
    triangles,
)


def product(assets: Path) -> None:
    """Studio shot: coated, brushed and clear things on a sweep, two soft boxes."""
    backdrop(material((0.5, 0.5, 0.52), 0.7))
    surround(hdri=assets / "hdri/studio_small_03_1k.hdr", strength=0.12, turn=60)
    (
        lamp((-2.2, -1.2, 2.6), (0, 0, 0.4), 1.5, 110, (1, 0.93, 0.85)),
        lamp((2.4, -0.6, 1.6), (0, 0, 0.4), 0.8, 40, (0.8, 0.9, 1)),
    )
    model(
        assets,
        "spot",
        (-0.45, 0.15, 0),
        1.0,
        -35,
        material((0.62, 0.05, 0.04), 0.35, Coat_Weight=1.0, Coat_Roughness=0.05),
    )
    torus((0.65, 0.35, 0.35), 0.27, 0.08, material((0.9, 0.62, 0.3), 0.28, Metallic=1.0), (1.2, 0, 0.5))
    cylinder(
        (0.5, -0.35, 0.14),
        0.2,
        0.28,
        material(texture=("Checker", {"Scale": 14.0}), ends=((0.04, 0.06, 0.1), (0.8, 0.78, 0.7)), roughness=0.4),
    )
    ball((0.98, -0.2, 0.17), 0.17, material((0.9, 0.95, 1), 0.05, Transmission_Weight=1.0))
    camera((0.2, -3.2, 1.25), (0.2, 0.1, 0.42), 52)


def breakfast(assets: Path) -> None:
    """A wooden table in focus, the rest soft: cups, fruit, glass, HDRI light."""
    surround(hdri=assets / "hdri/lebombo_1k.hdr", strength=1.1, turn=120)
    plane((0, 1, 0), (5, 6), wood(roughness=0.3, scale=1.6))
    porcelain = material((0.78, 0.77, 0.74), 0.12)
    (
        model(assets, "expresso-cup", (-0.25, 0, 0), 0.34, 20),
        model(assets, "expresso-cup", (0.55, 0.9, 0), 0.34, 100, material((0.05, 0.16, 0.22), 0.15)),
    )
    model(assets, "expresso-cup", (-0.9, 1.8, 0), 0.34, 60, porcelain)
    cylinder((0.45, -0.05, 0.015), 0.33, 0.03, porcelain)
    for x, y, color in [
        (0.35, -0.1, (0.75, 0.28, 0.02)),
        (0.55, 0.05, (0.7, 0.22, 0.02)),
        (0.47, -0.2, (0.35, 0.45, 0.05)),
    ]:
        ball((x, y, 0.12), 0.09, material(color, 0.45, ("Noise", {"Scale": 90.0}), None, 0.01))
    (
        ball((-0.75, 0.35, 0.17), 0.17, material((1, 1, 1), 0.0, Transmission_Weight=1.0)),
        ball((1.1, 1.9, 0.3), 0.3, material((0.8, 0.8, 0.82), 0.2, Metallic=1.0)),
    )
    camera((-0.2, -1.75, 1.05), (0.0, 0.15, 0.08), 36, 0.8)


def drapery(assets: Path) -> None:
    """Velvet, linen and a knitted throw in folds over a wooden rail and a box: sheen and threads."""
    rng = random.Random(31)
    surround((0.5, 0.55, 0.62), 0.25)
    (
        lamp((-1.8, -1.6, 2.4), (0, 0, 0.7), 1.0, 95, (1, 0.95, 0.88)),
        lamp((2.2, -0.4, 1.2), (0, 0, 0.6), 0.7, 18, (0.75, 0.85, 1)),
    )
    plane(
        (0, 0, 0),
        (8, 8),
        material(
            (0.42, 0.4, 0.38), 0.6, ("Noise", {"Scale": 9.0, "Detail": 8.0}), ((0.35, 0.33, 0.31), (0.5, 0.48, 0.46))
        ),
    )
    plane((0, 1.6, 1.5), (8, 3), material((0.52, 0.5, 0.46), 0.9), (90, 0, 0))
    velvet = material((0.25, 0.015, 0.04), 0.7, Sheen_Weight=1.0, Sheen_Roughness=0.3)
    linen = material(
        texture=("Wave", {"Scale": 38.0, "Distortion": 1.0}),
        ends=((0.58, 0.5, 0.38), (0.78, 0.72, 0.6)),
        bump=0.002,
        roughness=0.95,
    )
    plaid = boards((0.03, 0.12, 0.18), (0.05, 0.2, 0.16), 9.0, 1.0, (0.6, 0.5, 0.2), 0.03, Sheen_Weight=0.4)

    def folds(waves: float, depth: float, seed: float) -> Height:
        return lambda x, y: (
            depth
            * (0.5 + 0.35 * (0.75 - y))
            * (
                math.sin(waves * x + seed + 0.8 * math.sin(2 * y + seed))
                + 0.4 * math.sin(2.3 * waves * x + 2 * seed + y)
            )
        )

    for x, half, paint, waves in ((-0.78, 0.62, velvet, 17), (0.55, 0.6, linen, 23)):
        hung = relief((x, 0.55, 0.82), half, 110, folds(waves, 0.09, x), paint)
        hung.rotation_euler[0], hung.scale[1] = math.radians(90), 1.2
    cylinder((0, 0.55, 1.58), 0.03, 3.2, wood()).rotation_euler[1] = math.radians(90)
    box((0.35, -0.25, 0.2), (0.7, 0.5, 0.4), wood(scale=4.0), 15, 0.01)

    def throw(x: float, y: float) -> float:
        away = max(abs(x) - 0.3, 0) ** 2 + max(abs(y) - 0.2, 0) ** 2
        return max(-0.4, -4.0 * away) + 0.015 * math.sin(15 * x + 3 * math.sin(6 * y)) + 0.01 * math.sin(19 * y)

    relief((0.35, -0.25, 0.42), 0.55, 120, throw, plaid).rotation_euler[2] = math.radians(15)
    for i in range(5):
        paint = material(
            (rng.uniform(0.1, 0.7), rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.4)),
            0.9,
            ("Wave", {"Scale": 60.0, "Distortion": 2.0}),
            None,
            0.004,
        )
        torus((-0.55 + 0.03 * i, -0.35 - 0.05 * (i % 2), 0.05 + 0.075 * i), 0.16, 0.042, paint)
    camera((0.1, -3.0, 1.15), (0.0, 0.2, 0.72), 42)


def candles(assets: Path) -> None:
    """Wax lit from within by its own flames, jade and milk: light that leaves where it did not enter."""
    rng = random.Random(51)
    surround((0.02, 0.03, 0.06), 1.0)
    plane((0, 0, 0), (6, 6), wood((0.06, 0.03, 0.02), (0.25, 0.13, 0.07), 2.0, roughness=0.25))
    plane((0, 1.4, 1), (6, 2), material((0.25, 0.22, 0.2), 0.9, ("Noise", {"Scale": 12.0}), None, 0.02), (90, 0, 0))
    lamp((1.9, -1.2, 1.9), (0, 0.1, 0.2), 0.6, 24, (0.65, 0.75, 1))
    wax = {"Subsurface_Weight": 1.0, "Subsurface_Radius": (1.0, 0.45, 0.2), "Subsurface_Scale": 0.09}
    for x, y, radius, tall in (
        (-0.55, 0.1, 0.16, 0.55),
        (-0.2, 0.35, 0.13, 0.8),
        (0.12, -0.1, 0.17, 0.34),
        (-0.62, -0.42, 0.1, 0.2),
    ):
        cylinder((x, y, tall / 2), radius, tall, material((0.85, 0.72, 0.5), 0.4, **wax))
        cylinder((x, y, tall + 0.02), 0.008, 0.05, material((0.02, 0.02, 0.02), 0.9))
        flame = ball((x, y, tall + 0.085), 0.036, glow((1, 0.55, 0.16), 42))
        flame.scale[2] = 1.9
    jade = {"Subsurface_Weight": 1.0, "Subsurface_Radius": (0.3, 1.0, 0.5), "Subsurface_Scale": 0.06}
    model(assets, "spot", (0.62, 0.35, 0), 0.62, -35, material((0.2, 0.5, 0.3), 0.15, **jade))
    cylinder((0.5, -0.45, 0.06), 0.14, 0.12, material((0.84, 0.83, 0.8), 0.2))
    for _ in range(14):
        ball(
            (rng.uniform(0.15, 0.95), rng.uniform(-0.75, -0.15), 0.025),
            0.025,
            material(
                (rng.uniform(0.3, 0.8), rng.uniform(0.05, 0.3), 0.05), 0.3, Subsurface_Weight=0.6, Subsurface_Scale=0.02
            ),
        )
    camera((0.15, -2.6, 0.95), (0.0, 0.0, 0.36), 44)


def macro(assets: Path) -> None:
    """Beads and a seed head a hand's breadth away through a wide lens, lights far behind it as discs."""
    rng = random.Random(21)
    surround(hdri=assets / "hdri/lebombo_1k.hdr", strength=0.8)
    plane((0, 3, 0), (12, 12), wood(scale=9.0, roughness=0.35))
    lamp((-0.6, -0.4, 1.1), (0, 0.1, 0.1), 0.7, 14, (1, 0.92, 0.82))
    for i in range(22):
        x, y = -0.42 + 0.04 * i + rng.gauss(0, 0.006), -0.12 + 0.05 * i
        color = (rng.uniform(0.02, 0.75), rng.uniform(0.02, 0.5), rng.uniform(0.02, 0.6))
        ball((x, y, 0.032), 0.03, material(color, rng.uniform(0.05, 0.4), Coat_Weight=1.0))
    spikes = []
    for _ in range(900):
        z, a = rng.uniform(-1, 1), rng.uniform(0, 2 * math.pi)
        r = math.sqrt(1 - z * z)
        way = (r * math.cos(a), r * math.sin(a), z)
        side = (-way[1] * 0.002, way[0] * 0.002, 0.001)
        hub = (0.06 + 0.03 * way[0], -0.02 + 0.03 * way[1], 0.2 + 0.03 * way[2])
        tip = (0.06 + 0.11 * way[0], -0.02 + 0.11 * way[1], 0.2 + 0.11 * way[2])
        spikes += [
            tuple(p + s for p, s in zip(hub, side, strict=True)),
            tuple(p - s for p, s in zip(hub, side, strict=True)),
            tip,
        ]
    triangles(spikes, material((0.7, 0.66, 0.55), 0.7))
    cylinder((0.06, -0.02, 0.1), 0.006, 0.2, material((0.12, 0.2, 0.04), 0.6))
    ball((0.06, -0.02, 0.2), 0.032, material((0.2, 0.11, 0.04), 0.8))
    for _ in range(26):
        at = (rng.uniform(-1.6, 1.6), rng.uniform(2.2, 4.5), rng.uniform(0.1, 1.5))
        ball(
            at, 0.12, glow((rng.uniform(0.5, 1), rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.7)), rng.uniform(0.6, 1.6))
        )
    camera((0.0, -0.75, 0.3), (0.05, -0.02, 0.14), 50, 1.1)
    bpy.context.scene.camera.data.dof.aperture_fstop = 0.45


CLOSE = {f.__name__: f for f in (product, breakfast, drapery, candles, macro)}
