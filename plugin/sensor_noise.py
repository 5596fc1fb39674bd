"""How noisy a sensor's data is: shot and read noise of one frame that brings no noise profile of its own.

The model is that of DNG's NoiseProfile: a photosite x (black 0, white 1) has noise of variance shot * x + read.
"""

from __future__ import annotations

import numpy as np

from mdenoise import guide as g
from mdenoise import mosaic

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
PATCH_PX = 48
WINDOW_PX = 4
SMOOTHEST = 0.25  # share of the windows whose detail is measured
LOWEST = 0.1  # share of its directions that hold noise alone
# By how much the smallest of n sample variances are too small, times sqrt(directions / windows): Marchenko and Pastur
# (1967) say up to 2; measured on noise, where windows overlap.
SHORTFALL = 1.6
FEWEST_WINDOWS = 20  # for each direction
FEWEST_PHOTONS = 3  # below, the curve no longer makes noise equally strong
TELLING = 0.92  # a level above it says no more than the flat blocks
TOO_HIGH, TOO_LOW = 0.8, 1.4  # estimated variance over a profile's: what lies between may be the estimate's error
AGREED = 0.94  # level that speaks for what the flat blocks tell
COARSE = 0.3  # of the light
UNHEARD_OF = 2.5  # factor that no profile is too low by


def estimate(planes: np.ndarray, floor: float = -np.inf) -> tuple[float, float]:
    """(shot, read) of (h, w, C) linear planes, one pair for all of them: black is 0, white is 1, negatives are kept.

    `floor` is what the stored value 0 means: where many photosites lie there, noise was clipped. Of the Haar
    coefficients of a block the diagonal ones tell its noise, the others, whose noise is independent of theirs, whether
    it is flat: choosing flat blocks does not choose quiet ones. Where nothing is flat, texture passes for noise there;
    `level` finds less. What is not finite is left out.
    """
    shot, read = of_flat_blocks(planes, floor)
    for _ in range(2):  # the curve in which noise is equally strong depends on the noise
        less = level(planes, shot, read, floor)
        if not less < TELLING:
            break
        shot = max(SHOTS[0], less * shot)
        read = min(less * read, (1 + READ_SPREAD) * typical_read(shot))
    return shot, read


def of_flat_blocks(planes: np.ndarray, floor: float = -np.inf) -> tuple[float, float]:
    """(shot, read) as `estimate` gives them, from flat blocks alone: too much where there are none."""
    stacks = [blocks for patch in g.patches(planes, side=128, count=8) for blocks in (measure(patch, floor),)]
    mean, noise, texture = np.concatenate(stacks, axis=1)
    points = flat_points(mean, noise, texture)
    return fit(*points) if points is not None else (1e-3, typical_read(1e-3))


def correction(planes: np.ndarray, told: tuple[float, float], floor: float = -np.inf) -> float:
    """What a profile's variances must be multiplied by to be those of the frame: 1 unless it is clearly wrong.

    An estimate is never far too low, so that a profile far above it is too high. One far below it is too low only
    where both ways of estimating agree, or where noise is coarser than texture is in the flattest parts of any frame.
    """
    light = float(np.maximum(planes[:: max(1, len(planes) // 256)], 0).mean())
    shot, read = estimate(planes, floor)
    variance = shot * light + read
    factor = variance / max(told[0] * light + told[1], LEAST_VARIANCE)
    if factor > TOO_LOW:
        coarse = variance > (COARSE * light) ** 2
        sure = coarse or level(planes, *of_flat_blocks(planes, floor), floor) > AGREED
        return factor if sure and factor < UNHEARD_OF else 1.0
    return factor if factor < TOO_HIGH else 1.0


def typical_read(shot: float) -> float:
    """Read noise of cameras whose shot noise is `shot`."""
    return float(np.exp(READ_POWER * np.log(shot) + READ_OFFSET))


def level(planes: np.ndarray, shot: float, read: float, floor: float = -np.inf) -> float:
    """Variance of the noise of (h, w, C) linear planes as a multiple of shot * x + read; NaN where it cannot be told.

    The detail of small windows, all colours at once, fills few directions of its space, and noise all of them: the
    smallest eigenvalues of its covariance are the noise's variance (Pyatykh, Hesser and Zheng, IEEE Transactions on
    Image Processing 22, 2013). Windows are chosen for their smoothness by their 2x2 means, which are independent of
    the noise of their detail.
    """
    pair = np.float32(max(shot, mosaic.LEAST_SHOT)), np.float32(read)
    count = min(8, min(planes.shape[:2]) // PATCH_PX)  # side by side: what is counted twice tells nothing more
    patches = g.patches(planes, PATCH_PX, count) if count else ()
    found = [windows for patch in patches for windows in (_windows(patch, *pair, floor),) if len(windows)]
    directions = 3 * WINDOW_PX**2 // 4 * planes.shape[2]
    if sum(map(len, found)) * SMOOTHEST < FEWEST_WINDOWS * directions:
        return float("nan")
    windows = np.concatenate(found)
    means = windows.reshape(*windows.shape[:2], WINDOW_PX // 2, 2, WINDOW_PX // 2, 2).mean(axis=(3, 5))
    rough = np.square(means - means.mean(axis=(2, 3), keepdims=True)).sum(axis=(1, 2, 3))
    chosen = np.argpartition(rough, int(SMOOTHEST * len(rough)))[: int(SMOOTHEST * len(rough))]
    detail = windows[chosen] - means[chosen].repeat(2, axis=2).repeat(2, axis=3)
    detail = detail.reshape(len(chosen), -1)
    detail -= detail.mean(axis=0)
    values = np.linalg.eigvalsh((detail.T @ detail).astype(np.float64) / len(chosen))[-directions:]
    return float(values[: int(LOWEST * directions)].mean() / (1 - SHORTFALL * np.sqrt(directions / len(chosen))))


def _windows(patch: np.ndarray, shot: np.float32, read: np.float32, floor: float) -> np.ndarray:
    """(n, C, 4, 4) windows of a patch, their noise stabilised to a variance of 1; none that was clipped or painted."""
    if min(patch.shape[:2]) < WINDOW_PX:
        return np.zeros((0, patch.shape[2], WINDOW_PX, WINDOW_PX), np.float32)
    curved = mosaic.stabilise(patch.astype(np.float32), shot, read) / mosaic.stabilised_noise(shot, read)
    windows, light = (
        np.lib.stride_tricks.sliding_window_view(x, (WINDOW_PX, WINDOW_PX), (0, 1))[::2, ::2] for x in (curved, patch)
    )
    with np.errstate(invalid="ignore"):
        mean = light.mean(axis=(2, 3, 4), dtype=np.float32)  # not finite where a photosite is not
        sound = (mean > FEWEST_PHOTONS * shot) & (mean + 3 * np.sqrt(shot * np.maximum(mean, 0) + read) < WHITE)
        sound &= ((light > floor).mean(axis=(3, 4)) >= 1 - FLOOR_SHARE).all(axis=2)
        sound &= (np.ptp(light, axis=(3, 4)) > 0).all(axis=2)
    return windows[sound]


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
