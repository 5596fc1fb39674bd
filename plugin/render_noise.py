"""The noise of a render, measured in blocks: what the network is told of it, and what its result is weighed against.

A network that guesses takes the fine texture of a clean frame for noise. So the noise is measured before: what albedo,
normal and depth explain is texture. Where there is little of it, the network is told, as by a variance plane. And
afterwards every block of the result is weighed against the input: of two estimates, one with the noise N and one that
is D away from it, the mean is best that leaves 1 - N / D of the way undone (James and Stein 1961). A filter that took
more than the noise took texture or a lamp with it, and they come back; where it took the noise, nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mdenoise import guide as g
from mdenoise.filter import outlier_weight
from mdenoise.frame import Planes

BLOCK_PX = 12
BLOCKS = 250  # at most about so many are measured, spread over the image
FEWEST_PX = 4 * BLOCK_PX  # sides of the smallest image that is measured
SILENT = 2e-4  # deviations below are those of a sky or of black: no noise to be measured by
LITTLE, TEXTURED_LITTLE = 0.01, 0.03  # deviations, white is 1, below which the network is told
TOLD = 1.5  # times the measured deviation, as noise is uneven; less lets through what lies above the middle
WEIGHED = 1.5  # times the noise: with 1.0 what is measured too low by chance brings noise back
TEXTURED_WEIGHED = 1.2  # of frames with fine texture, where more is lost by smearing than by noise
# Agreement of second differences two pixels apart, 1/6 for white noise. A quarter of the blocks has more than 0.06, or
# 0.01 at most if a filter spread the noise. The mean of frames without fine texture is 0.095 and more.
INDEPENDENT, TEXTURED = 0.02, 0.085
# Where noise is white and texture hides it elsewhere, a twentieth of the means over 3x3 blocks agree by as much and
# three tenths of the mean of all: 0.119 and more in frames of print, grass and glints, 0.112 and less in those that a
# box shrunk.
WHITE_SOMEWHERE, OF_THE_MEAN = 0.116, 0.3
# With a mean below that, glints are more than the noise. It is taken for as much as stands between what blocks have and
# what white noise has.
MOSTLY_TEXTURE = 0.03
AGREED_TEXTURE, AGREED_NOISE, LEAST_NOISE = -0.1, 1 / 6, 0.05
GAUSSIAN_MIDDLE = 0.6745  # half of the values of a normal distribution are within so many deviations
LARGEST_AUX = 8.0
ROWS = 64  # that are weighed together


@dataclass(frozen=True)
class Measured:
    """Noise of luminance in the domain that the network sees.

    rows, cols  (R,), (C,) first pixels of the blocks; variance (R, C) of each, infinite where a pixel is not finite.
    level       standard deviation of the middle block.
    textured    whether part of it is texture that nothing explains: a filter will take it for noise.
    """

    rows: np.ndarray
    cols: np.ndarray
    variance: np.ndarray
    level: float
    textured: bool

    def told(self) -> float | None:
        """What the network's variance plane shall hold in every pixel; None where it is better not told."""
        if self.level > (TEXTURED_LITTLE if self.textured else LITTLE):
            return None
        relative = TOLD * self.level * float(np.log1p(g.CURVE_SLOPE))  # the curve is the logarithm of 1 + 20 x
        return float(np.log2(1.0 + 4.0 * relative) / 4.0)


def measure(planes: Planes, exposure: float, depth_median: float | None, clean_aux: bool = True) -> Measured | None:
    """The noise of a linear image without a variance plane; None where a pixel filter or a resize spread it, which
    hides it from second differences, and of small images.

    Auxiliary planes that are not `clean_aux` have noise of the same rays, by a lens or motion, and would explain that
    of the colour away: blocks are weighed without them, unless there is fine texture.
    """
    height, width = planes.color.shape[:2]
    if planes.encoding != "linear" or planes.variance is not None or min(height, width) < FEWEST_PX:
        return None
    rows, cols = (starts(side, height * width) for side in (height, width))
    color, known = light(cut(planes.color, rows, cols, BLOCK_PX + 2), exposure)
    aux = []
    if planes.albedo is not None:
        albedo = g.luminance(known_values(cut(planes.albedo, rows, cols, BLOCK_PX + 2)))
        aux += [albedo, lit(albedo, color)]
    if planes.normal is not None:
        aux += list(np.moveaxis(known_values(cut(planes.normal, rows, cols, BLOCK_PX + 2)), -1, 0))
    if planes.depth is not None and depth_median is not None:
        aux.append(np.nan_to_num(g.relative_depth(cut(planes.depth, rows, cols, BLOCK_PX + 2), depth_median)))
    whole = rest = differences(color)
    if aux:
        rest = unexplained(whole, np.stack([differences(plane) for plane in aux], axis=-1))
    variance = (rest * rest).sum(axis=(2, 3)) / (BLOCK_PX**2 - len(aux))
    noisy = known & (variance > SILENT**2)
    if not noisy.any():
        return Measured(rows, cols, np.where(known, variance, np.inf), 0.0, False)
    energy, product = agreement(rest)
    agreed = product[noisy] / energy[noisy]
    if np.quantile(agreed, 0.75) < INDEPENDENT:  # texture makes some blocks seem so
        return None
    deviation = np.sqrt(variance[noisy])
    mean = np.average(agreed, weights=deviation)
    textured = bool(mean < TEXTURED) and most_white(energy, product, noisy) - OF_THE_MEAN * mean > WHITE_SOMEWHERE
    if textured:  # a few pixels on print, lamps and blades would pass for noise of the whole block
        variance = (np.median(np.abs(rest), axis=(2, 3)) / GAUSSIAN_MIDDLE) ** 2
        if mean < MOSTLY_TEXTURE:
            variance = variance * noise_part(energy, product)
    elif not clean_aux:
        variance = (whole * whole).mean(axis=(2, 3))
    return Measured(rows, cols, np.where(known, variance, np.inf), float(np.median(deviation)), textured)


def starts(side: int, area: int) -> np.ndarray:
    """First pixels of blocks along a side, so that an image of `area` pixels has about BLOCKS of them."""
    pitch = max(BLOCK_PX, np.sqrt(area / BLOCKS))
    last = side - BLOCK_PX - 1  # second differences need a pixel on either side
    return np.rint(np.linspace(1, last, max(2, int((last - 1) / pitch) + 1))).astype(int)


def cut(plane: np.ndarray, rows: np.ndarray, cols: np.ndarray, side: int) -> np.ndarray:
    """(R, C, side, side[, channels]) float32: the blocks, with a border if `side` is larger than they are."""
    border = (side - BLOCK_PX) // 2
    y = (rows[:, None] - border + np.arange(side)).ravel()
    x = (cols[:, None] - border + np.arange(side)).ravel()
    found = plane[y[:, None], x].astype(np.float32).reshape(len(rows), side, len(cols), side, -1)
    return np.ascontiguousarray(
        found.transpose(0, 2, 1, 3, 4).reshape(len(rows), len(cols), side, side, *plane.shape[2:])
    )


def known_values(blocks: np.ndarray) -> np.ndarray:
    """Albedo or normals without what is none of either: one such pixel would leave nothing of the regression."""
    return np.clip(np.nan_to_num(blocks, posinf=0.0, neginf=0.0), -LARGEST_AUX, LARGEST_AUX)


def light(blocks: np.ndarray, exposure: float) -> tuple[np.ndarray, np.ndarray]:
    """Luminance of (R, C, h, w, 3) blocks as the network sees it, and (R, C) bool whether all of a block is finite."""
    known = g.trusted_px(blocks.reshape(-1, *blocks.shape[3:])).reshape(*blocks.shape[:2], -1).all(axis=2)
    with np.errstate(over="ignore"):
        return g.luminance(g.transfer(np.where(known[..., None, None, None], blocks, 0) * np.float32(exposure))), known


def lit(albedo: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Luminance of (R, C, h, w) albedo in the domain of `color`, under the one light that makes its mean that of the
    block: the curve is not straight, and without this, half of print would stay unexplained."""
    light_of = np.expm1(color * np.log1p(g.CURVE_SLOPE)).mean(axis=(2, 3), keepdims=True) / g.CURVE_SLOPE
    return g.transfer(albedo * (light_of / (albedo.mean(axis=(2, 3), keepdims=True) + g.BLACK_ALBEDO[0])))


def differences(blocks: np.ndarray) -> np.ndarray:
    """(..., h, w) to (..., h - 2, w - 2): second differences along both axes, of the deviation of white noise."""
    down = blocks[..., :-2, :] - 2 * blocks[..., 1:-1, :] + blocks[..., 2:, :]
    return (down[..., :-2] - 2 * down[..., 1:-1] + down[..., 2:]) / np.float32(6)


def unexplained(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """What a regression on `by` (R, C, h, w, K) leaves of (R, C, h, w), block by block."""
    r, c, h, w, k = by.shape
    a, b = by.reshape(r * c, h * w, k), values.reshape(r * c, h * w, 1)
    turned = a.transpose(0, 2, 1)
    slopes = np.linalg.solve(turned @ a + np.float32(3e-6) * np.eye(k, dtype=np.float32), turned @ b)
    return (b - a @ slopes).reshape(r, c, h, w)


def agreement(rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of second differences (..., h, w) their mean square, and their mean product with those two pixels away."""
    down = (rest[..., :-2, :] * rest[..., 2:, :]).mean(axis=(-2, -1))
    across = (rest[..., :-2] * rest[..., 2:]).mean(axis=(-2, -1))
    return (rest * rest).mean(axis=(-2, -1)), (down + across) / 2


def most_white(energy: np.ndarray, product: np.ndarray, noisy: np.ndarray) -> float:
    """What a twentieth of the 3x3 blocks exceeds: whether some of the image has white noise, so that what differs
    elsewhere is texture, and not a filter's doing."""
    agreed = np.where(noisy, product / np.maximum(energy, SILENT**2), 0)
    share = smooth(noisy.astype(np.float32))
    found = noisy & (share > 0.6)
    return float(np.quantile(smooth(agreed)[found] / share[found], 0.95)) if found.any() else 0.0


def noise_part(energy: np.ndarray, product: np.ndarray) -> np.ndarray:
    """(R, C) in (0, 1]: how much of what blocks have is noise, if the rest is glints."""
    energy, product = smooth(energy), smooth(product)
    agreed = np.divide(product, energy, out=np.zeros_like(energy), where=energy > 0)
    return np.clip((agreed - AGREED_TEXTURE) / (AGREED_NOISE - AGREED_TEXTURE), LEAST_NOISE, 1)


def weigh(
    found: Measured, planes: Planes, exposure: float, outputs: Mapping[str, np.ndarray], strength: float = 1.0
) -> None:
    """Bring back into `outputs`, in place, of each layer of `planes` what the filter took beyond the noise.

    The first layer decides, the beauty. All take the same share: sums of layers stay sums. Pixels that are not finite,
    and fireflies, stay as they were filtered. `strength` is that by which the outputs were blended with their input.
    """
    beauty = next(iter(planes.layers))
    if planes.layers[beauty].shape != planes.color.shape:
        return
    share = kept_share(found, planes.layers[beauty], outputs[beauty], exposure, strength)
    if not share.any():
        return
    height, width = planes.color.shape[:2]
    across = passage(found.cols, width)
    down = passage(found.rows, height)
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height))
        back = down[rows] @ share @ across.T
        if not back.any():
            continue
        color = planes.color[rows].astype(np.float32)
        sane = g.trusted_px(color)
        exposed = np.where(sane[..., None], np.clip(color * np.float32(exposure), -1e30, 1e30), 0).astype(np.float32)
        back *= sane & (outlier_weight(g.brightness(exposed)) > 0)
        for name, layer in planes.layers.items():
            noisy, out = layer[rows].astype(np.float32), outputs[name][rows]
            part = back.reshape(*back.shape, *(1,) * (noisy.ndim - 2))
            part = np.where(np.abs(noisy) < g.ABSURD, part, np.float32(0))
            mixed = out + part * (np.where(part > 0, noisy, 0) - out)
            out[...] = mixed if out.dtype.kind == "f" else np.rint(mixed)


def kept_share(
    found: Measured, color: np.ndarray, result: np.ndarray, exposure: float, strength: float = 1.0
) -> np.ndarray:
    """(R, C) float32: how much of the way from the result back to the input, of every block."""
    noisy, filtered = (cut(plane, found.rows, found.cols, BLOCK_PX) for plane in (color, result))
    if strength < 1:
        with np.errstate(invalid="ignore"):
            filtered = noisy + (filtered - noisy) / np.float32(strength)
    taken = smooth(((light(noisy, exposure)[0] - light(filtered, exposure)[0]) ** 2).mean(axis=(2, 3)))
    noise = smooth(found.variance)
    weight = np.float32(TEXTURED_WEIGHED if found.textured else WEIGHED)
    share = 1 - weight * np.divide(noise, taken, out=np.ones_like(taken), where=taken > 0)
    return np.clip(share, 0, 1).astype(np.float32)


def smooth(blocks: np.ndarray) -> np.ndarray:
    """Mean of 3x3 of (R, C), the edge repeated."""
    wide = np.pad(blocks, 1, mode="edge")
    tall = wide[:-2] + wide[1:-1] + wide[2:]
    return (tall[:, :-2] + tall[:, 1:-1] + tall[:, 2:]) / 9


def passage(first: np.ndarray, side: int) -> np.ndarray:
    """(side, n) float32 weights that pass linearly from the middle of one block to that of the next."""
    middles = first + (BLOCK_PX - 1) / 2
    pixels = np.arange(side)
    return np.stack([np.interp(pixels, middles, row) for row in np.eye(len(first))], axis=1).astype(np.float32)
