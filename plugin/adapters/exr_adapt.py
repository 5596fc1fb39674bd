"""What a Frame holds to be denoised, as Planes for the filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mdenoise.adapters import additive, aov_values
from mdenoise.adapters.aov_specs import resolve
from mdenoise.adapters.aovs import Roles, find_roles
from mdenoise.adapters.exr_file import compression_of, lossy_channels
from mdenoise.adapters.layers import label, named_layers, plain
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Frame, Layer, Part, Planes, Window


@dataclass(frozen=True)
class Target:
    """Where a filtered plane goes: channels of a part, in the order of its last axis.

    surface  the colour layer that multiplies the plane in the sum of its set (Cycles' light passes), or None.
    """

    part: int
    channels: tuple[str, ...]
    surface: Layer | None = None


@dataclass(frozen=True)
class Job:
    """One image of a file to be denoised; `beauty` is the name of the colour layer in `planes.layers`.

    sums     sets of layers, by name, that are scaled after filtering so that they add up to the beauty again.
    holders  names of the layers that take light which the others of their set have no surface for (Cycles).
    """

    planes: Planes
    roles: Roles
    targets: Mapping[str, Target]
    beauty: str
    notes: tuple[str, ...] = ()
    touched: frozenset[tuple[int, str]] = frozenset()
    sums: tuple[tuple[str, ...], ...] = ()
    holders: tuple[str, ...] = ()


def adapt(frame: Frame, options: Options) -> tuple[Job, ...]:
    """What is to be denoised in the frame: one job for every view that has a colour layer, normally one.

    Raises InputError when there is nothing to denoise, UsageError for names that the frame does not have.
    """
    jobs = [_job(frame, roles, options) for roles in find_roles(frame, options)]
    touched = frozenset().union(*(job.touched for job in jobs))
    notes = []
    for index, part in enumerate(frame.parts):
        lossy = would_change(index, part, touched)
        if lossy:
            name = f"part {index}: " if len(frame.parts) > 1 else ""
            shown = ", ".join(lossy[:3]) + (", ..." if len(lossy) > 3 else "")
            notes.append(f"{name}{compression_of(part)} would change untouched channels ({shown}): written as ZIP")
    return (replace(jobs[0], notes=(*jobs[0].notes, *notes)), *jobs[1:])


def _job(frame: Frame, roles: Roles, options: Options) -> Job:
    window = frame.parts[roles.color.part].window
    _need_float(frame, roles.color)
    source = roles.files.get("source", frame)
    _need_float(source, roles.source)
    beauty = aov_values.placed(source, roles.source, window)
    if len(roles.color.channels) != (beauty.shape[2] if beauty.ndim == 3 else 1):
        raise InputError(
            f"cannot denoise {frame.path}: {label(roles.source)} and {label(roles.color)} differ in "
            "their number of channels"
        )
    layers: dict[str, np.ndarray] = {}
    targets: dict[str, Target] = {}

    def add(layer: Layer, plane: np.ndarray, surface: Layer | None = None) -> str:
        name = label(layer) if label(layer) not in layers else f"{label(layer)} (part {layer.part})"
        layers[name], targets[name] = plane, Target(layer.part, layer.channels, surface)
        return name

    if len(roles.color.channels) not in (1, 3):
        raise InputError(
            f"cannot denoise {frame.path}: colour layer {label(roles.color)} has "
            f"{len(roles.color.channels)} channels, not 1 or 3. Name another with --color LAYER"
        )
    main = add(roles.color, beauty)
    sets, others, notes = _chosen(frame, roles, options)
    lights = [light for one in sets for light in one.lights()]
    roles = replace(roles, additive=tuple(lights))
    surfaces = {light: surface for one in sets for light, surface in one.products}
    names = {light: add(light, aov_values.placed(frame, light, window), surfaces.get(light)) for light in lights}
    for layer in others:
        add(layer, aov_values.placed(frame, layer, window))
    if options.alpha == "denoise":
        for layer in (roles.color, *lights, *others):
            _add_alpha(frame, layer, layers, targets)
    guides: dict[str, np.ndarray | None] = {}
    for role in ("albedo", "normal", "depth", "variance"):
        layer = getattr(roles, role)
        guides[role], note = _guide(frame, roles, role, layer, window)
        notes += [note] if note else []
    color = beauty if beauty.ndim == 3 else np.broadcast_to(beauty[..., None], (*beauty.shape, 3))
    divided = [main, *(names[layer] for one in sets for layer in one.divided())]
    demodulated = frozenset(name for name in divided if guides["albedo"] is not None and layers[name].ndim == 3)
    if roles.source != roles.color:
        notes.insert(0, f"{label(roles.source)} is filtered, the result replaces {label(roles.color)}")
    touched = frozenset((target.part, channel) for target in targets.values() for channel in target.channels)
    encoding = "srgb" if options.encoding == "srgb" else "linear"  # what EXR holds, unless the user knows better
    if options.strength == 0:  # nothing is filtered, so nothing goes back: the file keeps every bit
        targets = {}
    return Job(
        Planes(color, layers, demodulated, encoding=encoding, **guides),
        roles,
        targets,
        main,
        tuple(notes),
        touched if options.strength > 0 else frozenset(),
        tuple(tuple(names[light] for light in one.lights()) for one in sets if one.scaled()),
        tuple(names[layer] for one in sets for layer in one.holders),
    )


def _need_float(frame: Frame, layer: Layer) -> None:
    if any(frame.parts[layer.part].channels[channel].dtype == np.uint32 for channel in layer.channels):
        raise InputError(
            f"cannot denoise {frame.path}: colour layer {label(layer)} holds whole numbers (uint), "
            "not radiance. Name another with --color LAYER"
        )


def _chosen(frame: Frame, roles: Roles, options: Options) -> tuple[list[additive.AdditiveSet], list[Layer], list[str]]:
    """Layers to filter beside the beauty: sets of them that sum to it, others, and notes."""
    words = [word.strip() for word in options.layers.split(",") if word.strip()]
    sets: list[additive.AdditiveSet] = []
    others: list[Layer] = []
    notes: list[str] = []
    if "additive" in words or "all" in words:
        found_sets, tried = additive.find_sets(frame, roles)
        notes.append(additive.describe_sets(found_sets, tried))
        sets += found_sets
    taken = {roles.color, roles.source, *(light for one in sets for light in one.lights())}
    if "all" in words:
        others += [one.layer for one in additive.filterable(frame, roles) if one.layer not in taken]
    named = named_layers(frame)
    color = next(one for one in named if one.layer == roles.color)
    for word in words:
        if word in ("beauty", "additive", "all"):
            continue
        found = resolve(word, named, "layers", frame, color)
        if found.view and color.view and found.view != color.view:
            continue  # the job of that view filters it, by its own weights
        layer = found.layer
        part = frame.parts[layer.part]
        if "crypto" in plain(layer.name) or any(part.channels[name].dtype == np.uint32 for name in layer.channels):
            raise UsageError(f"layer {word!r} of {frame.path} holds ids, which a filter would destroy")
        if part.window != frame.parts[roles.color.part].window:
            raise UsageError(f"layer {word!r} of {frame.path} has another data window than the colour layer")
        if layer not in taken and layer not in others:
            others.append(layer)
    return sets, others, notes


def _add_alpha(frame: Frame, layer: Layer, layers: dict[str, np.ndarray], targets: dict[str, Target]) -> None:
    if layer.alpha is None or Target(layer.part, (layer.alpha,)) in targets.values():
        return
    name = layer.alpha if layer.alpha not in layers else f"{layer.alpha} (part {layer.part})"
    plane = frame.parts[layer.part].channels[layer.alpha]
    # An alpha that is the same everywhere stays so under any weights: leave its bits alone.
    same = (bool((rows == plane.flat[0]).all()) for rows in (plane[:1], plane))  # mostly the first row tells
    if plane.dtype != np.uint32 and plane.size and not all(same):
        layers[name], targets[name] = plane, Target(layer.part, (layer.alpha,))


def _guide(frame: Frame, roles: Roles, role: str, layer: Layer | None, window: Window) -> tuple[np.ndarray | None, str]:
    if layer is None:
        return None, ""
    other = roles.files.get(role, frame)
    plane = aov_values.placed(other, layer, window)
    if role in ("albedo", "normal"):
        if plane.ndim != 3 or plane.shape[2] != 3:
            raise UsageError(f"{role} layer {label(layer)} of {other.path} has {len(layer.channels)} channels, not 3")
        values = getattr(aov_values, role)(plane)
        rows = (values[y : y + aov_values.ROWS] for y in range(0, len(values), aov_values.ROWS))
        known = any(np.isfinite(some).any() for some in rows)  # mostly the first of them tell
    else:
        values = getattr(aov_values, role)(plane)
        known = not np.isnan(values).all()
    return (values, "") if known else (None, f"{role} {label(layer)} has no pixel in the data window: not used")


def would_change(index: int, part: Part, touched: frozenset[tuple[int, str]]) -> tuple[str, ...]:
    """The channels that nobody touches and that would change all the same if the part were compressed again."""
    return lossy_channels(part, [name for name in part.channels if (index, name) not in touched])
