"""Training patches from the renders of `scenes`: any number of samples, lights weighed anew, real auxiliary planes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mdenoise.errors import InputError
from mdenoise.training.finish import NOTHING, finished

if TYPE_CHECKING:
    from mdenoise.training.data import DataConfig

VALIDATION_EVERY = 20  # one file of so many is held out
BLACK = 0.01


@dataclass(frozen=True)
class Rendered:
    """One scene. G light groups, each exposed to the same mean; R runs, independent renderings of `spp` samples.

    references  (G, 3, H, W) float16, linear
    runs        (G, R, 3, H, W) float16
    albedo, normal, depth  (R + 1, 3 or 1, H, W) uint8 of 255, int8 of 127, float16 with 0 where nothing was hit: of
                the runs, and clean
    """

    spp: tuple[int, ...]
    references: Tensor
    runs: Tensor
    albedo: Tensor
    normal: Tensor
    depth: Tensor


def load(folder: Path, split: str, worst_error: float = 0.02) -> list[Rendered]:
    """The scenes of "train" or "val". Light groups whose reference kept a mean squared relative error above
    `worst_error` are left out. Raises InputError."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise InputError(f"cannot read training renders: no .npz in {folder}; make some with mdenoise.training.scenes")
    held = set(files[VALIDATION_EVERY // 2 :: VALIDATION_EVERY])
    scenes = [read(path, worst_error) for path in files if (path in held) == (split == "val")]
    return [scene for scene in scenes if len(scene.references)]


def read(path: Path, worst_error: float) -> Rendered:
    try:
        with path.open("rb") as opened, np.load(opened) as file:  # np.load itself leaves a damaged file open
            facts = json.loads(str(file["facts"]))
            good = [i for i, error in enumerate(facts["reference_error"]) if error <= worst_error]
            planes = {name: file[name] for name in ("references", "runs", "albedo", "normal", "depth")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read training render {path}: {error}; delete it and render it again") from None
    planes |= {name: planes[name][good] for name in ("references", "runs")}
    return Rendered(tuple(facts["runs"]), **{name: torch.from_numpy(x) for name, x in planes.items()})


def choose_runs(spp: tuple[int, ...], rng: torch.Generator) -> list[int]:
    """Runs whose samples sum to a number that is even on a log scale."""
    wanted = round(2 ** (float(torch.rand(1, generator=rng)) * np.log2(sum(spp))))
    chosen, left = [], wanted
    for i in reversed(range(len(spp))):
        if spp[i] <= left:
            chosen.append(i)
            left -= spp[i]
    if chosen == [1] and spp[0] == spp[1]:  # of two runs alike, either
        chosen = [int(torch.randint(0, 2, (1,), generator=rng))]
    return chosen


def patch(scene: Rendered, side: int, config: DataConfig, rng: torch.Generator) -> tuple[Tensor, ...]:
    """Noisy and clean radiance, albedo, normal, depth: (C, side, side) float32."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng)

    height, width = scene.depth.shape[2:]
    if min(height, width) < side:
        raise InputError(f"cannot train on renders of {width} x {height}: patches are {side} wide; set data.patch_px")
    y, x = (int(torch.randint(0, n - side + 1, (1,), generator=rng)) for n in (height, width))
    inside = np.s_[..., y : y + side, x : x + side]
    chosen = choose_runs(scene.spp, rng)
    weights = torch.tensor([scene.spp[i] for i in chosen], dtype=torch.float32)
    weights /= weights.sum()
    groups = len(scene.references)
    light = torch.exp(torch.randn(groups, 1, generator=rng) * 0.6) * (rand(groups, 3) * 0.3 + 0.7)
    noisy = torch.einsum("r,gc,grchw->chw", weights, light, scene.runs[inside][:, chosen].float())
    clean = torch.einsum("gc,gchw->chw", light, scene.references[inside].float())

    # Auxiliary planes of the same samples, or clean ones, as hosts give them that render those apart.
    used = [len(scene.spp)] if rand(1) < 0.3 else chosen
    share = torch.ones(1) if used != chosen else weights

    def mean(plane: Tensor) -> Tensor:
        return torch.einsum("r,rchw->chw", share, plane[inside][used].float())

    albedo, normal, depth = mean(scene.albedo) / 255, mean(scene.normal) / 127, mean(scene.depth)
    if rand(1) < 0.3:  # glass and metal are black to Mitsuba and white to Cycles
        steady_albedo, steady_normal = scene.albedo[inside][-1].float() / 255, scene.normal[inside][-1].float() / 127
        mirror = (steady_albedo.amax(0) < BLACK) & (steady_normal.norm(dim=0) > 0.5)
        albedo = torch.where(mirror, 1.0, albedo)
    return noisy, clean, albedo, normal, torch.where(depth > 0, depth, NOTHING)


def rendered_batch(scenes: Sequence[Rendered], config: DataConfig, rng: torch.Generator) -> dict[str, Tensor]:
    """The parts of a `data.Batch` of patches of `config.patch_px` from as many scenes, drawn anew."""
    picked = torch.randint(0, len(scenes), (config.batch,), generator=rng).tolist()
    planes = zip(*(patch(scenes[i], config.patch_px, config, rng) for i in picked), strict=True)
    return finished(*(torch.stack(p) for p in planes), config, rng)
