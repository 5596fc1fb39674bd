"""A short animation for Blender's Cycles, made for measuring: a camera, a lamp and a ball that go to and fro, and what
the ball uncovers. Z is up, units are metres.

A plain script for a Python that has `bpy` (5.0 was used) and not necessarily mdenoise:

    python validation_animation.py --out DIR [--frames 48] [--size 160x90] [--spp 4] [--reference-spp 128]

writes DIR/noisy.####.exr (Combined, Depth, Vector, Denoising Albedo, Denoising Normal) and DIR/reference.####.exr.
What lies in DIR already is kept, so a render that was stopped goes on where it was. All of it takes about four minutes
of one core; a reference of 128 samples is 51 dB away from a perfect one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import bpy

# By its bare name: a script's own folder is on the path, a package is not.
from validation_cycles_matter import bricks, material, wood
from validation_cycles_parts import ball, box, camera, lamp, plane, surround

STEP = 1 / 24  # metres, per frame, of the slowest thing that moves


def build(frames: int, size: tuple[int, int]) -> Any:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.world = bpy.data.worlds.new("world")
    surround((0.35, 0.42, 0.55), 0.25)
    plane((0, 0, 0), (8, 8), wood(scale=1.2, roughness=0.4))
    plane((0, 1.8, 1.5), (8, 3), bricks((0.38, 0.13, 0.07), (0.22, 0.08, 0.05), 2.0), (90, 0, 0))
    box((-0.9, 0.6, 0.35), (0.5, 0.5, 0.7), material((0.1, 0.25, 0.45), 0.4), 20, 0.03)
    checks = material(texture=("Checker", {"Scale": 9.0}), ends=((0.05, 0.05, 0.06), (0.8, 0.78, 0.7)), roughness=0.5)
    box((0.9, 0.9, 0.5), (0.6, 0.4, 1.0), checks, -15, 0.02)
    moving = ball((-0.7, -0.3, 0.4), 0.3, material((0.75, 0.28, 0.02), 0.3))
    light = lamp((-1.5, -1.5, 2.4), (0, 0.6, 0.3), 0.8, 90, (1, 0.9, 0.78))
    camera((-0.3, -3.0, 1.1), (0, 0.6, 0.6), 32)
    for thing, speed, turn in ((moving, 3, 16), (light, 2, 20), (scene.camera, 1, 24)):  # turns after so many frames
        start = thing.location.x
        for number, frame in enumerate(range(0, frames + 1 + turn, turn)):  # beyond both ends: those frames move, too
            thing.location.x = start + (STEP * turn * speed if number % 2 else 0)
            thing.keyframe_insert("location", frame=frame)
    for action in bpy.data.actions:
        for point in (p for curve in curves(action) for p in curve.keyframe_points):
            point.interpolation = "LINEAR"
    scene.render.engine, scene.cycles.device, scene.cycles.use_denoising = "CYCLES", "CPU", False
    scene.cycles.use_adaptive_sampling = False  # the sample count of a frame must be what its name says
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 5, 3, 3
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    layer = scene.view_layers[0]
    layer.cycles.denoising_store_passes = layer.use_pass_z = layer.use_pass_vector = True
    image = scene.render.image_settings
    image.media_type = "MULTI_LAYER_IMAGE"  # must precede the format in Blender 5
    image.file_format, image.exr_codec, image.color_depth = "OPEN_EXR_MULTILAYER", "ZIP", "32"
    return scene


def curves(action: Any) -> list[Any]:
    """The curves of an action: in its slots' bags since Blender 4.4."""
    bags = (strip.channelbags for layer in action.layers for strip in layer.strips)
    return [curve for each in bags for bag in each for curve in bag.fcurves]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", default="160x90")
    parser.add_argument("--spp", type=int, default=4)
    parser.add_argument("--reference-spp", type=int, default=128)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    scene = build(args.frames, (width, height))
    for name, spp, seed in (("noisy", args.spp, 1), ("reference", args.reference_spp, 1001)):
        for frame in range(1, args.frames + 1):
            path = args.out.resolve() / f"{name}.{frame:04d}.exr"
            if path.exists():
                continue
            scene.frame_set(frame)
            scene.cycles.samples, scene.cycles.seed = spp, seed + frame
            part = path.with_name(f"part.{path.name}")
            scene.render.filepath = str(part)
            bpy.ops.render.render(write_still=True)
            part.replace(path)


if __name__ == "__main__":
    main()
