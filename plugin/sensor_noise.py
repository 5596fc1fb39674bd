"""How noisy a sensor's data is: shot and read noise of one frame that brings no noise profile of its own.

The model is that of DNG's NoiseProfile: a photosite x (black 0, white 1) has noise of variance shot * x + read.
"""

from __future__ import annotations

import numpy as np

from mdenoise import guide as g

BLOCK_PX = 8
BINS = 12  # of brightness, with equally many blocks in each
FLATTEST = 0.02  # share of a bin's blocks that are measured: photographs have little that is flat
FEWEST_BLOCKS = 8
WHITE = 0.95  # blocks that reach it may be clipped, and clipped noise is weaker
FLOOR_SHARE = 0.02
LEAST_VARIANCE = 1e-12  # blocks without any noise were painted, not taken
SHOTS = (1e-6, 0.1)
# Read noise that goes with shot noise in cameras (Brooks et al. 2019): log O = 2.18 log S + 1.2, give or take a factor.
READ_POWER, READ_OFFSET, READ_SPREAD = 2.18, 1.2, 1.5


def estimate(planes: np.ndarray, floor: float = -np.inf) -> tuple[float, float]:
    """(shot, read) of (h, w, C) linear planes, one pair for all of them: black is 0, white is 1, negatives are kept.

    `floor` is what the stored value 0 means: where many photosites lie there, noise was clipped. Of the Haar
    coefficients of a block the diagonal ones tell its noise, the others, whose noise is independent of theirs, whether
    it is flat: choosing flat blocks does not choose quiet ones. What is not finite is left out.
    """
    stacks = [blocks for patch in g.patches(planes, side=128, count=8) for blocks in (measure(patch, floor),)]
    mean, noise, texture = np.concatenate(stacks, axis=1)
    points = flat_points(mean, noise, texture)
    return fit(*points) if points is not None else (1e-3, typical_read(1e-3))


def typical_read(shot: float) -> float:
    """Read noise of cameras whose shot noise is `shot`."""
    return float(np.exp(READ_POWER * np.log(shot) + READ_OFFSET))


def measure(patch: np.ndarray, floor: float) -> np.ndarray:
    """(3, n) of the blocks of an (h, w, C) patch: mean, variance of noise, energy of texture and noise."""
    height, width, channels = patch.shape
    rows, cols = height // BLOCK_PX, width // BLOCK_PX
    if rows == 0 or cols == 0:
        return np.zeros((3, 0))
    x = patch[: rows * BLOCK_PX, : cols * BLOCK_PX].astype(np.float32)
    x = x.reshape(rows, BLOCK_PX, cols, BLOCK_PX, channels).transpose(0, 2, 4, 1, 3).reshape(-1, BLOCK_PX, BLOCK_PX)
    with np.errstate(invalid="ignore"):
        clipped = (x <= floor).mean(axis=(1, 2)) > FLOOR_SHARE
        x = x[np.isfinite(x).all(axis=(1, 2)) & (x.max(axis=(1, 2), initial=-np.inf) < WHITE) & ~clipped]
    a, b, c, d = x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]
    half = np.float32(0.5)
    diagonal, across, down = half * (a - b - c + d), half * (a - b + c - d), half * (a + b - c - d)
    noise, texture = (
        sum(np.einsum("nij,nij->n", part, part) for part in parts) for parts in ((diagonal,), (across, down))
    )
    found = np.stack([x.mean(axis=(1, 2)), noise / (BLOCK_PX // 2) ** 2, texture])
    return found[:, noise > LEAST_VARIANCE]


def flat_points(mean: np.ndarray, noise: np.ndarray, texture: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """(brightness, variance, blocks) of the flattest blocks at every brightness, or None when there are too few."""
    if mean.size < FEWEST_BLOCKS:
        return None
    order = np.argsort(mean)
    points = []
    for chosen in np.array_split(order, min(BINS, mean.size // FEWEST_BLOCKS)):
        count = max(FEWEST_BLOCKS // 2, int(FLATTEST * chosen.size))
        flat = chosen[np.argpartition(texture[chosen], count - 1)[:count]]
        points.append((mean[flat].mean(), noise[flat].mean(), count))
    return tuple(np.array(points, np.float64).T)


def fit(mean: np.ndarray, variance: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    """Line through (mean, variance), both coefficients positive. Variances above it hold texture and weigh less; a
    point at 0, as vague as cameras differ, stands in where the frame has nothing dark."""
    shot = float(np.clip(np.median(variance / np.maximum(mean, 1e-3)), *SHOTS))
    read = typical_read(shot)
    for _ in range(30):
        expected = np.maximum(shot * np.maximum(mean, 0) + read, 1e-12)
        above = np.maximum(variance / expected - 1, 0)
        weight = count / expected**2 / (1 + (4 * above) ** 2)
        prior = typical_read(shot)
        x, y = np.append(mean, 0.0), np.append(variance, prior)
        w = np.append(weight, 1 / (READ_SPREAD * prior) ** 2)
        total, mx, my = w.sum(), (w * x).sum(), (w * y).sum()
        determinant = total * (w * x * x).sum() - mx * mx
        slope = (total * (w * x * y).sum() - mx * my) / determinant if determinant > 0 else shot
        shot = float(np.clip(slope, *SHOTS))
        read = float(np.clip((my - shot * mx) / total, 0.05 * typical_read(shot), None))
    return shot, read
