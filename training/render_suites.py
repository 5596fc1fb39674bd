"""The suites of `evaluate renders`: what is done to the committed frames to make each of them.

clean and splat are read as they are; resized, firefly, noaux and noisyaux are made from the clean ones; hard are those
scenes whose light or camera is such (`validation.Shot.hard` says what), with 1 and 4 samples; finalspp takes frames of
many samples.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mdenoise.errors import InputError
from mdenoise.training import renders
from mdenoise.training.renders import FAR, FINAL_SPP, Case

SUITES = ("clean", "splat", "resized", "firefly", "noaux", "noisyaux", "finalspp", "hard")
# Training resizes with bilinear and bicubic kernels by 1.1 to 2 only, and never downwards.
RESIZES = (("lanczos", 1.37), ("area", 0.77))
FIREFLY_SHARE, FIREFLY_SIZE, AROUND_PX = 1e-3, (100.0, 10_000.0), 4
APERTURE_PX = 8.0  # radius of the circle of confusion at infinity, focus in the middle of the scene
HARD_SPP = (1, 4)
COUNTS = {"finalspp": range(FINAL_SPP, 1 << 20), "hard": HARD_SPP}  # samples; the others: as `renders.load` has it


def load(data: Path, suite: str, scenes: Sequence[str] = ()) -> Iterator[Case]:
    """The cases of one of SUITES, of all scenes or those named. Raises InputError, also when there is none."""
    if unknown := set(scenes) - {entry["scene"] for entry in renders.read_index(data)["renders"]}:
        raise InputError(f"cannot measure {', '.join(sorted(unknown))}: no such scene in {data}")
    if suite == "splat":
        yield from (c for c in renders.load(data, "splat") if not scenes or c.scene in scenes)
        return
    counts = {"counts": COUNTS[suite]} if suite in COUNTS else {}
    found = [c for c in renders.load(data, "clean", **counts) if c.hard or suite != "hard"]
    found = [c for c in found if not scenes or c.scene in scenes]
    if not found:
        least = {"finalspp": f"{FINAL_SPP} samples or more", "hard": "a hard scene"}.get(suite, "few samples")
        raise InputError(
            f"cannot measure the {suite} suite: no frame of {least} in {data}; render them with "
            "python -m mdenoise.training.validation --spp 64 128 256 --pack DIR and name DIR with --data"
        )
    for case in found:
        if suite == "resized":
            yield from (resized(case, kernel, ratio) for kernel, ratio in RESIZES)
        elif suite in MADE:
            yield MADE[suite](case)
        else:
            yield replace(case, suite=suite)


# --- resized ------------------------------------------------------------------------------------------------------


def resize(plane: np.ndarray, kernel: str, ratio: float) -> np.ndarray:
    """(H, W) or (H, W, C) resized; of an enlarged one the middle, of the size that it had."""
    for axis in (0, 1):
        length = plane.shape[axis]
        weights = {"lanczos": lanczos, "area": area}[kernel](length, round(length * ratio))
        weights = weights[max(0, (len(weights) - length) // 2) :][:length]
        plane = np.moveaxis(np.tensordot(weights, np.moveaxis(plane, axis, 0), 1), 0, axis)
    return np.ascontiguousarray(plane, np.float32)


def lanczos(length: int, result: int) -> np.ndarray:
    """(result, length) weights of an enlargement by the windowed sinc of three lobes, normalised at the edge."""
    away = (np.arange(result)[:, None] + 0.5) * length / result - 0.5 - np.arange(length)
    weights = np.where(np.abs(away) < 3, np.sinc(away) * np.sinc(away / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def area(length: int, result: int) -> np.ndarray:
    """(result, length) weights of a reduction by the mean of the area that a new pixel covers, parts of pixels too."""
    edges = np.arange(result + 1) * length / result
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0) * result / length


def resized(case: Case, kernel: str, ratio: float) -> Case:
    """The case as a compositor would have given it that scaled colour, reference and planes alike."""
    how = partial(resize, kernel=kernel, ratio=ratio)
    white = np.random.default_rng(1).standard_normal((128, 128)).astype(np.float32)
    return replace(
        case,
        name=f"{case.name}-{kernel}{ratio:g}",
        suite="resized",
        color=how(case.color),
        albedo=how(case.albedo),
        normal=how(case.normal),
        depth=how(case.depth),
        reference=how(case.reference),
        reference_mse=case.reference_mse * float(how(white).var()),
        origin=case,
        degrade=how,
    )


# --- firefly ------------------------------------------------------------------------------------------------------


def fireflies(case: Case) -> Case:
    """0.1 % of the pixels become 100 to 10,000 times as bright as the image is in the mean; one is NaN, one +Inf."""
    rng = np.random.default_rng(zlib.crc32(f"{case.name} {case.spp}".encode()))
    height, width = case.color.shape[:2]
    count = max(1, round(FIREFLY_SHARE * height * width))
    y, x = np.unravel_index(rng.choice(height * width, count + 2, replace=False), (height, width))
    size = np.exp(rng.uniform(*np.log(FIREFLY_SIZE), (count, 1))) * case.reference.mean()
    color = case.color.copy()
    color[y[:count], x[:count]] = size * rng.uniform(0.3, 1.0, (count, 3))  # a path takes the tint of what it met
    color[y[-2], x[-2]], color[y[-1], x[-1]] = np.nan, np.inf
    around = np.zeros((height, width), bool)
    for at_y, at_x in zip(y, x, strict=True):
        around[max(0, at_y - AROUND_PX) : at_y + AROUND_PX + 1, max(0, at_x - AROUND_PX) : at_x + AROUND_PX + 1] = True
    return replace(case, suite="firefly", color=color, origin=case, around=around)


# --- auxiliary planes ---------------------------------------------------------------------------------------------


def without_aux(case: Case) -> Case:
    return replace(case, suite="noaux", albedo=None, normal=None, depth=None, origin=case)


def noisy_aux(case: Case) -> Case:
    """Auxiliary planes with the noise that as many rays as the frame has samples bring through a lens.

    Of each pixel's circle of confusion, which grows away from the middle distance, `spp` rays are drawn; what their
    mean departs from the mean of many is the noise. It is added to the planes as they were: colour and reference have
    no depth of field, and a blur of the planes alone would be another fault than noise.
    """
    rng = np.random.default_rng(zlib.crc32(f"{case.name} {case.spp}".encode()))
    height, width = case.color.shape[:2]
    hit = (case.depth > 0) & (case.depth < FAR)
    focus = float(np.median(case.depth[hit])) if hit.any() else 1.0
    near = np.where(hit, np.maximum(case.depth, 1e-6), np.inf)
    radius = np.clip(APERTURE_PX * np.abs(1.0 - focus / near), 0.5, 2 * APERTURE_PX)
    planes = np.concatenate([case.albedo, case.normal, case.depth[..., None]], axis=-1)
    rows, cols = np.mgrid[0:height, 0:width]

    def rays(count: int) -> np.ndarray:
        total = np.zeros_like(planes)
        for _ in range(count):
            reach, turn = radius * np.sqrt(rng.random((height, width))), 2 * np.pi * rng.random((height, width))
            y = np.clip(np.rint(rows + reach * np.sin(turn)), 0, height - 1).astype(int)
            x = np.clip(np.rint(cols + reach * np.cos(turn)), 0, width - 1).astype(int)
            total += planes[y, x]
        return total / count

    noisy = planes + rays(case.spp) - rays(64)
    albedo, normal = np.clip(noisy[..., :3], 0, 1), np.clip(noisy[..., 3:6], -1, 1)
    depth = np.where(hit, np.clip(noisy[..., 6], 0, case.depth[hit].max(initial=0)), case.depth).astype(np.float32)
    return replace(case, suite="noisyaux", albedo=albedo, normal=normal, depth=depth, origin=case)


MADE = {"firefly": fireflies, "noaux": without_aux, "noisyaux": noisy_aux}
