"""Tile plans: on the grid, within bounds, weights that sum to exactly one, rows emitted once and in order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdenoise import Denoiser, pipeline, predict, tiles
from mdenoise.errors import UsageError

sizes = st.integers(1, 3000)


@given(sizes, sizes, st.sampled_from([256, 512, 1024]), st.sampled_from([0, 32, 64, 96]))
def test_plan_is_on_the_grid_and_covers(height, width, tile_px, overlap_px):
    plan = tiles.plan(height, width, tile_px=tile_px, overlap_px=overlap_px)
    for origins, side, length in ((plan.ys, plan.tile_height, height), (plan.xs, plan.tile_width, width)):
        assert side % 64 == 0
        assert side <= tile_px
        assert all(o % 64 == 0 for o in origins)
        assert origins[0] == 0
        assert length <= origins[-1] + side < length + 64
        for first, second in pairwise(origins):
            assert first + side - second >= 2 * overlap_px


@given(sizes, sizes, st.sampled_from([256, 512]), st.sampled_from([0, 32, 64, 96]))
def test_weights_sum_to_exactly_one(height, width, tile_px, overlap_px):
    plan = tiles.plan(height, width, tile_px=tile_px, overlap_px=overlap_px)
    total = np.zeros(plan.xs[-1] + plan.tile_width, np.float32)
    for origin, weight in zip(
        plan.xs, tiles.axis_weights(plan.xs, plan.tile_width, width, plan.feather_px), strict=True
    ):
        total[origin : origin + plan.tile_width] += weight
    assert (total[:width] == 1.0).all()
    assert (total[width:] == 0.0).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (64, 64), (700, 65), (1000, 900), (65, 1500)])
@pytest.mark.parametrize("overlap_px", [0, 32, 64, 96])
def test_run_gives_back_what_the_tiles_hold(height, width, overlap_px):
    plan = tiles.plan(height, width, tile_px=320, overlap_px=overlap_px)
    image = (
        np.random.default_rng(3)
        .random((plan.ys[-1] + plan.tile_height, plan.xs[-1] + plan.tile_width, 2))
        .astype(np.float32)
    )
    done = np.zeros((height, width, 2), np.float32)
    times = np.zeros((height, width), int)

    def emit(y, x, block):
        place = np.s_[y : y + block.shape[0], x : x + block.shape[1]]
        done[place] = block
        times[place] += 1

    tiles.run(plan, lambda t: image[t.y : t.y + t.height, t.x : t.x + t.width].copy(), emit)
    assert (times == 1).all()
    np.testing.assert_allclose(done, image[:height, :width], atol=2e-7)


@given(sizes, sizes, st.sampled_from([2**18, 2**20, 1920 * 1088]), st.sampled_from([32, 160]))
def test_tiles_of_an_area_cover_the_image(height, width, area_px, overlap_px):
    plan = tiles.plan(height, width, area_px=area_px, overlap_px=overlap_px)
    assert plan.tile_height * plan.tile_width <= area_px
    for origins, side, length in ((plan.ys, plan.tile_height, height), (plan.xs, plan.tile_width, width)):
        assert side % 64 == 0 and all(o % 64 == 0 for o in origins)
        assert origins[0] == 0 and length <= origins[-1] + side < length + 64
        for first, second in pairwise(origins):
            assert first + side - second >= 2 * overlap_px


def test_the_cheapest_shape_is_taken():
    """1080p is one tile; wide tiles cost 4K less context than square ones of the same area."""
    assert len(tiles.plan(1080, 1920, area_px=1920 * 1088)) == 1
    wide = tiles.plan(2160, 3840, area_px=1920 * 1088)
    square = tiles.plan(2160, 3840, tile_px=1408)
    assert len(wide) * wide.tile_height * wide.tile_width < len(square) * square.tile_height * square.tile_width


def test_context_of_pixels_with_weight():
    plan = tiles.plan(200, 5000, tile_px=512, overlap_px=64)
    weights = tiles.axis_weights(plan.xs, plan.tile_width, 5000, plan.feather_px)
    for weight in weights[1:]:
        assert np.flatnonzero(weight)[0] >= 64 - plan.feather_px // 2


def test_overlap_that_leaves_nothing_is_refused():
    with pytest.raises(UsageError, match="overlap 96 leaves nothing"):
        tiles.plan(1000, 1000, tile_px=192, overlap_px=96)


@given(sizes, st.integers(1, 9000), st.sampled_from([2**17, 2**20]), st.sampled_from([32, 96, 160]))
def test_bands_cover_the_image(height, width, area_px, overlap_px):
    plan = tiles.plan_bands(height, width, area_px=area_px, overlap_px=overlap_px)
    assert plan.cuts[0] == 0 and height <= plan.cuts[-1] < height + 64
    assert all(cut % 64 == 0 for cut in plan.cuts) and plan.column_width % 64 == 0
    rows = [end - top for top, end in pairwise(plan.cuts)]
    assert min(rows) > 0 and max(rows) * plan.column_width <= max(area_px, 64 * plan.column_width)
    assert plan.xs[0] == 0 and width <= plan.xs[-1] + plan.column_width < width + 64
    for first, second in pairwise(plan.xs):
        assert first + plan.column_width - second >= 2 * overlap_px


def test_large_frames_are_bands_that_compute_little_twice():
    for height, width, most in ((2160, 3840, 1.12), (4320, 7680, 1.12), (8640, 15360, 1.14)):
        plan = tiles.plan_bands(height, width, area_px=pipeline.BAND_PX, overlap_px=160)
        assert len(plan.xs) * plan.column_width * plan.cuts[-1] < most * height * width


@pytest.mark.parametrize(("height", "width"), [(130, 700), (1000, 65), (65, 1500)])
@pytest.mark.parametrize("overlap_px", [0, 32, 96])
def test_bands_give_back_what_they_hold(height, width, overlap_px):
    plan = tiles.plan_bands(height, width, area_px=256 * 320, overlap_px=overlap_px)
    image = np.random.default_rng(3).random((plan.cuts[-1], plan.xs[-1] + plan.column_width, 2)).astype(np.float32)
    done, times = np.zeros((height, width, 2), np.float32), np.zeros((height, width), int)

    def column(place):
        for top, end in pairwise(plan.cuts):
            yield image[top:end, place.x : place.x + place.width].copy()

    def emit(y, x, block):
        done[y : y + block.shape[0], x : x + block.shape[1]] = block
        times[y : y + block.shape[0], x : x + block.shape[1]] += 1

    tiles.run_bands(plan, column, emit)
    assert (times == 1).all()
    np.testing.assert_allclose(done, image[:height, :width], atol=2e-7)


@pytest.mark.parametrize("holes", [False, True])
def test_one_tile_is_written_straight_into_the_layers_types(holes, monkeypatch):
    """`filter_image` gives what the way over a float32 array gives, to the rounding of each type."""
    rng = np.random.default_rng(3)
    color = rng.random((70, 90, 3), np.float32)
    if holes:  # more than the filter reaches: the nearest value is taken
        color[:, :60] = np.nan
    layers = {
        "half": color.astype(np.float16),
        "grey": color[..., 0].copy(),
        "byte": np.full((70, 90, 3), 200, np.uint8),
    }
    with Denoiser(precision="f32") as denoiser:
        straight = denoiser(color, layers=layers).layers
        monkeypatch.setattr(predict, "direct", lambda *_: False)
        around = denoiser(color, layers=layers).layers
    for name, layer in layers.items():
        assert straight[name].dtype == layer.dtype and straight[name].shape == layer.shape
        np.testing.assert_allclose(straight[name].astype(float), around[name].astype(float), rtol=2e-3, atol=1e-6)
    assert np.isfinite(straight["half"]).all()
