"""Crops of noisy images with their targets, as `prepare` wrote them, and batches of them.

A folder holds pairs.csv and crops/NNNN.npy, one array a pair: (crops, 20, side, side) float16, mapped, never loaded.
Radiance is exposed as the product would expose the whole noisy frame, so training sees what inference will see.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mdenoise.errors import InputError
from mdenoise.training.data import Batch, DataConfig, turned
from mdenoise.training.filter import outlier_weight_torch

# `inside` is 0 beyond the image and where the target is not finite, `trusted` also where the noisy pixel is not.
PLANES = {
    "noisy": slice(0, 3),
    "clean": slice(3, 6),
    "albedo": slice(6, 9),
    "normal": slice(9, 12),
    "depth": slice(12, 13),
    "variance": slice(13, 14),
    "flags": slice(14, 18),
    "inside": slice(18, 19),
    "trusted": slice(19, 20),
}
CHANNELS = 20
COLUMNS = ("file", "scene", "split", "encoding", "target", "demodulate", "noisy", "clean", "roles")


@dataclass(frozen=True)
class Crops:
    """The crops of one pair; `planes` (N, 20, side, side) float16, on disk."""

    planes: np.ndarray
    scene: str
    linear: bool
    demodulate: bool  # whether the product would divide by this albedo
    noisy_target: bool
    noisy: Path
    clean: Path
    roles: dict[str, str]  # layers that were named, as fields of `Options`


def load(folder: Path, split: str) -> list[Crops]:
    """The pairs of one split ("train", "val"). Raises InputError."""
    index = folder / "pairs.csv"
    if not index.is_file():
        raise InputError(f"cannot read pairs: {index}: not found. Make it with `mdenoise prepare pairs`")
    found = []
    with index.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] != split:
                continue
            path = folder / "crops" / Path(row["file"]).name
            try:
                planes = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"cannot read {path}: {error}. Run `mdenoise prepare pairs` again") from None
            if planes.ndim != 4 or planes.shape[1] != CHANNELS:
                raise InputError(f"cannot read {path}: not crops of this version. Run `mdenoise prepare pairs` again")
            kinds = row["encoding"] == "linear", row["demodulate"] == "1", row["target"] == "noisy"
            files = Path(row["noisy"]), Path(row["clean"])
            found.append(Crops(planes, row["scene"], *kinds, *files, json.loads(row["roles"] or "{}")))
    if not found and split == "train":
        raise InputError(f"cannot train on {folder}: pairs.csv lists no pair of split train")
    return found


def stream(crops: list[Crops], config: DataConfig, seed: int) -> Iterator[Batch]:
    """Endless batches of `config.batch` patches; a batch is all linear or all encoded. Pairs are drawn alike often."""
    rng = torch.Generator().manual_seed(seed)
    kinds = [[c for c in crops if c.linear], [c for c in crops if not c.linear]]
    b, p = config.batch, config.patch_px

    def draw(n: int) -> int:
        return int(torch.randint(0, n, (1,), generator=rng))

    while True:
        chosen = [crops[draw(len(crops))]]
        same = kinds[0] if chosen[0].linear else kinds[1]
        chosen += [same[draw(len(same))] for _ in range(b - 1)]
        raw = torch.zeros(b, CHANNELS, p, p)
        for i, one in enumerate(chosen):
            planes = one.planes[draw(len(one.planes))]
            # Crops smaller than a patch are padded: what lies beyond is masked, as it is at inference.
            y, x = draw(max(1, planes.shape[1] - p + 1)), draw(max(1, planes.shape[2] - p + 1))
            part = torch.from_numpy(planes[:, y : y + p, x : x + p].astype(np.float32))
            raw[i, :, : part.shape[1], : part.shape[2]] = part
        parts = {name: raw[:, planes] for name, planes in PLANES.items()}
        drops = (config.drop_albedo, config.drop_normal, config.drop_depth, config.drop_variance)
        keep = (torch.rand(b, 4, 1, 1, generator=rng) >= torch.tensor(drops).view(1, 4, 1, 1)).float()
        parts["flags"] = parts["flags"] * keep
        for i, name in enumerate(("albedo", "normal", "depth", "variance")):
            parts[name] = parts[name] * keep[:, i : i + 1]
        parts = turned(parts, rng)
        demodulate = torch.tensor([float(c.demodulate) for c in chosen]).view(b, 1, 1, 1) * keep[:, :1]
        linear = torch.full((b, 1, 1, 1), float(chosen[0].linear))
        bright = (parts["noisy"] * parts["trusted"]).abs().amax(1, keepdim=True)
        bound = outlier_weight_torch(bright) if chosen[0].linear else torch.ones_like(bright)
        parts["trusted"] = parts["trusted"] * (bound > 0)
        yield Batch(
            **parts,
            linear=linear,
            demodulate=demodulate,
            sensor=torch.zeros(b, 2, 1, 1),
            confidence=parts["trusted"] * bound,
        )
