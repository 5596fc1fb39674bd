"""Detail that the filter took for noise goes back into a mosaic, and noise that it left is taken out.

A predicted filter cannot know whether a faint structure is noise; statistics can tell, as the noise is known. In 8x8
blocks of the cosine transform what the filter removed is noise but for the coefficients that stand out of it: those go
back. The picture that results is the pilot of a Wiener filter of the noisy planes, as in the second step of BM3D (Dabov
et al., IEEE Transactions on Image Processing 16, 2007). Brightness is not touched: no block changes its mean.
"""

from __future__ import annotations

import numpy as np

from mdenoise.chroma import OPPONENTS

BLOCK_PX = 8
# Of the grid of blocks, down and across: a step of 4, and once more in between (+0.1 to 0.2 dB). All of a step of 2 are
# no better and take twice the time.
PLACES = [(y + d, x + d) for d in (0, 2) for y in (0, 4) for x in (0, 4)]
MARGIN_PX = 16  # two blocks in a row look that far
BAND_ROWS = 128  # at once: what is worked on fits into a cache and takes little memory
# Chosen on validation photographs that no table shows, S from 1e-4 to 0.03.
STANDS_OUT = 1.2  # threshold where detail is as strong as the noise, in standard deviations of the noise
THRESHOLDS = (1.0, 3.2)
WIENER_NOISE = 0.7  # variance that the Wiener filter assumes: 1 would be right if the pilot were the truth
_DCT = np.sqrt(2 / BLOCK_PX) * np.cos(np.pi / BLOCK_PX * np.outer(np.arange(BLOCK_PX), np.arange(BLOCK_PX) + 0.5))
_DCT[0] *= np.sqrt(0.5)
_DCT = _DCT.astype(np.float32)


def refine(noisy: np.ndarray, filtered: np.ndarray, shot: np.ndarray, read: np.ndarray, strength: float = 1.0) -> None:
    """Refine `filtered` (h, w, C) float32 linear planes in place, C 3 or 4; `noisy` is what they were filtered from.

    shot, read  (C,) the noise's variance is shot * x + read, independent from photosite to photosite.
    strength    in (0, 1]: `filtered` is a blend of so much of the filter's answer with the noisy planes, and stays one.
    """
    height = filtered.shape[0]
    above = filtered[:0].copy()  # rows that are refined already, as they were
    for y in range(0, height, BAND_ROWS):
        stop = min(y + BAND_ROWS, height)
        start, end = y - len(above), min(stop + MARGIN_PX, height)
        source = noisy[start:end]
        answer = np.concatenate([above, filtered[y:end]])
        if strength < 1:
            answer = source + (answer - source) / np.float32(strength)
        above = filtered[max(0, stop - MARGIN_PX) : stop].copy()
        band = _refined(source, answer, shot, read)[y - start : stop - start]
        if strength < 1:
            source = source[y - start : stop - start]
            band = source + np.float32(strength) * (band - source)
        filtered[y:stop] = band


def _refined(noisy: np.ndarray, filtered: np.ndarray, shot: np.ndarray, read: np.ndarray) -> np.ndarray:
    height, width, channels = noisy.shape
    sigma = np.sqrt(np.float32(shot) * np.maximum(filtered, 0) + np.float32(read))
    np.maximum(sigma, np.float32(1e-9), out=sigma)
    turn = OPPONENTS[channels]  # brightness and colour apart: what all colours show together stands out further
    size = [-(-side // BLOCK_PX) * BLOCK_PX + BLOCK_PX for side in (height, width)]
    ways = [(BLOCK_PX, total - side) for total, side in zip(size, (height, width), strict=True)]

    def planar(planes: np.ndarray) -> np.ndarray:
        scaled = np.tensordot(turn, planes / sigma, (1, 2))
        return np.pad(scaled, [(0, 0), *ways], "symmetric")

    seen, found = planar(noisy), planar(filtered)
    pilot = found + _by_blocks(_standing_out, seen - found)
    done = _by_blocks(_wiener, seen, pilot)[:, BLOCK_PX:, BLOCK_PX:][:, :height, :width]
    return np.tensordot(done, turn, (0, 0)) * sigma


def _standing_out(removed: np.ndarray) -> np.ndarray:
    """Coefficients of what was removed to those of detail: non-negative garrote (Gao 1998), its threshold that of
    BayesShrink (Chang, Yu and Vetterli 2000): low in blocks that hold more energy than noise explains."""
    channels, height, across, _ = removed.shape
    blocks = removed.reshape(channels, height // BLOCK_PX, BLOCK_PX, across, BLOCK_PX)
    blocks[:, :, 0, :, 0] = 0
    energy = np.square(blocks)
    beyond = energy.sum(axis=(2, 4), keepdims=True) / np.float32(BLOCK_PX**2 - 1) - 1
    threshold = (np.float32(STANDS_OUT**2) / np.maximum(beyond, np.float32(1e-6))).clip(*np.square(THRESHOLDS))
    np.maximum(energy, np.float32(1e-12), out=energy)
    np.divide(-threshold.astype(np.float32), energy, out=energy)
    energy += 1
    np.maximum(energy, 0, out=energy)
    blocks *= energy
    return removed


def _wiener(seen: np.ndarray, pilot: np.ndarray) -> np.ndarray:
    share = np.square(pilot)
    share /= share + np.float32(WIENER_NOISE)
    share *= seen
    share[:, ::BLOCK_PX, :, 0] = pilot[:, ::BLOCK_PX, :, 0]
    return share


def _by_blocks(change, *planes: np.ndarray) -> np.ndarray:
    """Mean over PLACES of `change` of the blocks' cosine transforms.

    planes  (C, H, W), sides multiples of 8; `change` gets and returns (C, H, W / 8, 8), the row of a coefficient in its
    block along the second axis. The outermost 8 pixels are not finished.
    """
    total = np.zeros_like(planes[0])
    for y, x in PLACES:
        place = np.s_[:, y : y - BLOCK_PX or None, x : x - BLOCK_PX or None]
        total[place] += _pixels(change(*(_coefficients(plane[place]) for plane in planes)))
    total *= np.float32(1 / len(PLACES))
    return total


def _coefficients(planes: np.ndarray) -> np.ndarray:
    channels, height, width = planes.shape
    rows = np.matmul(_DCT, planes.reshape(channels, height // BLOCK_PX, BLOCK_PX, width))
    return rows.reshape(channels, height, width // BLOCK_PX, BLOCK_PX) @ _DCT.T


def _pixels(coefficients: np.ndarray) -> np.ndarray:
    channels, height, across, _ = coefficients.shape
    rows = (coefficients @ _DCT).reshape(channels, height // BLOCK_PX, BLOCK_PX, across * BLOCK_PX)
    return np.matmul(_DCT.T, rows).reshape(channels, height, across * BLOCK_PX)
