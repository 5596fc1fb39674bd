"""Patterns of hidden pixels: complementary, the same in every tile, and no tile boundary in the result."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mdenoise
from mdenoise import masks, models, pipeline, predict, robustness
from mdenoise.config import Options
from mdenoise.frame import Planes
from mdenoise.masks import Pattern

layouts = st.sampled_from(sorted(masks.LAYOUTS))
spans = st.tuples(st.integers(0, 4000), st.integers(1, 70)).map(lambda s: slice(s[0], s[0] + s[1]))


@given(layouts, st.booleans(), spans, spans)
def test_every_pixel_is_shown_or_hidden_exactly_once(layout, shows, rows, cols):
    seen = sum(masks.visible(p, rows, cols).astype(int) for p in masks.complementary(layout, shows))
    count = masks.LAYOUTS[layout][0]
    assert len(masks.complementary(layout, shows)) == count
    assert (seen == (1 if shows else count - 1)).all()


@given(layouts, st.integers(0, 8), st.booleans(), spans, spans, st.integers(0, 60), st.integers(0, 60))
def test_a_pattern_goes_by_absolute_place(layout, part, shows, rows, cols, dy, dx):
    pattern = Pattern(layout, part % masks.LAYOUTS[layout][0], shows)
    whole = masks.visible(pattern, rows, cols)
    inner = [slice(min(s.start + d, s.stop - 1), s.stop) for s, d in ((rows, dy), (cols, dx))]
    cut = np.s_[inner[0].start - rows.start :, inner[1].start - cols.start :]
    np.testing.assert_array_equal(masks.visible(pattern, *inner), whole[cut])


@pytest.mark.parametrize("layout", ["grid2", "grid3"])
def test_phases_keep_neighbours_apart(layout):
    period = int(layout[-1])
    for pattern in masks.complementary(layout):
        y, x = np.nonzero(masks.visible(pattern, slice(5, 65), slice(64, 128)))
        assert set(np.diff(np.unique(y))) == {period} and set(np.diff(np.unique(x))) == {period}


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_scattered_masks_of_several_passes_complement_each_other(ratio):
    rows, cols = slice(0, 200), slice(64, 264)
    shown = [masks.scattered(ratio, k / 4, rows, cols) for k in range(4)]
    assert (sum(s.astype(int) for s in shown) == 4 * (1 - ratio)).all()
    assert all(abs(1 - s.mean() - ratio) < 0.02 for s in shown)
    neighbours = np.corrcoef(shown[0][:, :-1].ravel(), shown[0][:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02


@pytest.mark.parametrize("layout", ["grid2", "grid3", "checkerboard"])
def test_tiled_equals_untiled_with_patterns(layout, monkeypatch):
    """A pass over tiles hides the very pixels that a pass over the whole image hides."""
    rng = np.random.default_rng(7)
    image = rng.random((40, 1030, 3)).astype(np.float32)
    denoiser = mdenoise.Denoiser(precision="f32")
    single = denoiser(image, encoding="srgb")
    measures = robustness.Measures(masks.complementary(layout)[:2])
    monkeypatch.setattr(predict, "choose", lambda *_: measures)
    planes = Planes(image, {"color": image}, encoding="srgb")
    options = Options(precision="f32", tile_px=1216, uncertainty=True)
    whole = pipeline.denoise_planes(planes, denoiser._engine, denoiser.card, options)
    smaller = Options(precision="f32", tile_px=832, overlap_px=models.load_card().reach_px, uncertainty=True)
    parts = pipeline.denoise_planes(planes, denoiser._engine, denoiser.card, smaller)
    # Tiles of another size may be computed by other sums; another pattern shows a hundred times that, see below.
    np.testing.assert_allclose(parts.layers["color"], whole.layers["color"], atol=1e-4)
    np.testing.assert_allclose(parts.uncertainty, whole.uncertainty, rtol=0.02, atol=5e-5)
    assert np.abs(single - whole.layers["color"]).mean() > 1e-3  # the pattern is really there
