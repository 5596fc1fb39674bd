"""Renders one training scene: two light groups, independent runs of few samples, a reference with its error.

The variant of Mitsuba must be set before; `scenes` does that in each of its processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.renders import keep_bits
from mdenoise.training.scenes_kinds import KINDS
from mdenoise.training.scenes_materials import palette
from mdenoise.training.scenes_parts import World

RUNS = (1, 1, 2, 4, 8, 16)  # sums of them give every number of samples from 1 to 32
PARTS, PART_SPP = 4, 16  # independent parts of the reference, and what each of them takes at a time
ERROR = 2e-3  # mean squared relative error of a reference at which it is good enough: about 41 dB on a display
INSTANTS = 40  # of a shutter, from which the samples of the runs are drawn
DEPTH = 7
NOISY_BITS, REFERENCE_BITS, DEPTH_BITS = 6, 9, 7  # mantissa bits that are kept: what is cut is far below the noise
KEY = 0.18  # what each group's mean is brought to
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def make(
    seed: int, photos: tuple[Path, ...], assets: Path, names: tuple[str, ...] = tuple(KINDS)
) -> tuple[str, World, list[str]]:
    """The kind of world of a seed, among `names`, the world, and the names of the files that it uses."""
    rng = np.random.default_rng(seed)
    share = np.array([KINDS[name][1] for name in names])
    kind = names[int(rng.choice(len(names), p=share / share.sum()))]
    p = palette(rng, photos, assets, kinds=int(rng.integers(1, 4)))
    world = KINDS[kind][0](p)
    return kind, world, sorted(set(p.used))


def loaded(world: World, on: tuple[bool, bool], size: int) -> Any:
    """The scene with the light groups of `on`."""
    parts = list(world.things) + ([world.fog] if world.fog else [])
    parts += [light(lit) for group, lit in zip(world.lights, on, strict=True) for light in group]
    film = {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}}
    film |= {"pixel_format": "rgb", "component_format": "float32"}
    sensor = world.sensor | {"film": film, "sampler": {"type": "independent"}}
    path = {"type": "volpath" if world.fog or world.panes else "path", "max_depth": DEPTH}
    integrator = {"type": "aov", "aovs": "albedo:albedo,normal:sh_normal,depth:depth", "img": path}
    described = {"type": "scene", "integrator": integrator, "sensor": sensor}
    return mi.load_dict(described | {f"part{i}": part for i, part in enumerate(parts) if part is not None})


def sample(scene: Any, spp: int, seed: int) -> np.ndarray:
    """(10, H, W): colour, albedo, normal, depth; not finite samples are dark."""
    return np.nan_to_num(np.moveaxis(np.array(mi.render(scene, spp=spp, seed=seed)), -1, 0), posinf=0.0, neginf=0.0)


def moving(scene: Any, world: World) -> Callable[[float], None]:
    """Puts the scene at an instant of the shutter, 0 to 1: Mitsuba has no motion of its own."""
    assert world.motion
    motion, params, there = world.motion, mi.traverse(scene), np.array(world.sensor["to_world"].matrix)
    still = {i: np.array(params[f"part{i}.vertex_positions"]).reshape(-1, 3) for i in motion.travels}
    turn = np.array(motion.turn)
    angle = float(np.linalg.norm(turn))

    def put(instant: float) -> None:
        step = instant - 0.5
        view = mi.ScalarTransform4f(there).translate((step * np.array(motion.drift)).tolist())
        view = view.rotate((turn / angle).tolist(), step * angle) if angle else view
        params["sensor.to_world"] = mi.Transform4f(view)
        for i, points in still.items():
            params[f"part{i}.vertex_positions"] = np.ravel(points + step * motion.travels[i]).astype(np.float32)
        params.update()

    return put


def exposures(scene: Any, put: Callable[[float], None], count: int, spp: int, seed: int) -> np.ndarray:
    """(count, 10, H, W): `spp` samples at each of `count` instants, one in every such part of the shutter's time."""
    frames = []
    for i, jitter in enumerate(np.random.default_rng(seed).random(count)):
        put((i + jitter) / count)
        frames.append(sample(scene, spp, 1000 * seed + i))
    return np.stack(frames)


def averaged(scene: Any, put: Callable[[float], None], spp: int, seed: int) -> np.ndarray:
    return exposures(scene, put, spp // 2, 2, seed).mean(0)


def moved_runs(scene: Any, put: Callable[[float], None]) -> list[np.ndarray]:
    """The runs: every pixel has instants of its own, as where a renderer draws one with each sample."""
    pool = exposures(scene, put, INSTANTS, 1, 0)
    order = np.random.default_rng(0).random((INSTANTS, 1, *pool.shape[2:])).argsort(0)[: sum(RUNS)]
    drawn = np.split(np.take_along_axis(pool, order, 0), np.cumsum(RUNS)[:-1])
    return [run.mean(0) for run in drawn]


def despiked(parts: np.ndarray) -> np.ndarray:
    """(PARTS, 3, H, W) without the samples that a single part has and that would take thousands to average out:
    paths that no production renderer leaves unclamped."""
    bright = parts.mean(1, keepdims=True)
    others = (bright.sum(0) - bright) / (len(parts) - 1)
    spikes = bright > 10 * others + 5 * bright.mean()
    return np.where(spikes, (parts.sum(0) - parts) / (len(parts) - 1), parts)


def reference(
    sampled: Callable[[int, int], np.ndarray], longest_spp: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The mean colour (3, H, W) scaled by the returned factor, the mean of the guides (7, H, W), the factor, and the
    mean squared relative error of the mean: until that is below ERROR or `longest_spp` are spent.

    sampled  spp, seed -> frame, as `sample` gives it
    """
    total, spent = np.zeros(()), 0
    while True:
        parts = [sampled(PART_SPP, len(RUNS) + PARTS * spent + part) for part in range(PARTS)]
        total, spent = total + np.stack(parts), spent + 1
        colors = despiked(total[:, :3] / spent)
        mean = np.tensordot(LUMINANCE, colors.mean(0), 1)
        scale = KEY / max(float(np.minimum(mean, 4 * mean.mean()).mean()), 1e-8)
        apart = scale * (colors[0::2].mean(0) - colors[1::2].mean(0))
        # A dark picture with few lights will be looked at brighter than its mean asks for.
        black = float(np.clip(np.exp(np.mean(np.log(scale * mean + 1e-4))), 0.05, 0.1))
        error = float(np.mean(np.square(apart / (scale * colors.mean(0) + black))) / 4)
        if error < ERROR or (spent + 1) * PARTS * PART_SPP > longest_spp:
            return scale * colors.mean(0), total[:, 3:].mean(0) / spent, scale, error


def render(
    seed: int, photos: tuple[Path, ...], assets: Path, names: tuple[str, ...], size: int, reference_spp: int
) -> dict[str, np.ndarray]:
    """The arrays of a scene's file, see `rendered.load`."""
    kind, world, used = make(seed, photos, assets, names)
    groups = [(True, False)] + ([(False, True)] if world.lights[1] else [])
    runs, references, errors = [], [], []
    guides: list[np.ndarray] = []
    for on in groups:
        scene = loaded(world, on, size)
        # Both groups with the same seeds: they agree on where in the pixel a run looked, as one render would.
        if world.motion:
            put = moving(scene, world)
            frames = moved_runs(scene, put)
            sampled = partial(averaged, scene, put)
        else:
            frames = [sample(scene, spp, run) for run, spp in enumerate(RUNS)]
            sampled = partial(sample, scene)
        longest = (2 if world.fog else world.patience) * reference_spp
        color, clean, scale, error = reference(sampled, longest)
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
        "moves": world.motion is not None,
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
