"""Validation scenes for Blender's Cycles, indoors: day through windows, spots, shelves full of things."""

from __future__ import annotations

import random
from pathlib import Path

from validation_cycles_matter import boards, bricks, glow, material, wood
from validation_cycles_parts import (
    ball,
    box,
    camera,
    cylinder,
    lamp,
    model,
    plane,
    sun,
    surround,
    torus,
)


def living_room(assets: Path) -> None:
    """Interior by day: a window's soft light and a floor lamp, sofa, rug, pictures."""
    white, cloth = (
        material((0.74, 0.72, 0.68), 0.9),
        material((0.11, 0.19, 0.24), 0.9, ("Noise", {"Scale": 60.0}), None, 0.01),
    )
    plane(
        (0, 0, 0),
        (5, 6),
        boards((0.36, 0.18, 0.08), (0.22, 0.10, 0.04), 1.2, 0.3, (0.05, 0.02, 0.01), 0.006, (1.2, 0.16)),
    )
    (
        plane((0, 0, 2.6), (5, 6), white, (180, 0, 0)),
        plane((0, 2, 1.3), (5, 2.6), white, (90, 0, 0)),
        plane((-2.2, 0, 1.3), (6, 2.6), white, (90, 0, 90)),
    )
    (
        plane((2.2, 0, 1.3), (6, 2.6), material((0.28, 0.36, 0.30), 0.9), (90, 0, -90)),
        plane((0, -3, 1.3), (5, 2.6), white, (90, 0, 0)),
    )
    lamp((-2.1, 0.3, 1.5), (0, 0.2, 1.0), 1.3, 75, (0.85, 0.93, 1), "window")
    box((0.5, 1.3, 0.25), (1.8, 0.8, 0.3), cloth, 0, 0.08), box((0.5, 1.62, 0.6), (1.8, 0.25, 0.6), cloth, 0, 0.1)
    box((-0.5, 1.3, 0.45), (0.22, 0.8, 0.4), cloth, 0, 0.08), box((1.5, 1.3, 0.45), (0.22, 0.8, 0.4), cloth, 0, 0.08)
    (
        box((0.1, 1.4, 0.52), (0.4, 0.15, 0.36), material((0.62, 0.33, 0.05), 0.9), 10, 0.06),
        box((1.0, 1.4, 0.52), (0.4, 0.15, 0.36), material((0.5, 0.08, 0.06), 0.9), -12, 0.06),
    )
    (
        cylinder((0.35, 0.25, 0.36), 0.42, 0.05, wood()),
        cylinder((0.35, 0.25, 0.17), 0.05, 0.34, material((0.1, 0.1, 0.1), 0.3, Metallic=1.0)),
    )
    model(assets, "expresso-cup", (0.25, 0.2, 0.385), 0.13), model(assets, "plant", (-1.55, 1.45, 0), 1.2)
    plane(
        (0.4, 0.3, 0.005),
        (2.2, 1.5),
        material(
            texture=("Magic", {"Scale": 5.0, "Distortion": 2.0}),
            ends=((0.35, 0.05, 0.05), (0.75, 0.62, 0.4)),
            roughness=1.0,
        ),
    )
    plane(
        (0.5, 1.985, 1.65),
        (0.9, 0.6),
        material(texture=("Voronoi", {"Scale": 6.0}), ends=((0.05, 0.15, 0.4), (0.95, 0.75, 0.2))),
        (90, 0, 0),
    )
    (
        cylinder((1.75, 1.65, 0.8), 0.02, 1.6, material((0.05, 0.05, 0.05), 0.3, Metallic=1.0)),
        ball((1.75, 1.6, 1.68), 0.15, glow((1, 0.68, 0.36), 11), "lamp"),
    )
    camera((-0.75, -2.5, 1.35), (0.35, 1.2, 0.75), 27)


def gallery(assets: Path) -> None:
    """Rough stone, voronoi relief and woven bump under spots and a skylight; marble and bronze."""
    relief = material(
        texture=("Voronoi", {"Scale": 5.0}), ends=((0.62, 0.58, 0.52), (0.45, 0.42, 0.38)), bump=0.12, roughness=0.8
    )
    (
        plane((0, 2, 1.5), (7, 3), relief, (90, 0, 0)),
        plane((-3, 0, 1.5), (7, 3), material((0.6, 0.58, 0.55), 0.9), (90, 0, 90)),
    )
    plane(
        (0, 0, 0),
        (7, 7),
        material(
            texture=("Noise", {"Scale": 4.0, "Detail": 10.0, "Distortion": 2.0}),
            ends=((0.10, 0.10, 0.11), (0.62, 0.6, 0.57)),
            roughness=0.2,
        ),
    )
    (
        surround((0.5, 0.6, 0.8), 0.18),
        lamp((0, -0.5, 3.4), (0, 0.4, 0), 1.2, 130, (1, 0.95, 0.88)),
        lamp((-2.4, 1.7, 2.7), (-0.8, 2, 0.8), 0.25, 14, (1, 0.75, 0.45)),
        lamp((2.4, 1.7, 2.7), (1.2, 2, 0.8), 0.25, 14, (1, 0.75, 0.45)),
    )
    marble = material(
        texture=("Noise", {"Scale": 3.5, "Detail": 8.0, "Distortion": 3.0}),
        ends=((0.25, 0.24, 0.26), (0.86, 0.84, 0.8)),
        roughness=0.15,
    )
    for x in (-1.2, 0.15, 1.4):
        box(
            (x, 0.7, 0.4),
            (0.55, 0.55, 0.8),
            material((0.55, 0.54, 0.52), 0.8, ("Noise", {"Scale": 40.0}), None, 0.02),
            15 * x,
            0.02,
        )
    model(assets, "spot", (-1.2, 0.7, 0.8), 0.75, -25, material((0.42, 0.22, 0.09), 0.35, Metallic=1.0))
    (
        ball((0.15, 0.7, 1.1), 0.3, marble),
        torus((1.4, 0.7, 1.1), 0.23, 0.075, material((0.08, 0.2, 0.16), 0.25, Coat_Weight=0.5), (1.5, 0.3, 0.4)),
    )
    camera((0.5, -3.4, 1.45), (0.1, 0.8, 0.95), 36)


def workshop(assets: Path) -> None:
    """Shelves full of small things: hundreds of edges and colours, soft light from one side."""
    rng = random.Random(11)
    (
        plane(
            (0, 1.0, 1.3), (6, 3), material((0.55, 0.52, 0.46), 0.9, ("Noise", {"Scale": 25.0}), None, 0.02), (90, 0, 0)
        ),
        plane((0, 0, 0), (6, 5), wood(scale=1.2, roughness=0.4)),
    )
    lamp((-2.2, -2.0, 2.4), (0, 0.7, 1.0), 1.2, 120, (1, 0.92, 0.8)), surround((0.35, 0.42, 0.55), 0.22)
    board = wood((0.2, 0.11, 0.05), (0.5, 0.32, 0.17), 4.0)
    for level in range(4):
        z = 0.25 + 0.5 * level
        box((0, 0.75, z), (2.5, 0.42, 0.04), board)
        x = -1.2
        while x < 1.15:
            wide, tall = rng.uniform(0.03, 0.12), rng.uniform(0.14, 0.4)
            paint = material(
                (rng.uniform(0.03, 0.75), rng.uniform(0.03, 0.6), rng.uniform(0.03, 0.6)),
                rng.uniform(0.15, 0.8),
                Metallic=float(rng.random() < 0.12),
            )
            if rng.random() < 0.68:
                box(
                    (x + wide / 2, 0.72, z + 0.02 + tall / 2),
                    (wide, rng.uniform(0.2, 0.32), tall),
                    paint,
                    rng.gauss(0, 4),
                    0.005,
                )
            elif rng.random() < 0.5:
                ball((x + wide, 0.68, z + 0.02 + wide), wide, paint)
                x += wide
            else:
                cylinder((x + wide, 0.68, z + 0.02 + tall / 4), wide, tall / 2, paint)
                x += wide
            x += wide + 0.012
    box((-1.28, 0.75, 1.0), (0.05, 0.42, 2.0), board), box((1.28, 0.75, 1.0), (0.05, 0.42, 2.0), board)
    (
        model(assets, "ferris-wheel", (0.75, -0.35, 0), 0.85, 25),
        model(assets, "expresso-cup", (-0.6, -0.5, 0), 0.3, 40, material((0.7, 0.68, 0.62), 0.15)),
    )
    camera((0.5, -2.9, 1.35), (0.05, 0.6, 0.9), 38)


def loft(assets: Path) -> None:
    """Low sun through barred windows onto a herringbone floor: a few patches of light carry the whole room."""
    plaster = material((0.72, 0.68, 0.62), 0.9, ("Noise", {"Scale": 14.0, "Detail": 6.0}), None, 0.015)
    brick = bricks((0.42, 0.2, 0.13), (0.3, 0.13, 0.09), 2.5, 0.012)
    floor = boards((0.45, 0.27, 0.13), (0.3, 0.16, 0.07), 2.0, 0.25, (0.06, 0.03, 0.02), 0.008, (0.7, 0.14))
    surround(sky=True, strength=2.5), sun(32, -72, 13.0, 1.0, (1, 0.86, 0.68))
    for y in (-1.5, 0.75):  # what the sky sends through the windows, found at once
        lamp((-2.65, y, 1.6), (0, y, 1.2), 1.4, 75, (0.82, 0.91, 1))
    plane((0, 0, 0), (7, 8), floor)
    plane((0, 0, 3.0), (7, 8), plaster, (180, 0, 0))
    plane((0, 3, 1.5), (7, 3), brick, (90, 0, 0))
    plane((2.8, 0, 1.5), (8, 3), plaster, (90, 0, -90))
    plane((0, -3.6, 1.5), (7, 3), plaster, (90, 0, 0))
    for y in (-2.6, -0.35, 1.9):  # piers between the windows of the left wall
        box((-2.8, y, 1.5), (0.15, 0.75, 3), plaster)
    box((-2.8, 2.8, 1.5), (0.15, 0.5, 3), plaster), box((-2.8, 0, 0.35), (0.2, 7, 0.7), plaster)
    box((-2.8, 0, 2.8), (0.2, 7, 0.5), plaster)
    steel = material((0.04, 0.04, 0.045), 0.4)
    for y in (-1.7, -1.3, 0.55, 0.95):
        box((-2.8, y, 1.6), (0.04, 0.035, 2), steel)
    for z in (1.2, 1.75, 2.2):
        box((-2.8, 0, z), (0.04, 7, 0.035), steel)
    leather = material((0.2, 0.08, 0.035), 0.4, ("Voronoi", {"Scale": 70.0}), None, 0.004)
    box((0.9, 1.6, 0.28), (1.7, 0.8, 0.25), leather, 0, 0.07), box((0.9, 1.95, 0.6), (1.7, 0.2, 0.55), leather, 0, 0.07)
    rug = material(texture=("Checker", {"Scale": 11.0}), ends=((0.55, 0.5, 0.42), (0.1, 0.16, 0.24)), roughness=1.0)
    plane((0.5, 0.2, 0.006), (2.4, 1.6), rug)
    model(assets, "library-large", (-1.5, 2.65, 0), 1.4, 180, wood((0.08, 0.05, 0.03), (0.25, 0.15, 0.08)))
    model(assets, "plant", (2.2, 0.6, 0), 1.2), model(assets, "expresso-cup", (0.35, 0.1, 0.35), 0.12)
    cylinder((0.4, 0.1, 0.33), 0.4, 0.04, wood()), cylinder((0.4, 0.1, 0.16), 0.05, 0.32, steel)
    camera((1.4, -3.0, 1.5), (-0.35, 1.2, 0.85), 25)


ROOMS = {f.__name__: f for f in (living_room, gallery, workshop, loft)}
