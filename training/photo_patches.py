"""Training patches of photographs: encoded images with noise of every kind, and mosaics of a phone's sensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise.mosaic import stabilised_noise
from mdenoise.training import noise, restoration
from mdenoise.training.mosaics import mosaics
from mdenoise.training.terms import photo_files

if TYPE_CHECKING:
    from mdenoise.training.data import DataConfig


def load_photos(folder: Path, split: str, permissive: bool = True) -> list[Tensor]:
    """Photos of one split as (3, H, W) uint8 tensors; `folder` holds photos.csv and photos/."""
    from PIL import Image

    photos = []
    for path in photo_files(folder, split, permissive):
        image = Image.open(path).convert("RGB")
        photos.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
    return photos


def crops(photos: list[Tensor], count: int, size: int, rng: torch.Generator) -> Tensor:
    """(count, 3, size, size) encoded crops in [0, 1], at scales 1 to 2, flipped and with channels permuted."""
    out = []
    for _ in range(count):
        image = photos[int(torch.randint(0, len(photos), (1,), generator=rng))]
        scale = 2 if min(image.shape[1:]) >= 2 * size and torch.rand(1, generator=rng) < 0.35 else 1
        side = size * scale
        y = int(torch.randint(0, image.shape[1] - side + 1, (1,), generator=rng))
        x = int(torch.randint(0, image.shape[2] - side + 1, (1,), generator=rng))
        crop = image[:, y : y + side, x : x + side].float() / 255.0
        if scale > 1:
            crop = F.avg_pool2d(crop[None], scale)[0]
        if torch.rand(1, generator=rng) < 0.5:
            crop = crop.flip(2)
        if torch.rand(1, generator=rng) < 0.5:
            crop = crop.transpose(1, 2)
        if torch.rand(1, generator=rng) < 0.3:
            crop = crop[torch.randperm(3, generator=rng)]
        out.append(crop)
    return torch.stack(out)


def photo_batch(photos: list[Tensor], config: DataConfig, rng: torch.Generator) -> dict[str, Tensor]:
    """The parts of a `data.Batch` of photographs with the noise, or the degradation, that `config` names."""
    p = config.photo_patch_px[int(torch.randint(0, len(config.photo_patch_px), (1,), generator=rng))]
    b = max(1, config.batch * config.patch_px**2 // p**2)
    margin = restoration.margin_px(config.photo_noise)
    clean = crops(photos, b, p + 2 * margin, rng)
    if restoration.is_task(config.photo_noise):
        noisy = restoration.degrade(clean, config.photo_noise, rng)
        inner = np.s_[..., margin : margin + p, margin : margin + p]
        clean, noisy = clean[inner].contiguous(), noisy[inner].contiguous()
    elif config.photo_noise == "blind":
        grey = torch.rand(b, 1, 1, 1, generator=rng) < config.grey_share
        clean = torch.where(grey, clean.mean(1, keepdim=True), clean)
        noisy = noise.photographic(clean, rng, frozenset(config.photo_without))
        noisy = torch.where(grey, noisy[:, 1:2], noisy)
    else:
        sigma = float(config.photo_noise.partition(":")[2]) / 255.0
        squeezed = (torch.rand(b, 1, 1, 1, generator=rng) < config.contrast_share).float()
        factor = torch.exp2(torch.rand(b, 1, 1, 1, generator=rng) * 3.0 - 2.3)
        mean = clean.mean((1, 2, 3), keepdim=True)
        clean = squeezed * (0.5 + (clean - mean) * factor) + (1 - squeezed) * clean
        noisy = clean + sigma * torch.randn(clean.shape, generator=rng)
        # A file rounds and clips; a squeezed image was a file before it was squeezed, and keeps neither step.
        noisy = torch.where(squeezed > 0, noisy, (noisy.clamp(0, 1) * 255).round() / 255)
    return parts(noisy, clean)


def raw_batch(photos: list[Tensor], config: DataConfig, rng: torch.Generator) -> dict[str, Tensor]:
    """Photographs taken back to the mosaic of a phone's sensor: a patch of 64 photosites of each colour."""
    p = min(config.photo_patch_px)
    b = max(1, config.batch * config.patch_px**2 // p**2)
    noisy, clean, sensor = mosaics(crops(photos, b, 2 * p, rng), rng)
    flags = torch.zeros(b, 4, p, p)
    flags[:, 3] = 1
    known = torch.log2(1 + 64 * stabilised_noise(sensor[:, :1], sensor[:, 1:])).div(4).clamp(0, 1)
    return parts(noisy, clean) | dict(variance=known.expand(b, 1, p, p).contiguous(), flags=flags, sensor=sensor)


def parts(noisy: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """The parts of a `data.Batch` of (B, C, p, p) images that are not linear and have nothing beside their colour."""
    b, _, *size = noisy.shape
    planes = {name: torch.zeros(b, count, *size) for name, count in (("albedo", 3), ("normal", 3), ("depth", 1))}
    return planes | dict(
        noisy=noisy,
        clean=clean,
        variance=torch.zeros(b, 1, *size),
        flags=torch.zeros(b, 4, *size),
        linear=torch.zeros(b, 1, 1, 1),
        demodulate=torch.zeros(b, 1, 1, 1),
        sensor=torch.zeros(b, 2, 1, 1),
    )
