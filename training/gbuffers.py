"""Synthetic G-buffers: regions with photo or flat albedo, normals, depth, lights with shadows, specular, emitters.

No renderer: a scene is a set of planes whose sum is radiance, made at twice the patch resolution so that edges can
be sampled like a renderer samples them. Photographs serve as textures, reflections and seen-through glass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Scene:
    """Planes of B scenes with the four subpixels of every pixel apart: (B, C, 4, H, W).

    albedo (3), normal (3); depth (B, 1, H, W) of the pixel; lit: radiance reflected by the albedo from each light,
    the last of them ambient; `levels` (B, 1, H, W) the share of each light that the pixel sees, 0 to 1.
    specular (3) and emission (3) are added as they are.
    """

    albedo: Tensor
    normal: Tensor
    depth: Tensor
    lit: tuple[Tensor, ...]
    levels: tuple[Tensor, ...]
    specular: Tensor
    emission: Tensor


def subpixels(x: Tensor) -> Tensor:
    """(B, C, 2H, 2W) -> (B, C, 4, H, W)."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(b, c, 4, h // 2, w // 2).contiguous()


def smooth(b: int, c: int, size: int, cell: int, rng: torch.Generator) -> Tensor:
    """Smooth random field of unit variance with features of `cell` pixels."""
    n = max(2, size // cell)
    field = torch.randn(b, c, n, n, generator=rng)
    return F.interpolate(field, size=(size, size), mode="bicubic", align_corners=False)


def regions(b: int, size: int, count: int, rng: torch.Generator) -> Tensor:
    """(B, 1, size, size) region index: overlapping half-planes, ellipses, boxes, strips and ragged blobs."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    index = torch.zeros(b, 1, size, size, dtype=torch.long)

    def rand(low: float, high: float) -> Tensor:
        return torch.rand(b, 1, 1, generator=rng) * (high - low) + low

    for k in range(1, count):
        angle = rand(0, 6.2832)
        cx, cy = rand(-1, 1), rand(-1, 1)
        u = (x - cx) * angle.cos() + (y - cy) * angle.sin()
        v = -(x - cx) * angle.sin() + (y - cy) * angle.cos()
        kind = (0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 5)[int(torch.randint(0, 11, (1,), generator=rng))]
        if kind == 0:
            inside = u + rand(-0.6, 0.6) > 0
        elif kind == 1:
            inside = (u / rand(0.05, 0.8)) ** 2 + (v / rand(0.05, 0.8)) ** 2 < 1
        elif kind == 2:
            inside = (u.abs() < rand(0.03, 0.6)) & (v.abs() < rand(0.03, 0.6))
        elif kind == 3:  # strips: slats, wires, hair
            inside = torch.sin(u * rand(3, 40) + v * v * rand(0, 3)) > rand(0.3, 0.97)
            inside = inside & (v.abs() < rand(0.2, 1.5))
        elif kind == 4:  # leaves
            field = smooth(b, 1, size, int(torch.randint(3, 24, (1,), generator=rng)), rng)[:, 0]
            inside = (field > rand(-0.2, 1.0)) & ((u / 0.7) ** 2 + (v / 0.7) ** 2 < 1)
        else:  # grid of tiles or small objects
            f = rand(6, 30)
            inside = (torch.sin(u * f) * torch.sin(v * f) > rand(0.2, 0.9)) & (u.abs() < rand(0.2, 1.2))
        index = torch.where(inside[:, None], torch.full_like(index, k), index)
    return index


def make_scenes(photos: Tensor, rng: torch.Generator) -> Scene:
    """B scenes from 3 linear photo crops each: photos (B, 3, 3, 2H, 2W) in [0, 1]."""
    b, _, _, size, _ = photos.shape
    count = int(torch.randint(2, 11, (1,), generator=rng))
    index = regions(b, size, count, rng)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng)

    def pick(c: int, values: Tensor | None = None) -> Tensor:
        """One random value per region, spread over its pixels."""
        table = rand(b, count, c) if values is None else values
        flat = index.flatten(1)[..., None].expand(-1, -1, c)
        return torch.gather(table, 1, flat).transpose(1, 2).reshape(b, c, size, size)

    grey = rand(b, count, 1)
    flat = pick(3, (grey + (rand(b, count, 3) - 0.5) * rand(b, count, 1) * 1.4).clamp(0.02, 0.95))
    textured = (pick(1) < 0.4).float()
    albedo = flat * (1 - textured) + photos[:, 0] * textured
    # Procedural detail on some regions: checks and fine grain, the textures that denoisers smear first.
    cell = 2.0 ** float(torch.randint(1, 6, (1,), generator=rng))
    axis = torch.arange(size, dtype=torch.float32)
    checks = ((axis / cell).floor()[:, None] + (axis / cell).floor()[None]) % 2
    grain = 1 + 0.5 * smooth(b, 1, size, 2, rng) * pick(1)
    albedo = torch.where(pick(1) < 0.1, albedo * (0.3 + 0.7 * checks), albedo)
    albedo = torch.where(pick(1) < 0.1, albedo * grain, albedo).clamp(0, 1)
    glass = (pick(1) < 0.1).float()
    white_glass = (rand(b, 1, 1, 1) < 0.3).float()
    albedo = albedo * (1 - glass) + glass * white_glass

    normal = pick(3) * 2 - 1 + 1e-3
    normal = (
        normal
        + (pick(1) < 0.5) * 0.8 * smooth(b, 3, size, 64, rng)
        + (pick(1) < 0.2) * 0.25 * smooth(b, 3, size, 5, rng)
    )
    normal = F.normalize(normal, dim=1)
    # Bumps: renderers often write the smooth normal while light falls on the bumped one, so detail of the lighting
    # must be found in the radiance itself. Heights come from photographs, fine noise or courses of bricks.
    course = (axis[:, None] / (4 * cell)).floor()
    bricks = (((axis / (4 * cell))[:, None] % 1) < 0.12) | (((axis[None] / (8 * cell) + 0.5 * course) % 1) < 0.06)
    kind = int(torch.randint(0, 3, (1,), generator=rng))
    height = (
        photos[:, 0].mean(1, keepdim=True) * 3,
        smooth(b, 1, size, 5, rng) * 0.3,
        bricks * -0.8 + torch.zeros(b, 1, size, size),
    )[kind]
    height = F.avg_pool2d(F.pad(height, (1, 1, 1, 1), mode="replicate"), 3, 1)
    gx = F.pad(height[..., 1:] - height[..., :-1], (0, 1, 0, 0))
    gy = F.pad(height[..., 1:, :] - height[..., :-1, :], (0, 0, 0, 1))
    tangents = torch.randn(2, b, 3, 1, 1, generator=rng)
    strength = (pick(1) < 0.5) * torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.8 + 0.5)
    bumped = F.normalize(normal + strength * (gx * tangents[0] + gy * tangents[1]), dim=1)
    written = (rand(b, 1, 1, 1) < 0.35).float()
    depth = torch.exp(pick(1) * 3) * torch.exp(0.15 * smooth(b, 1, size, 48, rng))

    lights, levels = [], []
    for _ in range(int(torch.randint(1, 4, (1,), generator=rng))):
        direction = F.normalize(torch.randn(b, 3, 1, 1, generator=rng), dim=1)
        scale = [6, 12, 24, 48, 96][int(torch.randint(0, 5, (1,), generator=rng))]
        hardness = [2.0, 6.0, 20.0, 80.0][int(torch.randint(0, 4, (1,), generator=rng))]
        visible = torch.sigmoid(
            (smooth(b, 1, size, scale, rng) + torch.randn(b, 1, 1, 1, generator=rng) * 0.7) * hardness
        )
        tint = (rand(b, 3, 1, 1) * 0.5 + 0.5) * torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.8)
        falloff = torch.exp(0.6 * smooth(b, 1, size, 64, rng))
        if float(rand(1)) < 0.2:  # light through foliage, blinds and glass: detail that no auxiliary plane shows
            falloff = falloff * photos[:, 1].mean(1, keepdim=True) * 2
        lights.append(tint * (bumped * direction).sum(1, keepdim=True).clamp_min(0) * visible * falloff)
        levels.append(F.avg_pool2d(visible, 2))
    cell = [16, 48][int(torch.randint(0, 2, (1,), generator=rng))]
    ambient = torch.exp(
        0.6 * smooth(b, 1, size, cell, rng)
        + 0.25 * smooth(b, 3, size, 64, rng)
        + 0.7 * torch.randn(b, 1, 1, 1, generator=rng)
    )
    up = F.normalize(torch.randn(b, 3, 1, 1, generator=rng), dim=1)
    lights.append(0.35 * ambient * (0.6 + 0.4 * (bumped * up).sum(1, keepdim=True)))

    shiny = (pick(1) < 0.3).float()
    highlight = torch.exp(
        1.5 * smooth(b, 1, size, [6, 12, 32][int(torch.randint(0, 3, (1,), generator=rng))], rng) - 2.5
    )
    reflection = photos[:, 1] * rand(b, 1, 1, 1) * 1.2
    mirror = (rand(b, 1, 1, 1) < 0.5).float()
    specular = (
        shiny
        * torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.8)
        * rand(b, 1, 1, 1)
        * (highlight * (1 - mirror) + reflection * mirror)
    )
    specular = specular + glass * photos[:, 2] * torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.7)
    # Metal: no diffuse light at all, and an albedo plane that renderers fill by their own ideas.
    metal = (pick(1) < 0.12).float() * (1 - glass)
    tint = pick(3) * 0.5 + 0.5
    mirrored = (
        photos[:, 2]
        if float(rand(1)) < 0.35
        else F.avg_pool2d(F.pad(photos[:, 2], (8, 8, 8, 8), mode="replicate"), 17, 1)
    )
    specular = specular + metal * tint * (mirrored + highlight) * torch.exp(
        torch.randn(b, 1, 1, 1, generator=rng) * 0.7
    )
    blob = torch.sigmoid((3.0 if float(rand(1)) < 0.5 else 30.0) * smooth(b, 1, size, 48, rng))
    painted = (albedo, blob.expand(-1, 3, -1, -1), torch.zeros_like(albedo), torch.ones_like(albedo))
    painted = painted[int(torch.randint(0, 4, (1,), generator=rng))]
    reflecting = albedo * (1 - metal)
    albedo = reflecting + painted * metal
    emission = (pick(1) < 0.04) * torch.exp(pick(1) * 4 - 1) * (flat * 0.5 + 0.5)
    sky = ((index == 0) & (rand(b, 1, 1, 1) < 0.25)).float()
    emission = emission * (1 - sky) + sky * photos[:, 2] * 1.5
    albedo = albedo * (1 - sky)
    normal = (normal * (1 - written) + bumped * written) * (1 - sky)
    depth = torch.where(sky > 0, torch.full_like(depth, 1e9), depth)
    levels.append(torch.ones_like(levels[0]))
    return Scene(
        albedo=subpixels(albedo),
        normal=subpixels(normal),
        depth=F.avg_pool2d(depth, 2),
        lit=tuple(subpixels(reflecting * light * (1 - sky)) for light in lights),
        levels=tuple(levels),
        specular=subpixels(specular * (1 - sky)),
        emission=subpixels(emission),
    )
