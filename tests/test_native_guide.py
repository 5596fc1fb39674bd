"""The compiled guide against its definition in NumPy."""

from dataclasses import replace

import numpy as np
import pytest

from mdenoise import filter as kernel_filter
from mdenoise import guide as g
from mdenoise import look, models
from mdenoise.config import Options
from mdenoise.frame import Planes
from mdenoise.tile_guide import build_guide, packed_guide

_native = kernel_filter._native
pytestmark = pytest.mark.skipif(_native is None, reason="installed without the compiled filter")


def unpacked(packed, channels):
    """(1, H/2, W/2, 4 C) to (C, H, W) float32."""
    _, h, w, _ = packed.shape
    cells = kernel_filter.as_float32(packed).reshape(h, w, channels, 2, 2)
    return cells.transpose(2, 0, 3, 1, 4).reshape(channels, 2 * h, 2 * w)


def make_planes(h, w, dtype, guides):
    rng = np.random.default_rng(3)
    color = rng.lognormal(0, 2, (h, w, 3)).astype(dtype)
    color[0, 0] *= -0.1
    albedo = (rng.random((h, w, 3)) * (rng.random((h, w, 1)) > 0.2)).astype(dtype)
    normal = (2 * rng.standard_normal((h, w, 3))).astype(dtype)
    depth, variance = rng.lognormal(1, 1, (2, h, w)).astype(dtype)
    if h > 8:
        color[5, 7], color[6, 3, 1], albedo[4, 4], normal[2, 2, 0] = np.nan, np.inf, np.nan, -np.inf
        color[20:24:3, 30:34:3] = 3e4  # three companions each: too bright, but no fireflies
        color[h // 2, w // 2] = color[-1, -1] = 6e4
        color[8, 8], depth[3, 3], depth[4, 1], variance[1, 1] = 6e4, np.nan, np.inf, np.nan
    aux = {"albedo": albedo, "normal": normal, "depth": depth, "variance": variance}
    return Planes(color, {"color": color}, frozenset({"color"}), **(aux if guides else {}))


@pytest.mark.parametrize("channels", [16, g.GUIDE_CHANNELS])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("guides", [False, True])
@pytest.mark.parametrize(("h", "w"), [(64, 128), (61, 101), (1, 1), (130, 70)])
def test_guide_is_the_definition(h, w, guides, dtype, channels):
    planes = make_planes(h + 3, w + 5, dtype, guides)
    measured = look.measure(planes, Options(robustness=0.25))
    measured = replace(measured, demodulated=guides, guide_channels=channels, hidden_px=np.eye(h + 3, w + 5) > 0)
    rows, cols = slice(3, 3 + h), slice(5, 5 + w)
    size = -(-h // 64) * 64, -(-w // 64) * 64
    seen = g.trusted_px(planes.color[rows, cols])
    guide, trust, factor = build_guide(planes, measured, rows, cols, seen, size)
    for bf16 in (False, True):
        packed, confidence, divisor = packed_guide(planes, measured, rows, cols, seen, size, bf16)
        near = dict(rtol=2**-8, atol=1e-6) if bf16 else dict(rtol=2e-6, atol=2e-7)
        np.testing.assert_allclose(unpacked(packed, channels), guide, **near)
        np.testing.assert_allclose(confidence, trust, rtol=1e-6)
        assert (divisor is None) == (factor is None) == (not guides)
        if guides:
            np.testing.assert_allclose(divisor, factor, rtol=1e-6)


def test_every_instruction_set_packs_alike():
    planes = np.random.default_rng(0).standard_normal((g.GUIDE_CHANNELS, 64, 176)).astype(np.float32)
    for isa in _native.isas():
        np.testing.assert_array_equal(unpacked(_native.pack(planes, False, 2, isa), len(planes)), planes)
        half = unpacked(_native.pack(planes, True, 2, isa), len(planes))
        assert (np.abs(half - planes) <= np.abs(planes) * 2**-8).all()


def test_curve_is_exact_enough():
    """Over the whole range of the transfer curve, for every instruction set."""
    values = np.concatenate([[0, 1e-12, 1e-6, 1e-3], np.geomspace(1e-4, 200, 16 * 64 * 3 - 4)]).astype(np.float32)
    color = values.reshape(16, 64, 3)
    numbers = {
        "exposure": 1.0, "slope": g.CURVE_SLOPE, "most": g.CURVE_MAX, "scale": 1 / np.log1p(g.CURVE_SLOPE),
        "absurd": g.ABSURD, "black_low": 0.1, "black_high": 0.2, "albedo_floor": 0.1, "outlier_multiple": 32.0,
        "outlier_floor": 0.25, "kind": 1.0, "channels": 4,
    }  # fmt: skip
    for isa in _native.isas():
        places = [0, 3, *range(4, 13)]
        packed, _, _ = _native.guide(
            color, None, None, None, None, None, (16, 64), False, False, numbers, places, 1, isa
        )
        np.testing.assert_allclose(
            unpacked(packed, 4)[:3], np.moveaxis(g.transfer(color), -1, 0), rtol=5e-7, atol=1e-12
        )


def test_trusted_is_the_definition(monkeypatch):
    rng = np.random.default_rng(1)
    for dtype in (np.float16, np.float32):
        image = rng.standard_normal((37, 53, 4)).astype(dtype)
        image[rng.random(image.shape) < 0.02] = np.nan
        image[rng.random(image.shape) < 0.02] = -np.inf
        if dtype == np.float32:
            image[0, :5, 0] = 1e20, -1e20, 9e19, np.nextafter(np.float32(1e20), np.float32(0)), 3e38
        for view in (image, image[::2, ::-3], image.transpose(1, 0, 2), image[..., :1]):
            compiled = g.trusted_px(view)
            monkeypatch.setattr(g, "_native", None)
            np.testing.assert_array_equal(compiled, g.trusted_px(view))
            monkeypatch.undo()


def test_what_would_read_outside_is_refused():
    color = np.zeros((64, 64, 3), np.float32)
    card = models.load_card()
    planes = Planes(color, {"color": color})
    measured = replace(look.measure(planes, Options()), guide_channels=card.guide_channels)
    whole = slice(0, 64)
    seen = np.ones((64, 64), bool)
    for size in ((32, 64), (64, 32), (65, 64), (0, 0)):
        with pytest.raises(ValueError, match=r"must lie in the guide|multiples of 16"):
            packed_guide(planes, measured, whole, whole, seen, size, True)
    for name in ("albedo", "normal"):
        wrong = replace(planes, **{name: color[:, :, :2]})
        with pytest.raises(ValueError, match=f"{name} has shape"):
            packed_guide(wrong, measured, whole, whole, seen, (64, 64), True)
    with pytest.raises(ValueError, match="both even"):
        _native.pack(np.zeros((3, 5, 4), np.float32), True)
