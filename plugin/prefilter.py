"""`--prefilter`: noisy auxiliary planes denoised by the same network before they guide it.

Depth of field and motion blur make albedo and normal as noisy as the colour. One more prediction, with the albedo as
colour and the normal beside it, filters both by the same weights: measured as good as a prediction for each, and better
than albedo and normal apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mdenoise.frame import Filtered, Planes


def prefiltered(planes: Planes, denoise: Callable[[Planes], Filtered]) -> Planes:
    """`planes` with albedo and normal (H, W, 3) denoised by `denoise`; NaN stays where they are absent.

    Planes without either, and those of photographs, come back as they are.
    """
    if planes.encoding != "linear" or (planes.albedo is None and planes.normal is None):
        return planes
    aux = {name: plane for name in ("albedo", "normal") if (plane := getattr(planes, name)) is not None}
    layers = {name: plane.astype(np.float32) for name, plane in aux.items()}
    color = layers["albedo"] if "albedo" in layers else layers["normal"] * np.float32(0.5) + np.float32(0.5)
    normal = planes.normal if "albedo" in layers else None
    done = denoise(Planes(color, layers, normal=normal)).layers
    return replace(planes, **{name: np.where(np.isnan(plane), plane, done[name]) for name, plane in aux.items()})
