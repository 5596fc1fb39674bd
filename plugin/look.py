"""What is measured once per image, never per tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdenoise import guide as g
from mdenoise.config import Options
from mdenoise.frame import Planes
from mdenoise.masks import Pattern
from mdenoise.render_noise import Measured
from mdenoise.robustness import Curve

ROWS = 256  # that are looked at together: masks of them all would grow with the image
LEAVES_GROUP = 0.01  # a layer with a larger share of values that are not finite must not mask the others


@dataclass(frozen=True)
class Look:
    """`groups` lists the layers that share one mask; `hidden_ratio` and `offset` are those of `masks.scattered`.

    hidden_px, curve  impulses and the map to the model's level of noise, of `robustness`; None = none.
    noise             of a render, block by block; None = not measured.
    """

    exposure: float
    depth_median: float | None
    demodulated: bool
    groups: tuple[tuple[str, ...], ...]
    left_out: tuple[str, ...]
    hidden_ratio: float
    distrusted_px: int

    columns: dict[str, slice]
    channels: int
    offset: float = 0.0
    pattern: Pattern | None = None
    hidden_px: np.ndarray | None = None
    curve: Curve | None = None
    noise: Measured | None = None
    chroma: bool = False
    guide_channels: int = g.GUIDE_CHANNELS

    @property
    def told(self) -> float | None:
        """What the network's variance plane holds of the measured noise; None = nothing."""
        return None if self.noise is None else self.noise.told()


def measure(planes: Planes, options: Options) -> Look:
    linear = planes.encoding == "linear"
    exposure = g.exposure(planes.color) if linear else 1.0
    demodulated = (
        linear
        and planes.albedo is not None
        and bool(planes.demodulated)
        and g.albedo_is_cleaner(planes.color, planes.albedo, exposure)
    )
    rows = [slice(y, y + ROWS) for y in range(0, planes.color.shape[0], ROWS)]
    first = next(iter(planes.layers))  # the beauty: it is the guide and never leaves
    unknown = dict.fromkeys(planes.layers, 0)
    for band in rows:
        for name, layer in planes.layers.items():
            trusted = g.trusted_px(layer[band])
            unknown[name] += trusted.size - np.count_nonzero(trusted)
    size = planes.color.shape[0] * planes.color.shape[1]
    left_out = tuple(n for n, count in unknown.items() if n != first and count > LEAVES_GROUP * size)
    joint = tuple(n for n in planes.layers if n not in left_out)
    distrusted_px = 0
    # Mostly there is nothing to find: then all that is read in these rows is known already.
    known = not any(unknown[name] for name in joint) and same_memory(planes.color, planes.layers[first])
    for band in () if known else rows:
        distrusted = ~g.trusted_px(planes.color[band])
        for name in joint:
            if unknown[name]:
                distrusted |= ~g.trusted_px(planes.layers[name][band])
        distrusted_px += int(np.count_nonzero(distrusted))
    columns, start = {}, 0
    for name, layer in planes.layers.items():
        count = layer.shape[2] if layer.ndim == 3 else 1
        columns[name] = slice(start, start + count)
        start += count
    hidden_ratio = 0.0 if options.robustness == "auto" else float(options.robustness)
    return Look(
        exposure,
        None if planes.depth is None else g.depth_median(planes.depth),
        demodulated,
        (joint, *((n,) for n in left_out)),
        left_out,
        hidden_ratio,
        distrusted_px,
        columns,
        start,
    )


def same_memory(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same values at the same place."""
    if (one.shape, one.strides, one.dtype) != (other.shape, other.strides, other.dtype):
        return False
    return one.__array_interface__["data"] == other.__array_interface__["data"]
