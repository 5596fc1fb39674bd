"""The Mitsuba denoiser on a real render."""

import numpy as np
import pytest

from mdenoise.errors import InputError, MDenoiseError, UsageError

mi = pytest.importorskip("mitsuba", reason="needs mitsuba")

SIZE = 64


@pytest.fixture(scope="module")
def scene():
    mi.set_variant("scalar_rgb")
    description = mi.cornell_box()
    description["sensor"]["film"] |= {"width": SIZE, "height": SIZE, "rfilter": {"type": "box"}, "pixel_format": "rgba"}
    description["integrator"] = {
        "type": "aov",
        "aovs": "albedo:albedo,sh_normal:sh_normal",
        "img": {"type": "path", "max_depth": 4},
    }
    return mi.load_dict(description)


@pytest.fixture(scope="module")
def noisy(scene):
    mi.render(scene, spp=2, seed=1)
    return scene.sensors()[0].film().bitmap()


@pytest.fixture(scope="module")
def reference(scene):
    mi.render(scene, spp=64, seed=2)
    return pixels(dict(scene.sensors()[0].film().bitmap().split())["<root>"])


@pytest.fixture(scope="module")
def denoiser():
    from mdenoise.integrations.mitsuba import Denoiser

    return Denoiser([SIZE, SIZE], albedo=True, normals=True)


def pixels(bitmap):
    return np.array(bitmap.convert(bitmap.pixel_format(), mi.Struct.Type.Float32, False))


def error(image, reference):
    """Mean square error of the radiance that a display shows."""
    return float(np.mean((np.clip(image[..., :3], 0, 1) - np.clip(reference[..., :3], 0, 1)) ** 2))


def test_bitmap_form_denoises(noisy, reference, denoiser):
    root = dict(noisy.split())["<root>"]
    clean = denoiser(noisy, albedo_ch="albedo", normals_ch="sh_normal")
    assert isinstance(clean, mi.Bitmap)
    assert list(clean.size()) == [SIZE, SIZE] and clean.pixel_format() == root.pixel_format()
    assert clean.component_format() == mi.Struct.Type.Float32 and not clean.srgb_gamma()
    assert np.isfinite(pixels(clean)).all()
    assert error(pixels(clean), reference) < 0.5 * error(pixels(root), reference)


def test_positional_call_as_with_optix(scene, noisy, denoiser):
    to_sensor = scene.sensors()[0].world_transform().inverse()
    clean = denoiser(noisy, "albedo", "sh_normal", to_sensor, "", "", "<root>")
    assert np.isfinite(pixels(clean)).all()


def test_other_group_can_be_denoised(noisy, denoiser):
    inner = denoiser(noisy, "albedo", "sh_normal", noisy_ch="img")
    root = denoiser(noisy, "albedo", "sh_normal")
    np.testing.assert_allclose(pixels(inner)[..., :3], pixels(root)[..., :3], rtol=1e-3, atol=1e-4)


def test_tensor_form_agrees_with_bitmaps(noisy, denoiser):
    planes = {name: mi.TensorXf(pixels(bitmap)) for name, bitmap in noisy.split()}
    clean = denoiser(planes["<root>"], planes["albedo"], planes["sh_normal"])
    assert type(clean) is mi.TensorXf and clean.shape == planes["<root>"].shape
    np.testing.assert_array_equal(np.array(clean), pixels(denoiser(noisy, "albedo", "sh_normal")))
    keywords = denoiser(
        noisy=planes["<root>"], albedo=planes["albedo"], normals=planes["sh_normal"], flow=mi.TensorXf()
    )
    np.testing.assert_array_equal(np.array(keywords), np.array(clean))


def test_to_sensor_turns_the_normals(noisy, denoiser):
    planes = {name: pixels(bitmap) for name, bitmap in noisy.split()}
    turn = mi.ScalarTransform4f().rotate([0, 1, 0], 90).translate([5, 6, 7])
    x, y, z = np.moveaxis(planes["sh_normal"], -1, 0)
    turned = np.stack([z, y, -x], -1)  # +z to +x
    by_hand = denoiser(mi.TensorXf(planes["<root>"]), mi.TensorXf(planes["albedo"]), mi.TensorXf(turned))
    by_transform = denoiser(noisy, "albedo", "sh_normal", to_sensor=turn)
    np.testing.assert_allclose(pixels(by_transform), np.array(by_hand), rtol=1e-3, atol=1e-4)
    plain = pixels(denoiser(noisy, "albedo", "sh_normal"))
    assert np.abs(pixels(by_transform) - plain).max() > 1e-3


def test_alpha_is_kept_unless_asked_for(noisy, denoiser):
    from mdenoise.integrations.mitsuba import Denoiser

    color = pixels(dict(noisy.split())["<root>"])[..., :3]
    alpha = np.random.default_rng(1).random((SIZE, SIZE, 1)).astype(np.float32)
    image = mi.TensorXf(np.concatenate([color, alpha], axis=2))
    kept = np.array(Denoiser([SIZE, SIZE])(image))
    np.testing.assert_array_equal(kept[..., 3:], alpha)
    filtered = np.array(Denoiser([SIZE, SIZE], denoise_alpha=True)(image))
    np.testing.assert_array_equal(filtered[..., :3], kept[..., :3])
    assert filtered[..., 3].std() < 0.8 * alpha.std()


def test_result_can_be_written(noisy, denoiser, tmp_path):
    clean = denoiser(noisy, "albedo", "sh_normal")
    clean.write(str(tmp_path / "clean.exr"))
    np.testing.assert_array_equal(pixels(mi.Bitmap(str(tmp_path / "clean.exr"))), pixels(clean))


def test_misuse_is_one_clear_line(noisy, denoiser):
    from mdenoise.integrations.mitsuba import Denoiser

    with pytest.raises(UsageError, match="frame by frame"):
        Denoiser([SIZE, SIZE], temporal=True)
    cases = [
        (UsageError, "albedo missing", lambda: denoiser(noisy)),
        (UsageError, "normals not expected", lambda: Denoiser([SIZE, SIZE], albedo=True)(noisy, "albedo", "sh_normal")),
        (
            UsageError,
            "'alb' is not in the bitmap: it holds <root>, albedo",
            lambda: denoiser(noisy, "alb", "sh_normal"),
        ),
        (UsageError, "frame by frame", lambda: denoiser(noisy, "albedo", "sh_normal", flow_ch="albedo")),
        (InputError, "is for 32x64", lambda: Denoiser([32, SIZE])(noisy)),
        (
            InputError,
            "3 or 4 channels",
            lambda: Denoiser([SIZE, SIZE])(mi.TensorXf(np.zeros((SIZE, SIZE, 2), np.float32))),
        ),
        (UsageError, "wrong", lambda: Denoiser([SIZE, SIZE], wrong=1)),
    ]
    for kind, text, call in cases:
        with pytest.raises(kind, match=text) as caught:
            call()
        assert isinstance(caught.value, MDenoiseError) and "\n" not in str(caught.value)
