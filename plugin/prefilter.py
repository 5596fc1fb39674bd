"""Noisy auxiliary planes: told from textured ones, and made clean before they guide.

Depth of field and motion blur make albedo and normal as noisy as the colour. Dividing by a noisy albedo and multiplying
by it again passes its noise on, where a clean one brings back every texel. Normals do not: what the network makes of
noisy ones was measured to be as good as what it makes of clean ones.

By default the albedo's noise is measured, and taken out where it is, by a local Wiener filter (Lee 1980), which costs
no prediction. `--prefilter` takes one more prediction, with the albedo as colour and the normal beside it; its weights
filter both everywhere: as good as a prediction for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mdenoise import guide as g
from mdenoise.frame import Filtered, Planes
from mdenoise.render_noise import BLOCK_PX, agreement, differences
from mdenoise.warp import box

SAMPLES, SAMPLE_PX = 8, 32  # blocks to either side that tell whether there is any noise, and their sides
NOISY_SHARE = 0.02  # of the pixels of those blocks
AGREED = 0.1  # that a quarter exceeds, or it is texture; of noise 0.11 to 0.25, of print and weave -0.1 to 0.09
SILENT = 1e-3  # deviations of second differences that say nothing
WEAK = 0.01  # deviation, relative to the albedo, below which noise is not seen
TEXTURE = 0.3  # of the detail of textures, photographs of them too, is so much like noise
ORDERED = 0.5  # pixels whose detail is less like noise than that lie on edges and lines
PRINT = (0.5, 0.7)  # share of such pixels around: below the first it is noise, above the second print and the like
QUIETEST, EVEN = 0.05, 5.0  # noise among print is that many times what the quietest pixels around have at most
REACH_PX = 2  # the window of a pixel: 5x5
AROUND_PX = 16  # blocks of which 3x3 are what is around
ROWS = 128
PLANE = (-2, -1)  # the axes of (..., H, W)
ALONG = ((0, 1), (1, 0), (1, 1), (1, -1))


def prefiltered(planes: Planes, denoise: Callable[[Planes], Filtered]) -> Planes:
    """`planes` with albedo and normal (H, W, 3) denoised by `denoise`; NaN stays where they are absent.

    Planes without either, and those of photographs, come back as they are.
    """
    if planes.encoding != "linear" or (planes.albedo is None and planes.normal is None):
        return planes
    aux = {name: plane for name in ("albedo", "normal") if (plane := getattr(planes, name)) is not None}
    layers = {name: plane.astype(np.float32) for name, plane in aux.items()}
    color = layers["albedo"] if "albedo" in layers else layers["normal"] * np.float32(0.5) + np.float32(0.5)
    normal = planes.normal if "albedo" in layers else None
    done = denoise(Planes(color, layers, normal=normal)).layers
    return replace(planes, **{name: np.where(np.isnan(plane), plane, done[name]) for name, plane in aux.items()})


def steadied(planes: Planes) -> tuple[Planes, tuple[str, ...]]:
    """`planes` with an albedo whose noise is taken out where it has some, and what to say of that.

    A clean albedo is the same object, at next to no cost: 64 blocks of 32 x 32 pixels are looked at.
    """
    if planes.encoding != "linear" or planes.albedo is None or noisy_share(planes.albedo) < NOISY_SHARE:
        return planes, ()
    albedo = planes.albedo
    out, changed = albedo.copy(), 0
    height, width = albedo.shape[:2]
    for y in range(0, height, ROWS):
        top, end = max(y - 2 * AROUND_PX, 0), min(y + ROWS, height)
        band, known = finite(albedo[top : end + 2 * AROUND_PX])
        gain = texture_gain(band)[y - top : end - top]
        here = (gain < 1) & known[y - top : end - top]
        if not here.any():
            continue
        mean = np.stack([box(band[..., i], REACH_PX, PLANE)[y - top : end - top] for i in range(3)], axis=-1)
        steady = mean + gain[..., None] * (band[y - top : end - top] - mean)
        out[y:end][here] = steady[here]
        changed += np.count_nonzero(here)
    if not changed:
        return planes, ()
    return replace(planes, albedo=out), (f"albedo noisy in {changed / (height * width):.0%} of the pixels: steadied",)


def noisy_share(albedo: np.ndarray) -> float:
    """Share of the pixels of an (H, W, 3) albedo that are noisy, from blocks spread over it.

    0 where no quarter of what seems noise is like white noise, whose second differences two pixels apart are 1/6 alike:
    fine print, weave and foliage have less in common. So has noise that a pixel filter spread, which stays.
    """
    if not albedo.size:
        return 0.0
    blocks = np.stack([finite(block)[0] for block in g.patches(albedo, SAMPLE_PX, SAMPLES)])
    noisy = texture_gain(blocks) < 1
    share = float(noisy.mean())
    if share < NOISY_SHARE or min(blocks.shape[1:3]) < BLOCK_PX + 2:
        return share
    energy, product = agreement(parts(differences(blocks.mean(axis=-1))))
    found = (parts(noisy[:, 1:-1, 1:-1]).mean(axis=(1, 2)) > 0.5) & (energy > SILENT**2)
    return share if not found.any() or np.quantile(product[found] / energy[found], 0.75) >= AGREED else 0.0


def parts(blocks: np.ndarray) -> np.ndarray:
    """(n, h, w) cut into squares of BLOCK_PX, (m, BLOCK_PX, BLOCK_PX); what is left over is left out."""
    n, h, w = blocks.shape
    rows, cols = h // BLOCK_PX, w // BLOCK_PX
    cut = blocks[:, : rows * BLOCK_PX, : cols * BLOCK_PX].reshape(n, rows, BLOCK_PX, cols, BLOCK_PX)
    return cut.transpose(0, 1, 3, 2, 4).reshape(-1, BLOCK_PX, BLOCK_PX)


def finite(albedo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) float32 in [0, 1] with 0 where the albedo is absent, and where it is known."""
    known = g.trusted_px(albedo)
    plane = np.clip(albedo.astype(np.float32), 0, 1)
    return (plane if known.all() else np.where(known[..., None], plane, np.float32(0))), known


def texture_gain(albedo: np.ndarray) -> np.ndarray:
    """(..., H, W) in [0, 1]: how much of the detail of an albedo (..., H, W, 3) is texture; 1 where no noise is seen.

    Noise is alike in all directions; edges, print and grain are smooth along one. So of second differences in four
    directions the least counts, which noise has too and structure has not. They are compared with the variance of the
    same window. Square roots are averaged: what only single pixels have, such as corners of print, counts little. Small
    print is all corners; but some of its pixels lie on lines, and where many do, the others are left alone, too.
    """
    light = albedo.mean(axis=-1)
    light = light / np.maximum(box(light, REACH_PX, PLANE), np.float32(g.ALBEDO_FLOOR))
    least = None
    for dy, dx in ALONG:
        second = shifted(light, dy, dx) + shifted(light, -dy, -dx) - 2 * light
        second = box(second * second, 1, PLANE)
        least = second if least is None else np.minimum(least, second)
    noise = box(np.sqrt(least), REACH_PX, PLANE) ** 2 / WHITE
    mean = box(light, REACH_PX, PLANE)
    pixels = (2 * REACH_PX + 1) ** 2
    variance = np.maximum(box((light - mean) ** 2, REACH_PX, PLANE) * np.float32(pixels / (pixels - 1)), 1e-9)
    lively = variance > WEAK**2
    ordered = around(lively & (noise < ORDERED * variance)) / np.maximum(around(lively), 1e-6)
    part = np.clip((ordered - PRINT[0]) / (PRINT[1] - PRINT[0]), 0, 1)
    noise -= part * np.maximum(noise - EVEN * around(noise, QUIETEST), 0)
    gain = np.clip((1 - noise / variance) / (1 - TEXTURE), 0, 1)
    return np.where(noise < WEAK**2, np.float32(1), gain)


def around(plane: np.ndarray, share: float | None = None) -> np.ndarray:
    """Mean, or what `share` of the values are below, of blocks of (..., H, W), averaged over the 3x3 of each pixel."""
    height, width = plane.shape[-2:]
    more = [(0, 0)] * (plane.ndim - 2) + [(0, -height % AROUND_PX), (0, -width % AROUND_PX)]
    tall = np.pad(plane.astype(np.float32), more, mode="edge")
    rows, cols = (side // AROUND_PX for side in tall.shape[-2:])
    blocks = tall.reshape(*plane.shape[:-2], rows, AROUND_PX, cols, AROUND_PX).swapaxes(-3, -2)
    blocks = blocks.reshape(*blocks.shape[:-2], -1)
    if share is None:
        found = blocks.mean(axis=-1)
    else:
        rank = int(share * blocks.shape[-1])
        found = np.partition(blocks, rank, axis=-1)[..., rank]
    found = np.repeat(np.repeat(box(found, 1, PLANE), AROUND_PX, axis=-2), AROUND_PX, axis=-1)
    return found[..., :height, :width]


def shifted(plane: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """The neighbours of the pixels of (..., H, W), one step away, the edge repeated."""
    around = [(0, 0)] * (plane.ndim - 2) + [(1, 1), (1, 1)]
    height, width = plane.shape[-2:]
    return np.pad(plane, around, mode="edge")[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


# What `texture_gain` finds in white noise of variance 1.
WHITE = 3.47
