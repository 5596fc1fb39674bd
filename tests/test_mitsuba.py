"""The Mitsuba denoiser on a real render."""

import functools
import os
import subprocess
import sys
import warnings

import numpy as np
import OpenEXR
import pytest

from mdenoise.errors import InputError, MDenoiseError, UsageError

mi = pytest.importorskip("mitsuba", reason="needs mitsuba")

SIZE = 64
THREADS = 2  # with one, as on a machine of one core, Mitsuba's writer of files waits for itself


@pytest.fixture(scope="module")
def scene():
    import drjit

    mi.set_variant("scalar_rgb")
    drjit.set_thread_count(THREADS)
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


def test_to_sensor_turns_the_normals(noisy):
    from mdenoise.integrations.mitsuba import Denoiser

    # Not bf16, which makes per cents of single pixels out of the last bit of a normal.
    denoiser = Denoiser([SIZE, SIZE], albedo=True, normals=True, precision="f32")
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
            "1, 3 or 4 channels",
            lambda: Denoiser([SIZE, SIZE])(mi.TensorXf(np.zeros((SIZE, SIZE, 2), np.float32))),
        ),
        (UsageError, "wrong", lambda: Denoiser([SIZE, SIZE], wrong=1)),
    ]
    for kind, text, call in cases:
        with pytest.raises(kind, match=text) as caught:
            call()
        assert isinstance(caught.value, MDenoiseError) and "\n" not in str(caught.value)


def test_render_helper_adds_guides_and_keeps_the_shape(scene, noisy, denoiser):
    from mdenoise.integrations.mitsuba import render

    clean = render(scene, spp=2, seed=1)
    assert type(clean) is mi.TensorXf and clean.shape == (SIZE, SIZE, 4)
    np.testing.assert_allclose(np.array(clean), pixels(denoiser(noisy, "albedo", "sh_normal")), rtol=1e-4, atol=1e-4)
    plain = render(scene, spp=2, denoise=False, seed=1)
    np.testing.assert_array_equal(np.array(plain), np.array(mi.render(scene, spp=2, seed=1)))
    half = np.array(render(scene, spp=2, seed=1, strength=0.5))[..., :3]
    between = (np.array(plain)[..., :3] + np.array(clean)[..., :3]) / 2
    np.testing.assert_allclose(half, between, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("filter_name", "told"), [("box", False), ("gaussian", True), ("mitchell", True)])
def test_render_helper_says_when_the_filter_splats(filter_name, told):
    from mdenoise.integrations.mitsuba import render

    description = mi.cornell_box()
    film = {"width": 16, "height": 24, "rfilter": {"type": filter_name}, "pixel_format": "rgb"}
    description["sensor"]["film"] |= film
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert render(mi.load_dict(description), spp=1).shape == (24, 16, 3)
    told_now = [str(warning.message) for warning in caught if "spreads samples" in str(warning.message)]
    assert bool(told_now) == told


# Renders in one variant, in a process of its own: a wrong LLVM ends the process, and a variant is for a whole process.
VARIANT = """
import sys
from pathlib import Path

import mitsuba as mi
import numpy as np

variant, folder = sys.argv[1], Path(sys.argv[2])
mi.set_variant(variant)
import drjit

drjit.set_thread_count(int(sys.argv[3]))
if variant.startswith("llvm"):
    drjit.eval(mi.Float([1.0, 2.0]) * 3)  # here a missing or unfit LLVM shows
from mdenoise.integrations.mitsuba import Denoiser, render

grey = "mono" in variant
description = mi.cornell_box()
film = {"width": 96, "height": 64, "rfilter": {"type": "box"}, "pixel_format": "luminance" if grey else "rgb"}
description["sensor"]["film"] |= film | {"component_format": "float32"}
path = description["integrator"] = {"type": "path", "max_depth": 4}
scene = mi.load_dict(description)
np.save(folder / "render.npy", np.array(render(scene, spp=4, seed=3)))
if grey:
    raise SystemExit
aov = mi.load_dict({"type": "aov", "aovs": "albedo:albedo,sh_normal:sh_normal", "img": path})
tensor = mi.render(scene, integrator=aov, spp=4, seed=3)
film = scene.sensors()[0].film()
bitmap = film.bitmap()
film.write(str(folder / "noisy.exr"))
denoiser = Denoiser(bitmap.size(), albedo=True, normals=True)
clean = denoiser(bitmap, albedo_ch="albedo", normals_ch="sh_normal")
np.save(folder / "bitmap.npy", np.array(clean))
clean = denoiser(tensor[..., :3], tensor[..., 3:6], tensor[..., 6:9])
assert type(clean) is mi.TensorXf, type(clean)
np.save(folder / "tensor.npy", np.array(clean))
plain = Denoiser(bitmap.size())(tensor[..., :3])
np.save(folder / "plain.npy", np.array(plain))
"""


def run_variant(variant, folder):
    command = [sys.executable, "-W", "error", "-c", VARIANT, variant, str(folder), str(THREADS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


@functools.cache
def why_no_llvm():
    """Why the LLVM variants do not run here, "" when they do; asked in a process that an unfit LLVM may abort."""
    code = "import mitsuba as mi, drjit; mi.set_variant('llvm_ad_rgb'); drjit.eval(mi.Float([1.0, 2.0]) * 3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


def need_llvm(variant):
    if variant.startswith("llvm") and why_no_llvm():
        pytest.skip(f"needs an LLVM that Mitsuba can use, e.g. apt-get install libllvm19: {why_no_llvm()}")


@pytest.mark.parametrize("variant", ["scalar_rgb", "llvm_ad_rgb"])
def test_both_forms_give_the_pixels_of_the_command(variant, tmp_path):
    need_llvm(variant)
    found = run_variant(variant, tmp_path)
    command = [sys.executable, "-m", "mdenoise", "-q", str(tmp_path / "noisy.exr")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MDENOISE_")}
    for name, more in (("clean", []), ("plain", ["--albedo", "none", "--normal", "none"])):
        output = tmp_path / f"{name}.exr"
        subprocess.run([*command, "-o", str(output), *more], check=True, capture_output=True, env=environment)
        written = root(output)
        noisy = root(tmp_path / "noisy.exr")
        assert written.dtype == np.float32 and np.abs(written - noisy).max() > 0.1
        for form in ("bitmap", "tensor", "render") if name == "clean" else ("plain",):
            np.testing.assert_allclose(found[form], written, rtol=0, atol=1e-4)


def root(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = file.channels()
        return np.stack([np.array(planes[name].pixels) for name in "RGB"], -1)


def test_render_helper_without_colour(tmp_path):
    need_llvm("llvm_ad_mono")
    clean = run_variant("llvm_ad_mono", tmp_path)["render"]
    assert clean.shape == (64, 96, 1) and np.isfinite(clean).all() and clean.max() > 0.1
