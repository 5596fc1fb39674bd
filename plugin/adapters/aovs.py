"""Which layer of a frame is the colour, the albedo, the normal, the depth: rules for the names of all renderers.

Names are compared by `layers.plain`; within a list the first that is found wins. Values decide only where a name
does not: whether a `diffuse` is an albedo or light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mdenoise.adapters import aov_values, exr_file
from mdenoise.adapters.aov_color import Pick, pick_colors, view_layers
from mdenoise.adapters.aov_names import LIT_DIFFUSE, LIT_SIBLING, NOT_THAT, ROLES, WORDS, renderer_of
from mdenoise.adapters.aov_specs import resolve, split_file
from mdenoise.adapters.layers import Named, label, named_layers, names
from mdenoise.config import Options
from mdenoise.errors import InputError
from mdenoise.frame import Frame, Layer


@dataclass(frozen=True)
class Roles:
    """What was picked for one view, and why.

    color   the layer that hosts read and that the result replaces; source the noisy layer that is filtered, the
            same one except in files that hold both (Cycles: `Noisy Image` is filtered into `Combined`).
    files   role -> the frame that the layer lies in, for layers of other files.
    reasons role -> one phrase; also for a role that stays empty, when something was passed over.
    """

    color: Layer
    source: Layer
    albedo: Layer | None = None
    normal: Layer | None = None
    depth: Layer | None = None
    variance: Layer | None = None
    additive: tuple[Layer, ...] = ()
    renderer: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Frame] = field(default_factory=dict)
    view: str = ""
    scope: str = ""

    def line(self) -> str:
        """The mapping as one line for a person."""
        replaced = "" if self.source == self.color else f" -> {self._shown('color')}"
        shown = [f"color {self._shown('source')}{replaced}"]
        shown += [f"{role} {self._shown(role)}" for role in ROLES]
        view = f"view {self.view}: " if self.view else ""
        return view + ", ".join(shown) + (f" ({self.renderer})" if self.renderer else "")

    def _shown(self, role: str) -> str:
        layer = getattr(self, role)
        if layer is None:
            return "-"
        name = label(layer).removeprefix(f"{self.scope}.") if self.scope else label(layer)
        return f"{self.files[role].path.name}:{name}" if role in self.files else name


def find_roles(frame: Frame, options: Options) -> tuple[Roles, ...]:
    """The roles of every view (and every Cycles view layer) that has a colour layer; normally one.

    Raises InputError when there is nothing to denoise, UsageError for a layer that was named and is not there.
    """
    named = named_layers(frame)
    renderer = renderer_of(frame, named)
    found = []
    for pick in pick_colors(frame, named, options):
        layers: dict[str, Layer | None] = {}
        reasons = {"color": pick.why}
        files = {} if pick.file is None else {"source": pick.file}
        for role in ROLES:
            layers[role], why, other = _role(role, frame, named, pick, renderer, options)
            if why:
                reasons[role] = why
            if other is not None:
                files[role] = other
        scope = pick.target.scope if view_layers(named, pick.target.view) else ""
        found.append(
            Roles(
                pick.target.layer,
                pick.source,
                layers["albedo"],
                layers["normal"],
                layers["depth"],
                layers["variance"],
                renderer=renderer,
                reasons=reasons,
                files=files,
                view=pick.target.view,
                scope=scope,
            )
        )
    return tuple(found)


def _role(
    role: str, frame: Frame, named: Sequence[Named], pick: Pick, renderer: str, options: Options
) -> tuple[Layer | None, str, Frame | None]:
    """The layer of a role, why it (or none) was taken, and the file that it lies in if that is another one."""
    spec = getattr(options, role)
    if spec == "none":
        return None, f"switched off by --{role} none", None
    if spec is not None:
        file, layer_name = split_file(str(spec), frame, named)
        if file is None:
            return resolve(str(spec), named, role, frame, pick.target).layer, f"named by --{role}", None
        other = exr_file.read(file)
        return _in_file(role, other, layer_name), f"named by --{role}", other
    why = ""
    for rank, one in _candidates(role, named, pick, renderer):
        if role == "albedo" and one.key == "diffuse":
            lit = _lit(frame, one, pick, named, renderer)
            if lit:
                why = f"{label(one.layer)} is not taken: {lit}"
                continue
        return _as_role(role, one), "by its name" if rank < 900 else "by a part of its name", None
    return None, why, None


def _as_role(role: str, one: Named) -> Layer:
    """pbrt's depth is the Z of its position."""
    if role == "depth" and one.key == "p":
        return Layer(one.layer.name, one.layer.part, one.layer.channels[2:])
    return one.layer


def _candidates(role: str, named: Sequence[Named], pick: Pick, renderer: str) -> list[tuple[int, Named]]:
    """Layers that may play a role, best first: by the table of names, then by a word in the name."""
    color = pick.target
    keys, kinds = ROLES[role], ("rgb", "xyz") if role in ("albedo", "normal") else ("scalar", "rgb")
    others = set(view_layers(named, color.view)) - {color.scope}
    images = {one.layer.name for one in named if one.kind == "rgb" and one.key not in keys} - {color.layer.name, ""}
    ranked = []
    for one in named:
        if one.layer in (color.layer, pick.source) or one.view not in (color.view, "") or one.scope in others:
            continue
        if one.kind == "scalar" and one.scope and one.scope in images:
            continue  # the Z of another image in the same part
        if one.kind not in kinds:
            if role == "depth" and one.key == "p" and one.kind == "xyz" and renderer == "pbrt":
                ranked.append((800, one))
            continue
        if one.key in keys:
            ranked.append((keys.index(one.key), one))
        elif WORDS.get(role, "\0") in one.key and not NOT_THAT.search(one.key):
            ranked.append((900, one))
        elif role == "depth" and renderer == "Mitsuba" and one.layer.channels[0].endswith(".T"):
            ranked.append((950, one))  # the names there are the user's, but only a distance is called T
    return sorted(ranked, key=lambda item: (item[0], item[1].scope != color.scope))


def _lit(frame: Frame, one: Named, pick: Pick, named: Sequence[Named], renderer: str) -> str:
    """Why a layer called `diffuse` is light and not an albedo; "" when it may be an albedo."""
    if renderer in LIT_DIFFUSE:
        return f"in {renderer} it is lit"
    siblings = [other for other in named if LIT_SIBLING.match(other.key) and other.kind == "rgb"]
    # In V-Ray `diffuse` is the filter colour and stands beside `lighting` and `GI`: there the values decide.
    if siblings and renderer != "V-Ray":
        return f"it stands beside {label(siblings[0].layer)}, so it is lit"
    window = frame.parts[one.layer.part].window
    return aov_values.looks_lit(
        aov_values.placed(frame, one.layer, window), aov_values.placed(pick.file or frame, pick.source, window)
    )


def _in_file(role: str, other: Frame, layer_name: str | None) -> Layer:
    """The layer that holds a role in a file given for it: by name, or the only image (LuxCore: all are R, G, B)."""
    named = named_layers(other)
    if layer_name:
        return resolve(layer_name, named, role, other).layer
    ranked = sorted((ROLES[role].index(one.key), index) for index, one in enumerate(named) if one.key in ROLES[role])
    if ranked:
        return named[ranked[0][1]].layer
    images = [one for one in named if one.kind in ("rgb", "xyz")] or list(named)
    plain_rgb = [one for one in images if one.root]
    if len(images) > 1 and len(plain_rgb) != 1:
        raise InputError(
            f"cannot use {other.path} as {role}: it holds several layers ({names(other.layers)}). "
            f"Name one with --{role} FILE:LAYER"
        )
    return (plain_rgb or images)[0].layer
