"""The training loss: absolute error at four scales and of gradients, in the guide's bounded domain; and two that were
tried against it (see docs/training.md)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise.guide import CURVE_MAX, CURVE_SLOPE

SSIM_SCALES, SSIM_SHARE = 3, 0.84


def bounded(x: Tensor, linear: Tensor) -> Tensor:
    """Exposed radiance through the guide's log curve, encoded images as they are; `linear` (B, 1, 1, 1) in {0, 1}."""
    curve = torch.log1p(CURVE_SLOPE * x.clamp(0.0, CURVE_MAX)) / math.log1p(CURVE_SLOPE)
    return torch.where(linear > 0, curve, x)


def image_loss(
    output: Tensor,
    target: Tensor,
    noisy: Tensor,
    linear: Tensor,
    weight: Tensor,
    kind: str = "multiscale",
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> Tensor:
    """Scalar loss of (B, 3, H, W) images; `weight` (B, 1, H, W) is 0 outside the image. `mean` averages over all
    images of the step, those of other processes, too. `kind` is "multiscale", "l1", the per-pixel error alone, or
    "ssim", as much of that and of 1 - MS-SSIM as Zhao et al. (Loss Functions for Image Restoration, 2017) mix.

    Coarse scales punish blotches, which a per-pixel error hardly sees; gradients keep edges and texture. Every image
    counts by what it gains over its own noise: else the noisiest ones decide, and nearly clean ones come out blurred.
    """
    goal = bounded(target, linear)
    error = (bounded(output, linear) - goal) * weight
    level = magnitude((bounded(noisy, linear) - goal) * weight)
    gain = (0.03 + level) ** -0.5
    if kind == "l1":
        return (magnitude(error) * gain / mean(gain)).mean()
    if kind == "ssim":
        lost = 1 - ms_ssim(bounded(output, linear) * weight, goal * weight)
        return (((1 - SSIM_SHARE) * magnitude(error) + SSIM_SHARE * lost) * gain / mean(gain)).mean()
    dx, dy = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    loss = magnitude(error) + 0.35 * (magnitude(dx) + magnitude(dy))
    for share in (0.5, 0.35, 0.25):
        error = F.avg_pool2d(error, 2)
        loss = loss + share * magnitude(error)
    return (loss * gain / mean(gain)).mean()


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """(B,) product over SSIM_SCALES of contrast and structure, and of luminance at the last (Wang et al. 2003), in
    windows of 7 x 7 pixels."""
    product = torch.ones(a.shape[0], device=a.device)
    for scale in range(SSIM_SCALES):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        mean_a, mean_b, aa, bb, ab = (F.avg_pool2d(x, 7, 1) for x in (a, b, a * a, b * b, a * b))
        spread = aa + bb - mean_a.square() - mean_b.square()
        map_ = (2 * (ab - mean_a * mean_b) + 0.03**2) / (spread + 0.03**2)
        if scale == SSIM_SCALES - 1:
            map_ = map_ * (2 * mean_a * mean_b + 0.01**2) / (mean_a.square() + mean_b.square() + 0.01**2)
        product = product * map_.mean((1, 2, 3)).clamp_min(1e-3) ** (1 / SSIM_SCALES)
    return product


def magnitude(x: Tensor) -> Tensor:
    """(B,) mean absolute value of each image."""
    return x.abs().mean((1, 2, 3))


def display_psnr(output: Tensor, target: Tensor, linear: Tensor) -> Tensor:
    """(B,) PSNR in dB after clip to [0, 1] and, for linear images, power 1/2.2."""

    def display(x: Tensor) -> Tensor:
        x = x.clamp(0.0, 1.0)
        return torch.where(linear > 0, x ** (1 / 2.2), x)

    mse = (display(output) - display(target)).square().mean((1, 2, 3))
    return -10.0 * torch.log10(mse.clamp_min(1e-10))
