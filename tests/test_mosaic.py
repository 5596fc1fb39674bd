"""The guide and the filtering of a sensor's mosaic."""

from __future__ import annotations

import numpy as np
import pytest

from mdenoise import guide as g
from mdenoise import mosaic
from mdenoise.chroma import OPPONENTS
from mdenoise.config import Options
from mdenoise.engines import open_engine
from mdenoise.frame import Planes
from mdenoise.look import measure
from mdenoise.models import load_card
from mdenoise.pipeline import denoise_planes
from mdenoise.tile_guide import build_guide

SENSORS = [(1e-4, 1e-8), (2e-3, 2e-6), (3e-2, 1e-3)]


def taken(mean: np.ndarray, shot: float, read: float, rng: np.random.Generator) -> np.ndarray:
    noisy = rng.poisson(mean / shot) * shot + np.sqrt(read) * rng.standard_normal(mean.shape)
    return noisy.astype(np.float32)


def planes_of(noisy: np.ndarray, shot: float, read: float) -> Planes:
    s, r = np.full(4, shot), np.full(4, read)
    color, noise = mosaic.guide_color(noisy, s, r), mosaic.guide_noise(s, r)
    return Planes(color, {"mosaic": noisy}, encoding="mosaic", noise=noise)


@pytest.mark.parametrize(("shot", "read"), SENSORS)
def test_noise_is_equally_strong_at_every_brightness(shot, read):
    rng = np.random.default_rng(1)
    expected = mosaic.stabilised_noise(shot, read)
    for mean in (0.1, 0.3, 0.9):
        noisy = mosaic.stabilise(taken(np.full(200_000, mean), shot, read, rng), shot, read)
        assert noisy.std() == pytest.approx(expected, rel=0.04)
    ends = mosaic.stabilise(np.array([0.0, 1.0]), shot, read)
    np.testing.assert_allclose(ends, [0, 1], atol=1e-6)


def test_the_curve_is_finite_where_its_root_ends_and_keeps_what_is_unknown():
    curved = mosaic.guide_color(np.full((2, 2, 4), -5.0), np.zeros(4), np.zeros(4))
    assert np.isfinite(curved).all()
    planes = np.full((1, 1, 4), 0.5)
    planes[..., 3] = np.nan
    assert np.isnan(mosaic.guide_color(planes, np.full(4, 1e-3), np.zeros(4))).tolist() == [[[False, False, True]]]


@pytest.mark.parametrize("channels", sorted(OPPONENTS))
def test_opponent_colours_keep_white_noise_white(channels):
    matrix = OPPONENTS[channels]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(channels), atol=1e-6)
    grey = matrix @ np.full(channels, 0.5, np.float32)
    np.testing.assert_allclose(grey[1:], 0, atol=1e-6)


def test_training_sees_the_mosaic_that_the_product_makes():
    torch = pytest.importorskip("torch")
    from mdenoise.training import data, photo_patches
    from mdenoise.training.mosaics import mosaics

    rng = torch.Generator().manual_seed(3)
    noisy, clean, _ = mosaics(torch.rand(3, 3, 64, 64, generator=rng), rng)
    assert noisy.shape == clean.shape == (3, 4, 32, 32) and clean.min() >= 0 and clean.max() <= 1
    parts = photo_patches.raw_batch([torch.randint(0, 256, (3, 256, 256)).byte()], data.DataConfig(), rng)
    one = torch.ones(parts["noisy"].shape[0], 1, 64, 64)
    batch = data.Batch(**parts, inside=one, trusted=one, confidence=one)
    expected = data.make_guide(batch, one)[0].numpy()
    shot, read = batch.sensor[0].flatten().tolist()
    planes = planes_of(batch.noisy[0].permute(1, 2, 0).numpy(), shot, read)
    everything = slice(0, 64)
    guide, trust, factor = build_guide(
        planes, measure(planes, Options()), everything, everything, np.ones((64, 64), bool), (64, 64)
    )
    np.testing.assert_allclose(guide, expected, atol=2e-4)
    assert guide[g.KIND].min() == guide[g.KIND].max() == -1 and factor is None and trust.min() == 1


def test_a_flat_mosaic_keeps_its_mean_and_loses_its_noise():
    rng = np.random.default_rng(5)
    mean = np.broadcast_to(np.array([0.2, 0.4, 0.4, 0.1]), (256, 256, 4))
    noisy = taken(mean, 2e-3, 2e-6, rng)
    noisy[100, 100, 1] = np.nan
    planes = planes_of(noisy, 2e-3, 2e-6)
    options, card = Options(), load_card()
    result = denoise_planes(planes, open_engine(card, options), card, options).layers["mosaic"]
    assert result.dtype == np.float32 and np.isfinite(result).all()
    np.testing.assert_allclose(result.mean((0, 1)), np.nanmean(noisy, (0, 1)), rtol=2e-3)
    assert result.std((0, 1)).max() < 0.3 * np.nanstd(noisy, (0, 1)).min()
