"""Noise of Monte Carlo rendering made on the fly: sampling noise, fireflies, and splatting by pixel filters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng) * (high - low) + low


def monte_carlo(mean: Tensor, spp: Tensor, shape: Tensor, hit: Tensor, chroma: Tensor, rng: torch.Generator) -> Tensor:
    """Mean of `spp` samples whose expectation is `mean` (B, 3, H, W).

    A sample contributes with probability `hit` (visibility, light selection) and a gamma magnitude of shape `shape`
    (small = heavy tail); the sum of n gammas is one gamma, so one draw a pixel is exact.
    `chroma` in [0, 1] is the share of the noise drawn per channel (indirect light takes the colour of what it met).
    All of spp, shape, hit, chroma broadcast over (B, 1, H, W).
    """
    b, c, h, w = mean.shape
    expected = (spp * hit).clamp_min(0.02).expand(b, 1, h, w)

    def draw() -> Tensor:
        hits = torch.poisson(expected, generator=rng)
        gamma = torch._standard_gamma((hits * shape).clamp_min(1e-3), generator=rng)
        return torch.where(hits > 0, gamma / (shape * expected), torch.zeros_like(gamma))

    shared = draw()
    if float(chroma.max()) == 0.0:
        return mean * shared
    apart = torch.cat([draw() for _ in range(c)], 1)
    return mean * ((1.0 - chroma) * shared + chroma * apart)


def fireflies(image: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Adds isolated samples of 1 to 10,000 times the image's mean to at most 0.3 % of the pixels of a share of the
    images."""
    b, _, h, w = image.shape
    density = 0.003 * torch.rand(b, 1, 1, 1, generator=rng) ** 2 * (torch.rand(b, 1, 1, 1, generator=rng) < share)
    hit = torch.rand(b, 1, h, w, generator=rng) < density
    size = torch.exp(torch.randn(b, 1, h, w, generator=rng) * 2.0 + 2.5).clamp_max(1e4)
    tint = torch.rand(b, 3, 1, 1, generator=rng) * 0.7 + 0.3
    return image + hit * size * tint * image.mean((1, 2, 3), keepdim=True)


def splat_kernel(rng: torch.Generator) -> Tensor:
    """A symmetric 1-D kernel of 5 taps that sums to one: tent, box, gaussian, or mitchell-like with negative lobes."""
    kind = int(torch.randint(0, 4, (1,), generator=rng))
    u = float(torch.rand(1, generator=rng))
    if kind == 0:  # tent of half-width 1 to 2 pixels
        taps = [max(0.0, 1.0 - abs(d) / (1.1 + 1.4 * u)) for d in range(-2, 3)]
    elif kind == 1:  # box blur, 2 to 4 pixels wide
        half = 1.0 + u
        taps = [max(0.0, min(1.0, half + 0.5 - abs(d))) for d in range(-2, 3)]
    elif kind == 2:
        sigma = 0.4 + 0.8 * u
        taps = [math.exp(-0.5 * (d / sigma) ** 2) for d in range(-2, 3)]
    else:
        side, lobe = 0.08 + 0.12 * u, -0.01 - 0.03 * u
        taps = [lobe, side, 1.0 - 2.0 * (side + lobe), side, lobe]
    kernel = torch.tensor(taps)
    return kernel / kernel.sum()


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Separable convolution of (B, C, H, W) by one 1-D kernel, edges replicated."""
    c, k = image.shape[1], kernel.numel()
    x = F.pad(image, (k // 2,) * 4, mode="replicate")
    x = F.conv2d(x, kernel.view(1, 1, k, 1).expand(c, 1, k, 1), groups=c)
    return F.conv2d(x, kernel.view(1, 1, 1, k).expand(c, 1, 1, k), groups=c)


def enlarged(planes: tuple[Tensor, ...], rng: torch.Generator) -> tuple[Tensor, ...]:
    """A part of every (B, C, H, W) plane, 1.1 to 2 times enlarged to the whole size, bilinear or bicubic."""
    height, width = planes[0].shape[2:]
    factor = float(uniform((1,), 1.1, 2.0, rng))
    y, x = math.ceil(height / factor), math.ceil(width / factor)
    mode = "bilinear" if torch.rand(1, generator=rng) < 0.5 else "bicubic"
    return tuple(
        F.interpolate(p[..., :y, :x], size=(height, width), mode=mode, align_corners=False).contiguous() for p in planes
    )


def scattered(planes: tuple[Tensor, ...], reach_px: float, samples: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """What rays through a lens see: every pixel of (B, C, H, W) planes the mean of `samples` neighbours, drawn from a
    Gaussian of deviation `reach_px`, the same for all planes."""
    b, _, h, w = planes[0].shape
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    totals = [torch.zeros_like(p) for p in planes]
    for _ in range(samples):
        jump = (torch.randn(b, 2, h, w, generator=rng) * reach_px).round().long()
        at = (y + jump[:, 0]).clamp(0, h - 1) * w + (x + jump[:, 1]).clamp(0, w - 1)  # (B, H, W)
        for total, plane in zip(totals, planes, strict=True):
            index = at.view(b, 1, -1).expand(-1, plane.shape[1], -1)
            total += plane.flatten(2).gather(2, index).view_as(plane) / samples
    return tuple(totals)


def defocused(image: Tensor, reach_px: float) -> Tensor:
    """The expectation of `scattered`."""
    half = math.ceil(3 * reach_px)
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1) / reach_px) ** 2)
    return convolve(image, taps / taps.sum())


def shrunk(planes: tuple[Tensor, ...], side: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """A part of every (B, C, H, W) plane, 1.1 to 2 times shrunk to `side` pixels, bilinear or bicubic."""
    factor = float(uniform((1,), 1.1, 2.0, rng))
    cut = min(round(side * factor), planes[0].shape[2])
    mode = "bilinear" if torch.rand(1, generator=rng) < 0.5 else "bicubic"
    return tuple(
        F.interpolate(p[..., :cut, :cut], size=(side, side), mode=mode, align_corners=False, antialias=True)
        for p in planes
    )


def sharpened(planes: tuple[Tensor, ...], rng: torch.Generator) -> tuple[Tensor, ...]:
    """Unsharp masking as compositors do it, one strength and radius for all planes."""
    amount, sigma = float(uniform((1,), 0.2, 1.0, rng)), float(uniform((1,), 0.6, 1.5, rng))
    return tuple(p + amount * (p - defocused(p, sigma)) for p in planes)


def coverage(b: int, side: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """(B, 1, side, side) alpha of discs, or of what is around them, with soft edges: exact, and of a few samples."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    middle = torch.rand(b, 2, 1, 1, generator=rng) * side
    radius = uniform((b, 1, 1), 0.15, 0.8, rng) * side
    soft = torch.where(torch.rand(b, 1, 1, generator=rng) < 0.7, 1.0, uniform((b, 1, 1), 1.0, 12.0, rng))  # pixels
    outwards = radius - torch.hypot(y - middle[:, 0], x - middle[:, 1])
    outwards = torch.where(torch.rand(b, 1, 1, generator=rng) < 0.5, outwards, -outwards)
    exact = (outwards / soft + 0.5).clamp(0, 1)[:, None]
    samples = torch.exp2(uniform((b, 1, 1, 1), 1.0, 7.0, rng))
    spread = (exact * (1 - exact) / samples).sqrt()
    return exact, (exact + spread * torch.randn(exact.shape, generator=rng)).clamp(0, 1)


def rotations(b: int, rng: torch.Generator) -> Tensor:
    """(B, 3, 3) rotations, uniform: camera space, or another axis up."""
    q, r = torch.linalg.qr(torch.randn(b, 3, 3, generator=rng))
    q = q * torch.diagonal(r, dim1=1, dim2=2).sign()[:, None]
    return q * torch.linalg.det(q).sign()[:, None, None]
