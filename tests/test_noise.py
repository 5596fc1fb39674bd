"""An image's own noise: level, reach and impulses are found, and nothing is found where nothing is."""

import numpy as np
import pytest

from mdenoise.noise import impulses, measure_noise


def scene(height=192, width=256, seed=3):
    """Soft shades with edges and a textured corner, (H, W, 3) in [0.1, 0.9]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    light = 0.5 + 0.25 * np.sin(x / 67) * np.cos(y / 43) + 0.12 * ((x // 61 + y // 47) % 2)
    light[:48, :64] += 0.1 * rng.standard_normal((48, 64))
    return np.clip(light[..., None] * [1.0, 0.9, 0.8], 0.1, 0.9).astype(np.float32)


def blurred(noise):
    around = np.pad(noise, ((1, 1), (1, 1), (0, 0)), mode="wrap")
    h, w = noise.shape[:2]
    return sum(around[dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)) / 9


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_level_of_independent_noise(sigma):
    noisy = scene() + np.random.default_rng(1).normal(0, sigma / 255, (192, 256, 3))
    found, hit = measure_noise(noisy)
    assert 255 * found.level == pytest.approx(sigma, rel=0.05)
    assert found.extent_px == 0 and hit is None


def test_correlated_noise_is_found_with_its_level():
    noise = blurred(np.random.default_rng(2).normal(0, 55 / 255, (192, 256, 3)))
    found, _ = measure_noise(scene() + noise)
    assert found.level == pytest.approx(noise.std(), rel=0.1)  # the mask of Immerkaer would see a quarter of it
    assert found.extent_px == 2
    assert found.correlation[0] == pytest.approx(2 / 3, abs=0.12)


def test_noise_that_depends_on_brightness():
    x = scene()
    found, _ = measure_noise(x + x * np.random.default_rng(4).normal(0, 0.2, x.shape))
    assert len(found.curve) >= 2
    for brightness, level in found.curve:
        assert level == pytest.approx(0.2 * brightness, rel=0.12)


@pytest.mark.parametrize("share", [0.005, 0.02, 0.05])
def test_impulses_are_found_and_nothing_else(share):
    rng = np.random.default_rng(5)
    x = scene() + rng.normal(0, 5 / 255, (192, 256, 3)).astype(np.float32)
    u = rng.random(x.shape)
    black, white = u < share / 2, u > 1 - share / 2
    noisy = np.where(black, 0, np.where(white, 1, np.clip(x, 0, 1))).astype(np.float32)
    found, hit = measure_noise(noisy)
    truth = (black | white).any(axis=-1)
    seen = (np.abs(noisy - x) > 0.2).any(axis=-1) & truth  # a white value on white is none
    assert (hit & ~truth).sum() <= 2
    assert (hit & seen).sum() > 0.97 * seen.sum()
    assert found.impulse_share == pytest.approx(share, rel=0.15)


def test_highlights_and_clipped_areas_are_no_impulses():
    x = scene()
    assert impulses(x, 0.0) is None
    x[20:80, 30:90] = 1.0
    x[100:103, 100:103] = 0.0
    rng = np.random.default_rng(6)
    for y, c in rng.integers(100, 180, (400, 2)):
        x[y, c] = 1.0  # glitter: nothing as black beside
    assert impulses(x, 0.0) is None


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 50, 3), (7, 9, 3), (33, 17, 3)])
@pytest.mark.parametrize("fill", [0.0, 0.5, np.nan, np.inf])
def test_small_flat_and_broken_images(shape, fill):
    found, hit = measure_noise(np.full(shape, fill, np.float32))
    assert np.isfinite(found.level) and found.extent_px == 0 and hit is None
