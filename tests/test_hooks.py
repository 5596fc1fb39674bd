"""The host API on arrays: kinds, types, views, errors; and what the filter promises, through the shipped model."""

import threading

import numpy as np
import pytest

import mdenoise
from mdenoise.errors import Cancelled, InputError, ModelError, UsageError


@pytest.fixture(scope="module")
def denoiser():
    with mdenoise.Denoiser(precision="f32") as d:
        yield d


def noisy(height=70, width=90, seed=1, channels=3):
    rng = np.random.default_rng(seed)
    return (0.5 * rng.gamma(0.7, 1.4, (height, width, channels))).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50, 1), (40, 50, 4), (40, 50), (1, 1, 3), (7, 5, 3)])
def test_kind_type_and_shape_come_back(denoiser, dtype, shape):
    image = np.random.default_rng(2).random(shape)
    image = (image * np.iinfo(dtype).max).astype(dtype) if np.dtype(dtype).kind == "u" else image.astype(dtype)
    before = image.copy()
    result = denoiser(image)
    assert result.dtype == image.dtype
    assert result.shape == image.shape
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(image, before)
    if image.shape[0] > 7:
        assert result.astype(np.float64)[..., :1].std() < 0.6 * image.astype(np.float64)[..., :1].std()


def test_views_and_order_do_not_matter(denoiser):
    image = noisy()
    expected = denoiser(image)
    np.testing.assert_array_equal(denoiser(np.asfortranarray(image)), expected)
    flipped = np.ascontiguousarray(image[::-1])[::-1]
    flipped.flags.writeable = False
    np.testing.assert_array_equal(denoiser(flipped), expected)


def test_torch_in_torch_out(denoiser):
    torch = pytest.importorskip("torch")
    image = noisy()
    result = denoiser(torch.from_numpy(image))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), denoiser(image))


def test_layers_add_up_to_the_result(denoiser):
    image, rng = noisy(), np.random.default_rng(3)
    share = rng.random((*image.shape[:2], 1)).astype(np.float32)
    albedo = rng.random(image.shape).astype(np.float32)
    done = denoiser(image, albedo, layers={"key": image * share, "fill": image * (1 - share)})
    total = done.layers["key"] + done.layers["fill"]
    np.testing.assert_allclose(total, done.color, rtol=1e-5, atol=1e-6)


def test_exposure_is_kept_exactly(denoiser):
    image = noisy()
    np.testing.assert_allclose(denoiser(image * 1024) / 1024, denoiser(image), rtol=1e-4)


def test_strength(denoiser):
    image = noisy()
    image[3, 3] = np.nan
    np.testing.assert_array_equal(denoiser(image, strength=0.0), image)
    full, half = denoiser(image), denoiser(image, strength=0.5)
    ok = np.isfinite(image)
    np.testing.assert_allclose(half[ok], (0.5 * image + 0.5 * full)[ok], rtol=1e-5)
    np.testing.assert_array_equal(half[3, 3], full[3, 3])


def test_result_stays_within_the_trusted_input(denoiser):
    image = noisy(seed=5)
    image[10, 10], image[20, 20] = np.inf, np.nan
    result = denoiser(image)
    trusted = image[np.isfinite(image).all(axis=2)]
    assert (result <= trusted.max(axis=0) * (1 + 1e-5)).all()
    assert (result >= trusted.min(axis=0) * (1 - 1e-5)).all()


def test_opaque_alpha_stays_opaque(denoiser):
    image = noisy(channels=4)
    image[..., 3] = 1.0
    assert (denoiser(image)[..., 3] == 1.0).all()


def test_alpha_can_be_kept():
    image = noisy(channels=4)
    kept = mdenoise.Denoiser(alpha="keep")(image)
    np.testing.assert_array_equal(kept[..., 3], image[..., 3])
    assert not np.array_equal(kept[..., 0], image[..., 0])


def test_albedo_with_layers_of_every_channel_count(denoiser):
    image, albedo = noisy(channels=4), np.full((70, 90, 3), 0.3, np.float16)
    layers = {"one": image[..., 0], "two": image[..., :2], "four": image}
    done = denoiser(image, albedo, layers=layers)
    assert {name: layer.shape for name, layer in done.layers.items()} == {k: v.shape for k, v in layers.items()}
    assert denoiser(image[..., :1], albedo).shape == (70, 90, 1)
    fixed = np.full((70, 90, 3), 77, np.uint8)
    np.testing.assert_allclose(denoiser(image, fixed), denoiser(image, fixed / np.float32(255)), rtol=1e-5)


def test_a_read_only_single_pixel_with_albedo(denoiser):
    pixel = np.full((1, 1, 3), 0.7, np.float32)
    albedo = np.full((1, 1, 3), 1.5, np.float32)
    albedo.flags.writeable = False
    np.testing.assert_allclose(denoiser(pixel, albedo), pixel, rtol=1e-6)
    assert albedo[0, 0, 0] == 1.5
    np.testing.assert_array_equal(mdenoise.Denoiser(robustness=0.9)(pixel), pixel)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_radiance_of_any_scale(denoiser, scale):
    image = noisy()
    np.testing.assert_allclose(denoiser(image * np.float32(scale)) / np.float32(scale), denoiser(image), rtol=1e-3)


@pytest.mark.parametrize("depth", [np.zeros((70, 90)), np.full((70, 90), np.inf), np.full((70, 90), np.nan)])
def test_a_depth_that_says_nothing_changes_nothing_much(denoiser, depth):
    assert np.isfinite(denoiser(noisy(), depth=depth.astype(np.float32))).all()


def test_camera_space_depth_counts_by_magnitude(denoiser):
    depth = np.random.default_rng(1).uniform(1, 9, (70, 90)).astype(np.float32)
    np.testing.assert_array_equal(denoiser(noisy(), depth=-depth), denoiser(noisy(), depth=depth))


def test_everything_hidden_gives_finite_output(denoiser):
    assert np.isfinite(denoiser(np.full((20, 20, 3), np.nan, np.float32))).all()


def test_best_and_robustness_are_other_passes():
    image = noisy()
    plain = mdenoise.Denoiser(precision="f32")(image)
    best = mdenoise.Denoiser(precision="f32", quality="best")(image)
    robust = mdenoise.Denoiser(precision="f32", robustness=0.5)(image)
    assert not np.array_equal(plain, best)
    assert not np.array_equal(plain, robust)
    assert abs(best.mean() / plain.mean() - 1) < 0.02
    assert abs(robust.mean() / plain.mean() - 1) < 0.1


def test_onnxruntime_agrees_with_openvino(denoiser):
    pytest.importorskip("onnxruntime")
    image = noisy()
    other = mdenoise.Denoiser(engine="onnxruntime")(image)
    np.testing.assert_allclose(other, denoiser(image), rtol=1e-3, atol=1e-4)


def test_threads_share_one_denoiser(denoiser):
    images = [noisy(seed=s) for s in range(4)]
    expected = [denoiser(i) for i in images]
    results = [None] * 4

    def work(k):
        results[k] = denoiser(images[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_progress_and_cancel(denoiser):
    seen = []
    denoiser(noisy(), progress=seen.append)
    assert seen[-1] == 1.0
    with pytest.raises(Cancelled):
        denoiser(noisy(), cancel=lambda: True)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda d: d(np.zeros((4, 4, 2), np.float32)), InputError, "color with 2 channels"),
        (lambda d: d(np.zeros((3, 40, 40), np.float32)), InputError, "channels come last"),
        (lambda d: d(np.zeros((4, 4, 3), np.int64)), InputError, "of type int64"),
        (lambda d: d(np.zeros((0, 4, 3), np.float32)), InputError, "of shape"),
        (lambda d: d("no image"), InputError, "cannot"),
        (lambda d: d(noisy(), np.zeros((5, 5, 3), np.float32)), InputError, "albedo of size 5x5: color is 90x70"),
        (lambda d: d(noisy(), encoding="log"), UsageError, "encoding 'log'"),
        (lambda d: mdenoise.Denoiser(model="none"), ModelError, "no model 'none' is installed"),
        (lambda d: mdenoise.Denoiser(qualty="best"), UsageError, "qualty"),
        (lambda d: d(noisy(), None, np.zeros((70, 90, 3), np.uint8)), InputError, "normal of type uint8"),
        (lambda d: mdenoise.Denoiser(albedo="N"), UsageError, "albedo names a layer of a file"),
        (lambda d: mdenoise.Denoiser(max_memory_mb=-5), UsageError, "max memory -5"),
        (lambda d: mdenoise.Denoiser(robustness="abc"), UsageError, "robustness 'abc'"),
        (lambda d: mdenoise.Denoiser(quality="superb"), UsageError, "use fast, balanced, best"),
    ],
)
def test_errors_say_what_and_why(denoiser, call, error, text):
    with pytest.raises(error, match=text):
        call(denoiser)


def test_closed_denoiser_refuses():
    d = mdenoise.Denoiser()
    d.close()
    with pytest.raises(UsageError, match="closed"):
        d(noisy())
