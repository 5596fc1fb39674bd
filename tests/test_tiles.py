"""Tile plans: on the grid, within bounds, weights that sum to exactly one, rows emitted once and in order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdenoise import tiles
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
    rows = []

    def emit(y, band):
        assert y == sum(len(r) for r in rows)
        rows.append(band.copy())

    tiles.run(plan, 2, lambda t: image[t.y : t.y + t.height, t.x : t.x + t.width], emit)
    np.testing.assert_allclose(np.concatenate(rows), image[:height, :width], atol=2e-7)


def test_context_of_pixels_with_weight():
    plan = tiles.plan(200, 5000, tile_px=512, overlap_px=64)
    weights = tiles.axis_weights(plan.xs, plan.tile_width, 5000, plan.feather_px)
    for weight in weights[1:]:
        assert np.flatnonzero(weight)[0] >= 64 - plan.feather_px // 2


def test_overlap_that_leaves_nothing_is_refused():
    with pytest.raises(UsageError, match="overlap 96 leaves nothing"):
        tiles.plan(1000, 1000, tile_px=192, overlap_px=96)
