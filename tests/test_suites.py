"""What the suites of `evaluate renders` do to the committed frames, and what is said of the results."""

import importlib.util
import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mdenoise import report
from mdenoise.errors import EngineError, InputError
from mdenoise.frame import Planes
from mdenoise.training import blender_peer, metrics, oidn, render_evaluate, render_suites, renders, sheets, tables

DATA = Path(__file__).parent / "data" / "renders"
RNG = np.random.default_rng(8)


@pytest.fixture(scope="module")
def garden():
    return renders.find(DATA, "garden", 4)


def part(case, side=96):
    """The upper left of a case, so that tests are quick."""
    cut = {n: getattr(case, n)[:side, :side] for n in ("color", "albedo", "normal", "depth", "reference")}
    return renders.replace(case, **cut)


@pytest.mark.parametrize(("kernel", "ratio"), render_suites.RESIZES)
def test_resized_frames_stay_in_register(garden, kernel, ratio):
    case = render_suites.resized(garden, kernel, ratio)
    assert case.suite == "resized" and ratio not in (1.5, 2.0) and case.origin is garden
    side = 256 if ratio > 1 else round(256 * ratio)
    for plane in (case.color, case.albedo, case.normal, case.depth, case.reference):
        assert plane.shape[:2] == (side, side) and plane.dtype == np.float32
    # The reference is what the reference scales to, and means are kept.
    assert np.array_equal(case.degrade(garden.reference), case.reference)
    if ratio < 1:
        assert case.reference.mean() == pytest.approx(garden.reference.mean(), rel=0.02)
    noise = RNG.standard_normal((256, 256)).astype(np.float32)
    around = render_suites.resize(noise, kernel, ratio)
    neighbours = np.corrcoef(around[:, 1:].ravel(), around[:, :-1].ravel())[0, 1]
    assert neighbours > 0.1  # what makes the suite hard: noise is no longer independent
    assert case.reference_mse < garden.reference_mse


def test_a_resized_gradient_stays_in_place():
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    grown = render_suites.resize(ramp, "lanczos", 1.37)
    assert grown.shape == (64, 64)
    assert grown[32].mean() == pytest.approx(0.5, abs=0.01)  # the middle is kept
    assert np.allclose(np.diff(grown[32]), 1 / 63 / 1.375, rtol=0.05)
    assert render_suites.area(10, 7).sum(axis=1) == pytest.approx(1) and render_suites.area(10, 7)[1, 1:3].all()


def test_fireflies_are_as_many_and_as_bright_as_said(garden):
    case = render_suites.fireflies(garden)
    changed = ~(case.color == garden.color).all(axis=-1)
    assert changed.sum() == round(render_suites.FIREFLY_SHARE * garden.color[..., 0].size) + 2
    assert np.isnan(case.color).all(axis=-1).sum() == 1 and np.isposinf(case.color).all(axis=-1).sum() == 1
    bright = case.color[changed & np.isfinite(case.color).all(axis=-1)].max(axis=-1) / garden.reference.mean()
    assert bright.min() > 0.3 * 100 and 1000 < bright.max() <= 1e4
    assert case.around[changed].all() and case.around.mean() < 0.1
    assert np.array_equal(case.color, render_suites.fireflies(garden).color, equal_nan=True)


def test_noisy_planes_are_noisy_and_unbiased(garden):
    few, many = render_suites.noisy_aux(garden), render_suites.noisy_aux(renders.replace(garden, spp=16))
    wrong = [np.abs(case.normal - garden.normal).mean() for case in (few, many)]
    assert wrong[0] > 1.5 * wrong[1] > 0.01
    assert abs((few.albedo - garden.albedo).mean()) < 0.01
    assert few.albedo.min() >= 0 and few.albedo.max() <= 1 and np.abs(few.normal).max() <= 1
    sky = garden.depth == 0
    assert sky.any() and (few.depth[sky] == 0).all()
    assert np.array_equal(few.color, garden.color)


def test_suites_that_the_committed_set_has():
    count = {suite: sum(1 for _ in render_suites.load(DATA, suite)) for suite in ("clean", "splat", "noaux")}
    scenes = [entry for entry in renders.read_index(DATA)["renders"] if entry["suite"] == "clean"]
    tents = sum(entry["name"] in renders.TENT for entry in scenes)
    assert count == {"clean": 2 * len(scenes), "splat": 2 * (4 + tents), "noaux": 2 * len(scenes)}
    assert all(case.albedo is None for case in render_suites.load(DATA, "noaux"))
    hard = list(render_suites.load(DATA, "hard"))
    assert {case.spp for case in hard} == {1, 4} and all(case.hard and case.suite == "hard" for case in hard)
    final = list(render_suites.load(DATA, "finalspp"))
    assert len({case.scene for case in final}) >= 6 and min(case.spp for case in final) == 64
    assert all(case.reference.shape == case.color.shape for case in final)


def test_data_without_final_frames_says_how_to_render_them(tmp_path):
    entry = next(e for e in renders.read_index(DATA)["renders"] if e["name"] == "cornell")
    (tmp_path / "index.json").write_text(json.dumps({"renders": [entry]}), "utf-8")
    for path in DATA.glob("cornell.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"no frame of 64 samples or more in .*--spp"):
        next(render_suites.load(tmp_path, "finalspp"))
    with pytest.raises(InputError, match="no frame of a hard scene"):
        next(render_suites.load(tmp_path, "hard"))


def test_final_frames_are_taken_from_data_that_has_them(tmp_path):
    for path in DATA.glob("cornell.*"):
        (tmp_path / path.name.replace(".16.", ".64.")).write_bytes(path.read_bytes())
    entry = next(e for e in renders.read_index(DATA)["renders"] if e["name"] == "cornell") | {"spp": [4, 64]}
    (tmp_path / "index.json").write_text(json.dumps({"renders": [entry]}), "utf-8")
    cases = list(render_suites.load(tmp_path, "finalspp"))
    assert [(case.spp, case.suite) for case in cases] == [(64, "finalspp")]
    assert [case.spp for case in render_suites.load(tmp_path, "clean")] == [4]


# --- what `info` says of such frames ----------------------------------------------------------------------------------


def facts(case):
    return report.noise_of(Planes(case.color, {"c": case.color}))


def test_correlated_noise_is_told_from_texture():
    """Every committed frame by its right name: with a noise of its own for each pixel, or splatted."""
    found = {s: [facts(c)["noise_correlation"] for c in render_suites.load(DATA, s)] for s in ("clean", "splat")}
    assert len(found["clean"]) >= 36 and set(found["clean"]) == {0.0}
    assert len(found["splat"]) >= 20 and min(found["splat"]) > 0.3
    tents = [facts(c)["noise_correlation"] for c in render_suites.load(DATA, "splat") if c.name.endswith("-tent")]
    assert np.mean(tents) == pytest.approx(2 / 3, abs=0.06)  # of (1, 2, 1)


def test_fireflies_and_broken_pixels_are_counted(garden):
    before, after = facts(garden), facts(render_suites.fireflies(garden))
    assert before["distrusted_px"] == 0 and after["distrusted_px"] == 2
    assert 50 < after["outlier_px"] - before["outlier_px"] <= 70  # of 66 that were put in
    assert after["noise_correlation"] == 0.0


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 40, 3), (9, 9, 3)])
@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_images_without_noise_have_no_correlation(shape, fill):
    assert report.noise_of(Planes(np.full(shape, fill, np.float32), {}))["noise_correlation"] == 0.0


# --- metrics ------------------------------------------------------------------------------------------------------


def test_exposures_show_other_ends():
    reference = np.full((8, 8, 3), 2.0, np.float32)  # white on a display
    image = np.full((8, 8, 3), 3.0, np.float32)
    assert metrics.exposed_psnr(image, reference, 0) == 100.0
    assert metrics.exposed_psnr(image, reference, -2.0) < 20
    dark = np.full((8, 8, 3), 0.01, np.float32)
    assert metrics.exposed_psnr(dark * 1.5, dark, 2.0) < metrics.exposed_psnr(dark * 1.5, dark, 0.0)


def test_texture_tells_a_blur_from_noise(garden):
    reference = garden.reference
    soft = metrics.box5(reference)
    noisy = reference * RNG.normal(1, 0.1, reference.shape).astype(np.float32)
    assert metrics.texture(reference, reference) == pytest.approx(1.0)
    assert metrics.texture(soft, reference) < 0.5
    assert metrics.texture(noisy, reference) == pytest.approx(1.0, abs=0.1)
    assert np.isnan(metrics.texture(reference, np.ones_like(reference)))


def test_hdr_flip_sees_what_is_white_on_a_display():
    pytest.importorskip("flip_evaluator")
    reference = np.kron(RNG.uniform(0.1, 8, (8, 8, 1)), np.ones((8, 8, 3))).astype(np.float32)
    moved = np.where(reference > 2, 3 * reference, reference)
    assert metrics.hdr_flip(reference, reference) == pytest.approx(0, abs=1e-6)
    assert metrics.hdr_flip(moved, reference) > 0.01
    broken = reference.copy()
    broken[3, 3] = np.inf
    assert 0 < metrics.hdr_flip(broken, reference) < 0.5


def test_an_interval_over_scenes_is_wider_than_over_their_frames():
    scenes = RNG.normal(0, 1, 8)
    values = np.repeat(scenes, 4) + RNG.normal(0, 0.05, 32)
    narrow, wide = metrics.interval(values), metrics.interval(values, groups=[str(i // 4) for i in range(32)])
    assert np.diff(wide) > 1.5 * np.diff(narrow)
    assert metrics.interval(values, groups=list(map(str, range(32)))) == pytest.approx(narrow, abs=0.05)


# --- one frame through it all -------------------------------------------------------------------------------------


def test_a_firefly_frame_is_measured_beside_its_clean_one(garden, tmp_path):
    pytest.importorskip("flip_evaluator")
    pytest.importorskip("skimage")
    case = render_suites.fireflies(part(garden))
    methods = {tables.NOISY: lambda c: c.color, tables.OURS: render_evaluate.ours("base")}
    results = {}
    row = render_evaluate.measure(case, methods, results)
    ours, noisy = row.scores[tables.OURS], row.scores[tables.NOISY]
    assert ours["psnr"] > ours["psnr, clean"] - 1.0 and noisy["near"] > ours["near"] > 0
    assert noisy["relmse_all"] > 1e3 * ours["relmse_all"]
    text = tables.report([row], [tables.summarise([row], "firefly", 4)])
    assert "dB against its clean suite; error around the injected pixels x" in text
    sheet = sheets.strip(results, tables.OURS, case.reference, "garden 4 spp")
    assert sheet.shape == (96 + 64 + sheets.LABEL_PX, 3 * 96, 3) and sheet.dtype == np.uint8
    sheets.write(tmp_path / "new" / "garden.png", [sheet, sheet])
    assert (tmp_path / "new" / "garden.png").stat().st_size > 10_000


def test_oidn_runs_on_phases_and_on_clean_planes(garden):
    pytest.importorskip("pyoidn")
    case, peers = part(garden), oidn.methods()
    soft = renders.tent(case)
    got = {name: metrics.psnr(peers[name](soft), soft.reference) for name in (tables.PEER, "OIDN 2x2 phases")}
    assert got["OIDN 2x2 phases"] > got[tables.PEER] + 1  # what the tent makes of it
    assert metrics.psnr(peers["OIDN best"](case), case.reference) > metrics.psnr(case.color, case.reference) + 3
    bare = render_suites.without_aux(case)
    one, again = (peers["OIDN best"](renders.replace(bare, name=name)) for name in (bare.name, "again"))
    np.testing.assert_allclose(one, again, rtol=1e-3, atol=1e-4)  # its threads may add up in another order


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_oidn_gives_back_what_a_plane_took(garden):
    pytest.importorskip("pyoidn")
    pages = []
    for _ in range(4):  # a suite of 50 frames cleans a hundred planes
        oidn.prefiltered("albedo", garden.albedo)
        pages.append(int(Path("/proc/self/statm").read_text().split()[1]))
    grown = min(after - before for before, after in pairwise(pages))  # a leak shows in every one, an arena in one
    assert grown * os.sysconf("SC_PAGE_SIZE") < 30 * 2**20  # was 59


def test_the_ceiling_is_the_filter_of_a_clean_result(garden):
    pytest.importorskip("pyoidn")
    pytest.importorskip("flip_evaluator")
    soft = renders.tent(part(garden))
    methods = {
        tables.NOISY: lambda c: c.color,
        tables.OURS: lambda c: c.color,
        tables.PEER: oidn.methods()[tables.PEER],
    }
    row = render_evaluate.measure(soft, methods)
    assert row.scores[tables.CEILING]["psnr"] > row.scores[tables.PEER]["psnr"] + 2
    lines = tables.report([row], [tables.summarise([row], "splat", 4)])
    assert tables.CEILING in lines and "worst: garden-tent" in lines


# --- Blender's compositor -----------------------------------------------------------------------------------------


def test_a_python_without_blender_is_one_line(garden):
    if importlib.util.find_spec("bpy"):
        pytest.skip("this Python has bpy")
    with blender_peer.method(Path(sys.executable)) as run, pytest.raises(EngineError, match=r"needs bpy.*pip install"):
        run(garden)
    with pytest.raises(EngineError, match="cannot run Blender's compositor by"), blender_peer.method(Path("no-python")):
        pass


@pytest.mark.slow
@pytest.mark.skipif("MDENOISE_BPY_PYTHON" not in os.environ, reason="MDENOISE_BPY_PYTHON names no Python with bpy")
def test_blenders_compositor_denoises(garden):
    case = part(garden)
    with blender_peer.method(Path(os.environ["MDENOISE_BPY_PYTHON"])) as run:
        got = [run(case), run(render_suites.without_aux(case))]
    scores = [metrics.psnr(image, case.reference) for image in (*got, case.color)]
    assert scores[0] > scores[2] + 3 and scores[1] > scores[2] + 2
