"""From channel names to layers: which channels belong together, in which view, and under which plain name.

Rules 1 to 3 of the renderers' naming: a name is split at its last dot into layer and component; in a multi-part
file the part's name stands in for a missing prefix; layers are compared by their last element, without case,
spaces, `_` and `-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mdenoise.frame import Frame, Layer, Part

_COMPONENTS = {
    "r": "r",
    "red": "r",
    "g": "g",
    "green": "g",
    "b": "b",
    "blue": "b",
    "a": "a",
    "alpha": "a",
    "x": "x",
    "y": "y",
    "z": "z",
    "u": "u",
    "v": "v",
}
_GROUPS = (("rgb", "rgb"), ("xyz", "xyz"), ("xy", "uv"), ("uv", "uv"))  # components, kind
_UNDOTTED = ("Ns", "N", "P")  # pbrt-v4 before June 2023: Nx Ny Nz Nsx Nsy ... Px; elsewhere Pz alone is a depth


@dataclass(frozen=True)
class Named:
    """A layer and what its name says.

    view   "left", "right", ... or "" ; scope  what stands before the last element (a Cycles view layer);
    key    the last element as it is compared, "" for plain R, G, B ; kind  "rgb", "xyz", "uv" or "scalar".
    root   the channels themselves have no prefix.
    """

    layer: Layer
    view: str
    scope: str
    key: str
    kind: str
    root: bool


def plain(name: str) -> str:
    """A name as names are compared: `Denoising Albedo` and `denoising_albedo` are the same."""
    return re.sub(r"[\s_\-]", "", name).lower()


def label(layer: Layer) -> str:
    """What a user calls the layer: its name, or `RGB` for channels without one."""
    return layer.name or "".join(channel.rsplit(".", 1)[-1] for channel in layer.channels)


def group_layers(parts: Sequence[Part]) -> tuple[Layer, ...]:
    """All layers of a file, part by part, in the order of their channels."""
    layers: list[Layer] = []
    for index, part in enumerate(parts):
        undotted = {
            name + c: (name, c)
            for name in _UNDOTTED
            for c in "xyz"
            if all(name + other in part.channels for other in "xyz")
        }
        groups: dict[str, list[tuple[str, str]]] = {}
        for channel in part.channels:
            prefix, component = undotted.get(channel) or _split(channel)
            groups.setdefault(prefix, []).append((component, channel))
        base = _strip_view(part.name, part.view) if len(parts) > 1 else ""
        for prefix, members in groups.items():
            found = _layers_of(prefix, members, index)
            for layer in found:
                layers.append(_named_by_part(layer, base, alone=len(groups) == 1 and len(found) == 1))
    return tuple(layers)


def _split(channel: str) -> tuple[str, str]:
    prefix, _, component = channel.rpartition(".")
    return prefix, component


def _layers_of(prefix: str, members: list[tuple[str, str]], part: int) -> list[Layer]:
    by_component: dict[str, str] = {}
    for component, channel in members:
        by_component.setdefault(_COMPONENTS.get(component.lower(), ""), channel)
    layers: list[Layer] = []
    used: set[str] = set()
    for components, _ in _GROUPS:
        channels = tuple(by_component[one] for one in components if one in by_component)
        if len(channels) < len(components) or used.intersection(channels):
            continue
        alpha = by_component.get("a") if components == "rgb" else None
        layers.append(Layer(prefix, part, channels, alpha))
        used.update(channels, {alpha} if alpha else ())
    rest = [channel for _, channel in members if channel not in used]
    alone = not layers and len(rest) == 1
    layers += [Layer(prefix if alone and prefix else channel, part, (channel,)) for channel in rest]
    return layers


def _named_by_part(layer: Layer, base: str, *, alone: bool) -> Layer:
    """A part's name names the channels in it that have no prefix of their own."""
    prefixed = "." in layer.channels[0]
    if not base or prefixed or (len(layer.channels) == 1 and not alone):
        return layer
    return Layer(base, layer.part, layer.channels, layer.alpha)


def _strip_view(name: str, view: str) -> str:
    return re.sub(rf"(^|[._-]){re.escape(view)}$", "", name) if view else name


def views_of(frame: Frame) -> tuple[str, ...]:
    """The views of a file, the default one first; () when it has only one."""
    listed = frame.parts[0].header.get("multiView")
    if isinstance(listed, list):
        return tuple(str(view) for view in listed)
    views = tuple(dict.fromkeys(part.view for part in frame.parts if part.view))
    if not views:
        elements = {element for layer in frame.layers for element in layer.name.split(".")}
        views = ("left", "right") if elements >= {"left", "right"} else ()
    return views


def named_layers(frame: Frame) -> tuple[Named, ...]:
    """Every layer of the frame with its view, scope and key."""
    views = views_of(frame)
    shared = any(part.view for part in frame.parts)  # then a part without a view belongs to all of them
    found = []
    for layer in frame.layers:
        elements = layer.name.split(".")
        spoken = [element for element in elements if element in views]
        view = frame.parts[layer.part].view or (spoken[0] if spoken else "")
        if not view and views and not shared:
            view = views[0]
        elements = [element for element in elements if element not in views] or [""]
        kind = _kind(layer)
        key = plain(elements[-1])
        if not key and kind == "scalar":
            key = plain(_split(layer.channels[0])[1])
        found.append(Named(layer, view, ".".join(elements[:-1]), key, kind, "." not in layer.channels[0]))
    return tuple(found)


def _kind(layer: Layer) -> str:
    if len(layer.channels) == 3 and layer.channels[0] in [f"{name}x" for name in _UNDOTTED]:
        return "xyz"
    components = "".join(_COMPONENTS.get(_split(channel)[1].lower(), "?") for channel in layer.channels)
    return dict(_GROUPS).get(components, "scalar")


def names(layers: Iterable[Layer]) -> str:
    """A list of layer names for a message."""
    return ", ".join(dict.fromkeys(label(layer) for layer in layers)) or "none"
