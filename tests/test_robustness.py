"""Tiles agree, seams do not show, and a bad pixel never spreads."""

from itertools import pairwise

import numpy as np
import pytest

import mdenoise
from mdenoise import models, pipeline, tiles
from mdenoise.frame import Planes

REACH_PX = models.load_card("base").reach_px


def frame(height, width, seed=1):
    """A noisy HDR frame with soft and hard edges, (H, W, 3) float32."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light = 0.3 + 0.25 * np.sin(x / 41) * np.cos(y / 29) + 0.5 * ((x // 37 + y // 53) % 3 == 0)
    return (light[..., None] * rng.gamma(0.8, 1.25, (height, width, 1)) * [1.0, 0.8, 0.6]).astype(np.float32)


def untiled(image, monkeypatch, **options):
    plan = tiles.plan
    with monkeypatch.context() as patch:
        patch.setattr(tiles, "plan", lambda h, w, **k: plan(h, w, **{**k, "tile_px": 8192}))
        return mdenoise.Denoiser(precision="f32", **options)(image)


def test_tiled_equals_untiled_at_the_cards_reach(monkeypatch):
    image = frame(192, 1300)
    whole = untiled(image, monkeypatch)
    parts = mdenoise.Denoiser(precision="f32", tile_px=1024, overlap_px=REACH_PX)(image)
    assert len(tiles.plan(192, 1300, tile_px=1024, overlap_px=REACH_PX, reach_px=REACH_PX)) > 1
    assert np.abs(parts - whole).max() <= 1e-4 * whole.mean()


def test_shipped_overlap_shows_no_seam_on_a_flat_noisy_frame(monkeypatch):
    rng = np.random.default_rng(4)
    image = (0.5 * rng.gamma(1.0, 1.0, (192, 1600, 1)) * np.ones(3)).astype(np.float32)
    whole = untiled(image, monkeypatch)
    parts = mdenoise.Denoiser(precision="f32")(image)
    plan = tiles.plan(192, 1600)
    assert len(plan) > 1
    less = mdenoise.Denoiser(precision="f32", overlap_px=0)(image)
    assert np.abs(less - whole).max() > 1e-2 * whole.mean()  # the cuts are really there
    assert np.abs(parts - whole).max() < 1e-2 * whole.mean()
    # Steps across the cuts are no larger than steps anywhere else.
    step = np.abs(np.diff(parts.mean(axis=2), axis=1)).mean(axis=0)
    cuts = [(b + a + plan.tile_width) // 2 for a, b in pairwise(plan.xs)]
    assert max(step[c - 20 : c + 20].mean() for c in cuts) < 1.25 * step.mean()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65504.0, 1e6, -1e6, 3e38, (0.0, 0.0, 1e6)])
@pytest.mark.parametrize("with_albedo", [False, True])
def test_a_bad_pixel_stays_where_it_is(value, with_albedo):
    image = frame(128, 960)
    albedo = np.full_like(image, 0.4) if with_albedo else None
    denoiser = mdenoise.Denoiser(precision="f32")
    clean = denoiser(image, albedo)
    image[60, 200] = value
    hurt = denoiser(image, albedo)
    assert np.isfinite(hurt).all()
    outside = np.s_[:, 200 + REACH_PX + 1 :]
    assert (np.abs(hurt[outside] - clean[outside]) <= 0.01 * clean[outside]).all()
    for x in range(0, 200 + REACH_PX, 8):
        local = clean[:, max(0, x - 16) : x + 24].max()
        assert hurt[:, x : x + 8].max() <= 2 * local
        assert hurt[:, x : x + 8].min() >= -2 * local


def test_a_layer_full_of_holes_leaves_the_group():
    image = frame(96, 96)
    holes = image * 0.5
    holes[:20] = np.nan
    good = image * 0.25
    planes = Planes(image, {"beauty": image, "holes": holes, "good": good})
    denoiser = mdenoise.Denoiser(precision="f32")
    done = pipeline.denoise_planes(planes, denoiser._engine, denoiser.card, denoiser.options)
    assert done.left_out == ("holes",)
    assert done.distrusted_px == 0
    np.testing.assert_allclose(done.layers["good"], done.layers["beauty"] * 0.25, rtol=1e-5)
    assert np.isfinite(done.layers["holes"]).all()


def test_memory_bound_makes_smaller_tiles_and_the_same_picture():
    image = frame(300, 500)
    whole = mdenoise.Denoiser(precision="f32")(image)
    parts = mdenoise.Denoiser(precision="f32", max_memory_mb=30)(image)
    assert 0 < np.abs(parts - whole).mean() < 0.01 * whole.mean()
    for tile_px in (64, 128):
        assert np.isfinite(mdenoise.Denoiser(tile_px=tile_px)(image)).all()
