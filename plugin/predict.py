"""One tile of the line: build the guide, predict the weights, filter the layers.

What depends on the whole image (exposure, depth scale, demodulation, masks' groups, noise) is measured once, before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mdenoise import guide as g
from mdenoise import masks, render_noise, tiles, uncertainty
from mdenoise.chroma import OPPONENTS, filter_colors
from mdenoise.config import Options
from mdenoise.engines import Engine, filter_layers
from mdenoise.filter import fill_nearest, filter_planes
from mdenoise.frame import Planes
from mdenoise.look import Look, measure
from mdenoise.models import ModelCard
from mdenoise.robustness import choose
from mdenoise.tile_guide import build_guide, hide, packed_guide

__all__ = ["Look", "Pass", "Work", "build_guide", "filter_tile", "measure", "plan"]


COMPILED_TYPES = ("float32", "float16", "uint16", "uint8")


@dataclass(frozen=True)
class Pass:
    """One prediction for every tile: what the network sees, along which axes of the tile it is flipped, and its weight
    among the others."""

    planes: Planes
    look: Look
    flip: tuple[int, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class Work:
    """The predictions for one image: the results of `passes` are averaged, `probes` only tell how sure they are.

    `notes` say which measures were taken against the image's noise.
    """

    look: Look
    passes: tuple[Pass, ...]
    probes: tuple[Pass, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Of the result: those of all layers, and the uncertainty when there are probes."""
        return self.look.channels + bool(self.probes)

    def mean(self, total: np.ndarray) -> np.ndarray:
        """Of a sum that `added` made of all passes."""
        return total if len(self.passes) == 1 else total / np.float32(sum(one.weight for one in self.passes))


def plan(planes: Planes, card: ModelCard, options: Options, *, clean_aux: bool = True) -> Work:
    """Everything that is decided once per image. Auxiliary planes that are not `clean_aux` share the colour's noise."""
    measures = choose(planes, card, options)
    look = replace(
        measure(planes, options),
        hidden_px=measures.hidden_px,
        curve=measures.curve,
        chroma=card.chroma and planes.encoding != "linear",
        guide_channels=card.guide_channels,
    )
    if options.robustness == "auto":
        look = replace(look, noise=render_noise.measure(planes, look.exposure, look.depth_median, clean_aux))
    passes = views(planes, look, options.quality)
    if measures.patterns:
        count = max(len(measures.patterns), len(passes))
        passes = tuple(
            with_look(passes[i % len(passes)], pattern=measures.patterns[i % len(measures.patterns)])
            for i in range(count)
        )
    else:  # the masks of several passes complement each other
        passes = tuple(with_look(one, offset=i / len(passes)) for i, one in enumerate(passes))
    probes = masks.complementary(uncertainty.LAYOUT, shows=False) if options.uncertainty else ()
    return Work(look, passes, tuple(with_look(Pass(planes, look), pattern=p) for p in probes), measures.notes)


def views(planes: Planes, look: Look, quality: str) -> tuple[Pass, ...]:
    """The predictions whose results are averaged. `best` looks once with and once without auxiliary planes, which
    err in other places; where there are none, at four flips. At a quarter of the weight the second one earns 0.4 dB on
    the validation renders of 4 samples and 0.2 at 16, at half of it 0.5 and nothing."""
    if quality != "best":
        return (Pass(planes, look),)
    if planes.albedo is None and planes.normal is None and planes.depth is None:
        return tuple(Pass(planes, look, flip) for flip in ((), (0,), (1,), (0, 1)))
    bare = replace(planes, albedo=None, normal=None, depth=None, demodulated=frozenset())
    return Pass(planes, look, weight=3.0), Pass(bare, replace(look, demodulated=False))


def with_look(one: Pass, **changes: object) -> Pass:
    return replace(one, look=replace(one.look, **changes))


def added(total: np.ndarray | None, result: np.ndarray, weight: float) -> np.ndarray:
    """The sum over passes so far, None at first, and a further result by its weight; `Work.mean` divides it."""
    weighted = result if weight == 1.0 else np.float32(weight) * result
    return weighted if total is None else total + weighted


def predict_tile(work: Work, place: tiles.Tile, engine: Engine) -> tuple[np.ndarray, int]:
    """One tile: (height, width, `work.channels`) float32, the mean over all passes and their uncertainty last; and how
    many pixels took the nearest valid value."""
    first = next(iter(work.look.columns.values()))  # the beauty
    total, looks, nearest = None, [], 0
    for one in work.passes:
        result, nearest = filter_tile(one, place, engine)
        total = added(total, result, one.weight)
        if work.probes:
            looks.append(result[..., first])
    mean = work.mean(total)
    if not work.probes:
        return mean, nearest
    probes = [filter_tile(one, place, engine)[0][..., first] for one in work.probes]
    beauty = next(iter(work.passes[0].planes.layers.values()))[place.y :, place.x :][: place.height, : place.width]
    height, width = beauty.shape[:2]
    inside = np.s_[:height, :width]
    unsure = np.zeros((*mean.shape[:2], 1), np.float32)
    unsure[inside][..., 0] = uncertainty.estimate(
        beauty.reshape(height, width, -1),
        mean[inside][..., first],
        [a[inside] for a in looks],
        [a[inside] for a in probes],
    )
    return np.concatenate([mean, unsure], axis=2), nearest


def filter_tile(one: Pass, place: tiles.Tile, engine: Engine) -> tuple[np.ndarray, int]:
    """One tile: (height, width, channels) float32 filtered layers, and how many pixels took the nearest valid value."""
    planes, look = one.planes, one.look
    rows = slice(place.y, min(place.y + place.height, planes.color.shape[0]))
    cols = slice(place.x, min(place.x + place.width, planes.color.shape[1]))
    size = (rows.stop - rows.start, cols.stop - cols.start)
    outputs = np.zeros((place.height, place.width, look.channels), np.float32)
    nearest = 0
    if compiled_reads(one) and getattr(engine, "packed", None):
        for group in look.groups:
            nearest += filter_packed(one, group, (rows, cols), engine, outputs.shape[:2], outputs)
        return outputs, nearest
    seen = g.trusted_px(planes.color[rows, cols])
    guide, trust, factor = build_guide(planes, look, rows, cols, seen, (place.height, place.width))
    for group in look.groups:
        view, mask = seen_group(one, group, rows, cols)
        layers = np.zeros((place.height, place.width, sum(view[n].shape[2] for n in group)), np.float32)
        at, colors = 0, []
        for name in group:
            plane = view[name].astype(np.float32)
            if not mask.all():
                plane[~mask] = 0.0
            if factor is not None and name in planes.demodulated and plane.shape[2] == 3:
                plane = plane / factor
            layers[: size[0], : size[1], at : at + plane.shape[2]] = plane
            if look.chroma and plane.shape[2] in OPPONENTS:
                colors.append((at, plane.shape[2]))
            at += plane.shape[2]
        confidence = trust.copy()
        confidence[: size[0], : size[1]] *= mask
        shown = guide if len(look.groups) == 1 else guide.copy()
        hide(shown, mask)
        mean, valid = predict_and_filter(engine, shown, layers, confidence, one.flip, colors)
        inside = np.s_[: size[0], : size[1]]
        filled, known = mean[inside], valid[inside]
        if not known.all():
            # A pixel that was only hidden, with nothing around it to be filtered from, keeps its own value.
            alone = mask & ~known
            filled[alone] = layers[inside][alone]
            nearest += fill_nearest(filled, known | alone)
        at = 0
        for name in group:
            width = view[name].shape[2]
            plane = filled[..., at : at + width]
            if factor is not None and name in planes.demodulated and plane.shape[2] == 3:
                plane = plane * factor
            outputs[inside][..., look.columns[name]] = plane
            at += width
    return outputs, nearest


def direct(work: Work, engine: Engine) -> bool:
    """Whether `filter_image` serves an image that is one tile."""
    return (
        len(work.passes) == 1
        and not work.probes
        and compiled_reads(work.passes[0])
        and bool(getattr(engine, "packed", None))
    )


def filter_image(work: Work, place: tiles.Tile, engine: Engine, outputs: Mapping[str, np.ndarray]) -> int:
    """The whole image into the layers' `outputs`, each in its type: nothing is written twice. Answers how many pixels
    took the nearest valid value."""
    (one,) = work.passes
    height, width = one.planes.color.shape[:2]
    whole = (slice(0, height), slice(0, width))
    into = {name: output.reshape(height, width, -1) for name, output in outputs.items()}
    size = (place.height, place.width)
    return sum(filter_packed(one, group, whole, engine, size, into) for group in one.look.groups)


def compiled_reads(one: Pass) -> bool:
    """Whether compiled code can build the guide of a pass, and read its planes where they are."""
    planes = one.planes
    arrays = (planes.color, planes.albedo, planes.normal, *planes.layers.values())
    plain = all(array is None or (array.dtype.name in COMPILED_TYPES and array.dtype.isnative) for array in arrays)
    return planes.encoding == "linear" and not one.flip and plain


def filter_packed(
    one: Pass,
    group: Sequence[str],
    place: tuple[slice, slice],
    engine: Engine,
    size: tuple[int, int],
    outputs: np.ndarray | Mapping[str, np.ndarray],
) -> int:
    """`filter_group` in a tile of `size`, by compiled code from the layers as they are."""
    view, mask = seen_group(one, group, *place)
    guide, *rest = packed_guide(one.planes, one.look, *place, mask, size, engine.packed == "bf16")
    logits = engine.predict_packed(guide)
    del guide
    return filter_group(one, view, group, mask, *rest, logits, outputs)


def seen_group(one: Pass, group: Sequence[str], rows: slice, cols: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A group's layers in a part of the image, (h, w, C) each and not copied; and (h, w) bool, where all of them and
    the colour are trusted."""
    color = one.planes.color[rows, cols]
    view = {name: one.planes.layers[name][rows, cols].reshape(*color.shape[:2], -1) for name in group}
    if not one.look.distrusted_px and group == one.look.groups[0]:  # as was measured for the whole image
        return view, np.ones(color.shape[:2], bool)
    mask = g.trusted_px(color)
    for layer in view.values():
        mask = mask & g.trusted_px(layer)
    return view, mask


def filter_group(
    one: Pass,
    view: Mapping[str, np.ndarray],
    group: Sequence[str],
    mask: np.ndarray,
    trust: np.ndarray,
    factor: np.ndarray | None,
    logits: Sequence[np.ndarray],
    outputs: np.ndarray | Mapping[str, np.ndarray],
) -> int:
    """A group's columns of `outputs`, or its layers of them in their own types, by its logits; answers how many pixels
    took the nearest valid value."""
    planes, look = one.planes, one.look
    layers = [view[name] for name in group]
    divided = [factor is not None and name in planes.demodulated and view[name].shape[2] == 3 for name in group]
    hidden = None if mask.all() else mask
    width = sum(layer.shape[2] for layer in layers)
    own = not isinstance(outputs, np.ndarray)
    if own:
        straight = [outputs[name] for name in group]
        if filter_planes(layers, divided, factor, hidden, trust, logits, straight).all():
            return 0
    else:
        inside = outputs[: mask.shape[0], : mask.shape[1]]
    # The columns of a group mostly lie side by side; they do not when a layer between them has left it.
    start, stop = look.columns[group[0]].start, look.columns[group[-1]].stop
    aside = own or stop - start != width
    out = np.empty((*mask.shape, width), np.float32) if aside else inside[..., start:stop]
    valid = filter_planes(layers, divided, factor, hidden, trust, logits, out)
    nearest = 0 if valid.all() else fill_unknown(out, valid, mask, layers, divided, factor)
    at = 0
    for name, layer in zip(group, layers, strict=True) if aside else ():
        result = out[..., at : at + layer.shape[2]]
        if own:
            outputs[name][...] = as_type(result, outputs[name].dtype)
        else:
            inside[..., look.columns[name]] = result
        at += layer.shape[2]
    return nearest


def as_type(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float32 results, ready to be assigned to a layer of `dtype`: integers rounded, both they and halves in range."""
    if dtype.kind == "u":
        return np.rint(np.clip(result, 0, np.iinfo(dtype).max))
    return np.clip(result, -65504.0, 65504.0) if dtype == np.float16 else result


def fill_unknown(
    out: np.ndarray,
    valid: np.ndarray,
    mask: np.ndarray,
    layers: Sequence[np.ndarray],
    divided: Sequence[bool],
    factor: np.ndarray | None,
) -> int:
    """Values where no level held a trusted pixel, in place: its own for one that was only hidden, with nothing around
    it to be filtered from; for others the nearest, without its albedo and with their own."""
    scale = np.concatenate(
        [
            factor if by_factor else np.ones(layer.shape, np.float32)
            for layer, by_factor in zip(layers, divided, strict=True)
        ],
        axis=2,
    )
    alone = mask & ~valid
    out[alone] = np.concatenate([layer[alone].astype(np.float32) for layer in layers], axis=1)
    unknown = ~(valid | alone)
    light = out / scale
    count = fill_nearest(light, ~unknown)
    out[unknown] = light[unknown] * scale[unknown]
    return count


def predict_and_filter(
    engine: Engine,
    guide: np.ndarray,
    layers: np.ndarray,
    confidence: np.ndarray,
    flip: tuple[int, ...] = (),
    colors: Sequence[tuple[int, int]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Filtered (H, W, C) layers and (H, W) validity; the whole problem is flipped along `flip` and the answer back.
    `colors` are first channel and number of channels of what takes the chroma kernels."""
    if flip:
        guide = np.ascontiguousarray(np.flip(guide, [axis + 1 for axis in flip]))
        layers, confidence = (np.ascontiguousarray(np.flip(array, flip)) for array in (layers, confidence))

    def by_engine(planes: np.ndarray, differences: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return filter_layers(engine, guide[None], planes, confidence, differences)

    result, valid = filter_colors(layers, colors, by_engine)
    return (np.flip(result, flip), np.flip(valid, flip)) if flip else (result, valid)
