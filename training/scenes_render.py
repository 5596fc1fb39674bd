"""Renders one training scene: two light groups, independent runs of few samples, a reference with its error.

The variant of Mitsuba must be set before; `scenes` does that in each of its processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.renders import keep_bits
from mdenoise.training.scenes_materials import palette
from mdenoise.training.scenes_parts import World
from mdenoise.training.scenes_worlds import WORLDS

RUNS = (1, 1, 2, 4, 8, 16)  # sums of them give every number of samples from 1 to 32
PARTS, PART_SPP = 4, 16  # independent parts of the reference, and what each of them takes at a time
ERROR = 2e-3  # mean squared relative error of a reference at which it is good enough: about 41 dB on a display
DEPTH = 7
NOISY_BITS, REFERENCE_BITS, DEPTH_BITS = 6, 9, 7  # mantissa bits that are kept: what is cut is far below the noise
KEY = 0.18  # what each group's mean is brought to
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def make(seed: int, photos: tuple[Path, ...], assets: Path) -> tuple[str, World, list[str]]:
    """The kind of world of a seed, the world, and the names of the files that it uses."""
    rng = np.random.default_rng(seed)
    names = list(WORLDS)
    share = np.array([WORLDS[name][1] for name in names])
    kind = names[int(rng.choice(len(names), p=share / share.sum()))]
    p = palette(rng, photos, assets, kinds=int(rng.integers(1, 4)))
    world = WORLDS[kind][0](p)
    return kind, world, sorted(set(p.used))


def loaded(world: World, on: tuple[bool, bool], size: int) -> Any:
    """The scene with the light groups of `on`."""
    parts = list(world.things) + ([world.fog] if world.fog else [])
    parts += [light(lit) for group, lit in zip(world.lights, on, strict=True) for light in group]
    film = {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}}
    film |= {"pixel_format": "rgb", "component_format": "float32"}
    sensor = world.sensor | {"film": film, "sampler": {"type": "independent"}}
    path = {"type": "volpath" if world.fog else "path", "max_depth": DEPTH}
    integrator = {"type": "aov", "aovs": "albedo:albedo,normal:sh_normal,depth:depth", "img": path}
    described = {"type": "scene", "integrator": integrator, "sensor": sensor}
    return mi.load_dict(described | {f"part{i}": part for i, part in enumerate(parts) if part is not None})


def sample(scene: Any, spp: int, seed: int) -> np.ndarray:
    """(10, H, W): colour, albedo, normal, depth; not finite samples are dark."""
    return np.nan_to_num(np.moveaxis(np.array(mi.render(scene, spp=spp, seed=seed)), -1, 0), posinf=0.0, neginf=0.0)


def despiked(parts: np.ndarray) -> np.ndarray:
    """(PARTS, 3, H, W) without the samples that a single part has and that would take thousands to average out:
    paths that no production renderer leaves unclamped."""
    bright = parts.mean(1, keepdims=True)
    others = (bright.sum(0) - bright) / (len(parts) - 1)
    spikes = bright > 10 * others + 5 * bright.mean()
    return np.where(spikes, (parts.sum(0) - parts) / (len(parts) - 1), parts)


def reference(scene: Any, longest_spp: int) -> tuple[np.ndarray, np.ndarray, float, int]:
    """The mean colour (3, H, W) scaled by the returned factor, the mean of the guides (7, H, W), the factor, and the
    mean squared relative error of the mean: until that is below ERROR or `longest_spp` are spent."""
    total, spent = np.zeros(()), 0
    while True:
        parts = [sample(scene, PART_SPP, len(RUNS) + PARTS * spent + part) for part in range(PARTS)]
        total, spent = total + np.stack(parts), spent + 1
        colors = despiked(total[:, :3] / spent)
        mean = np.tensordot(LUMINANCE, colors.mean(0), 1)
        scale = KEY / max(float(np.minimum(mean, 4 * mean.mean()).mean()), 1e-8)
        apart = scale * (colors[0::2].mean(0) - colors[1::2].mean(0))
        error = float(np.mean(np.square(apart / (scale * colors.mean(0) + 0.1))) / 4)
        if error < ERROR or (spent + 1) * PARTS * PART_SPP > longest_spp:
            return scale * colors.mean(0), total[:, 3:].mean(0) / spent, scale, error


def render(seed: int, photos: tuple[Path, ...], assets: Path, size: int, reference_spp: int) -> dict[str, np.ndarray]:
    """The arrays of a scene's file, see `rendered.load`."""
    kind, world, used = make(seed, photos, assets)
    groups = [(True, False)] + ([(False, True)] if world.lights[1] else [])
    runs, references, errors = [], [], []
    guides: list[np.ndarray] = []
    for on in groups:
        scene = loaded(world, on, size)
        # Both groups with the same seeds: they agree on where in the pixel a run looked, as one render would.
        frames = [sample(scene, spp, run) for run, spp in enumerate(RUNS)]
        color, clean, scale, error = reference(scene, reference_spp)
        errors.append(error)
        references.append(keep_bits(color, REFERENCE_BITS))
        runs.append(np.stack([keep_bits(scale * frame[:3], NOISY_BITS) for frame in frames]))
        guides = guides or [*(frame[3:] for frame in frames), clean]
    facts = {
        "seed": seed,
        "kind": kind,
        "assets": used,
        "runs": RUNS,
        "reference_error": errors,
        "lens": world.sensor["type"] == "thinlens",
        "fog": world.fog is not None,
        "mitsuba": mi.__version__,
        "variant": mi.variant(),
    }
    stacked = np.stack(guides)
    return {
        "facts": np.array(json.dumps(facts)),
        "references": np.stack(references),
        "runs": np.stack(runs),
        "albedo": np.rint(np.clip(stacked[:, :3], 0, 1) * 255).astype(np.uint8),
        "normal": np.rint(np.clip(stacked[:, 3:6], -1, 1) * 127).astype(np.int8),
        "depth": keep_bits(stacked[:, 6:], DEPTH_BITS),
    }
