"""The tables of the product: the metrics against hand-made cases, the committed renders, the gate that can close."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mdenoise.errors import InputError
from mdenoise.training import additive, gate, metrics, render_evaluate, renders, tables, validation

DATA = Path(__file__).parent / "data" / "renders"
RNG = np.random.default_rng(5)


def image(height: int = 24, width: int = 32) -> np.ndarray:
    return RNG.uniform(0.05, 0.9, (height, width, 3)).astype(np.float32)


# --- metrics ------------------------------------------------------------------------------------------------------


def test_psnr_of_a_known_difference():
    reference = np.full((8, 8, 3), 0.25, np.float32)
    shown = 0.25 ** (1 / 2.2)
    moved = np.full_like(reference, (shown + 0.1) ** 2.2)
    assert metrics.psnr(moved, reference) == pytest.approx(20.0, abs=1e-4)
    assert metrics.psnr(reference, reference) == 100.0


def test_psnr_sees_what_a_display_shows():
    reference = np.full((8, 8, 3), 1.5, np.float32)
    assert metrics.psnr(np.full_like(reference, 40.0), reference) == 100.0  # both are white
    assert metrics.psnr(np.full_like(reference, np.inf), reference) == 100.0
    assert metrics.psnr(np.full_like(reference, np.nan), reference) == pytest.approx(0.0, abs=1e-6)


def test_relative_mse_trims_fireflies_but_not_errors():
    reference = np.full((100, 100, 3), 0.5, np.float32)
    spiked = reference.copy()
    spiked.reshape(-1, 3)[:10] = 1e4  # 0.1 % of the pixels
    assert metrics.relative_mse(spiked, reference) == 0.0
    spiked.reshape(-1, 3)[10] = 1e4
    assert metrics.relative_mse(spiked, reference) > 1e3
    assert metrics.relative_mse(reference + 0.1, reference) == pytest.approx(0.01 / 0.26, rel=1e-5)


def test_photo_psnr_ignores_the_border():
    clean = np.full((10, 12, 3), 100, np.uint8)
    framed = clean.copy()
    framed[0], framed[:, -1] = 255, 0
    assert metrics.photo_psnr(framed, clean) == 100.0
    assert metrics.photo_psnr(clean + np.uint8(10), clean) == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)


@pytest.mark.parametrize(("name", "package"), [("flip", "flip_evaluator"), ("ssim", "skimage")])
def test_perceptual_metrics_order_images(name, package):
    pytest.importorskip(package)
    reference = np.kron(image(8, 8), np.ones((8, 8, 1))).astype(np.float32)
    little, much = (reference + RNG.normal(0, sigma, reference.shape).astype(np.float32) for sigma in (0.01, 0.2))
    score = metrics.METRICS[name]
    better = score(little, reference) > score(much, reference)
    assert better if name == "ssim" else not better
    assert score(reference, reference) == pytest.approx(1.0 if name == "ssim" else 0.0, abs=1e-6)


def test_interval_holds_the_mean_and_narrows():
    few, many = RNG.normal(2, 1, 10), RNG.normal(2, 1, 1000)
    for values in (few, many):
        low, high = metrics.interval(values)
        assert low < values.mean() < high
    assert np.diff(metrics.interval(many)) < np.diff(metrics.interval(few))


# --- the data set -------------------------------------------------------------------------------------------------


def test_keeping_bits_rounds_to_nearest():
    values = np.clip(RNG.lognormal(0, 3, 10_000), 1e-4, 6e4).astype(np.float32)
    kept = renders.keep_bits(values, 5).astype(np.float32)
    assert np.abs(kept / values - 1).max() <= 2.0**-6 + 2.0**-11
    assert abs((kept / values - 1).mean()) < 1e-3  # truncation would be -0.8 %
    assert not (renders.keep_bits(values, 5).view(np.uint16) & 0b11111).any()
    assert renders.keep_bits(values, 10).tolist() == values.astype(np.float16).tolist()


def test_keeping_bits_stays_finite():
    assert np.isfinite(renders.keep_bits(np.array([65504.0, 1e10, -1e10, 65000.0]), 5)).all()


def test_tent_keeps_the_mean_and_shrinks_noise():
    noise = RNG.normal(1, 0.1, (128, 128, 3)).astype(np.float32)
    case = renders.Case("a", "clean", "mitsuba", 4, noise, noise, noise, noise[..., 0], noise, 1e-4)
    soft = renders.tent(case)
    assert soft.name == "a-tent" and soft.suite == "splat" and soft.depth.shape == (128, 128)
    assert soft.color.mean() == pytest.approx(noise.mean(), abs=1e-3)
    assert soft.color.var() / noise.var() == pytest.approx(renders.TENT_VARIANCE, rel=0.1)
    spike = np.zeros((5, 5, 3), np.float32)
    spike[2, 2] = 16
    kernel = renders.tent(renders.Case("a", "clean", "m", 4, spike, spike, spike, spike[..., 0], spike, 0)).depth
    assert kernel[1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_packed_frames_come_back(tmp_path):
    shot = validation.Shot("cornell", "mitsuba", (8, 4), "gaussian")
    for tag in ("4", "16"):
        planes = {
            "color": image(32, 32),
            "albedo": image(32, 32),
            "normal": image(32, 32) * 2 - 1,
            "depth": image(32, 32)[..., 0],
        }
        np.savez(tmp_path / f"cornell-gaussian.{tag}.npz", **planes)
    halves = {name: image(32, 32) for name in ("a", "b", "a1", "b1")}
    for name, half in halves.items():
        np.savez(tmp_path / f"cornell-gaussian.{name}.npz", color=half)
    renders.pack(tmp_path, tmp_path / "data", (shot,), 16)
    cases = list(renders.load(tmp_path / "data"))
    assert [(case.name, case.suite, case.spp) for case in cases] == [
        ("cornell-gaussian", "splat", 4),
        ("cornell-gaussian", "splat", 16),
    ]
    inside = slice(8, 24)
    assert np.allclose(cases[1].color, planes["color"][inside, inside], rtol=2.0**-6 + 2.0**-11)
    assert np.allclose(cases[1].albedo, planes["albedo"][inside, inside], atol=1 / 512 + 1e-3)
    assert np.allclose(cases[1].normal, planes["normal"][inside, inside], atol=1 / 256 + 1e-3)
    a, b = ((8 * halves[x] + 4 * halves[f"{x}1"])[inside, inside] / 12 for x in "ab")
    assert np.allclose(cases[0].reference, (a + b) / 2, rtol=2.0**-7 + 2.0**-11)
    assert cases[0].reference_mse == pytest.approx(metrics.display_mse(a, b) / 4, rel=1e-3)


def test_the_committed_set_is_complete():
    entries = renders.read_index(DATA)["renders"]
    clean = [entry for entry in entries if entry["suite"] == "clean"]
    assert len(clean) >= 24 and {entry["renderer"] for entry in clean} == {"mitsuba", "cycles"}
    assert {entry["filter"] for entry in entries if entry["suite"] == "splat"} == {"gaussian", "mitchell"}
    assert all(entry["reference_spp"] >= 256 for entry in entries)
    assert sum("hard" in entry for entry in clean) >= 6 and sum(64 in entry["spp"] for entry in clean) >= 6
    assert set(renders.TENT) <= {entry["name"] for entry in clean}
    assert {shot.name for shot in validation.MITSUBA + validation.CYCLES} >= {entry["name"] for entry in entries}
    named = {f"{e['name']}.{tag}.exr" for e in entries for tag in (*e["spp"], "reference")}
    assert {path.name for path in DATA.iterdir()} == named | {"index.json", "README.md"}
    assert sum(path.stat().st_size for path in DATA.iterdir()) <= 22.5e6


@pytest.mark.parametrize("entry", renders.read_index(DATA)["renders"], ids=lambda entry: entry["name"])
def test_committed_frames_are_sound(entry):
    cases = [renders.load_case(DATA, entry, spp) for spp in entry["spp"]]
    for case in cases:
        for plane in (case.color, case.albedo, case.normal, case.depth, case.reference):
            assert np.isfinite(plane).all() and plane.shape[:2] == case.color.shape[:2]
        # Mitchell's lobes are negative: what it splats may leave the range of a surface's properties.
        slack = 0.3 if entry["filter"] == "mitchell" else 0.0
        assert -slack <= case.albedo.min() and np.abs(case.normal).max() <= 1.01 + slack
        assert -slack * case.depth.max() <= case.depth.min()
        # The same scene at the same exposure; not closer, because a display clips noise and its curve is concave.
        if case.spp > 1:
            assert metrics.display(case.color).mean() == pytest.approx(metrics.display(case.reference).mean(), rel=0.3)
    error = {case.spp: metrics.display_mse(case.color, case.reference) for case in cases}
    assert error[16] < 0.6 * error[4] and error[4] < 0.6 * error.get(1, np.inf)
    assert error.get(64, 0) < 0.6 * error[16]
    assert entry["reference_mse"] < 0.05 * error[16]


def test_packing_adds_to_a_set_and_keeps_the_middle_of_final_frames(tmp_path):
    planes = {name: image(200, 200) for name in ("color", "albedo", "normal")} | {"depth": image(200, 200)[..., 0]}
    for tag in ("4", "16", "64"):
        np.savez(tmp_path / f"fog.{tag}.npz", **planes)
    for tag in "ab":
        np.savez(tmp_path / f"fog.{tag}.npz", color=image(200, 200))
    shot = validation.Shot("fog", "mitsuba", (8,), size_px=200, hard="a medium")
    data = tmp_path / "data"
    renders.pack(tmp_path, data, (shot,), 16)
    reference = (data / "fog.reference.exr").read_bytes()
    renders.pack(tmp_path, data, (dataclasses.replace(shot, noisy_spp=(64,)),), 16)
    assert [entry["spp"] for entry in renders.read_index(data)["renders"]] == [[4, 16, 64]]
    assert (data / "fog.reference.exr").read_bytes() == reference
    assert [case.color.shape[0] for case in renders.load(data)] == [200, 200]
    (final,) = renders.load(data, counts=(64,))
    assert final.hard == "a medium" and final.color.shape == final.reference.shape == (160, 160, 3)
    assert np.allclose(final.color, planes["color"][20:180, 20:180], rtol=2.0**-8 + 2.0**-11)


def test_a_missing_set_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the validation renders in .*--data") as caught:
        list(renders.load(tmp_path))
    assert "\n" not in str(caught.value)


# --- tables -------------------------------------------------------------------------------------------------------


def row(name: str, noisy: float, peer: float, ours: float, **more: object) -> tables.Row:
    scores = {
        method: {"psnr": psnr, "relmse": 0.1, "flip": 0.2, "ssim": 0.9}
        for method, psnr in ((tables.NOISY, noisy), (tables.PEER, peer), (tables.OURS, ours))
    }
    return tables.Row(**({"name": name, "suite": "clean", "spp": 4, "scores": scores} | more))


def test_summary_is_a_mean_of_decibels_over_what_counts():
    rows = [row("a", 20, 30, 29), row("b", 22, 34, 33.5), row("c", 10, 40, 10, left_out="the reference's error")]
    summary = tables.summarise(rows, "clean", 4)
    assert summary["frames"] == 2
    assert summary["mean"][tables.OURS]["psnr"] == pytest.approx(31.25)
    assert summary[f"over {tables.PEER}"]["mean"] == pytest.approx(-0.75)
    assert summary["share of gain"] == pytest.approx(10.25 / 11)
    text = tables.report(rows, [summary])
    assert "left out: c at 4 spp: the reference's error" in text and "| c (left out) |" in text
    assert "-0.75 dB, 95 % interval -1.00 to -0.50" in text


def test_a_scene_that_the_peer_cannot_clean_leaves_the_suite():
    rows = tables.leave_out_missuited(
        [
            row("soft", 25, 27, 30),
            row("fine", 20, 30, 30),
            row("soft", 30, 34, 35, spp=16),
            row("splat", 25, 25, 30, suite="splat"),
        ]
    )
    assert [bool(r.left_out) for r in rows] == [True, False, True, False]


def test_a_noisy_reference_is_left_out():
    reference = image()
    case = renders.Case("a", "clean", "mitsuba", 4, reference, reference, reference, reference[..., 0], reference, 1e-4)
    methods = {tables.NOISY: lambda case: case.color, tables.OURS: lambda case: case.reference * np.float32(1.1)}
    pytest.importorskip("flip_evaluator")
    pytest.importorskip("skimage")
    error = metrics.display_mse(reference * np.float32(1.1), reference)
    for share, out in ((0.09, False), (0.12, True)):
        measured = render_evaluate.measure(dataclasses.replace(case, reference_mse=share * error), methods)
        assert bool(measured.left_out) is out


# --- gate ---------------------------------------------------------------------------------------------------------


def test_gate_closes_on_a_fall_only():
    recorded = {"a": 30.0, "b": 31.0, "c": 32.0}
    assert gate.fallen({"a": 29.86, "b": 35.0, "c": 32.0}, recorded) == []
    assert gate.fallen({"a": 29.84}, recorded) == ["a: 29.84 dB, recorded 30.00: fell by more than 0.15 dB"]
    assert "not recorded" in gate.fallen({"new": 50.0}, recorded)[0]


def test_gate_rows_exist_in_the_set():
    for name, spp in gate.RENDERS:
        assert renders.find(DATA, name, spp).spp == spp
    assert {name for name, _ in gate.PHOTOS} <= {entry["name"] for entry in renders.read_index(DATA)["renders"]}
    suites = [renders.find(DATA, name, spp).suite for name, spp in gate.RENDERS]
    assert suites.count("clean") == 6 and suites.count("splat") == 3


def test_gate_records_passes_and_fails(tmp_path, capsys):
    record = tmp_path / "gate.json"
    assert gate.check(DATA, "base", record, update=True) == 0
    scores = json.loads(record.read_text("utf-8"))
    assert len(scores) == len(gate.RENDERS) + len(gate.PHOTOS)
    assert gate.check(DATA, "base", record, update=False) == 0
    record.write_text(json.dumps(scores | {"cornell 4 spp": scores["cornell 4 spp"] + 0.2}), "utf-8")
    assert gate.check(DATA, "base", record, update=False) == 1
    assert "cornell 4 spp" in capsys.readouterr().out.splitlines()[-1]


# --- rendering again ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mitsuba") is None, reason="needs mitsuba")
def test_mitsuba_draws_the_committed_frame_again(tmp_path):
    # In a process of its own: where LLVM is too old for Mitsuba, it aborts. This scene needs no assets.
    code = (
        "import sys; from pathlib import Path; from mdenoise.training import validation; out = Path(sys.argv[1]);"
        "validation.render_mitsuba((validation.Shot('toys', 'mitsuba', ()),), out, out)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    again = np.load(tmp_path / "toys.4.npz")["color"]
    committed = renders.find(DATA, "toys", 4).color
    assert np.mean(np.abs(again - committed) > 0.05 * committed + 1e-3) < 0.02


# --- light AOVs ---------------------------------------------------------------------------------------------------

ADDITIVE = DATA.parent / "additive"


@pytest.mark.parametrize(
    ("name", "lights"),
    [("brick_corner", {"lamp", "fill"}), ("product", {"Diffuse Direct", "Glossy Indirect", "Transmission Indirect"})],
)
def test_lights_of_the_committed_renders_sum_to_the_beauty(name, lights):
    noisy, clean = (additive.read(ADDITIVE / f"{name}.{tag}.exr") for tag in ("4", "reference"))
    assert additive.apart(noisy) < 1e-5 and additive.apart(clean) < 0.02  # float32, and half with 7 bits
    assert lights <= set(additive.lights(noisy)) and set(additive.lights(noisy)) <= set(additive.lights(clean))
    moved = noisy | {k: v * np.float32(1.01) for k, v in noisy.items() if k in ("light_lamp", "Diffuse Direct")}
    assert additive.apart(moved) > 1e-3
    for light, plane in additive.lights(noisy).items():
        assert metrics.display(plane).mean() == pytest.approx(
            metrics.display(additive.lights(clean)[light]).mean(), rel=0.3
        )


@pytest.mark.slow
def test_denoised_lights_still_sum_to_the_beauty(tmp_path):
    for path in ADDITIVE.glob("brick_corner.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = additive.run(tmp_path, "base")
    assert float(text.split(" off denoised")[0].rsplit(" ", 1)[-1]) < 1e-4
    assert "| lamp |" in text and "| fill |" in text and "gain 6 dB or more" in text


def test_a_folder_without_light_aovs_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"no \*\.4\.exr in .*--data"):
        additive.run(tmp_path, "base")
