"""Tiles agree, seams do not show, and a bad pixel never spreads."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import mdenoise
from mdenoise import models, pipeline, robustness, tiles
from mdenoise.config import Options
from mdenoise.frame import Planes
from mdenoise.noise import Noise

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
    assert np.abs(parts - whole).max() <= 3e-4 * whole.mean()  # sums of other shapes; a cut shows a hundred times that


def test_shipped_overlap_shows_no_seam_on_a_flat_noisy_frame(monkeypatch):
    rng = np.random.default_rng(4)
    image = (0.5 * rng.gamma(1.0, 1.0, (192, 1600, 1)) * np.ones(3)).astype(np.float32)
    whole = untiled(image, monkeypatch)
    parts = mdenoise.Denoiser(precision="f32", tile_px=1216)(image)
    plan = tiles.plan(192, 1600, tile_px=1216)
    assert len(plan) > 1
    less = mdenoise.Denoiser(precision="f32", tile_px=1216, overlap_px=0)(image)
    assert np.abs(less - whole).max() > 2 * np.abs(parts - whole).max()  # the cuts are really there
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
    parts = mdenoise.Denoiser(precision="f32", max_memory_mb=330)(image)
    assert 0 < np.abs(parts - whole).mean() < 0.01 * whole.mean()
    for tile_px in (64, 128):
        assert np.isfinite(mdenoise.Denoiser(tile_px=tile_px)(image)).all()


# --- robustness auto ----------------------------------------------------------------------------------------------


def photo(height=160, width=224):
    y, x = np.mgrid[0:height, 0:width]
    light = 0.5 + 0.25 * np.sin(x / 67) * np.cos(y / 43) + 0.12 * ((x // 61 + y // 47) % 2)
    return (light[..., None] * np.array([1.0, 0.9, 0.8])).astype(np.float32)


def peppered(value, seed=8):
    """A quiet photo with 2 % of its pixels replaced by `value` and as many by 1 - value, and where."""
    rng = np.random.default_rng(seed)
    image = np.clip(photo() + rng.normal(0, 0.01, (160, 224, 3)), 0.02, 0.98).astype(np.float32)
    u = np.pad(rng.random((156, 220)), 2, constant_values=0.5)  # at the border there are too few neighbours to tell
    image[u < 0.02], image[u > 0.98] = value, 1 - value
    return image, (u < 0.02) | (u > 0.98)


def test_what_an_impulse_holds_does_not_matter():
    """Hidden pixels pull nothing: black ones for white ones and the reverse give the same picture, bit for bit."""
    denoiser = mdenoise.Denoiser(precision="f32")
    first, where = peppered(0.0)
    second, _ = peppered(1.0)
    card = replace(denoiser.card, robustness={})
    done = [
        pipeline.denoise_planes(Planes(x, {"color": x}, encoding="srgb"), denoiser._engine, card, denoiser.options)
        for x in (first, second)
    ]
    measures = robustness.choose(Planes(first, {"color": first}, encoding="srgb"), card, Options())
    np.testing.assert_array_equal(measures.hidden_px, where)
    np.testing.assert_array_equal(done[0].layers["color"], done[1].layers["color"])
    assert done[0].notes and "impulses" in done[0].notes[0]
    assert np.abs(done[0].layers["color"] - photo()).max() < 0.2


def test_measures_are_for_encoded_images_and_auto_only():
    image, _ = peppered(0.0)
    card = replace(models.load_card(), robustness={})
    for encoding, options in (("linear", Options()), ("srgb", Options(robustness=0.0))):
        planes = Planes(image, {"color": image}, encoding=encoding)
        assert robustness.choose(planes, card, options) == robustness.Measures()
    planes = Planes(image, {"color": image}, encoding="srgb")
    assert robustness.choose(planes, replace(card, robustness={"impulses": False}), Options()).hidden_px is None


def test_robustness_zero_and_auto_are_the_same_for_linear_images():
    image = frame(100, 130)
    image[3, 4], image[20:22, 30:33] = np.nan, 1e5
    auto = mdenoise.Denoiser(precision="f32")(image)
    np.testing.assert_array_equal(mdenoise.Denoiser(precision="f32", robustness=0.0)(image), auto)


@pytest.mark.parametrize(("reach", "passes"), [(0, 0), (1, 4), (2, 9)])
def test_grid_by_the_reach_of_the_noise(reach, passes):
    noise = np.random.default_rng(9).normal(0, 0.2, (200, 264, 3))
    for axis in (0, 1):
        noise = sum(np.roll(noise, step, axis) for step in range(reach + 1)) / (reach + 1)
    image = np.clip(0.5 + noise, 0, 1).astype(np.float32)
    planes = Planes(image, {"color": image}, encoding="srgb")
    card = replace(models.load_card(), robustness={"grid": True})
    assert len(robustness.choose(planes, card, Options()).patterns) == passes
    assert robustness.choose(planes, replace(card, robustness={}), Options()).patterns == ()  # a card has to ask


def test_level_curve_gives_the_noise_the_models_level():
    rng = np.random.default_rng(10)
    x = photo()
    card = replace(models.load_card(), sigma=15.0, robustness={})
    for noisy in (x + rng.normal(0, 50 / 255, x.shape), x + 0.15 * np.sqrt(x) * rng.normal(0, 1, x.shape)):
        noisy = noisy.astype(np.float32)
        curve = robustness.choose(Planes(noisy, {"color": noisy}, encoding="srgb"), card, Options(robustness=0.0)).curve
        shown, clean = (np.moveaxis(curve(np.moveaxis(a, -1, 0)), 0, -1) for a in (noisy, x))
        assert np.std(shown - clean) == pytest.approx(15 / 255, rel=0.12)
        assert np.abs(shown.mean() - 0.5) < 0.2
    seen = (x + rng.normal(0, 15.6 / 255, x.shape)).astype(np.float32)
    assert robustness.choose(Planes(seen, {"color": seen}, encoding="srgb"), card, Options()).curve is None


def test_level_curve_is_straight_for_noise_that_is_the_same_everywhere():
    noise = Noise(0.2, ((0.1, 0.2), (0.9, 0.2)), (0.0,) * 7, 0, 0.0)
    curve = robustness.level_curve(noise, 0.1, np.full((4, 4, 3), 0.5, np.float32))
    x = np.linspace(-0.5, 1.5, 9, dtype=np.float32)[None, None].repeat(3, 0)
    np.testing.assert_allclose(curve(x), 0.5 + 0.5 * (x - 0.5), atol=1e-6)


# --- uncertainty --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", ["balanced", "best"])
def test_uncertainty_scales_with_the_image_and_leaves_it_alone(quality):
    image = frame(96, 140)
    denoiser = mdenoise.Denoiser(precision="f32", quality=quality)
    one = denoiser(image, uncertainty=True)
    four = denoiser(image * 4, uncertainty=True)
    np.testing.assert_array_equal(one.color, denoiser(image))
    assert one.uncertainty.shape == (96, 140) and one.uncertainty.dtype == np.float32
    np.testing.assert_allclose(four.uncertainty, 4 * one.uncertainty, rtol=0.02, atol=1e-4)
    assert (one.uncertainty >= 0).all() and one.uncertainty.mean() < image.std()


def test_uncertainty_is_higher_where_there_is_noise():
    rng = np.random.default_rng(11)
    image = np.full((96, 256, 3), 0.3, np.float32)
    image[:, 128:] *= rng.gamma(0.5, 2.0, (96, 128, 1))
    unsure = mdenoise.Denoiser(precision="f32")(image, uncertainty=True).uncertainty
    assert unsure[:, 140:].mean() > 20 * unsure[:, :116].mean()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (65, 17)])
@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32])
def test_odd_sizes_and_broken_pixels(shape, kind):
    image = np.full((*shape, 3), 0.4)
    if kind != np.uint8:
        image[0, 0] = np.nan
        image[-1, -1] = np.inf
    image = (image * 255).astype(kind) if kind == np.uint8 else image.astype(kind)
    done = mdenoise.Denoiser(precision="f32", quality="best")(image, uncertainty=True)
    assert np.isfinite(done.color).all() and np.isfinite(done.uncertainty).all()


def test_uncertainty_of_nothing_is_refused():
    with pytest.raises(mdenoise.UsageError, match="strength above 0"):
        Options(uncertainty=True, strength=0.0)
