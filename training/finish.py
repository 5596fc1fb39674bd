"""What happens to a rendering after its noise: fireflies, alpha, pixel filters, resizing, sharpening, exposure, planes
left out or encoded otherwise, 8 bits.

Synthetic scenes and real renders go through the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise import guide as g
from mdenoise.training import montecarlo

if TYPE_CHECKING:
    from mdenoise.training.data import DataConfig


NOTHING = 1e9  # depth where a ray hit nothing


def finished(
    noisy: Tensor,
    clean: Tensor,
    albedo: Tensor,
    normal: Tensor,
    depth: Tensor,
    config: DataConfig,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """The parts of a `data.Batch` from linear radiance (B, 3, H, W) and its planes; depth (B, 1, H, W) is NOTHING at
    most."""
    b = noisy.shape[0]

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng)

    log_mean = torch.log(clean.clamp_min(0).mean(1, keepdim=True) + 1e-4).mean((2, 3), keepdim=True)
    noisy = montecarlo.fireflies(noisy, config.firefly_share, rng)
    if rand(1) < config.matte_share:
        exact, sampled = montecarlo.coverage(b, noisy.shape[3], rng)
        clean, noisy, albedo, normal = clean * exact, noisy * sampled, albedo * sampled, normal * sampled
        depth = torch.where(sampled > 0, depth, NOTHING)
    variance = F.avg_pool2d(F.pad((noisy - clean).square().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate"), 3, 1)
    if rand(1) < config.splat_share:
        kernel = montecarlo.splat_kernel(rng)
        clean, noisy, albedo, normal = (montecarlo.convolve(x, kernel) for x in (clean, noisy, albedo, normal))

    planes = (clean, noisy, albedo, normal, depth, variance)
    if rand(1) < config.resize_share:
        planes = montecarlo.enlarged(planes, rng)
    elif noisy.shape[3] % 128 == 0 and rand(1) < config.shrink_share:  # the network takes multiples of 64 alone
        planes = montecarlo.shrunk(planes, noisy.shape[3] // 2, rng)
    clean, noisy, albedo, normal, depth, variance = planes
    variance = variance.clamp_min(0)  # bicubic interpolation overshoots
    if rand(1) < config.sharpen_share:
        clean, noisy = montecarlo.sharpened((clean, noisy), rng)
    h, w = noisy.shape[2:]

    # Exposure as the whole image would have set it: the patch's own log-mean lies around the key, not at it.
    scale = g.KEY * torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.8 - log_mean)
    clean, noisy, variance = clean * scale, noisy * scale, variance * scale.square()

    turn = montecarlo.rotations(b, rng)
    turned = torch.einsum("bij,bjhw->bihw", turn, normal)
    normal = torch.where(rand(b, 1, 1, 1) < config.turned_normals, turned, normal)
    normal = torch.where(rand(b, 1, 1, 1) < config.encoded_normals, 0.5 + 0.5 * normal, normal)

    any_kept = (rand(b, 1, 1, 1) >= config.drop_all).float()
    keep_albedo = any_kept * (rand(b, 1, 1, 1) >= config.drop_albedo).float()
    keep_normal = any_kept * (rand(b, 1, 1, 1) >= config.drop_normal).float()
    keep_depth = any_kept * (rand(b, 1, 1, 1) >= config.drop_depth).float()
    keep_variance = any_kept * (rand(b, 1, 1, 1) >= config.drop_variance).float()
    hit = torch.where(depth < NOTHING / 2, depth, torch.nan)
    near = hit.flatten(1).nanmedian(1).values.nan_to_num(1.0).view(b, 1, 1, 1)
    far = depth > 1e4 * near
    log_depth = torch.where(far, 1.0, (torch.log2(depth.clamp_min(1e-4) / near) / 4.0).clamp(-1, 1))
    relative = variance.sqrt() * torch.exp(0.3 * torch.randn(b, 1, h, w, generator=rng))
    lum = luminance(noisy)
    log_variance = (torch.log2(1 + 4 * relative / (lum + 0.02)) / 4).clamp(0, 1)
    ones = torch.ones(b, 1, h, w)
    linear = float(rand(1) >= config.encoded_share)
    if not linear:
        clean, noisy = srgb(clean), (srgb(noisy) * 255).round() / 255
    return dict(
        noisy=noisy,
        clean=clean,
        albedo=albedo.clamp(0, 1) * keep_albedo,
        normal=normal * keep_normal,
        depth=log_depth * keep_depth,
        variance=log_variance * keep_variance,
        flags=torch.cat([ones * keep_albedo, ones * keep_normal, ones * keep_depth, ones * keep_variance], 1),
        linear=torch.full((b, 1, 1, 1), linear),
        demodulate=linear * keep_albedo * (rand(b, 1, 1, 1) < 0.85),
        sensor=torch.zeros(b, 2, 1, 1),
    )


def srgb(x: Tensor) -> Tensor:
    """Linear light to [0, 1] as encoded by IEC 61966-2-1, clipped."""
    x = x.clamp(0, 1)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)


def luminance(color: Tensor) -> Tensor:
    """(B, 3, H, W) linear colour to (B, 1, H, W) luminance, negatives clamped to 0."""
    return torch.einsum("bchw,c->bhw", color.clamp_min(0), torch.from_numpy(g.LUMINANCE))[:, None]
