"""What the surfaces of the Cycles validation scenes are made of."""

from __future__ import annotations

from typing import Any

import bpy

Color = tuple[float, float, float]


def material(
    color: Color | str = (0.8, 0.8, 0.8),
    roughness: float = 0.5,
    texture: tuple[str, dict[str, Any]] | None = None,
    ends: tuple[Color, Color] | None = None,
    bump: float = 0.0,
    **principled: Any,
) -> Any:
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
        value = node.outputs[0] if kind == "Voronoi" else node.outputs["Factor"]
        if kind == "Brick":
            links.new(node.outputs["Color"], shader.inputs["Base Color"])
        elif ends:
            ramp = nodes.new("ShaderNodeValToRGB")
            for element, end in zip(ramp.color_ramp.elements, ends, strict=True):
                element.color = (*end, 1)
            links.new(value, ramp.inputs["Factor"])
            links.new(ramp.outputs["Color"], shader.inputs["Base Color"])
        if bump:
            normal = nodes.new("ShaderNodeBump")
            normal.inputs["Distance"].default_value = bump
            normal.invert = kind == "Brick"  # its factor is 1 in the joints
            links.new(value, normal.inputs["Height"])
            links.new(normal.outputs["Normal"], shader.inputs["Normal"])
    return made


def glow(color: Color, strength: float) -> Any:
    return material((0, 0, 0), Emission_Color=(*color, 1), Emission_Strength=strength)


def wood(dark: Color = (0.10, 0.04, 0.02), light: Color = (0.42, 0.23, 0.11), scale: float = 2.5, **shader: Any) -> Any:
    return material(
        texture=("Wave", {"Scale": scale, "Distortion": 7.0, "Detail": 3.0, "Detail Scale": 1.5}),
        ends=(dark, light),
        **shader,
    )


def bricks(one: Color, two: Color, scale: float, bump: float = 0.01, roughness: float = 0.8) -> Any:
    return laid(one, two, (0.3, 0.29, 0.27), {"Scale": scale}, bump=bump, roughness=roughness)


def boards(
    one: Color,
    two: Color,
    scale: float,
    roughness: float,
    joint: Color,
    joint_size: float,
    size: tuple[float, float] = (0.5, 0.25),
    **principled: Any,
) -> Any:
    """Flat boards, or threads, of two colours; `size` is the length and the width of one, in units of the texture."""
    sockets = {"Scale": scale, "Mortar Size": joint_size, "Brick Width": size[0], "Row Height": size[1]}
    return laid(one, two, joint, sockets, roughness=roughness, **principled)


def laid(one: Color, two: Color, joint: Color, sockets: dict[str, float], **shader: Any) -> Any:
    colors = {"Color1": (*one, 1), "Color2": (*two, 1), "Mortar": (*joint, 1)}
    return material(texture=("Brick", colors | sockets), **shader)
