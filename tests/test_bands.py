"""Bands of rows against the whole image: the same numbers, whatever lies at a cut, and memory that does not grow."""

from itertools import pairwise

import numpy as np
import pytest

import mdenoise
from mdenoise import filter as kernel_filter
from mdenoise import models, pipeline, tiles
from mdenoise.engines import LEVELS, bands
from mdenoise.engines.openvino import OpenVinoEngine

pytestmark = pytest.mark.skipif(kernel_filter._native is None, reason="installed without the compiled filter")


@pytest.fixture(scope="module")
def denoiser():
    with mdenoise.Denoiser(precision="f32", device="cpu", engine="openvino") as made:
        yield made


def frame(height, width):
    rng = np.random.default_rng(4)
    albedo = rng.random((height // 20 + 1, width // 20 + 1, 3)).repeat(20, 0).repeat(20, 1)[:height, :width]
    color = albedo * rng.gamma(0.5, 2.0, (height, width, 1))
    normal = np.broadcast_to(np.array([0.0, 0.6, 0.8]), color.shape)
    return tuple(array.astype(np.float32) for array in (color, albedo, normal))


def test_logits_of_bands_are_those_of_the_whole():
    """Cuts on and off the grid of windows, and a band whose rows the network has seen before it is asked for."""
    engine = OpenVinoEngine(models.load_card(), "f32")
    shape = (1, 384, 32, 4 * models.load_card().guide_channels)
    guide = np.random.default_rng(0).random(shape, np.float32)
    whole = [level.copy() for level in engine.predict_packed(guide)]
    cuts = (0, 80, 336, 592, 656, 768)
    spans = [(max(top - 48, 0), min(end + 48, 768)) for top, end in pairwise(cuts)]
    network = engine.bands(shape, spans)
    seen = 0
    for number, (first, end) in enumerate(spans):
        top, bottom = network.guide_rows(number)
        seen += bottom - top
        rows = guide[:, top // 2 : bottom // 2] if bottom > top else None
        for level, all_rows in zip(network.predict(number, rows), whole, strict=True):
            unit = 768 // all_rows.shape[2]
            np.testing.assert_allclose(level, all_rows[:, :, first // unit : end // unit], atol=2e-3)
    assert 768 <= seen < 1.04 * 768  # of the guide, next to nothing twice


def test_equal_bands_share_a_graph():
    engine = OpenVinoEngine(models.load_card(), "f32")
    shape = (1, 1088, 32, 4 * models.load_card().guide_channels)
    cuts = tiles.plan_bands(2160, 64, area_px=64 * 256, overlap_px=0).cuts
    spans = [(max(top - 48, 0), min(end + 48, 2176)) for top, end in pairwise(cuts)]
    plan = bands.plan(engine._traced(shape), spans, LEVELS)
    assert len(plan) == 9 and len({band.recipe for band in plan}) == 3
    rows = {step.name: 2176 // step.unit for step in engine._traced(shape)}
    for band in plan:  # what is held does not grow on the way down
        assert all(end - first < 0.15 * rows[name] for name, (first, end) in band.kept.items())


@pytest.mark.slow
def test_bands_are_the_picture_of_one_tile(denoiser, monkeypatch):
    """Also with pixels that are not finite, fireflies at the cuts, and more layers than one."""
    color, albedo, normal = frame(700, 330)
    color[300:340, 100:120], color[63:66, 200], color[320, 40] = np.nan, 1e5, np.inf
    layers = {"half": color * np.float32(0.5)}
    whole = denoiser(color, albedo, normal, layers=layers)
    monkeypatch.setattr(pipeline, "AREA_PX", 384 * 256)
    monkeypatch.setattr(pipeline, "BAND_PX", 384 * 256)
    found = denoiser(color, albedo, normal, layers=layers)
    np.testing.assert_allclose(found.color, whole.color, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(found.layers["half"], whole.layers["half"], rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_columns_of_bands_meet(denoiser, monkeypatch):
    color, albedo, normal = frame(330, 900)
    whole = denoiser(color, albedo, normal)
    monkeypatch.setattr(pipeline, "AREA_PX", 640 * 256)
    monkeypatch.setattr(pipeline, "BAND_PX", 640 * 256)
    assert len(tiles.plan_bands(330, 900, area_px=640 * 256, overlap_px=160).xs) == 2
    np.testing.assert_allclose(denoiser(color, albedo, normal), whole, rtol=2e-3, atol=2e-4)


def test_a_graph_with_an_unknown_operation_is_not_cut(monkeypatch):
    engine = OpenVinoEngine(models.load_card(), "f32")
    channels = 4 * models.load_card().guide_channels
    assert engine.cuttable(channels)
    monkeypatch.setattr(bands, "BY_ROW", bands.BY_ROW - {"Relu"})
    assert not OpenVinoEngine(models.load_card(), "f32").cuttable(channels)
