"""Blender's compositor as it denoises a frame: its Denoise node with the settings that it comes with.

A plain script for a Python that has `bpy` (5.0 was used); `blender_peer` starts and feeds it. Of every folder that is
named on its input, color.exr (with albedo.exr and normal.exr, where they are) becomes denoised.exr.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bpy


def compose(folder: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    tree = scene.compositing_node_group = bpy.data.node_groups.new("denoise", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    node, end = tree.nodes.new("CompositorNodeDenoise"), tree.nodes.new("NodeGroupOutput")
    for role, name in (("Image", "color"), ("Albedo", "albedo"), ("Normal", "normal")):
        path = folder / f"{name}.exr"
        if path.exists():
            plane = tree.nodes.new("CompositorNodeImage")
            plane.image = bpy.data.images.load(str(path))
            plane.image.colorspace_settings.name = "Non-Color"  # the numbers as they are
            tree.links.new(plane.outputs["Image"], node.inputs[role])
            scene.render.resolution_x, scene.render.resolution_y = plane.image.size
    tree.links.new(node.outputs["Image"], end.inputs["Image"])
    bpy.ops.object.camera_add()
    scene.camera = bpy.context.object
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 1, "CPU"
    image = scene.render.image_settings
    image.file_format, image.color_mode, image.color_depth, image.exr_codec = "OPEN_EXR", "RGB", "32", "ZIP"
    scene.render.filepath = str(folder / "denoised.exr")
    bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    for line in sys.stdin:
        compose(Path(line.rstrip("\n")))
        print("denoised", flush=True)
