"""An image's own noise: its level, how it depends on brightness, how far it is correlated, and impulses.

Everything is measured in the domain that the network sees (white is 1), on the flattest blocks of at most 36 patches;
only impulses are looked for in every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdenoise import guide as g

BLOCK_PX = 16
BINS = 5  # of brightness
FEWEST_BLOCKS = 12  # that tell the level of a bin
LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (0, 3), (3, 0))
CORRELATED = 0.2  # neighbours with less are as good as independent: demosaicing leaves 0.3 and more
SECOND = 0.15  # the same, for those two pixels away
TEXTURE = 0.12  # three pixels away no noise that is known here correlates: what does is the image
RENDER_SECOND = -0.08  # of the validation renders, unfiltered ones have -0.04 and more, splatted ones -0.10 and less
IMPULSE_STEP = 0.1
IMPULSE_SIGMAS = 4.0
IMPULSE_SHARE = 2.5e-3  # below it, isolated extremes are glitter, night lights and the like


@dataclass(frozen=True)
class Noise:
    """Noise of one image, white = 1.

    level        standard deviation at middling brightness, correlated part included.
    curve        (brightness, standard deviation) pairs, brightness ascending; may be empty.
    correlation  autocorrelation at each of LAGS.
    extent_px    distance up to which pixels share noise: 0 independent, 1, or 2.
    impulse_share  share of the values (pixel and channel) that are impulses; 0 when they are too few to be noise.
    """

    level: float
    curve: tuple[tuple[float, float], ...]
    correlation: tuple[float, ...]
    extent_px: int
    impulse_share: float


def measure_noise(color: np.ndarray) -> tuple[Noise, np.ndarray | None]:
    """Noise of (H, W, 3) encoded colour, and the (H, W) bool mask of its impulses, None when there are none.

    What is not finite counts as black.
    """
    height, width = color.shape[:2]
    # Impulses cannot be told from noise when they are not above it, and this estimate does not see them.
    hit = impulses(color, g.noise_level(color) if min(height, width) >= 3 else 0.0)
    share = 0.0 if hit is None else float(np.count_nonzero(hit)) / hit.size
    if hit is None:
        hit = np.broadcast_to(np.False_, color.shape)
    stacks = []
    for patch, bad in zip(g.patches(color), g.patches(hit), strict=True):
        x = np.where(np.isfinite(patch), patch, 0).astype(np.float32)
        stacks.append(cut_blocks(repaired(x, bad) if bad.any() else x))
    blocks = np.concatenate(stacks)
    found, floor = flat_blocks(blocks) if len(blocks) else ([], False)
    if not found:
        level = g.noise_level(color) if min(height, width) >= 3 else 0.0
        return Noise(level, (), (0.0,) * len(LAGS), 0, share), hit.any(axis=-1) if share else None
    rho = autocorrelation(np.concatenate([residuals for _, residuals in found]))
    extent = correlated_px(rho) if floor else 0
    curve = tuple((at, deviation(residuals, rho, extent)) for at, residuals in found)
    level = float(np.sqrt(np.average([s**2 for _, s in curve], weights=[len(r) for _, r in found])))
    return Noise(level, curve, tuple(float(r) for r in rho), extent, share), hit.any(axis=-1) if share else None


def render_correlation(color: np.ndarray) -> float:
    """Autocorrelation of the noise of neighbouring pixels of a render, 0 where it is independent.

    `color` (H, W, 3) is exposed and in the domain that the network sees. Path tracing's noise has no level: it changes
    from pixel to pixel and has fireflies. So signs of second differences are compared, which know no amplitudes, one
    and two pixels apart: noise that was filtered by (a, 1, a) has its place there, and texture has another.
    """
    if min(color.shape[:2]) < 8:
        return 0.0
    light = [g.luminance(np.where(np.isfinite(patch), patch, 0).astype(np.float32)) for patch in g.patches(color)]
    found = np.mean([[sign_correlation(light, axis, lag) for lag in (1, 2)] for axis in (0, 1)], axis=0)
    if found[1] > RENDER_SECOND:  # independent noise has +0.17 there, a tent -0.67
        return 0.0
    side = np.linspace(0.0, 0.7, 71)
    taps = np.stack([side, 1 - 2 * side, 2 * side - 2, 1 - 2 * side, side])  # of (a, 1, a) after (1, -2, 1)
    lags = [(taps[: 5 - lag] * taps[lag:]).sum(axis=0) for lag in range(3)]
    away = (lags[1] / lags[0] - found[0]) ** 2 + (lags[2] / lags[0] - found[1]) ** 2
    a = side[np.argmin(away)]
    return float(2 * a / (1 + 2 * a * a))


def sign_correlation(planes: list[np.ndarray], axis: int, lag: int) -> float:
    """Correlation of second differences along `axis`, `lag` apart, from how often their signs agree (arcsine law)."""
    agreed = seen = 0.0
    for plane in planes:
        x = np.moveaxis(plane, axis, 0)
        second = x[:-2] - 2 * x[1:-1] + x[2:]
        one, other = second[:-lag], second[lag:]
        told = (np.abs(one) > 1e-4) & (np.abs(other) > 1e-4)
        agreed += float((np.sign(one) * np.sign(other))[told].sum())
        seen += float(np.count_nonzero(told))
    return float(np.sin(np.pi / 2 * agreed / seen)) if seen else 0.0


def cut_blocks(patch: np.ndarray) -> np.ndarray:
    """(h, w, C) to (n, 16, 16), whole blocks of every channel."""
    h, w, c = patch.shape
    h, w = h // BLOCK_PX * BLOCK_PX, w // BLOCK_PX * BLOCK_PX
    cut = patch[:h, :w].reshape(h // BLOCK_PX, BLOCK_PX, w // BLOCK_PX, BLOCK_PX, c)
    return cut.transpose(0, 2, 4, 1, 3).reshape(-1, BLOCK_PX, BLOCK_PX)


def flat_blocks(blocks: np.ndarray) -> tuple[list[tuple[float, np.ndarray]], bool]:
    """(brightness, residuals) of the flattest blocks of each bin of brightness, bins with too few left out; and
    whether they lie on a floor, as noise does, and not on the way down to no variance at all.

    Texture only adds to the variance of a block: its noise is the cluster at the low end.
    """
    mean = blocks.mean(axis=(1, 2))
    ramp = (np.arange(BLOCK_PX, dtype=np.float32) - (BLOCK_PX - 1) / 2) / np.sqrt((BLOCK_PX**2 - 1) / 12)
    down = (blocks * ramp[:, None]).mean(axis=(1, 2))
    across = (blocks * ramp).mean(axis=(1, 2))
    rest = blocks - mean[:, None, None] - down[:, None, None] * ramp[:, None] - across[:, None, None] * ramp
    variance = (rest * rest).mean(axis=(1, 2))
    clipped = ((blocks <= 0.0) | (blocks >= 1.0)).mean(axis=(1, 2))
    found, below = [], 0
    for low in np.arange(BINS) / BINS:
        inside = (mean >= low) & (mean < low + 1 / BINS) & (clipped < 0.05) & (variance > 1e-9)
        if np.count_nonzero(inside) < FEWEST_BLOCKS:
            continue
        v = variance[inside]
        center = np.quantile(v, 0.05)
        for _ in range(6):
            center = np.median(v[v <= 1.35 * center])
        chosen = np.flatnonzero(inside)[v <= 1.35 * center]
        if chosen.size >= FEWEST_BLOCKS:
            found.append((float(mean[chosen].mean()), rest[chosen]))
            below += np.count_nonzero(v < center / 1.8)
    return found, below < 0.1 * sum(len(r) for _, r in found)


def autocorrelation(residuals: np.ndarray) -> np.ndarray:
    """Of (n, h, w) residuals at LAGS, for blocks that correlate less than three in four: the others hold texture."""
    _, h, w = residuals.shape
    variance = np.einsum("nyx,nyx->n", residuals, residuals) / (h * w)
    values = []
    for dy, dx in LAGS:
        product = np.einsum("nyx,nyx->n", residuals[:, : h - dy, : w - dx], residuals[:, dy:, dx:])
        values.append(np.quantile(product / ((h - dy) * (w - dx)) / variance, 0.25))
    return np.array(values)


def correlated_px(rho: np.ndarray) -> int:
    """How far noise of this autocorrelation reaches. Texture, unlike noise, goes on beyond two pixels."""
    first, second, third = max(rho[0], rho[1]), max(rho[3], rho[4]), min(rho[5], rho[6])
    if first < CORRELATED or third > TEXTURE:
        return 0
    return 1 if second < SECOND else 2


def deviation(residuals: np.ndarray, rho: np.ndarray, extent: int) -> float:
    """Standard deviation of the noise in (n, 16, 16) residuals."""
    if extent == 0:  # of independent noise the mask of Immerkaer (1996) lets all through, of texture little
        rows = residuals[:, :-2] - 2 * residuals[:, 1:-1] + residuals[:, 2:]
        mask = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
        return float(np.sqrt(np.mean(mask * mask)) / 6)
    # A plane takes three degrees of freedom, each worth as many pixels as share their noise.
    mass = 1 + 2 * (rho[0] + rho[1] + 2 * rho[2] + rho[3] + rho[4])
    taken = 3 * float(np.clip(mass, 1, 20))
    return float(np.sqrt(np.mean(residuals * residuals) * BLOCK_PX**2 / (BLOCK_PX**2 - taken)))


def impulses(color: np.ndarray, level: float) -> np.ndarray | None:
    """(H, W, C) bool: isolated black or white values that differ from all around them by far more than the noise.

    None when there are too few to be noise, or when nearly all are of one sign, as highlights are.
    """
    height, width = color.shape[:2]
    if min(height, width) < 3:
        return None
    step = max(IMPULSE_STEP, IMPULSE_SIGMAS * level)
    hit = np.zeros(color.shape, bool)
    counts = []
    for sign, extreme in ((1, color >= 1.0 - 1 / 512), (-1, color <= 1 / 512)):
        if not extreme.any():
            counts.append(0)
            continue
        candidate = extreme.copy()  # without the inside of clipped areas, which may be large
        candidate[1:-1] &= ~(extreme[:-2] & extreme[2:])
        candidate[:, 1:-1] &= ~(extreme[:, :-2] & extreme[:, 2:])
        y, x, c = np.nonzero(candidate)
        around = np.empty((8, y.size), np.float32)
        places = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
        for row, (dy, dx) in zip(around, places, strict=True):
            row[:] = color[reflect(y + dy, height), reflect(x + dx, width), c]
        with np.errstate(invalid="ignore"):  # infinite beside infinite: not lonely
            difference = sign * (color[y, x, c] - around)
        # Not more than two neighbours may be as extreme: at 10 % impulses four in five are still found.
        lonely = np.partition(difference, 2, axis=0)[2] > step
        hit[y[lonely], x[lonely], c[lonely]] = True
        counts.append(int(np.count_nonzero(lonely)))
    total = sum(counts)
    if total < max(IMPULSE_SHARE * hit.size, 4):
        return None
    return hit if 5 * min(counts) > max(counts) else None


def repaired(patch: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """A copy of (h, w, C) with the values at `bad` replaced by the median of their 3x3 neighbourhood."""
    h, w = patch.shape[:2]
    y, x, c = np.nonzero(bad)
    around = [patch[reflect(y + dy, h), reflect(x + dx, w), c] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    out = patch.copy()
    out[y, x, c] = np.median(around, axis=0)
    return out


def reflect(index: np.ndarray, length: int) -> np.ndarray:
    """Indices one beyond the border to the pixel on its other side; lengths of 1 repeat it."""
    if length == 1:
        return np.zeros_like(index)
    return np.where(index < 0, 1, np.where(index >= length, length - 2, index))
