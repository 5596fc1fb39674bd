"""Validation scenes for Blender's Cycles: made for measuring, never for training. Z is up, units are metres.

A plain script for a Python that has `bpy` (5.0 was used) and nothing else of ours:

    python validation_cycles.py --scene NAME --assets DIR SPP:SEED:FILE.exr ...

Each FILE becomes a multilayer EXR with Combined, Depth, Denoising Albedo, Denoising Normal. `--scene demo` is the
frame of the README: 360 x 360, half float, with light groups that sum to the beauty.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from typing import Any

import bpy

Color = tuple[float, float, float]


# --- materials ----------------------------------------------------------------------------------------------------

def material(color: Color | str = (0.8, 0.8, 0.8), roughness: float = 0.5, texture: tuple[str, dict[str, Any]] | None = None,
             ends: tuple[Color, Color] | None = None, bump: float = 0.0, **principled: Any) -> Any:
    """A Principled material. `texture` (node type, sockets) runs through a ramp between `ends` and can drive a bump;
    color "vertex" takes the mesh's own colours; other sockets of the shader by name, `_` for a space."""
    made = bpy.data.materials.new("made")
    nodes, links = made.node_tree.nodes, made.node_tree.links
    shader = nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = roughness
    for name, value in principled.items():
        shader.inputs[name.replace("_", " ")].default_value = value
    if color == "vertex":
        attribute = nodes.new("ShaderNodeVertexColor")
        links.new(attribute.outputs["Color"], shader.inputs["Base Color"])
    else:
        shader.inputs["Base Color"].default_value = (*color, 1)
    if texture:
        kind, sockets = texture
        node, place = nodes.new(f"ShaderNodeTex{kind}"), nodes.new("ShaderNodeTexCoord")
        # Object coordinates: the pattern keeps its size whatever the object is scaled to.
        links.new(place.outputs["Object"], node.inputs["Vector"])
        for name, value in sockets.items():
            if name in node.inputs:
                node.inputs[name].default_value = value
            else:
                setattr(node, name, value)
        value = node.outputs[0]
        if ends:
            ramp = nodes.new("ShaderNodeValToRGB")
            for element, end in zip(ramp.color_ramp.elements, ends):
                element.color = (*end, 1)
            links.new(value, ramp.inputs["Factor"])
            links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
        if bump:
            normal = nodes.new("ShaderNodeBump")
            normal.inputs["Distance"].default_value = bump
            links.new(value, normal.inputs["Height"])
            links.new(normal.outputs["Normal"], shader.inputs["Normal"])
    return made


def glow(color: Color, strength: float) -> Any:
    return material((0, 0, 0), Emission_Color=(*color, 1), Emission_Strength=strength)


def wood(dark: Color = (0.10, 0.04, 0.02), light: Color = (0.42, 0.23, 0.11), scale: float = 2.5, **shader: Any) -> Any:
    return material(texture=("Wave", {"Scale": scale, "Distortion": 7.0, "Detail": 3.0, "Detail Scale": 1.5}), ends=(dark, light), **shader)


def bricks(one: Color, two: Color, scale: float, bump: float = 0.01, roughness: float = 0.8) -> Any:
    return material(texture=("Brick", {"Color1": (*one, 1), "Color2": (*two, 1), "Mortar": (0.3, 0.29, 0.27, 1), "Scale": scale}),
                    ends=((0.02, 0.02, 0.02), (1, 1, 1)), bump=bump, roughness=roughness)


# --- shapes and lights --------------------------------------------------------------------------------------------

def finish(paint: Any, group: str = "") -> Any:
    thing = bpy.context.object
    thing.data.materials.clear()
    thing.data.materials.append(paint)
    thing.lightgroup = group
    return thing


def box(at: Color, size: Color, paint: Any, turn: float = 0.0, bevel: float = 0.0) -> Any:
    bpy.ops.mesh.primitive_cube_add(size=1, location=at, rotation=(0, 0, math.radians(turn)))
    thing = finish(paint)
    thing.scale = size
    bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
    if bevel:
        modifier = thing.modifiers.new("bevel", "BEVEL")
        modifier.width, modifier.segments = bevel, 3
    return thing


def ball(at: Color, radius: float, paint: Any, group: str = "") -> Any:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=24, radius=radius, location=at)
    bpy.ops.object.shade_smooth()
    return finish(paint, group)


def torus(at: Color, radius: float, tube: float, paint: Any, tilt: Color = (0, 0, 0)) -> Any:
    bpy.ops.mesh.primitive_torus_add(major_radius=radius, minor_radius=tube, major_segments=64, minor_segments=24, location=at, rotation=tilt)
    bpy.ops.object.shade_smooth()
    return finish(paint)


def cylinder(at: Color, radius: float, height: float, paint: Any) -> Any:
    bpy.ops.mesh.primitive_cylinder_add(vertices=64, radius=radius, depth=height, location=at)
    thing = finish(paint)
    modifier = thing.modifiers.new("bevel", "BEVEL")
    modifier.width, modifier.segments = 0.06 * radius, 3
    return thing


def plane(at: Color, size: tuple[float, float], paint: Any, tilt: Color = (0, 0, 0)) -> Any:
    bpy.ops.mesh.primitive_plane_add(size=1, location=at, rotation=tuple(map(math.radians, tilt)))
    thing = finish(paint)
    thing.scale = (*size, 1)
    bpy.ops.object.transform_apply(location=False, rotation=False, scale=True)
    return thing


def triangles(points: list[Color], paint: Any) -> Any:
    """A mesh of separate triangles: three points each."""
    mesh = bpy.data.meshes.new("made")
    mesh.from_pydata(points, [], [(i, i + 1, i + 2) for i in range(0, len(points), 3)])
    thing = bpy.data.objects.new("made", mesh)
    bpy.context.collection.objects.link(thing)
    mesh.materials.append(paint)
    return thing


def grass(seed: int, blades: int, half: float, height: float, paint: Any) -> Any:
    rng = random.Random(seed)
    points = []
    for _ in range(blades):
        x, y, turn, tall = rng.uniform(-half, half), rng.uniform(-half, half), rng.uniform(0, 6.28), height * rng.uniform(0.4, 1)
        dx, dy = 0.012 * math.cos(turn), 0.012 * math.sin(turn)
        points += [(x - dx, y - dy, 0), (x + dx, y + dy, 0), (x + rng.gauss(0, 0.05), y + rng.gauss(0, 0.05), tall)]
    return triangles(points, paint)


def model(assets: Path, name: str, at: Color, height: float, turn: float = 0.0, paint: Any = None) -> Any:
    """A mesh standing at `at`, scaled to `height`; with its own vertex colours unless a material is given."""
    path = next((assets / "meshes").glob(f"{name}.*"))
    if path.suffix == ".ply":
        bpy.ops.wm.ply_import(filepath=str(path), forward_axis="NEGATIVE_Z", up_axis="Y", import_colors="SRGB")
    else:
        bpy.ops.wm.obj_import(filepath=str(path))
    thing = finish(paint or material("vertex", 0.45))
    bpy.ops.object.transform_apply()
    low = min(v.co.z for v in thing.data.vertices)
    scale = height / (max(v.co.z for v in thing.data.vertices) - low)
    thing.scale, thing.rotation_euler[2] = (scale,) * 3, math.radians(turn)
    thing.location = (at[0], at[1], at[2] - low * scale)
    if paint:
        bpy.ops.object.shade_smooth()
    return thing


def lamp(at: Color, to: Color, size: float, watts: float, color: Color = (1, 1, 1), group: str = "") -> Any:
    bpy.ops.object.light_add(type="AREA", location=at)
    thing = bpy.context.object
    thing.data.size, thing.data.energy, thing.data.color = size, watts, color
    thing.lightgroup = group
    aim(thing, to)
    return thing


def sun(elevation: float, azimuth: float, strength: float, angle: float, color: Color = (1, 0.95, 0.88)) -> Any:
    bpy.ops.object.light_add(type="SUN")
    thing = bpy.context.object
    thing.data.energy, thing.data.angle, thing.data.color = strength, math.radians(angle), color
    thing.rotation_euler = (math.radians(90 - elevation), 0, math.radians(azimuth))
    return thing


def aim(thing: Any, to: Color) -> None:
    import mathutils

    thing.rotation_euler = (mathutils.Vector(to) - thing.location).to_track_quat("-Z", "Y").to_euler()


def camera(at: Color, to: Color, lens: float, f_stop: float = 0.0) -> None:
    bpy.ops.object.camera_add(location=at)
    thing = bpy.context.object
    aim(thing, to)
    thing.data.lens = lens
    if f_stop:
        thing.data.dof.use_dof, thing.data.dof.aperture_fstop = True, f_stop
        thing.data.dof.focus_distance = math.dist(at, to)
    bpy.context.scene.camera = thing


def surround(color: Color = (0, 0, 0), strength: float = 1.0, hdri: Path | None = None, turn: float = 0.0, sky: bool = False) -> None:
    """The world: one colour, an HDRI turned about the vertical, or a physical sky without its sun disc."""
    world = bpy.context.scene.world
    nodes, links = world.node_tree.nodes, world.node_tree.links
    background = nodes["Background"]
    background.inputs["Color"].default_value, background.inputs["Strength"].default_value = (*color, 1), strength
    if hdri or sky:
        node = nodes.new("ShaderNodeTexEnvironment" if hdri else "ShaderNodeTexSky")
        links.new(node.outputs["Color"], background.inputs["Color"])
        if hdri:
            node.image = bpy.data.images.load(str(hdri))
            place, shift = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
            shift.inputs["Rotation"].default_value[2] = math.radians(turn)
            links.new(place.outputs["Generated"], shift.inputs["Vector"])
            links.new(shift.outputs["Vector"], node.inputs["Vector"])
        else:
            node.sky_type, node.sun_disc, node.sun_elevation = "HOSEK_WILKIE", False, math.radians(35)


# --- scenes -------------------------------------------------------------------------------------------------------

def living_room(assets: Path) -> None:
    """Interior by day: a window's soft light and a floor lamp, sofa, rug, pictures."""
    white, cloth = material((0.74, 0.72, 0.68), 0.9), material((0.11, 0.19, 0.24), 0.9, ("Noise", {"Scale": 60.0}), None, 0.01)
    plane((0, 0, 0), (5, 6), material(texture=("Brick", {"Color1": (0.36, 0.18, 0.08, 1), "Color2": (0.22, 0.10, 0.04, 1), "Mortar": (0.05, 0.02, 0.01, 1),
          "Scale": 1.2, "Mortar Size": 0.006, "Brick Width": 1.2, "Row Height": 0.16}), ends=((0.02, 0.01, 0.0), (0.95, 0.8, 0.62)), roughness=0.3))
    plane((0, 0, 2.6), (5, 6), white, (180, 0, 0)), plane((0, 2, 1.3), (5, 2.6), white, (90, 0, 0)), plane((-2.2, 0, 1.3), (6, 2.6), white, (90, 0, 90))
    plane((2.2, 0, 1.3), (6, 2.6), material((0.28, 0.36, 0.30), 0.9), (90, 0, -90)), plane((0, -3, 1.3), (5, 2.6), white, (90, 0, 0))
    lamp((-2.1, 0.3, 1.5), (0, 0.2, 1.0), 1.3, 75, (0.85, 0.93, 1))
    box((0.5, 1.3, 0.25), (1.8, 0.8, 0.3), cloth, 0, 0.08), box((0.5, 1.62, 0.6), (1.8, 0.25, 0.6), cloth, 0, 0.1)
    box((-0.5, 1.3, 0.45), (0.22, 0.8, 0.4), cloth, 0, 0.08), box((1.5, 1.3, 0.45), (0.22, 0.8, 0.4), cloth, 0, 0.08)
    box((0.1, 1.4, 0.52), (0.4, 0.15, 0.36), material((0.62, 0.33, 0.05), 0.9), 10, 0.06), box((1.0, 1.4, 0.52), (0.4, 0.15, 0.36), material((0.5, 0.08, 0.06), 0.9), -12, 0.06)
    cylinder((0.35, 0.25, 0.36), 0.42, 0.05, wood()), cylinder((0.35, 0.25, 0.17), 0.05, 0.34, material((0.1, 0.1, 0.1), 0.3, Metallic=1.0))
    model(assets, "expresso-cup", (0.25, 0.2, 0.385), 0.13), model(assets, "plant", (-1.55, 1.45, 0), 1.2)
    plane((0.4, 0.3, 0.005), (2.2, 1.5), material(texture=("Magic", {"Scale": 5.0, "Distortion": 2.0}), ends=((0.35, 0.05, 0.05), (0.75, 0.62, 0.4)), roughness=1.0))
    plane((0.5, 1.985, 1.65), (0.9, 0.6), material(texture=("Voronoi", {"Scale": 6.0}), ends=((0.05, 0.15, 0.4), (0.95, 0.75, 0.2))), (90, 0, 0))
    cylinder((1.75, 1.65, 0.8), 0.02, 1.6, material((0.05, 0.05, 0.05), 0.3, Metallic=1.0)), ball((1.75, 1.6, 1.68), 0.15, glow((1, 0.68, 0.36), 11))
    camera((-0.75, -2.5, 1.35), (0.35, 1.2, 0.75), 27)


def product(assets: Path) -> None:
    """Studio shot: coated, brushed and clear things on a sweep, two soft boxes."""
    sweep = material((0.5, 0.5, 0.52), 0.7)
    plane((0, 0, 0), (12, 6), sweep), plane((0, 2.2, 3), (12, 6), sweep, (70, 0, 0))
    surround(hdri=assets / "hdri/studio_small_03_1k.hdr", strength=0.12, turn=60)
    lamp((-2.2, -1.2, 2.6), (0, 0, 0.4), 1.5, 110, (1, 0.93, 0.85)), lamp((2.4, -0.6, 1.6), (0, 0, 0.4), 0.8, 40, (0.8, 0.9, 1))
    model(assets, "spot", (-0.45, 0.15, 0), 1.0, -35, material((0.62, 0.05, 0.04), 0.35, Coat_Weight=1.0, Coat_Roughness=0.05))
    torus((0.65, 0.35, 0.35), 0.27, 0.08, material((0.9, 0.62, 0.3), 0.28, Metallic=1.0), (1.2, 0, 0.5))
    cylinder((0.5, -0.35, 0.14), 0.2, 0.28, material(texture=("Checker", {"Scale": 14.0}), ends=((0.04, 0.06, 0.1), (0.8, 0.78, 0.7)), roughness=0.4))
    ball((0.98, -0.2, 0.17), 0.17, material((0.9, 0.95, 1), 0.05, Transmission_Weight=1.0))
    camera((0.2, -3.2, 1.25), (0.2, 0.1, 0.42), 52)


def meadow(assets: Path) -> None:
    """Late sun and sky: grass, trees, a car, a brick wall."""
    surround(sky=True, strength=0.55), sun(32, 40, 4.0, 1.5)
    plane((0, 8, 0), (60, 60), material(texture=("Noise", {"Scale": 3.0, "Detail": 6.0}), ends=((0.06, 0.08, 0.02), (0.20, 0.17, 0.08)), roughness=1.0))
    grass(3, 45000, 4.0, 0.15, material((0.10, 0.19, 0.03), 0.6)), grass(5, 9000, 4.0, 0.19, material((0.26, 0.28, 0.07), 0.6))
    model(assets, "low-poly-tree", (-1.7, 2.4, 0), 2.7), model(assets, "low-poly-tree", (2.5, 4.0, 0), 3.4, 110), model(assets, "suv", (0.55, 0.9, 0.02), 1.15, 55)
    model(assets, "spot", (-1.0, -0.1, 0), 0.8, -30, material((0.55, 0.45, 0.35), 0.6)), model(assets, "plant", (1.55, -0.6, 0), 0.7)
    wall = plane((0, 6.5, 0.9), (30, 1.8), bricks((0.38, 0.13, 0.07), (0.22, 0.08, 0.05), 3.0), (90, 0, 0))
    wall.name = "wall"
    camera((-0.2, -4.0, 1.25), (0.1, 1.0, 0.75), 36)


def breakfast(assets: Path) -> None:
    """A wooden table in focus, the rest soft: cups, fruit, glass, HDRI light."""
    surround(hdri=assets / "hdri/lebombo_1k.hdr", strength=0.75, turn=215)
    plane((0, 1, 0), (5, 6), wood(roughness=0.3, scale=1.6))
    porcelain = material((0.78, 0.77, 0.74), 0.12)
    model(assets, "expresso-cup", (-0.25, 0, 0), 0.34, 20), model(assets, "expresso-cup", (0.55, 0.9, 0), 0.34, 100, material((0.05, 0.16, 0.22), 0.15))
    model(assets, "expresso-cup", (-0.9, 1.8, 0), 0.34, 60, porcelain)
    cylinder((0.45, -0.05, 0.015), 0.33, 0.03, porcelain)
    for i, (x, y, color) in enumerate([(0.35, -0.1, (0.75, 0.28, 0.02)), (0.55, 0.05, (0.7, 0.22, 0.02)), (0.47, -0.2, (0.35, 0.45, 0.05))]):
        ball((x, y, 0.12), 0.09, material(color, 0.45, ("Noise", {"Scale": 90.0}), None, 0.01))
    ball((-0.75, 0.35, 0.17), 0.17, material((1, 1, 1), 0.0, Transmission_Weight=1.0)), ball((1.1, 1.9, 0.3), 0.3, material((0.8, 0.8, 0.82), 0.2, Metallic=1.0))
    camera((-0.2, -1.7, 0.85), (0.0, 0.1, 0.1), 38, 0.35)


def night_street(assets: Path) -> None:
    """Night: wet asphalt, signs in view, a car, brick facades, small warm windows."""
    surround((0.012, 0.018, 0.035), 1.0)
    plane((0, 2, 0), (14, 14), material(texture=("Noise", {"Scale": 5.0, "Detail": 8.0}), ends=((0.02, 0.02, 0.025), (0.10, 0.10, 0.11)), roughness=0.22, bump=0.02))
    box((-2.9, 3, 2), (2, 9, 4), bricks((0.33, 0.14, 0.09), (0.24, 0.12, 0.08), 2.5)), box((3.2, 3.5, 2), (2, 9, 4), bricks((0.28, 0.26, 0.24), (0.2, 0.19, 0.18), 2.5))
    box((0, 7.5, 2), (6, 1, 4), material((0.25, 0.23, 0.25), 0.8))
    for i in range(10):
        plane((-1.89, 0.4 + 1.3 * (i % 5), 1.7 + 1.1 * (i // 5)), (0.55, 0.7), glow((1, 0.66, 0.3), 2.2) if i % 3 else material((0.05, 0.06, 0.08), 0.05), (90, 0, 90))
    box((2.05, 1.5, 1.75), (0.1, 1.3, 0.35), glow((1, 0.08, 0.35), 9)), box((2.0, 3.6, 2.2), (0.1, 0.35, 1.3), glow((0.1, 0.7, 1), 8))
    box((-0.5, 6.9, 2.3), (1.8, 0.1, 0.35), glow((0.3, 1, 0.35), 5)), ball((-1.45, 0.3, 2.0), 0.13, glow((1, 0.8, 0.5), 40)), cylinder((-1.45, 0.3, 0.95), 0.03, 1.9, material((0.02, 0.02, 0.02), 0.4))
    model(assets, "suv", (0.55, 1.2, 0), 1.35, 20), model(assets, "suv", (-0.9, 4.6, 0), 1.35, 0), model(assets, "plant", (1.75, -0.1, 0), 0.8)
    camera((-0.3, -3.6, 1.3), (0.0, 1.6, 1.05), 33)


def gallery(assets: Path) -> None:
    """Rough stone, voronoi relief and woven bump under spots and a skylight; marble and bronze."""
    relief = material(texture=("Voronoi", {"Scale": 5.0}), ends=((0.62, 0.58, 0.52), (0.45, 0.42, 0.38)), bump=0.12, roughness=0.8)
    plane((0, 2, 1.5), (7, 3), relief, (90, 0, 0)), plane((-3, 0, 1.5), (7, 3), material((0.6, 0.58, 0.55), 0.9), (90, 0, 90))
    plane((0, 0, 0), (7, 7), material(texture=("Noise", {"Scale": 4.0, "Detail": 10.0, "Distortion": 2.0}), ends=((0.10, 0.10, 0.11), (0.62, 0.6, 0.57)), roughness=0.2))
    surround((0.5, 0.6, 0.8), 0.18), lamp((0, -0.5, 3.4), (0, 0.4, 0), 1.2, 130, (1, 0.95, 0.88)), lamp((-2.4, 1.7, 2.7), (-0.8, 2, 0.8), 0.25, 35, (1, 0.75, 0.45)), lamp((2.4, 1.7, 2.7), (1.2, 2, 0.8), 0.25, 35, (1, 0.75, 0.45))
    marble = material(texture=("Noise", {"Scale": 3.5, "Detail": 8.0, "Distortion": 3.0}), ends=((0.25, 0.24, 0.26), (0.86, 0.84, 0.8)), roughness=0.15)
    for x, thing in ((-1.2, "spot"), (0.15, "ball"), (1.4, "ring")):
        box((x, 0.7, 0.4), (0.55, 0.55, 0.8), material((0.55, 0.54, 0.52), 0.8, ("Noise", {"Scale": 40.0}), None, 0.02), 15 * x, 0.02)
    model(assets, "spot", (-1.2, 0.7, 0.8), 0.75, -25, material((0.42, 0.22, 0.09), 0.35, Metallic=1.0))
    ball((0.15, 0.7, 1.1), 0.3, marble), torus((1.4, 0.7, 1.1), 0.23, 0.075, material((0.08, 0.2, 0.16), 0.25, Coat_Weight=0.5), (1.5, 0.3, 0.4))
    camera((0.5, -3.4, 1.45), (0.1, 0.8, 0.95), 36)


def workshop(assets: Path) -> None:
    """Shelves full of small things: hundreds of edges and colours, soft light from one side."""
    rng = random.Random(11)
    plane((0, 1.0, 1.3), (6, 3), material((0.55, 0.52, 0.46), 0.9, ("Noise", {"Scale": 25.0}), None, 0.02), (90, 0, 0)), plane((0, 0, 0), (6, 5), wood(scale=1.2, roughness=0.4))
    lamp((-2.2, -2.0, 2.4), (0, 0.7, 1.0), 1.2, 120, (1, 0.92, 0.8)), surround((0.35, 0.42, 0.55), 0.22)
    board = wood((0.2, 0.11, 0.05), (0.5, 0.32, 0.17), 4.0)
    for level in range(4):
        z = 0.25 + 0.5 * level
        box((0, 0.75, z), (2.5, 0.42, 0.04), board)
        x = -1.2
        while x < 1.15:
            wide, tall = rng.uniform(0.03, 0.12), rng.uniform(0.14, 0.4)
            paint = material((rng.uniform(0.03, 0.75), rng.uniform(0.03, 0.6), rng.uniform(0.03, 0.6)), rng.uniform(0.15, 0.8), Metallic=float(rng.random() < 0.12))
            if rng.random() < 0.68:
                box((x + wide / 2, 0.72, z + 0.02 + tall / 2), (wide, rng.uniform(0.2, 0.32), tall), paint, rng.gauss(0, 4), 0.005)
            elif rng.random() < 0.5:
                ball((x + wide, 0.68, z + 0.02 + wide), wide, paint)
                x += wide
            else:
                cylinder((x + wide, 0.68, z + 0.02 + tall / 4), wide, tall / 2, paint)
                x += wide
            x += wide + 0.012
    box((-1.28, 0.75, 1.0), (0.05, 0.42, 2.0), board), box((1.28, 0.75, 1.0), (0.05, 0.42, 2.0), board)
    model(assets, "ferris-wheel", (0.75, -0.35, 0), 0.85, 25), model(assets, "expresso-cup", (-0.6, -0.5, 0), 0.3, 40, material((0.7, 0.68, 0.62), 0.15))
    camera((0.5, -2.9, 1.35), (0.05, 0.6, 0.9), 38)


SCENES = {f.__name__: f for f in (living_room, product, meadow, breakfast, night_street, gallery, workshop)}


def demo(assets: Path) -> None:
    """The README's frame: the product shot with its lights in groups that sum to the beauty."""
    product(assets)


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
    (demo if name == "demo" else SCENES[name])(assets)
    image = scene.render.image_settings
    image.media_type = "MULTI_LAYER_IMAGE"  # must precede the format in Blender 5
    image.file_format, image.exr_codec, image.color_depth = "OPEN_EXR_MULTILAYER", "ZIP", "16" if name == "demo" else "32"
    return scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", required=True, choices=[*SCENES, "demo"])
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("frames", nargs="+", metavar="SPP:SEED:FILE.exr")
    args = parser.parse_args()
    scene = build(args.scene, args.assets, args.size)
    for frame in args.frames:
        spp, seed, path = frame.split(":", 2)
        scene.cycles.samples, scene.cycles.seed = int(spp), int(seed)
        scene.render.filepath = str(Path(path).resolve())
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main()
