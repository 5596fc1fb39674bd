"""The noise of renders, measured in blocks, and what the result is weighed against."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdenoise import Denoiser, render_noise
from mdenoise import guide as g
from mdenoise.frame import Planes

SIDE = 144


def scene(noise: float, seed: int = 1, texture: float = 0.0) -> tuple[Planes, np.ndarray]:
    """Planes with relative `noise`, and the radiance without it; `texture` is known to the albedo."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / np.float32(SIDE)
    albedo = (0.5 + texture * rng.uniform(-1, 1, (SIDE, SIDE, 1))).repeat(3, 2).astype(np.float32)
    clean = (0.4 + 0.3 * y + 0.2 * x)[..., None].astype(np.float32) * albedo
    color = clean * (1 + noise * rng.standard_normal((SIDE, SIDE, 1))).astype(np.float32)
    normal = np.dstack([np.zeros_like(x), np.zeros_like(x), np.ones_like(x)]).astype(np.float32)
    return Planes(color, {"": color}, albedo=albedo, normal=normal), clean


def measured(planes: Planes) -> render_noise.Measured:
    found = render_noise.measure(planes, g.exposure(planes.color), None)
    assert found is not None
    return found


def truth(planes: Planes, clean: np.ndarray) -> float:
    e = np.float32(g.exposure(planes.color))
    return float(np.std(g.luminance(g.transfer(planes.color * e)) - g.luminance(g.transfer(clean * e))))


@settings(max_examples=12, deadline=None)
@given(st.floats(0.005, 0.4), st.integers(0, 999))
def test_white_noise_is_measured(noise, seed):
    planes, clean = scene(noise, seed)
    assert measured(planes).level == pytest.approx(truth(planes, clean), rel=0.12)


def test_texture_that_the_albedo_explains_is_not_noise():
    planes, clean = scene(0.01, texture=0.2)
    assert measured(planes).level == pytest.approx(truth(planes, clean), rel=0.3)
    bare = replace(planes, albedo=None, normal=None)
    assert measured(bare).level > 10 * truth(planes, clean)


def test_auxiliary_planes_of_the_same_rays_do_not_explain_noise_away():
    planes, clean = scene(0.1)
    same = replace(planes, depth=(2 * planes.color[..., 0] / clean[..., 0]).astype(np.float32))
    blind, wary = (render_noise.measure(same, g.exposure(same.color), 2.0, clean) for clean in (True, False))
    sigma = truth(planes, clean)
    assert np.median(blind.variance) < 0.1 * sigma**2
    assert np.median(wary.variance) == pytest.approx(sigma**2, rel=0.25)


def test_the_network_is_told_of_little_noise_alone():
    assert measured(scene(0.3)[0]).told() is None
    few, fewer = (measured(scene(noise)[0]).told() for noise in (0.02, 0.01))
    assert 0 < fewer < few < 1
    # As a variance plane that holds twice the deviation would say.
    lum = np.float32(0.18)
    sigma = measured(scene(0.02)[0]).level * np.log1p(g.CURVE_SLOPE) * (lum + 0.02) * render_noise.TOLD
    assert few == pytest.approx(float(g.relative_variance(np.float32([[sigma**2]]), lum)[0, 0]), rel=1e-4)


def test_fine_texture_is_told_from_noise():
    smooth, _ = scene(0.05)
    grains = np.pad(np.random.default_rng(3).standard_normal((SIDE, SIDE)), 1, mode="wrap")
    tall = grains[:-2] + 2 * grains[1:-1] + grains[2:]
    cloth = (1 + 0.02 * (tall[:, :-2] + 2 * tall[:, 1:-1] + tall[:, 2:]))[..., None].astype(np.float32)
    cloth[: SIDE // 3] = 1  # beside a plain wall
    woven = replace(smooth, color=(smooth.color * cloth).astype(np.float32))
    assert not measured(smooth).textured and measured(woven).textured
    assert measured(smooth).told() is None and measured(woven).told() is not None


def test_a_shrunk_frame_is_not_taken_for_texture():
    """What a box spread is as little like white noise as texture is, but everywhere."""
    big, _ = scene(0.3)
    kept = round(0.77 * SIDE)
    edges = np.linspace(0, SIDE, kept + 1)
    covered = np.clip(
        np.minimum(edges[1:, None], np.arange(1, SIDE + 1)) - np.maximum(edges[:-1, None], np.arange(SIDE)), 0, 1
    )
    box = (covered / covered.sum(1, keepdims=True)).astype(np.float32)
    small = {n: np.einsum("yh,xw,hwc->yxc", box, box, getattr(big, n)) for n in ("color", "albedo", "normal")}
    found = measured(replace(big, layers={"": small["color"]}, **small))
    assert not found.textured and found.told() is None


def test_black_print_on_white_is_not_noise():
    """The curve is not straight: what is linear in the albedo alone leaves half of such print unexplained."""
    planes, clean = scene(0.01)
    ink = np.random.default_rng(5).random((SIDE // 2, SIDE // 2)) < 0.4
    ink = np.kron(ink, np.ones((2, 2)))[..., None].astype(np.float32)
    albedo = (0.8 - 0.72 * ink).repeat(3, 2).astype(np.float32)
    printed = replace(planes, color=planes.color / np.float32(0.5) * albedo, albedo=albedo)
    sigma = truth(printed, clean / np.float32(0.5) * albedo)
    assert np.sqrt(np.median(measured(printed).variance)) == pytest.approx(sigma, rel=0.4)


def test_glints_that_nothing_explains_are_little_noise():
    planes, clean = scene(0.02)
    grains = np.pad(np.random.default_rng(3).standard_normal((SIDE, SIDE)), 1, mode="wrap")
    tall = grains[:-2] + 2 * grains[1:-1] + grains[2:]
    wet = np.exp(0.1 * (tall[:, :-2] + 2 * tall[:, 1:-1] + tall[:, 2:]))[..., None].astype(np.float32)
    wet[:, : SIDE // 2] = 1  # dry
    glinting = replace(planes, color=planes.color * wet)
    found, variance = measured(glinting), truth(glinting, clean * wet) ** 2
    assert found.level**2 > 10 * variance  # glints and all
    assert np.median(found.variance[:, :5]) == pytest.approx(variance, rel=0.4)
    assert np.median(found.variance[:, 7:]) < 4 * variance


def test_noise_that_a_filter_spread_is_not_measured():
    planes, _ = scene(0.1)
    wide = np.pad(planes.color, ((1, 1), (1, 1), (0, 0)), mode="edge")
    tall = 0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]
    color = 0.25 * tall[:, :-2] + 0.5 * tall[:, 1:-1] + 0.25 * tall[:, 2:]
    assert render_noise.measure(replace(planes, color=color), g.exposure(color), None) is None


@pytest.mark.parametrize(
    "other",
    [
        {"encoding": "srgb"},
        {"variance": np.ones((SIDE, SIDE), np.float32)},
        {"color": np.ones((SIDE, 16, 3), np.float32), "albedo": None, "normal": None},
    ],
    ids=["photograph", "variance plane", "small"],
)
def test_what_is_not_measured(other):
    assert render_noise.measure(replace(scene(0.1)[0], **other), 1.0, None) is None


def test_what_the_filter_took_beyond_the_noise_comes_back():
    planes, clean = scene(0.01)
    lamp = planes.color.copy()
    lamp[66:78, 66:78] += 3.0
    planes = replace(planes, color=lamp, layers={"": lamp})
    result = clean.copy()  # the noise is gone, and so is the lamp
    render_noise.weigh(measured(planes), planes, g.exposure(lamp), outputs := {"": result})
    assert np.abs(outputs[""] - lamp)[68:76, 68:76].max() < 0.5
    np.testing.assert_array_equal(outputs[""][:24], clean[:24])


def test_a_frame_without_noise_comes_back_as_it_was():
    planes, clean = scene(0.0)
    before = (0.5 * clean).astype(np.float32)
    render_noise.weigh(measured(planes), planes, g.exposure(planes.color), outputs := {"": before.copy()})
    assert np.abs(outputs[""] - clean).max() < 0.02 * np.abs(before - clean).max()


def test_sums_strange_types_and_fireflies():
    planes, clean = scene(0.01)
    color = planes.color.copy()
    color[70, 70], color[20, 20, 1] = 5000.0, np.nan
    part = (0.3 * color).astype(np.float32)
    alpha = np.full((SIDE, SIDE), 0.5, np.float16)
    layers = {"": color, "part": part, "rest": color - part, "alpha": alpha}
    planes = replace(planes, color=color, layers=layers)
    half = 0.5 * clean
    outputs = {"": half.copy(), "part": 0.3 * half, "rest": 0.7 * half, "alpha": np.ones_like(alpha)}
    render_noise.weigh(measured(planes), planes, g.exposure(color), outputs)
    np.testing.assert_allclose(outputs["part"] + outputs["rest"], outputs[""], rtol=1e-5)
    assert np.isfinite(outputs[""]).all() and outputs["alpha"].dtype == np.float16
    assert outputs[""][70, 70].max() < 1.0
    assert np.abs(outputs[""][100:120, 100:120] - clean[100:120, 100:120]).max() < 0.1


def test_strength_only_scales_what_comes_back():
    planes, clean = scene(0.01)
    exposure, found = g.exposure(planes.color), measured(planes)
    filtered = 0.6 * clean
    render_noise.weigh(found, planes, exposure, whole := {"": filtered.copy()})
    render_noise.weigh(found, planes, exposure, part := {"": 0.3 * planes.color + 0.7 * filtered}, 0.7)
    np.testing.assert_allclose(part[""], 0.3 * planes.color + 0.7 * whole[""], atol=0.02)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_final_frame_passes_nearly_as_it_is(noise):
    rng = np.random.default_rng(2)
    tiles = np.kron(rng.random((SIDE // 4, SIDE // 4)) > 0.6, np.ones((4, 4)))[..., None]
    albedo = (0.3 + 0.5 * tiles).repeat(3, 2).astype(np.float32)
    clean = (scene(0.0)[1] * albedo).astype(np.float32)
    color = (clean * (1 + noise * rng.standard_normal(clean.shape))).astype(np.float32)
    found = Denoiser()(color, albedo=albedo)
    assert np.sqrt(np.mean((found - clean) ** 2)) < 0.01 * clean.std() + 2 * noise
    np.testing.assert_allclose(found.mean(), clean.mean(), rtol=1e-3)


def test_a_constant_frame_stays_constant():
    color = np.full((96, 96, 3), 0.7, np.float32)
    np.testing.assert_allclose(Denoiser()(color), color, rtol=1e-5)
