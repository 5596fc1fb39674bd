"""The benchmarks: what they plan, resume, count and draw. Their figures are measured on quiet machines, not here."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdenoise import models

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

FOLDER = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import gpu  # noqa: E402
import parity  # noqa: E402
import run  # noqa: E402
import summary  # noqa: E402

from mdenoise.exporters import card, onnx  # noqa: E402
from mdenoise.training import renders  # noqa: E402
from mdenoise.training.model import KernelNet, ModelConfig  # noqa: E402

RENDERS = FOLDER.parent / "data" / "renders"


def test_the_usual_run_leaves_out_large_frames():
    names = [name for name, _ in run.measurements()]
    assert len(names) == len(set(names))
    usual = [name for name in names if run.wanted(name, [], list(run.USUAL_SIZES))]
    assert {name.split("/")[0] for name in usual} == {name.split("/")[0] for name in names}
    assert not [name for name in usual if "/8k/" in name or "/16k/" in name]
    assert [name for name in names if run.wanted(name, ["array"], ["8k"])] == [n for n in names if "array/8k" in n]


def test_a_run_goes_on_where_it_was_and_forgets_another_model(tmp_path):
    def start():
        command = [sys.executable, FOLDER / "run.py", "--only", "start", "--runs", "0", "--out", tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, json.loads(path.read_text("utf-8"))

    path = tmp_path / "results.json"
    said, first = start()
    assert set(first) == {"start/demo/warm", "start/demo/cold"} and "start/demo/warm" in said
    assert "| demo/warm |" in (tmp_path / "results.md").read_text("utf-8")
    first["start/demo/warm"]["cpu"] = 7.0
    first["start/demo/cold"] |= {"model": "another", "cpu": 7.0}
    path.write_text(json.dumps(first), "utf-8")
    said, second = start()
    assert "start/demo/cold" in said and "start/demo/warm" not in said
    assert second["start/demo/warm"]["cpu"] == 7.0 > second["start/demo/cold"]["cpu"] > 0.0


def test_table_and_plots_of_quality(tmp_path):
    pytest.importorskip("matplotlib")
    measured = {"ours": (1.0, 30.0), "mdenoise:best": (4.0, 31.0), "oidn:fast": (2.0, 29.0), "oidn:best": (9.0, 31.5)}
    results = {
        f"quality/renders/{name}": {"cpu": cpu, "db": {" 4 spp": db, "16 spp": db + 3}}
        for name, (cpu, db) in measured.items()
    }
    heads, rows = summary.quality(results)
    assert heads == ["method", "CPU s", "dB, 4 spp", "on the front", "dB, 16 spp", "on the front"]
    assert [(row[0], row[3]) for row in rows] == [
        ("ours", "yes"), ("oidn:fast", "no"), ("mdenoise:best", "yes"), ("oidn:best", "yes"),
    ]  # fmt: skip
    results |= {f"threads/1080p/{n}": {"cpu": 1.0, "wall": 1.0 / n} for n in (1, 2)}
    results |= {f"array/{size}/aov/mdenoise auto": {"cpu": 1.0, "rss": 300.0} for size in ("720p", "1080p")}
    made = summary.plots(results, tmp_path)
    assert [path.name for path in made] == ["quality.png", "pixels.png", "threads.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def test_demand_counts_what_torch_counts():
    known = models.load_card()
    flop, moved = gpu.demand(known.path, known.guide_channels, (256, 256))
    assert flop / 256**2 / 1e3 == pytest.approx(known.kflop_per_px, rel=0.01)
    weights = 2 * known.parameters
    levels = 2 * 256**2 * (27 + 26 / 4 + 26 / 16 + 25 / 64)
    assert moved > weights + levels + 2 * 256**2 * known.guide_channels


def test_without_a_gpu_there_is_one_line():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ImportError, match=r"torch .* finds no CUDA device here"):
        gpu.yardstick((64, 64))
    if gpu.cuda.missing():
        done = subprocess.run([sys.executable, FOLDER / "gpu.py"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.startswith("no figures: ") and done.stderr.count("\n") == 1


@pytest.mark.slow  # exports three graphs
def test_parity_of_files_that_were_left_out(tmp_path):
    torch.manual_seed(1)
    net = KernelNet(ModelConfig(widths=(8, 16, 32), blocks=1, heads=2)).eval()
    path = tmp_path / "tiny.onnx"
    onnx.export(net, path)
    onnx.export(net, models.graph_path(path, "fused.fp16"), **onnx.GRAPHS["fused.fp16"])
    card.write_card(net, path, {}, ["fused.fp16"])
    (folder := tmp_path / "all").mkdir()
    full = parity.complete(net, path, folder)
    assert set(full.graphs) == set(onnx.GRAPHS)
    assert full.graphs["fused.fp16"] == models.load_card(str(path)).graphs["fused.fp16"]
    frame = next(renders.load(RENDERS, "clean", [4]))
    planes = {name: getattr(frame, name)[:64, :128] for name in ("color", "albedo", "normal", "depth", "reference")}
    rows, most = parity.measure(net, full, [replace(frame, **planes)])
    assert [row[:2] for row in rows if row[1] == "onnxruntime"] == [
        ["predict", "onnxruntime"], ["predict fp16", "onnxruntime"],
        ["fused", "onnxruntime"], ["fused.fp16", "onnxruntime"],
    ]  # fmt: skip
    assert most <= 1
    with torch.no_grad():
        net.head1.bias[7] += 3.0
    found = parity.scores([replace(frame, **planes)], parity.parity.TorchEngine(net), full)
    run_of = next(parity.parity.runs_of(full))
    assert np.abs(found - parity.scores([replace(frame, **planes)], run_of.engine, full)) > 1e-3
