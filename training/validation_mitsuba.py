"""Validation scenes for Mitsuba 3: made for measuring, never for training. Y is up, units are metres.

A scene is a function from the folder of CC0 meshes and HDRIs to a Mitsuba dictionary without a film, which `render`
adds; an integrator only where paths of six segments do not do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.validation_mitsuba_light import LIGHT
from mdenoise.training.validation_mitsuba_parts import Scene, rgb
from mdenoise.training.validation_mitsuba_places import PLACES

SCENES: dict[str, Callable[[Path], Scene]] = PLACES | LIGHT
DEPTH = 6
PASS_SPP = 64  # a wavefront of 256 x 256 x 64 samples keeps Mitsuba's memory below 2 GB


def render(
    name: str,
    assets: Path,
    spp: int,
    seed: int,
    rfilter: str = "box",
    size: int = 256,
    emitters: tuple[str, ...] | None = None,
) -> dict[str, np.ndarray]:
    """One frame: color, albedo, normal (world space, [-1, 1]) as (size, size, 3), depth (size, size); f32, linear.

    emitters  those that shine, by their names in the scene; None = all.
    """
    described = SCENES[name](assets)
    if emitters is not None:
        described = {key: thing if key in emitters else unlit(thing) for key, thing in described.items()}
    described["sensor"] |= {
        "film": {
            "type": "hdrfilm",
            "width": size,
            "height": size,
            "component_format": "float32",
            "pixel_format": "rgb",
            "rfilter": {"type": rfilter},
        },
        # Few samples as a host draws them; many, for references, stratified: the same mean with less variance.
        "sampler": {
            "type": "independent" if spp < PASS_SPP else "multijitter",
            "sample_count": min(spp, PASS_SPP),
        },
    }
    described["integrator"] = {
        "type": "aov",
        "aovs": "albedo:albedo,normal:sh_normal,depth:depth",
        "img": described.get("integrator", {"type": "path", "max_depth": DEPTH}),
    }
    scene = mi.load_dict({"type": "scene"} | described)
    passes = max(1, spp // PASS_SPP)
    total = (
        sum(
            np.array(mi.render(scene, spp=min(spp, PASS_SPP), seed=1000 * seed + i)).astype(np.float64)
            for i in range(passes)
        )
        / passes
    )
    total = total.astype(np.float32)  # channels: R G B, albedo, normal, depth
    return {"color": total[..., :3], "albedo": total[..., 3:6], "normal": total[..., 6:9], "depth": total[..., 9]}


def unlit(thing: Any) -> Any:
    """A thing that does not shine."""
    if not isinstance(thing, dict):
        return thing
    if thing["type"] in ("constant", "envmap", "sunsky"):
        return {"type": "constant", "radiance": rgb(0, 0, 0)}
    return {key: value for key, value in thing.items() if key != "emitter"}
