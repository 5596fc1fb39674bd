"""Validation scenes for Blender's Cycles that differ in matter and camera: cloth, snow, wax, a lens, a shutter.

As those of `validation_cycles`: made for measuring, never for training. Z is up, units are metres.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from validation_cycles_parts import (
    ball,
    box,
    bricks,
    camera,
    cylinder,
    glow,
    lamp,
    material,
    model,
    plane,
    sun,
    surround,
    torus,
    triangles,
    wood,
)

Height = Callable[[float, float], float]


def relief(at: tuple[float, float, float], half: float, cells: int, height: Height, paint: Any) -> Any:
    """A smooth square whose points are lifted by `height` of their place."""
    step = 2 * half / cells
    spots = [(i * step - half, j * step - half) for i in range(cells + 1) for j in range(cells + 1)]
    corner = [i * (cells + 1) + j for i in range(cells) for j in range(cells)]
    mesh = bpy.data.meshes.new("made")
    faces = [(c, c + cells + 1, c + cells + 2, c + 1) for c in corner]
    mesh.from_pydata([(x, y, height(x, y)) for x, y in spots], [], faces)
    mesh.shade_smooth()
    mesh.materials.append(paint)
    thing = bpy.data.objects.new("made", mesh)
    thing.location = at
    bpy.context.collection.objects.link(thing)
    return thing


def cone(at: tuple[float, float, float], radius: float, height: float, paint: Any) -> None:
    bpy.ops.mesh.primitive_cone_add(vertices=24, radius1=radius, depth=height, location=at)
    bpy.context.object.data.materials.append(paint)


def move(thing: Any, way: tuple[float, float, float] = (0, 0, 0), turn: tuple[float, float, float] = (0, 0, 0)) -> None:
    """Lets a thing travel by `way` and turn by `turn` (degrees) while the shutter is open."""
    scene = bpy.context.scene
    scene.render.use_motion_blur, scene.render.motion_blur_shutter = True, 1.0
    place, angle = tuple(thing.location), tuple(thing.rotation_euler)
    for frame, share in ((0, -1), (2, 1)):
        thing.location = [a + share * b for a, b in zip(place, way, strict=True)]
        thing.rotation_euler = [a + share * math.radians(b) for a, b in zip(angle, turn, strict=True)]
        thing.keyframe_insert("location", frame=frame)
        thing.keyframe_insert("rotation_euler", frame=frame)
    for layer in thing.animation_data.action.layers:
        for curve in (c for strip in layer.strips for bag in strip.channelbags for c in bag.fcurves):
            for point in curve.keyframe_points:
                point.interpolation = "LINEAR"
    scene.frame_set(1)


# --- scenes -------------------------------------------------------------------------------------------------------


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


def loft(assets: Path) -> None:
    """Low sun through barred windows onto a herringbone floor: a few patches of light carry the whole room."""
    plaster = material((0.72, 0.68, 0.62), 0.9, ("Noise", {"Scale": 14.0, "Detail": 6.0}), None, 0.015)
    brick = bricks((0.42, 0.2, 0.13), (0.3, 0.13, 0.09), 2.5, 0.012)
    floor = material(
        texture=(
            "Brick",
            {
                "Color1": (0.45, 0.27, 0.13, 1),
                "Color2": (0.3, 0.16, 0.07, 1),
                "Mortar": (0.06, 0.03, 0.02, 1),
                "Scale": 2.0,
                "Mortar Size": 0.008,
                "Brick Width": 0.7,
                "Row Height": 0.14,
            },
        ),
        roughness=0.25,
    )
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
    plaid = material(
        texture=(
            "Brick",
            {
                "Color1": (0.03, 0.12, 0.18, 1),
                "Color2": (0.05, 0.2, 0.16, 1),
                "Mortar": (0.6, 0.5, 0.2, 1),
                "Scale": 9.0,
                "Mortar Size": 0.03,
            },
        ),
        roughness=1.0,
        Sheen_Weight=0.4,
    )

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


STILLS = {f.__name__: f for f in (macro, loft, drapery, snow, candles, shutter)}
