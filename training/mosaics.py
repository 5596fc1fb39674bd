"""Photographs taken back to what a phone's sensor saw: training data for RAW files."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdenoise.training.isp import draw_camera, unprocess

# Variance of the shot noise of a unit signal: somewhat beyond what phones' profiles tell.
RAW_SHOT = (5e-5, 4e-2)


def mosaics(photos: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 3, 2p, 2p) encoded photographs as phones' sensors saw them: noisy and clean (B, 4, p, p), linear, black 0,
    white 1, and (B, 2, 1, 1) the shot and read noise that their profiles tell, which half of them get wrong."""
    clean, noises = [], []
    for photo in photos:
        own = np.random.Generator(np.random.PCG64(int(torch.randint(0, 2**62, (1,), generator=rng))))
        camera = draw_camera(own, shot=float(np.exp(own.uniform(*np.log(RAW_SHOT)))))
        exposed = unprocess(photo.permute(1, 2, 0).numpy(), camera) * np.float32(2 ** own.uniform(-3, 1))
        x = np.minimum(exposed, 1).astype(np.float32)
        clean.append(np.stack([x[::2, ::2, 0], x[::2, 1::2, 1], x[1::2, ::2, 1], x[1::2, 1::2, 2]]))
        noises.append((camera.shot, camera.read))
    mean = torch.from_numpy(np.stack(clean))
    sensor = torch.tensor(noises, dtype=torch.float32).view(-1, 2, 1, 1)
    shot, read = sensor[:, :1], sensor[:, 1:]
    noisy = torch.poisson(mean / shot, generator=rng) * shot + read.sqrt() * torch.randn(mean.shape, generator=rng)
    wrong = torch.exp2(0.5 * torch.randn(sensor.shape, generator=rng))
    told = torch.where(torch.rand(len(mean), 1, 1, 1, generator=rng) < 0.5, wrong, torch.ones(1))
    return noisy.clamp_max(1.0), mean, sensor * told
