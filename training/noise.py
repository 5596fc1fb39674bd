"""Noise of photographs: the suite that tests are made of, and the blind mix that training draws from.

    noisy = noise.add(clean, "salt_and_pepper", 0.02, seed=7)               # uint8: clipped and rounded, as in a file
    noisy = noise.add(clean, "gaussian", 50, seed=7, protocol="float")      # float32 on the scale of 255, unclipped

Definitions are in `degrade.py` and `isp.py`, one function each; the strengths of published tests are in FAMILIES.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mdenoise.errors import UsageError
from mdenoise.training import degrade, isp
from mdenoise.training.degrade import BOX2, BOX3, Mixture, gaussian_taps, unit

if TYPE_CHECKING:
    import torch

Rng = np.random.Generator
PROTOCOLS = ("uint8", "float")

# Ours: the paper names no composition. Gaussian, Poisson and speckle take equal shares of the squared error, salt and
# pepper half such a share. The levels are set so that the noisy McMaster images measure 23.3, 22.3, 20.9, 19.8 and
# 19.0 dB: what the paper's Poisson row turns into the 28.1, 26.2, 23.3, 21.4 and 20.1 dB of its unmasked baseline.
MIXTURES = {
    1: Mixture(9.8, 1.03, 0.0072, 0.0022),
    2: Mixture(11.0, 1.16, 0.0091, 0.0027),
    3: Mixture(13.0, 1.37, 0.0127, 0.0038),
    4: Mixture(14.9, 1.57, 0.0166, 0.0050),
    5: Mixture(16.4, 1.73, 0.0201, 0.0061),
}
ISP_SHOT = {1: 1e-3, 2: 4e-3, 3: 1.2e-2}


@dataclass(frozen=True)
class Family:
    """One kind of noise: `unit` says what a level is, `levels` are those of the suite, `draw(x, level, rng)` adds it to
    an (H, W, 3) float32 image in [0, 1]. `listed`: only levels of the table exist."""

    unit: str
    levels: tuple[float, ...]
    draw: Callable[[np.ndarray, float, Rng], np.ndarray]
    listed: bool = False


FAMILIES: dict[str, Family] = {
    # As published (masked image training and those who measured after it).
    "gaussian": Family("sigma of 255", (15, 25, 50), degrade.gaussian),
    "poisson": Family("alpha", (2, 2.5, 3, 3.5), degrade.poisson),
    "speckle": Family("variance", (0.018, 0.024, 0.03, 0.036, 0.04), degrade.speckle),
    "correlated": Family("sigma of 255 before the mean of 3x3", (40, 45, 50, 55, 60), degrade.correlated),
    "salt_and_pepper": Family("density", (0.002, 0.005, 0.01, 0.02), degrade.salt_and_pepper),
    "mixture": Family("level", tuple(MIXTURES), lambda x, k, rng: degrade.mixture(x, MIXTURES[int(k)], rng), True),
    # Ours.
    "isp": Family(
        "level", tuple(ISP_SHOT), lambda x, k, rng: isp.photograph(x, isp.draw_camera(rng, ISP_SHOT[int(k)]), rng), True
    ),
    "film_grain": Family("amplitude", (0.03, 0.06, 0.1), degrade.film_grain),
    "monte_carlo": Family("samples per pixel", (128, 64, 16), degrade.monte_carlo),
    "resampled": Family("sigma of 255 on a grid 0.6 as large", (15, 25, 50), degrade.resampled),
    # For choosing things on validation photographs; none of them is in a test.
    "laplacian": Family("sigma of 255", (15, 30), degrade.laplacian),
    "impulses": Family("density, random colours", (0.005, 0.02), degrade.impulses),
    "correlated_box2": Family(
        "sigma of 255 before the mean of 2x2", (30, 60), lambda x, s, rng: degrade.correlated(x, s, rng, BOX2)
    ),
    "correlated_gauss": Family(
        "sigma of 255, kept by a Gaussian kernel of 1 px",
        (15, 25),
        lambda x, s, rng: degrade.correlated(x, s, rng, unit(gaussian_taps(1.0))),
    ),
}


def add(clean: np.ndarray, family: str, level: float, seed: int, protocol: str = "uint8") -> np.ndarray:
    """Noise of `family` at `level` on an (H, W, 3) uint8 photograph, the same for the same seed on every machine.

    Returns uint8, clipped and rounded like a file (`protocol` "uint8"), or float32 on the scale of 255, not clipped
    ("float"; isp stays clipped, for its camera clips). Raises UsageError for a name or level that does not exist.
    """
    if family not in FAMILIES:
        raise UsageError(f"noise family {family!r} is not known: use {', '.join(FAMILIES)}")
    if protocol not in PROTOCOLS:
        raise UsageError(f"noise protocol {protocol!r} is not known: use {' or '.join(PROTOCOLS)}")
    kind = FAMILIES[family]
    if level not in kind.levels and (kind.listed or not 0 <= level < math.inf):
        raise UsageError(f"noise {family} has no level {level}: use {', '.join(f'{x:g}' for x in kind.levels)}")
    if clean.dtype != np.uint8 or clean.ndim != 3 or clean.shape[2] != 3:
        raise UsageError(f"cannot add noise to {clean.dtype} of shape {clean.shape}: use (H, W, 3) uint8")
    # Every family has a stream of its own; levels share it, so that a stronger level is the same noise enlarged.
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(family.encode())]))
    noisy = kind.draw(clean * np.float32(1 / 255), level, rng) * np.float32(255)
    return np.rint(np.clip(noisy, 0, 255)).astype(np.uint8) if protocol == "uint8" else noisy.astype(np.float32)


PEAK = 256.0  # V of nearly every photograph: a patch of it may hold a few values only


# --- the blind mix of training ------------------------------------------------------------------------------------


def draw_gaussian(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    return degrade.gaussian(x, 60 * rng.random() ** 1.3, rng)


def draw_poisson(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    if rng.random() < 0.4:
        return degrade.poisson(x, rng.uniform(0.5, 4.0), rng, PEAK)
    return degrade.photons(x, float(np.exp(rng.uniform(np.log(15), np.log(1000)))), 0.06 * rng.random() ** 2, rng)


def draw_speckle(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    return degrade.speckle(x, rng.uniform(0.002, 0.06), rng)


def draw_correlated(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    """Small kernels, as demosaicing, resizing and compression leave them, or coloured blotches under fine grain."""
    kind, sigma = rng.random(), 40 * rng.random() ** 1.4
    if kind < 0.3:
        return degrade.correlated(x, rng.uniform(5, 65), rng, BOX3)
    if kind < 0.6:
        return degrade.correlated(x, sigma, rng, unit(gaussian_taps(rng.uniform(0.4, 1.3))))
    if kind < 0.75:
        u = rng.uniform(0.2, 0.5)  # tent to box of 3, lightly filtered by either
        return degrade.correlated(x, sigma, rng, unit(np.array([u, 1, u], np.float32)))
    return degrade.chromatic(
        x, 0.7 * sigma, sigma * rng.uniform(0.2, 0.9), rng.uniform(0.4, 0.9), rng.uniform(0.7, 2.5), rng
    )


def draw_salt_and_pepper(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    density, per_pixel = 0.1 * rng.random() ** 1.5, bool(rng.random() < 0.4)
    grainy = rng.random() < 0.4 and "gaussian" not in without
    y = degrade.gaussian(x, 20 * rng.random(), rng) if grainy else x
    return degrade.salt_and_pepper(y, density, rng, per_pixel)


def draw_mixture(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    """Two or more kinds at once, none of those in `without`."""

    def strength(family: str, chance: float, low: float, high: float) -> float:
        drawn = rng.uniform(low, high) if rng.random() < chance else 0.0
        return 0.0 if family in without else drawn

    parts = Mixture(
        strength("gaussian", 1.0, 2, 30),
        strength("poisson", 0.6, 0.5, 2.5),
        strength("speckle", 0.5, 0.005, 0.04),
        strength("salt_and_pepper", 0.5, 0.001, 0.02),
        strength("correlated", 0.3, 5, 40),
        PEAK,
    )
    return degrade.mixture(x, parts, rng)


def draw_isp(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    return isp.photograph(x, isp.draw_camera(rng), rng)


def draw_film_grain(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    return degrade.film_grain(x, rng.uniform(0.01, 0.15), rng, rng.uniform(0.4, 1.2), rng.random())


def draw_monte_carlo(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    spp = float(np.exp(rng.uniform(np.log(8), np.log(256))))
    return degrade.monte_carlo(x, spp, rng, rng.uniform(0.2, 2.0), rng.uniform(0.1, 1.0), 0.5 * rng.random())


def draw_resampled(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    kernel = ("bilinear", "bicubic", "lanczos")[int(rng.integers(3))]
    return degrade.resampled(x, 50 * rng.random(), rng, rng.uniform(0.5, 1.6), kernel)


def draw_clean(x: np.ndarray, rng: Rng, without: frozenset[str]) -> np.ndarray:
    return isp.jpeg(x, int(rng.integers(85, 99))) if rng.random() < 0.3 else degrade.gaussian(x, 2 * rng.random(), rng)


# Shares of the mix.
TRAINED: dict[str, tuple[float, Callable[[np.ndarray, Rng, frozenset[str]], np.ndarray]]] = {
    "gaussian": (0.45, draw_gaussian),
    "poisson": (0.09, draw_poisson),
    "speckle": (0.05, draw_speckle),
    "correlated": (0.11, draw_correlated),
    "salt_and_pepper": (0.06, draw_salt_and_pepper),
    "mixture": (0.06, draw_mixture),
    "isp": (0.05, draw_isp),
    "film_grain": (0.03, draw_film_grain),
    "monte_carlo": (0.02, draw_monte_carlo),
    "resampled": (0.03, draw_resampled),
    "clean": (0.05, draw_clean),
}
# What resembles a family so closely that leaving out the family alone would prove little. Left out with it by `kin`.
KIN = {
    "correlated": frozenset({"isp", "film_grain", "resampled"}),
    "speckle": frozenset({"monte_carlo"}),
    "salt_and_pepper": frozenset({"monte_carlo"}),
}


def kin(family: str) -> frozenset[str]:
    """`family` and what resembles it, for leave-one-family-out training."""
    return frozenset({family}) | KIN.get(family, frozenset())


def photographic(clean: torch.Tensor, rng: torch.Generator, without: frozenset[str] = frozenset()) -> torch.Tensor:
    """One family per image, drawn by the shares of TRAINED, at a drawn strength; clipped as a file would be.

    `clean` is (B, 3, H, W) float32, encoded, in [0, 1]. Families named in `without` are left out, of mixtures, too.
    Raises UsageError for a name that is not one of TRAINED.
    """
    import torch

    unknown = sorted(without - TRAINED.keys())
    if unknown or without >= TRAINED.keys():
        raise UsageError(
            f"cannot train without {', '.join(unknown or without)}: leave out some of {', '.join(TRAINED)}"
        )
    names = [name for name in TRAINED if name not in without]
    edges = np.cumsum([TRAINED[name][0] for name in names])
    out = []
    for image in clean:
        own = np.random.Generator(np.random.PCG64(int(torch.randint(0, 2**62, (1,), generator=rng))))
        name = names[min(int(np.searchsorted(edges, own.random() * edges[-1], "right")), len(names) - 1)]
        x = np.ascontiguousarray(image.permute(1, 2, 0).numpy(), np.float32)
        y = np.clip(TRAINED[name][1](x, own, without), 0, 1).astype(np.float32)
        out.append(torch.from_numpy(np.ascontiguousarray(y.transpose(2, 0, 1))))
    return torch.stack(out)
