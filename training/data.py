"""Training patches: photographs and synthetic G-buffers, with noise and exposure drawn anew each time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise import guide as g
from mdenoise.chroma import OPPONENTS
from mdenoise.mosaic import stabilise
from mdenoise.training import gbuffers, montecarlo
from mdenoise.training.filter import outlier_weight_torch
from mdenoise.training.finish import NOTHING, finished
from mdenoise.training.photo_patches import crops, photo_batch, raw_batch
from mdenoise.training.rendered import Rendered, rendered_batch


@dataclass(frozen=True)
class DataConfig:
    """Shares of the mix and of what is left out, each drawn per patch (per batch for `photo_share`)."""

    batch: int = 8
    patch_px: int = 128
    photo_share: float = 0.2
    photo_patch_px: tuple[int, ...] = (64, 128)  # one drawn per batch; the batch holds as many pixels either way
    photo_noise: str = "blind"  # every family of `noise.photographic`; "gaussian:15": that level alone; or "sr2:...",
    # "blur:...", a task of `restoration`
    grey_share: float = 0.0  # of the photographs: one noise in all three channels
    raw_share: float = 0.0  # of the photographs: mosaics of a sensor instead
    photo_without: tuple[str, ...] = ()  # families left out, to test on what was never seen
    contrast_share: float = 0.0  # photographs squeezed or stretched before the noise, as normalising by its level does
    rendered_share: float = 0.0  # of the renders: real ones of `scenes`, where there are any, instead of synthetic
    most_spp: float = 315.0  # samples a pixel of the synthetic scenes: from 2 on
    firefly_share: float = 0.5
    splat_share: float = 0.4
    resize_share: float = 0.0  # enlarged after rendering
    shrink_share: float = 0.0  # of the others: made smaller, as half as large patches
    sharpen_share: float = 0.0  # unsharp masking
    matte_share: float = 0.0  # cut out by an alpha channel, over black
    encoded_share: float = 0.0  # 8-bit sRGB, as renders are saved to be looked at
    turned_normals: float = 0.0  # normals of another space: of the camera's, or with another axis up
    encoded_normals: float = 0.0  # normals as colours in [0, 1]
    noisy_aov_share: float = 0.0  # auxiliary planes that depth of field or motion blur made as noisy as colour
    border_share: float = 0.1
    drop_albedo: float = 0.25
    drop_normal: float = 0.25
    drop_depth: float = 0.5
    drop_variance: float = 0.85
    drop_all: float = 0.1  # colour alone: with too few of these the network takes such renders for photographs
    scene_pool: int = 48
    scene_reuse: int = 8


@dataclass(frozen=True)
class Batch:
    """One batch, all (B, C, H, W) float32; radiance is exposed. `linear` and `demodulate` are (B, 1, 1, 1) in {0, 1};
    `inside` (B, 1, H, W) is 0 beyond the image's border, `trusted` also where the pixel was not finite;
    `confidence` (B, 1, H, W) is what a pixel may weigh before the network has its say. Of mosaics, noisy and clean are
    (B, 4, H, W), linear, and `sensor` (B, 2, 1, 1) is the noise that their profile tells: shot and read."""

    noisy: Tensor
    clean: Tensor
    albedo: Tensor
    normal: Tensor
    depth: Tensor
    variance: Tensor
    flags: Tensor
    linear: Tensor
    demodulate: Tensor
    sensor: Tensor
    inside: Tensor
    trusted: Tensor
    confidence: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(**{k: v.to(device, non_blocking=True) for k, v in vars(self).items()})

    def pin_memory(self) -> Batch:
        """What a data loader calls; without it, a batch would reach the GPU by way of pageable memory."""
        return Batch(**{k: v.pin_memory() for k, v in vars(self).items()})


def render_batch(scene: gbuffers.Scene, config: DataConfig, rng: torch.Generator) -> dict[str, Tensor]:
    """One noisy rendering of B synthetic scenes with the auxiliary planes that the same samples would give."""
    b, p = config.batch, config.patch_px

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=rng)

    spp = torch.exp2(rand(b, 1, 1, 1) * math.log2(config.most_spp / 2) + 1.0).round()
    # Which quarter of the pixel the primary rays hit: edges in colour and auxiliary planes are noisy together.
    counts = torch.poisson((spp / 4.0).expand(b, 4, p, p).contiguous(), generator=rng)
    counts[:, 0] = torch.where(counts.sum(1) == 0, 1.0, counts[:, 0])
    weights = counts / counts.sum(1, keepdim=True)
    steady = (rand(b, 1, 1, 1) < 0.3).float()  # stratified samplers and wide filters: no edge noise
    weights = (weights * (1 - steady) + 0.25 * steady)[:, None]

    def sampled(x: Tensor) -> Tensor:
        return (x * weights).sum(2)

    clean, noisy = scene.emission.mean(2), sampled(scene.emission)
    for i, (lit, level) in enumerate(zip(scene.lit, scene.levels, strict=True)):
        ambient = i == len(scene.lit) - 1
        # Other lamps in the same room: each rendering weighs the lights anew.
        dim = torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.6) * (rand(b, 3, 1, 1) * 0.3 + 0.7)
        shape = torch.exp(torch.randn(b, 1, 1, 1, generator=rng) * 0.9 + (0.0 if ambient else 0.5))
        hit = rand(b, 1, 1, 1) * 0.9 + 0.08
        if not ambient:  # the penumbra samples the light's visibility: fewer hits where less of it is seen
            hit = (hit + (rand(b, 1, 1, 1) < 0.5) * (level - hit)).clamp(0.03, 1)
        chroma = torch.zeros(1) if not ambient or rand(1) < 0.6 else rand(b, 1, 1, 1) * 0.7
        clean = clean + dim * lit.mean(2)
        noisy = noisy + montecarlo.monte_carlo(dim * sampled(lit), spp, shape, hit, chroma, rng)
    shape, hit = torch.exp(torch.randn(b, 1, 1, 1, generator=rng)), rand(b, 1, 1, 1) ** 2 * 0.9 + 0.03
    clear = (rand(b, 1, 1, 1) < 0.12).float()  # mirrors and glass that show a noise-free sky
    specular = sampled(scene.specular)
    noisy_specular = montecarlo.monte_carlo(specular, spp, shape, hit, torch.zeros(1), rng)
    clean, noisy = clean + scene.specular.mean(2), noisy + clear * specular + (1 - clear) * noisy_specular

    albedo, normal, depth = sampled(scene.albedo), sampled(scene.normal), scene.depth.clamp_max(NOTHING)
    if rand(1) < config.noisy_aov_share:
        reach = float(rand(1)) * 3 + 1
        rays = int(torch.randint(1, 5, (1,), generator=rng))
        noisy, albedo, normal = montecarlo.scattered((noisy, albedo, normal), reach, rays, rng)
        clean = montecarlo.defocused(clean, reach)
    return finished(noisy, clean, albedo, normal, depth, config, rng)


def turned(parts: dict[str, Tensor], rng: torch.Generator) -> dict[str, Tensor]:
    """The batch flipped, transposed and with channels permuted at random: a scene of the pool comes back as another."""
    flips = [axis for axis in (2, 3) if torch.rand(1, generator=rng) < 0.5]
    transpose = bool(torch.rand(1, generator=rng) < 0.5)
    order = torch.randperm(3, generator=rng)

    def turn(name: str, x: Tensor) -> Tensor:
        if name in ("noisy", "clean", "albedo"):
            x = x[:, order]
        x = x.flip(flips) if flips else x
        return (x.transpose(2, 3) if transpose else x).contiguous()

    return {name: turn(name, x) for name, x in parts.items()}


def stream(photos: list[Tensor], config: DataConfig, seed: int, renders: Sequence[Rendered] = ()) -> Iterator[Batch]:
    """Endless batches. Scenes are kept in a pool and rendered `scene_reuse` times with other noise each."""
    rng = torch.Generator().manual_seed(seed)
    pool: list[gbuffers.Scene] = []
    drawn = 0
    while True:
        b, p = config.batch, config.patch_px
        if torch.rand(1, generator=rng) < config.photo_share:
            raw = config.raw_share > 0 and torch.rand(1, generator=rng) < config.raw_share
            parts = (raw_batch if raw else photo_batch)(photos, config, rng)
        elif renders and torch.rand(1, generator=rng) < config.rendered_share:
            parts = turned(rendered_batch(renders, config, rng), rng)
        else:
            if drawn % (2 if len(pool) < config.scene_pool else config.scene_reuse) == 0:
                textures = crops(photos, b * 3, 2 * p, rng).reshape(b, 3, 3, 2 * p, 2 * p) ** 2.2
                fresh = gbuffers.make_scenes(textures, rng)
                if len(pool) < config.scene_pool:
                    pool.append(fresh)
                else:
                    pool[int(torch.randint(0, len(pool), (1,), generator=rng))] = fresh
            drawn += 1
            parts = render_batch(pool[int(torch.randint(0, len(pool), (1,), generator=rng))], config, rng)
            parts = turned(parts, rng)
        b, _, p, _ = parts["noisy"].shape
        inside = torch.ones(b, 1, p, p)
        for i in range(b):
            if torch.rand(1, generator=rng) < config.border_share:
                height, width = (int(n) for n in torch.randint(p // 4, p, (2,), generator=rng))
                inside[i, :, height:] = 0
                inside[i, :, :, width:] = 0
        dead = torch.rand(b, 1, p, p, generator=rng) < 2e-3 * (torch.rand(b, 1, 1, 1, generator=rng) < 0.2)
        trusted = inside * (~dead).float()
        # In the workers, as it costs as much as a quarter of the network.
        bright = (parts["noisy"] * trusted).abs().amax(1, keepdim=True)
        linear = bool(parts["linear"].max() > 0)
        bound = outlier_weight_torch(bright) if linear else torch.ones_like(bright)
        trusted = trusted * (bound > 0)
        yield Batch(**parts, inside=inside, trusted=trusted, confidence=trusted * bound)


def make_guide(batch: Batch, mask: Tensor) -> Tensor:
    """The 17 guide planes of `mdenoise.guide` for a batch; `mask` (B, 1, H, W) 0 = hidden. AOVs are never hidden."""
    if batch.noisy.shape[1] == 4:
        curved, kind = stabilised(batch.noisy, batch), torch.full_like(batch.linear, g.KINDS["mosaic"])
        color = torch.cat([curved[:, :1], (curved[:, 1:2] + curved[:, 2:3]) / 2, curved[:, 3:]], 1)
    else:
        curve = torch.log1p(g.CURVE_SLOPE * batch.noisy.clamp(0, g.CURVE_MAX)) / math.log1p(g.CURVE_SLOPE)
        color, kind = torch.where(batch.linear > 0, curve, batch.noisy), batch.linear
    kinds = kind.expand(-1, 1, *batch.noisy.shape[2:])
    aovs = torch.cat([batch.albedo, batch.normal, batch.depth, batch.variance, batch.flags, kinds], 1) * batch.inside
    return torch.cat([color * mask, mask, aovs], 1)


def stabilised(planes: Tensor, batch: Batch) -> Tensor:
    """Linear (B, 4, H, W) photosites of `batch`, or what they were denoised to, in the domain of its sensor's noise."""
    return stabilise(planes, batch.sensor[:, :1], batch.sensor[:, 1:])


def demodulation(albedo: Tensor) -> Tensor:
    """Torch twin of `mdenoise.guide.demodulation`: (B, 3, H, W) albedo to the factor that layers are divided by."""
    brightest = F.pad(albedo.amax(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    brightest = -F.max_pool2d(-brightest, 3, 1)  # the darkest of 3x3
    t = ((brightest - g.BLACK_ALBEDO[0]) / (g.BLACK_ALBEDO[1] - g.BLACK_ALBEDO[0])).clamp(0, 1)
    w = t * t * (3 - 2 * t)
    return w * albedo.clamp_min(g.ALBEDO_FLOOR) + (1 - w)


def opponent(color: Tensor, back: bool = False) -> Tensor:
    """(B, C, H, W) RGB or mosaic to the rows of `mdenoise.chroma.OPPONENTS`, or back."""
    matrix = torch.from_numpy(OPPONENTS[color.shape[1]]).to(color.device)
    return torch.einsum("ji,bihw->bjhw", matrix.T if back else matrix, color)
