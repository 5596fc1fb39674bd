"""Which layer of a frame is the picture: the noisy one to filter, and the one that hosts read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mdenoise.adapters import exr_file
from mdenoise.adapters.aov_names import COLOR, DENOISED, LIT_SIBLING, ROLES, WORDS, is_data
from mdenoise.adapters.aov_specs import resolve, split_file
from mdenoise.adapters.layers import Named, label, named_layers, names, plain
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Frame, Layer


@dataclass(frozen=True)
class Pick:
    """A colour: the layer to replace, the layer to filter (in `file`, if that is another one), and why."""

    target: Named
    source: Layer
    why: str
    file: Frame | None = None


def pick_colors(frame: Frame, named: Sequence[Named], options: Options) -> list[Pick]:
    """The colour of every image in the file: one for each view and each Cycles view layer.

    Raises InputError when there is none, and when the only one is denoised already.
    """
    if options.color is not None:
        return [_named_color(frame, named, options.color)]
    found: list[Pick] = []
    passed: list[Named] = []
    for view in dict.fromkeys(one.view for one in named):
        mine = [one for one in named if one.view == view]
        scopes = view_layers(named, view)
        groups = [[one for one in mine if one.scope == scope] for scope in scopes] if len(scopes) > 1 else [mine]
        for group in groups:
            pick, denoised = _pick(group)
            passed += denoised
            if pick is not None:
                found.append(pick)
    if found:
        return found
    if passed:
        name = label(passed[0].layer)
        raise InputError(
            f"cannot denoise {frame.path}: its only colour layer {name} is denoised already. "
            f'Name it with --color "{name}" to denoise it all the same'
        )
    raise InputError(
        f"cannot denoise {frame.path}: no colour layer found (layers: {names(frame.layers)}). "
        "Name one with --color LAYER"
    )


def view_layers(named: Sequence[Named], view: str) -> list[str]:
    """The scopes that hold an image of their own: Cycles' view layers, not the compositor's output."""
    scopes = [one.scope for one in named if one.view == view and one.key == "combined" and one.kind == "rgb"]
    rendered = [scope for scope in scopes if plain(scope) != "composite"]
    return list(dict.fromkeys(rendered or scopes))


def _pick(group: Sequence[Named]) -> tuple[Pick | None, list[Named]]:
    """The colour of one image; else the layers that were passed over because they are denoised."""
    colors = [one for one in group if one.kind == "rgb"]
    denoised = [one for one in colors if DENOISED.search(one.key) and not _is_aov(one.key)]
    noisy = [one for one in colors if "noisy" in one.key and not _is_aov(one.key) and one not in denoised]
    clean = [one for one in colors if one not in denoised and one not in noisy]
    rendered = [one for one in clean if plain(one.scope) != "composite"]
    ranked = sorted((one for one in rendered if _rank(one) < _NO_COLOR), key=_rank)
    ranked = ranked or [one for one in clean if one.key in COLOR]
    if noisy:
        why = f"{label(noisy[0].layer)} is the image before the renderer denoised it"
        return Pick(ranked[0] if ranked else noisy[0], noisy[0].layer, why), []
    if ranked:
        return Pick(ranked[0], ranked[0].layer, "by its name" if ranked[0].key else "plain R, G, B"), []
    unknown = [one for one in rendered if not is_data(one.key)]
    if len(unknown) == 1:
        return Pick(unknown[0], unknown[0].layer, "the only colour layer"), []
    keys = {one.key for one in group}
    gray = [one for one in group if one.kind == "scalar" and one.key == "y" and not {"ry", "by"} & keys]
    if gray and not unknown:
        return Pick(gray[0], gray[0].layer, "luminance only"), []
    return None, denoised


_NO_COLOR = len(COLOR) + 1


def _rank(one: Named) -> int:
    """Place in the order of preference; last are plain R, G, B of the first part whatever that part is called."""
    if one.key in COLOR:
        return COLOR.index(one.key)
    lobe = is_data(one.key) or one.key == "diffuse" or LIT_SIBLING.match(one.key)
    return len(COLOR) if one.root and one.layer.part == 0 and not lobe else _NO_COLOR


def _is_aov(key: str) -> bool:
    return any(key in keys for keys in ROLES.values()) or any(word in key for word in WORDS)


def _named_color(frame: Frame, named: Sequence[Named], spec: str) -> Pick:
    if spec == "none":
        raise UsageError("color cannot be none: there would be nothing to denoise")
    file, layer_name = split_file(spec, frame, named)
    if file is None:
        one = resolve(spec, named, "color", frame)
        return Pick(one, one.layer, "named by --color")
    # The image of another file is filtered, and the result takes the place of this frame's own colour.
    own, _ = _pick(named)
    if own is None:
        raise InputError(f"cannot denoise {frame.path}: no colour layer found (layers: {names(frame.layers)})")
    other = exr_file.read(file)
    found, _ = _pick(named_layers(other))
    if layer_name is not None:
        return Pick(
            own.target, resolve(layer_name, named_layers(other), "color", other).layer, "named by --color", other
        )
    if found is None:
        raise InputError(
            f"cannot denoise {frame.path}: no colour layer found in {file}. Name one with --color FILE:LAYER"
        )
    return Pick(own.target, found.source, "named by --color", other)
