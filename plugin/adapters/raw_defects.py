"""What is wrong with a sensor rather than with its light: hot and dead photosites, and rows or columns off level.

Both are taken out before the filter, which would spread the first and keep the second. Planes are changed in place.
"""

from __future__ import annotations

import numpy as np

HOT_SIGMAS = 7.0
HOT_STEP = 0.01  # of white: what is less is noise to anybody
LONELY = 0.12  # light reaches the neighbours of other colours, too: optics are never that sharp
LONELY_SIGMAS = 2.5  # beyond which what they show is no noise
LONELY_AT_MOST = 0.25
CALM = 3.0  # ranges of the neighbours beyond noise: where they differ themselves, one more that does is texture
RANGE_SIGMAS = 2.85  # between the largest and the smallest of eight normal deviates
BAND_REACH = 4  # rows of the same colour on either side that a row is compared with
BAND_STEPS = 2
BAND_SAMPLES = 1024  # columns that tell a row's offset
BAND_LIMIT = 1.0  # standard deviations of the noise: a row that is off by more is a scene's
BAND_AGREEMENT = 0.5  # correlation of the offsets that the parts of the rows show
_PARTS = 4


def repair_marked(planes: np.ndarray, bad: np.ndarray) -> None:
    """Give photosites that `bad` (h, w, C) marks the median of their good neighbours of the same colour."""
    for k in range(planes.shape[2]):
        y, x = np.nonzero(bad[..., k])
        if y.size:
            around = _around(np.where(bad[..., k], np.nan, planes[..., k]), y, x, 2)
            known = np.isfinite(around).any(axis=0)
            planes[y[known], x[known], k] = np.nanmedian(around[:, known], axis=0)


def repair_hot(planes: np.ndarray, shot: np.ndarray, read: np.ndarray) -> int:
    """Replace hot and dead photosites of (h, w, 4) planes; returns how many there were.

    One is far outside its eight neighbours of the same colour, by noise of variance shot * x + read and by what they
    differ among themselves, while its four neighbours of other colours see nothing of it. Clusters are left alone:
    they may be stars; so is fine texture, of which a laxer rule took a thousand spots of a forest away.
    """
    height, width = planes.shape[:2]
    if min(height, width) < 5:
        return 0
    found = []
    for k in range(4):
        plane = np.ascontiguousarray(planes[..., k])
        found += [(k, sign, *_outside(plane, shot[k], read[k], sign)) for sign in (1, -1)]
    count = 0
    for k, sign, y, x in found:
        if y.size == 0:
            continue
        around = _around(planes[..., k], y, x, 1)
        middle = np.median(around, axis=0)
        step = sign * (planes[y, x, k] - middle)
        seen = np.max([sign * _rise(planes[..., j], y + dy, x + dx) for j, dy, dx in _BESIDE[k]], axis=0)
        sigma = np.sqrt(shot[k] * np.maximum(middle, 0) + read[k])
        lonely = seen < np.minimum(LONELY * step + LONELY_SIGMAS * sigma, LONELY_AT_MOST * step)
        planes[y[lonely], x[lonely], k] = np.median(around[:, lonely], axis=0)
        count += int(np.count_nonzero(lonely))
    return count


# For each plane, the planes and offsets of the four photosites that touch one of its own.
_BESIDE = (
    ((1, 0, 0), (1, 0, -1), (2, 0, 0), (2, -1, 0)),
    ((0, 0, 0), (0, 0, 1), (3, 0, 0), (3, -1, 0)),
    ((0, 0, 0), (0, 1, 0), (3, 0, 0), (3, 0, -1)),
    ((1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 0, 1)),
)


def _outside(plane: np.ndarray, shot: float, read: float, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Photosites beyond all eight neighbours by far more than noise; the outermost are left alone."""
    beyond = np.maximum if sign > 0 else np.minimum
    limit = beyond(plane[:-2, 1:-1], plane[2:, 1:-1])
    for beside in (plane[1:-1, :-2], plane[1:-1, 2:]):
        beyond(limit, beside, out=limit)
    limit += np.float32(sign * HOT_STEP)
    y, c = np.nonzero(plane[1:-1, 1:-1] > limit if sign > 0 else plane[1:-1, 1:-1] < limit)
    y, c = y + 1, c + 1
    around = _around(plane, y, c, 1)
    low, high = around.min(axis=0, initial=np.inf), around.max(axis=0, initial=-np.inf)
    sigma = np.sqrt(shot * np.maximum(np.median(around, axis=0), 0) + read)
    margin = np.maximum(HOT_SIGMAS * sigma, CALM * (high - low - RANGE_SIGMAS * sigma))
    hit = sign * plane[y, c] > (high if sign > 0 else -low) + np.maximum(margin, HOT_STEP)
    return y[hit], c[hit]


def _around(plane: np.ndarray, y: np.ndarray, x: np.ndarray, reach: int) -> np.ndarray:
    """(neighbours, n) values around the places (y, x), edges repeated."""
    steps = range(-reach, reach + 1)
    rows, cols = plane.shape
    return np.stack([
        plane[(y + dy).clip(0, rows - 1), (x + dx).clip(0, cols - 1)] for dy in steps for dx in steps if dy or dx
    ])  # fmt: skip


def _rise(plane: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """By how much places of another plane stand out from their own neighbours."""
    rows, cols = plane.shape
    y, x = y.clip(0, rows - 1), x.clip(0, cols - 1)
    return plane[y, x] - np.median(_around(plane, y, x, 1), axis=0)


def remove_banding(planes: np.ndarray) -> tuple[float, float]:
    """Take the offsets of single rows and columns out of (h, w, 4) planes; returns their deviations, 0 = none found.

    A row's offset is the median difference to the rows of its colour around it. It is a defect only where all parts
    of the row agree on it and it hides in the noise: a scene's own lines do neither.
    """
    return tuple(_remove(planes, axis) for axis in (0, 1))


def _remove(planes: np.ndarray, axis: int) -> float:
    turned = planes if axis == 0 else planes.transpose(1, 0, 2)  # a view: rows are along the first axis
    height, width = turned.shape[:2]
    if height < 16 or width < 64:
        return 0.0
    squares = []
    # Planes 0 and 1 are of the same rows of the mosaic, 0 and 2 of the same columns.
    for pair in ((0, 1), (2, 3)) if axis == 0 else ((0, 2), (1, 3)):
        parts, sigma = _differences(turned, pair)
        if not _agree(parts):
            continue
        seen = np.median(parts, axis=0)
        limit = BAND_LIMIT * sigma
        lines = np.convolve(np.abs(seen) > 2 * limit, np.ones(2 * BAND_REACH + 1), "same") > 0.5
        defect = (np.abs(seen) < limit) & ~lines  # what lies beside a line differs because of it
        offsets = np.zeros(height, np.float32)
        for _ in range(BAND_STEPS):  # neighbours are off as well, so that a difference shows more or less than all
            offsets += np.where(defect, seen - _beside(offsets), 0).clip(-limit, limit)
        for k in pair:
            turned[..., k] -= offsets[:, None]
        squares.append(np.mean(offsets**2))
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def _beside(x: np.ndarray) -> np.ndarray:
    """Rows minus the mean of those around them; reflected at the ends."""
    reach = BAND_REACH
    padded = np.pad(x, [(reach, reach)] + [(0, 0)] * (x.ndim - 1), "reflect")
    around = sum(padded[reach + d : reach + d + len(x)] for d in range(-reach, reach + 1) if d)
    return x - around * np.float32(0.5 / reach)


def _differences(turned: np.ndarray, pair: tuple[int, int]) -> tuple[np.ndarray, float]:
    """(parts, h) by how much rows differ from those around them, by part of the row; and the noise's deviation."""
    step = max(1, turned.shape[1] // BAND_SAMPLES)
    parts, sigmas = np.zeros((_PARTS, turned.shape[0]), np.float32), []
    for k in pair:
        difference = _beside(turned[:, ::step, k])
        sigmas.append(1.4826 * np.median(np.abs(difference)) / np.sqrt(1 + 0.5 / BAND_REACH))
        for i, part in enumerate(np.array_split(difference, _PARTS, axis=1)):
            parts[i] += np.median(part, axis=1) / len(pair)
    return parts, float(np.mean(sigmas))


def _agree(parts: np.ndarray) -> bool:
    """Whether all parts of the rows see the same offsets, outliers (a horizon) left out."""
    middle = np.median(parts, axis=0)
    calm = np.abs(middle) <= 4 * 1.4826 * np.median(np.abs(middle)) + 1e-12
    if np.count_nonzero(calm) < 8 or not (parts[:, calm].std(axis=1) > 0).all():
        return False
    correlation = np.corrcoef(parts[:, calm])
    return bool(correlation[np.triu_indices(_PARTS, 1)].min() > BAND_AGREEMENT)
