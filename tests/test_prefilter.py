"""`--prefilter`: noisy albedo and normal are denoised before they guide, and what is not there stays away."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mdenoise import Denoiser
from mdenoise.cli import main
from mdenoise.frame import Filtered, Planes
from mdenoise.prefilter import prefiltered, steadied
from mdenoise.training import metrics, render_suites, renders

DATA = Path(__file__).parent / "data" / "renders"


@pytest.fixture(scope="module")
def noisy():
    return render_suites.noisy_aux(renders.find(DATA, "gallery", 4))


def test_noisy_planes_cost_less_when_they_are_denoised_first(noisy):
    scores = {}
    for how in (False, "auto", True):
        with Denoiser(prefilter=how) as denoiser:
            done = denoiser(noisy.color, noisy.albedo, noisy.normal, depth=noisy.depth)
        scores[how] = metrics.psnr(done, noisy.reference)
    assert scores[True] > scores[False] + 0.3  # 31.3 and 32.1 dB when this was written
    assert scores["auto"] > scores[False] + 0.1


def test_depth_of_field_leaks_no_noise_by_default():
    case = renders.find(DATA, "macro", 4)
    scores = {}
    for how in (False, "auto"):
        with Denoiser(prefilter=how) as denoiser:
            done = denoiser(case.color, case.albedo, case.normal, depth=case.depth)
        scores[how] = metrics.psnr(done, case.reference)
    assert scores["auto"] > scores[False] + 2.5  # 29.7 and 34.5 dB when this was written


def text(height, width, size):
    """(height, width, 3) print, antialiased as a renderer of many samples would have it."""
    page = Image.new("L", (4 * width, 4 * height), 230)
    font = ImageFont.load_default(4 * size)
    for row, y in enumerate(range(0, height, round(1.3 * size))):
        line = " ".join(("every", "texel", "of", "clean", "print", "stays", "where", "it", "is") * (width // size))
        ImageDraw.Draw(page).text((-40 * row, 4 * y), line, fill=30, font=font)
    grey = np.asarray(page.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    return np.stack([grey, 0.8 * grey, 0.6 * grey], -1)


def squares(height, width, size):
    y, x = np.mgrid[:height, :width] // size
    return np.where((y + x) % 2, 0.8, 0.2).astype(np.float32)[..., None].repeat(3, axis=2)


def with_noise(albedo, seed=3):
    """The albedo with noise that is independent between pixels, a fifth of its value."""
    noise = np.random.default_rng(seed).standard_normal((*albedo.shape[:2], 1))
    return np.clip(albedo * (1 + 0.2 * noise), 0, 1).astype(np.float32)


def given(albedo):
    return Planes(albedo, {"c": albedo}, albedo=albedo)


def error(a, b):
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.mark.parametrize("size", [14, 20, 32, 64])
def test_clean_print_is_left_alone_and_noisy_print_is_not(size):
    clean = text(144, 160, size)
    planes = given(clean)
    assert steadied(planes)[0] is planes
    noisy = with_noise(clean)
    steady, notes = steadied(given(noisy))
    assert error(steady.albedo, clean) < 0.8 * error(noisy, clean) and "noisy" in notes[0]


def test_weave_that_looks_like_noise_is_left_alone():
    """As fine as the pixels, and without order; but it differs from white noise in what is two pixels apart."""
    rng = np.random.default_rng(8)
    grain = np.pad(rng.standard_normal((145, 161)), 1, mode="wrap")
    tall = grain[:-2] + 2 * grain[1:-1] + grain[2:]
    weave = tall[:, :-2] + 2 * tall[:, 1:-1] + tall[:, 2:]
    cloth = np.clip(0.5 + 0.03 * weave, 0, 1)[..., None].repeat(3, axis=2).astype(np.float32)
    assert steadied(given(cloth))[0].albedo is cloth
    assert steadied(given(with_noise(np.full_like(cloth, 0.5))))[1]


def test_what_is_clean_and_what_is_noisy_of_one_frame_are_each_treated_as_they_are():
    for clean, changed in ((squares(144, 320, 24), 0), (text(144, 320, 32), 0.005)):
        noisy = clean.copy()
        noisy[:, 160:] = with_noise(clean[:, 160:])
        steady, _ = steadied(given(noisy))
        left = (steady.albedo != clean).any(axis=-1)[:, :112]  # 48 px around is what is looked at
        assert left.mean() <= changed
        assert error(steady.albedo[:, 160:], clean[:, 160:]) < 0.8 * error(noisy[:, 160:], clean[:, 160:])


@pytest.mark.parametrize("kind", ["flat", "squares", "edge", "black", "steps"])
def test_clean_planes_are_the_same_object(kind):
    y, x = np.mgrid[:144, :160]
    plane = {
        "flat": np.full((144, 160, 3), 0.4, np.float16),
        "squares": squares(144, 160, 24),
        "edge": np.where((x > 0.3 * y + 40)[..., None], [0.9, 0.5, 0.1], [0.1, 0.2, 0.3]).astype(np.float32),
        "black": np.zeros((144, 160, 3), np.float32),
        "steps": np.rint(255 * (0.3 + 0.002 * x)[..., None].repeat(3, 2)).astype(np.float32) / 255,
    }[kind]
    planes = given(plane)
    assert steadied(planes)[0] is planes


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 40, 3), (0, 0, 3)])
def test_the_smallest_planes_pass(shape):
    steady, _ = steadied(given(with_noise(np.full(shape, 0.5, np.float32))))
    assert steady.albedo.shape == shape


def test_bands_of_rows_make_no_difference(monkeypatch):
    noisy = with_noise(text(300, 160, 20)).astype(np.float16)
    noisy[100:120, :50] = np.nan
    whole = steadied(given(noisy))[0].albedo
    assert whole.dtype == np.float16 and np.isnan(whole[100:120, :50]).all() and np.isfinite(whole[:100]).all()
    monkeypatch.setattr("mdenoise.prefilter.ROWS", 1024)
    assert np.allclose(whole, steadied(given(noisy))[0].albedo, atol=1e-3, equal_nan=True)


def test_only_what_is_there_is_filtered(noisy):
    seen = []

    def denoise(planes):
        seen.append(planes)
        return Filtered({name: layer * 0.5 for name, layer in planes.layers.items()})

    albedo = noisy.albedo.copy()
    albedo[:4] = np.nan
    planes = Planes(noisy.color, {"c": noisy.color}, albedo=albedo, normal=noisy.normal, depth=noisy.depth)
    clean = prefiltered(planes, denoise)
    assert np.isnan(clean.albedo[:4]).all() and np.allclose(clean.albedo[4:], 0.5 * albedo[4:])
    assert np.allclose(clean.normal, 0.5 * noisy.normal) and clean.color is noisy.color and clean.depth is noisy.depth
    assert set(seen[0].layers) == {"albedo", "normal"} and seen[0].albedo is None  # one prediction for both
    alone = prefiltered(Planes(noisy.color, {"c": noisy.color}, normal=noisy.normal), denoise)
    assert alone.albedo is None and len(seen) == 2 and seen[1].color.min() >= 0 and seen[1].color.max() <= 1
    bare = Planes(noisy.color, {"c": noisy.color})
    assert prefiltered(bare, denoise) is bare and len(seen) == 2


def test_the_command_has_it(noisy, tmp_path):
    src = tmp_path / "frame.exr"
    side = np.s_[:96, :96]
    planes = {"color": noisy.color[side], "albedo": noisy.albedo[side], "normal": noisy.normal[side]}
    renders.write(src, planes, renders.NOISY_BITS)
    done = {}
    for name, flags in (("plain", ["--no-prefilter"]), ("auto", []), ("prefilter", ["--prefilter"])):
        assert main([str(src), "-q", "-o", str(tmp_path / f"{name}.exr"), *flags]) == 0
        done[name] = renders.read(tmp_path / f"{name}.exr")
    for one, other in (("plain", "auto"), ("plain", "prefilter"), ("auto", "prefilter")):
        assert not np.array_equal(done[one]["color"], done[other]["color"])
    assert np.array_equal(done["prefilter"]["albedo"], renders.read(src)["albedo"])  # a guide; not a result
