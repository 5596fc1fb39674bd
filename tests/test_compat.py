"""The call of pyoidn, by both: same arguments, kinds, types, shapes and exceptions."""

import inspect

import numpy as np
import pytest

from mdenoise.compat import pyoidn as ours

theirs = pytest.importorskip("pyoidn", reason="pyoidn is not installed (extra: eval)")


def scene(height=64, width=96, dtype=np.float32):
    """Flat patches under noisy light: (noisy, albedo, normal, clean)."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:height, :width]
    albedo = np.array([(0.8, 0.2, 0.1), (0.2, 0.7, 0.3), (0.4, 0.4, 0.9)], np.float32)[(x // 16 + y // 16) % 3]
    normal = np.zeros_like(albedo)
    normal[..., 2] = 1
    clean = 0.2 * albedo  # noise that stays below 1, where nothing is clipped
    noisy = clean * rng.gamma(2.0, 0.5, (height, width, 1))
    return tuple(array.astype(dtype) for array in (noisy, albedo, normal, clean))


def test_signatures_are_the_same():
    def shape(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert shape(ours.denoise) == shape(theirs.denoise)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"hdr": True},
        {"hdr": True, "clean_aux": True, "quality": "balanced"},
        {"quality": "fast"},
        {"quality": theirs.OIDN_QUALITY_BALANCED, "filter_type": theirs.OIDN_FILTER_TYPE_RT},
        {"quality": theirs.OIDN_QUALITY_DEFAULT},
        {"quality": theirs.OIDN_QUALITY_HIGH, "hdr": True},
        {"quality": theirs.OIDN_QUALITY_FAST},
    ],
)
@pytest.mark.parametrize("guides", [0, 1, 2])
def test_both_denoise_with_the_same_arguments(dtype, arguments, guides):
    noisy, albedo, normal, clean = scene(dtype=dtype)
    results = [module.denoise(noisy, *(albedo, normal)[:guides], **arguments) for module in (ours, theirs)]
    for result in results:
        assert type(result) is np.ndarray and result.dtype == dtype and result.shape == noisy.shape
        assert result.flags.c_contiguous
        error, before = (np.abs(image.astype(np.float32) - clean).mean() for image in (result, noisy))
        assert error < 0.6 * before


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    noisy, albedo, normal, _ = (torch.from_numpy(array) for array in scene())
    flipped = noisy.flip(0).requires_grad_()
    for module in (ours, theirs):
        result = module.denoise(flipped, albedo.half(), normal, hdr=True)
        assert isinstance(result, torch.Tensor) and result.dtype == noisy.dtype and result.shape == noisy.shape
        assert result.is_contiguous() and not result.requires_grad


def test_without_hdr_both_stay_within_zero_and_one():
    noisy = 14 * scene()[0]
    for module in (ours, theirs):
        result = module.denoise(noisy)
        assert result.min() >= 0 and result.max() <= 1
        assert module.denoise(noisy, hdr=True).max() > 1


def test_views_are_not_changed():
    noisy = scene()[0]
    view = noisy[::-1, ::2]
    before = view.copy()
    np.testing.assert_array_equal(ours.denoise(view, hdr=True), ours.denoise(before, hdr=True))
    np.testing.assert_array_equal(view, before)


GOOD = scene(16, 16)[0]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((GOOD.tolist(),), {}),
        ((GOOD.astype(np.float64),), {}),
        ((GOOD[..., :1],), {}),
        ((np.dstack([GOOD, GOOD[..., :1]]),), {}),
        ((GOOD[:0],), {}),
        ((GOOD, GOOD[:8]), {}),
        ((GOOD, GOOD.astype(np.uint8)), {}),
        ((GOOD, GOOD.tolist()), {}),
        ((GOOD,), {"hdr": 1}),
        ((GOOD,), {"clean_aux": None}),
        ((GOOD,), {"quality": "best"}),
        ((GOOD,), {"quality": 99}),
        ((GOOD,), {"quality": True}),
        ((GOOD,), {"quality": 1.5}),
        ((GOOD,), {"filter_type": "RTX"}),
    ],
)
def test_both_refuse_with_the_same_kind_of_error(arguments, options):
    caught = []
    for module in (theirs, ours):
        with pytest.raises((TypeError, ValueError)) as error:
            module.denoise(*arguments, **options)
        caught.append(error.type)
        assert "\n" not in str(error.value)
    assert caught[0] is caught[1]


def test_what_ours_refuses_alone():
    with pytest.raises(ValueError, match="'RTLightmap' cannot be used"):
        ours.denoise(GOOD, filter_type="RTLightmap")
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="same kind of array"):
        ours.denoise(GOOD, torch.from_numpy(GOOD))
    with pytest.raises(TypeError):
        ours.denoise(torch.zeros(8, 8, 3, dtype=torch.bfloat16))
