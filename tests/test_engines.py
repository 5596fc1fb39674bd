"""Which engine is taken, why not another one, and that those of GPUs are handed and hand back the right planes."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdenoise import engines, models, pipeline
from mdenoise.cli import main
from mdenoise.config import Options
from mdenoise.engines import cuda, filter_layers, open_engine, openvino
from mdenoise.engines.triples import arrange
from mdenoise.errors import EngineError
from mdenoise.frame import Planes

from .processes import PATIENCE_S

NO_GPU = cuda.missing()
without_gpu = pytest.mark.skipif(NO_GPU is None, reason="this machine has a GPU")


def problem(card, channels, seed=0):
    rng = np.random.default_rng(seed)
    guide = rng.random((1, card.guide_channels, 64, 128), np.float32)
    layers = rng.gamma(0.7, 50.0, (64, 128, channels)).astype(np.float32)
    return guide, layers, (rng.random((64, 128)) > 0.2).astype(np.float32)


@given(st.integers(1, 20), st.data())
def test_triples_hold_every_channel_once(channels, data):
    differences = data.draw(st.sets(st.integers(0, channels - 1)))
    sets = data.draw(st.sampled_from([1, 2]))
    plan = arrange(channels, differences, sets)
    layers = np.random.default_rng(channels).random((4, 5, channels), np.float32)
    out = np.empty_like(layers)
    step = data.draw(st.integers(1, 7))
    for first in range(0, plan.count, step):
        packed = np.full((min(step, plan.count - first), 3, 4, 5), np.nan, np.float32)
        plan.pack(layers, first, packed)
        assert np.isfinite(packed).all()
        plan.unpack(packed, first, out)
    np.testing.assert_array_equal(out, layers)
    if sets == 2:  # planes 1 and 2 take the second set
        assert {i for i, (_, plane) in enumerate(plan.places) if plane > 0} == differences
    assert plan.second == (sets == 2 and bool(differences))


def shipped_with_graphs():
    cards = [models.load_card(path.stem) for path in sorted(models.WEIGHTS.glob("*.json"))]
    return [(card.name, graph) for card in cards for graph in card.graphs if graph.startswith("fused")]


@pytest.mark.parametrize(("name", "graph"), shipped_with_graphs())
def test_shipped_graphs_of_gpus_compute_what_the_cpu_does(name, graph):
    pytest.importorskip("onnxruntime")
    from mdenoise.engines.onnxruntime import OnnxRuntimeCudaEngine
    from mdenoise.engines.verify import verify

    card = models.load_card(name)
    engine = OnnxRuntimeCudaEngine(card, "fp16" if "fp16" in graph else "f32", provider="CPUExecutionProvider")
    assert verify(engine, card) < 1e-3
    guide, layers, confidence = problem(card, 7)
    cpu = open_engine(card, Options(device="cpu", precision="f32"))
    for differences in ((), (1, 2, 5, 6)) if card.chroma else ((),):
        wanted, wanted_valid = filter_layers(cpu, guide, layers, confidence, differences)
        got, valid = filter_layers(engine.session(), guide, layers, confidence, differences)
        np.testing.assert_allclose(got, wanted, rtol=0.02, atol=0.01 * wanted.mean())
        np.testing.assert_array_equal(valid, wanted_valid)
    if card.chroma:  # the second set is another one
        assert np.abs(got - filter_layers(cpu, guide, layers, confidence)[0]).max() > 0.1 * wanted.mean()


def test_a_wrong_result_is_found():
    pytest.importorskip("onnxruntime")
    from mdenoise.engines.onnxruntime import OnnxRuntimeCudaEngine
    from mdenoise.engines.verify import verify

    cards = [models.load_card(name) for name, graph in shipped_with_graphs() if graph == "fused.fp16"]
    if len(cards) < 2 or cards[0].guide_channels != cards[1].guide_channels:
        pytest.skip("needs two models of one kind of guide")
    engine = OnnxRuntimeCudaEngine(cards[0], "fp16", provider="CPUExecutionProvider")
    with pytest.raises(EngineError, match="computes something else than openvino on the CPU"):
        verify(engine, cards[1])


@pytest.mark.parametrize("name", sorted({name for name, graph in shipped_with_graphs() if graph == "fused.fp16"}))
@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_the_whole_line_through_the_graph_of_gpus(name, encoding):
    pytest.importorskip("onnxruntime")
    from mdenoise.engines.onnxruntime import OnnxRuntimeCudaEngine

    card = models.load_card(name)
    rng = np.random.default_rng(4)
    color = rng.gamma(0.7, 30.0, (70, 150, 3)).astype(np.float32)
    if encoding == "srgb":
        color = (color / color.max()) ** np.float32(0.4)
    planes = Planes(color, {"color": color, "alpha": color[..., 0]}, encoding=encoding)
    options = Options(device="cpu", precision="f32", tile_px=128)
    fused = OnnxRuntimeCudaEngine(card, "fp16", provider="CPUExecutionProvider")
    wanted, got = (pipeline.denoise_planes(planes, e, card, options) for e in (open_engine(card, options), fused))
    for layer, result in wanted.layers.items():
        error = np.sqrt(np.mean((got.layers[layer] - result) ** 2))
        assert error < 2e-3 * result.mean() and np.abs(result - planes.layers[layer]).mean() > 10 * error


def test_both_kernel_sets_at_once_are_each_alone():
    card = models.load_card("base")
    if not card.chroma:
        pytest.skip("the model has one kernel set")
    engine = open_engine(card, Options(device="cpu", precision="f32"))
    guide, layers, confidence = problem(card, 4)
    mixed, _ = filter_layers(engine, guide, layers, confidence, (1, 3))
    first, _ = filter_layers(engine, guide, layers, confidence)
    second, _ = filter_layers(engine, guide, layers, confidence, range(4))
    np.testing.assert_array_equal(mixed[..., [0, 2]], first[..., [0, 2]])
    np.testing.assert_array_equal(mixed[..., [1, 3]], second[..., [1, 3]])
    assert np.abs(first - second).max() > 0


@pytest.mark.parametrize(
    ("device", "meant"), [("auto", ("auto", 0)), ("cpu", ("cpu", 0)), ("cuda", ("cuda", 0)), ("cuda:3", ("cuda", 3))]
)
def test_devices(device, meant):
    assert engines.parse_device(device) == meant


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "", "CUDA"])
def test_unknown_devices(device):
    with pytest.raises(EngineError, match="is not known: use auto, cpu, cuda or cuda:N"):
        open_engine(models.load_card(), Options(device=device))


@pytest.mark.parametrize(("engine", "device"), [("tensorrt", "cpu"), ("onnxruntime_cuda", "cpu"), ("openvino", "cuda")])
def test_engine_and_device_that_exclude_each_other(engine, device):
    with pytest.raises(EngineError, match=f"engine {engine} does not run on device {device}"):
        open_engine(models.load_card(), Options(engine=engine, device=device))


@without_gpu
def test_without_a_gpu_auto_is_openvino_and_says_nothing(caplog):
    with caplog.at_level(logging.DEBUG, "mdenoise"):
        engine = open_engine(models.load_card(), Options())
    assert engine.name == "openvino"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("DEBUG", f"the GPU is not used: {NO_GPU}")]


@without_gpu
@pytest.mark.parametrize("engine", engines.ON_GPU)
def test_an_engine_that_is_asked_for_fails_in_one_line(engine, capsys):
    assert main(["docs/nothing.exr", "--engine", engine]) in (3, 5)  # a missing file is told first
    frame = Path(__file__).parent.parent / "docs/demo/frame.exr"
    capsys.readouterr()
    assert main([str(frame), "--engine", engine, "-o", "unused.exr"]) == 5
    said = capsys.readouterr().err
    assert said.startswith(f"mdenoise: engine {engine} is not available: ") and said.count("\n") == 1


@without_gpu
def test_a_gpu_that_is_asked_for_fails_in_one_line():
    with pytest.raises(EngineError, match=r"device cuda:1 cannot be used: .*Use --device cpu") as caught:
        open_engine(models.load_card(), Options(device="cuda:1"))
    assert NO_GPU in str(caught.value)


def test_warmup(capsys):
    assert main(["warmup", "--size", "70x50", "--device", "cpu"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("mdenoise: openvino (") and lines[2].startswith("mdenoise: second frame of 70x50")
    assert main(["warmup", "--size", "70"]) == 2


@pytest.mark.parametrize(
    ("capable", "rounded", "machine", "usual"),
    [
        ("FP32 INT8 BF16 FP16", True, "x86_64", "bf16"),  # AMX
        ("FP32 INT8 BF16", True, "x86_64", "int8"),  # AVX-512 with bf16
        ("FP32 INT8 BF16", False, "x86_64", "bf16"),
        ("FP32 INT8", True, "AMD64", "int8"),
        ("FP32 INT8", False, "AMD64", "f32"),
        ("FP32 INT8 FP16", True, "arm64", "f32"),
        ("FP32 INT8 BF16 FP16", True, "aarch64", "bf16"),
    ],
)
def test_the_usual_precision_is_the_fastest(capable, rounded, machine, usual):
    from mdenoise.engines.openvino import usual_precision

    assert usual_precision(capable.split(), rounded, machine) == usual


def test_the_shipped_model_has_ranges_for_eight_bits():
    """`mdenoise export` writes a card without them: python -m mdenoise.exporters.int8 follows."""
    assert len(models.load_card().int8) > 20
    options = Options(device="cpu", engine="openvino", precision="int8")
    assert open_engine(models.load_card(), options).precision == "int8"


def test_processes_that_start_one_after_another_share_a_cold_cache(tmp_path):
    """OpenVINO takes a file that another process is still writing for a damaged one, and removes it."""
    code = (
        "import sys, time, numpy, mdenoise; denoiser = mdenoise.Denoiser()\n"
        "time.sleep(max(0, float(sys.argv[1]) - time.time()))\n"
        "for side in (64, 128, 192, 256): denoiser(numpy.ones((side, side, 3), numpy.float32))"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    start = time.time() + 4
    running = [subprocess.Popen([sys.executable, "-c", code, str(start + 0.12 * i)], env=environment) for i in range(6)]
    assert [process.wait(PATIENCE_S) for process in running] == [0] * 6


def test_the_cache_on_the_disk_does_not_grow_with_every_size(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(openvino, "FILES_KEPT", 2)
    engine, sizes = openvino.OpenVinoEngine(models.load_card("base")), (64, 128, 192, 256)
    names = []
    for width in sizes:
        engine.predict(np.zeros((1, 17, 64, width), np.float32))
        names.append({path.name for path in tmp_path.rglob("*.blob")})
    assert [len(found) for found in names] == [1, 2, 2, 2] and not names[1] & names[3]
