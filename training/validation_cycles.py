"""Validation scenes for Blender's Cycles: made for measuring, never for training. Z is up, units are metres.

A plain script for a Python that has `bpy` (5.0 was used) and not necessarily mdenoise:

    python validation_cycles.py --scene NAME --assets DIR SPP:SEED:FILE.exr ...

Each FILE becomes a multilayer EXR with Combined, Depth, Denoising Albedo, Denoising Normal. `--scene demo` is the
README's frame: half float, with light groups that sum to the beauty. `--lights` adds Cycles' light passes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import bpy

# By their bare names: a script's own folder is on the path, a package is not.
from validation_cycles_close import CLOSE
from validation_cycles_outdoors import OUTDOORS
from validation_cycles_rooms import ROOMS

DEMO_SIZE, DEMO_GROUPS = (384, 256), ("window", "lamp")
LIGHTS = (
    *(f"{lobe}_{way}" for lobe in ("diffuse", "glossy", "transmission") for way in ("direct", "indirect", "color")),
    "emit",
    "environment",
)
SCENES = ROOMS | OUTDOORS | CLOSE


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
