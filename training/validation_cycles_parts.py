"""What the Cycles validation scenes are built of: shapes, CC0 meshes, lights, cameras. Z is up, units are metres."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
from validation_cycles_matter import Color, material

Height = Callable[[float, float], float]


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
    bpy.ops.mesh.primitive_torus_add(
        major_radius=radius, minor_radius=tube, major_segments=64, minor_segments=24, location=at, rotation=tilt
    )
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


def backdrop(paint: Any) -> Any:
    """A photographer's sweep: floor, quarter round, wall."""
    arc = [(2 + 2 * math.sin(t), 2 - 2 * math.cos(t)) for t in (i * math.pi / 60 for i in range(31))]
    profile = [(-5.0, 0.0), *arc, (4.0, 8.0)]
    points: list[Color] = []
    for (y0, z0), (y1, z1) in itertools.pairwise(profile):
        points += [(-7, y0, z0), (7, y0, z0), (7, y1, z1), (-7, y0, z0), (7, y1, z1), (-7, y1, z1)]
    return triangles(points, paint)


def grass(seed: int, blades: int, half: float, height: float, paint: Any) -> Any:
    rng = random.Random(seed)
    points = []
    for _ in range(blades):
        x, y, turn, tall = (
            rng.uniform(-half, half),
            rng.uniform(-half, half),
            rng.uniform(0, 6.28),
            height * rng.uniform(0.4, 1),
        )
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


def surround(
    color: Color = (0, 0, 0), strength: float = 1.0, hdri: Path | None = None, turn: float = 0.0, sky: bool = False
) -> None:
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
