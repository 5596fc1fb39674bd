"""Validation scenes for Blender's Cycles: made for measuring, never for training. Z is up, units are metres.

A plain script for a Python that has `bpy` (5.0 was used) and not necessarily mdenoise:

    python validation_cycles.py --scene NAME --assets DIR SPP:SEED:FILE.exr ...

Each FILE becomes a multilayer EXR with Combined, Depth, Denoising Albedo, Denoising Normal. `--scene demo` is the
README's frame: half float, with light groups that sum to the beauty. `--lights` adds Cycles' light passes.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import bpy

# By its bare name: a script's own folder is on the path, a package is not.
from validation_cycles_parts import (
    backdrop,
    ball,
    box,
    bricks,
    camera,
    cylinder,
    glow,
    grass,
    lamp,
    material,
    model,
    plane,
    sun,
    surround,
    torus,
    wood,
)
from validation_cycles_stills import STILLS

# --- scenes -------------------------------------------------------------------------------------------------------


def living_room(assets: Path) -> None:
    """Interior by day: a window's soft light and a floor lamp, sofa, rug, pictures."""
    white, cloth = (
        material((0.74, 0.72, 0.68), 0.9),
        material((0.11, 0.19, 0.24), 0.9, ("Noise", {"Scale": 60.0}), None, 0.01),
    )
    plane(
        (0, 0, 0),
        (5, 6),
        material(
            texture=(
                "Brick",
                {
                    "Color1": (0.36, 0.18, 0.08, 1),
                    "Color2": (0.22, 0.10, 0.04, 1),
                    "Mortar": (0.05, 0.02, 0.01, 1),
                    "Scale": 1.2,
                    "Mortar Size": 0.006,
                    "Brick Width": 1.2,
                    "Row Height": 0.16,
                },
            ),
            roughness=0.3,
        ),
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


DEMO_SIZE, DEMO_GROUPS = (384, 256), ("window", "lamp")
LIGHTS = (
    *(f"{lobe}_{way}" for lobe in ("diffuse", "glossy", "transmission") for way in ("direct", "indirect", "color")),
    "emit",
    "environment",
)
SCENES = {f.__name__: f for f in (living_room, product, meadow, breakfast, gallery, workshop)} | STILLS


# --- rendering ----------------------------------------------------------------------------------------------------


def build(name: str, assets: Path, size: int) -> Any:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.world = bpy.data.worlds.new("world")
    scene.render.engine, scene.cycles.device, scene.cycles.use_denoising = "CYCLES", "CPU", False
    scene.cycles.use_adaptive_sampling = False  # the sample count of a frame must be what its name says
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False  # as interiors are rendered; converges
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 7, 4, 4
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    layer = scene.view_layers[0]
    layer.cycles.denoising_store_passes = layer.use_pass_z = True
    if name == "demo":
        scene.render.resolution_x, scene.render.resolution_y = DEMO_SIZE
        for group in DEMO_GROUPS:
            layer.lightgroups.add(name=group)
    SCENES["living_room" if name == "demo" else name](assets)
    image = scene.render.image_settings
    image.media_type = "MULTI_LAYER_IMAGE"  # must precede the format in Blender 5
    image.file_format, image.exr_codec, image.color_depth = (
        "OPEN_EXR_MULTILAYER",
        "ZIP",
        "16" if name == "demo" else "32",
    )
    return scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", required=True, choices=[*SCENES, "demo"])
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lights", action="store_true")
    parser.add_argument("frames", nargs="+", metavar="SPP:SEED:FILE.exr")
    args = parser.parse_args()
    scene = build(args.scene, args.assets, args.size)
    for name in LIGHTS if args.lights else ():
        setattr(scene.view_layers[0], f"use_pass_{name}", True)
    for frame in args.frames:
        spp, seed, path = frame.split(":", 2)
        scene.cycles.samples, scene.cycles.seed = int(spp), int(seed)
        part = Path(path).resolve().with_suffix(".part.exr")
        scene.render.filepath = str(part)
        bpy.ops.render.render(write_still=True)
        part.replace(Path(path).resolve())


if __name__ == "__main__":
    main()
