"""Exported graphs: the same numbers as torch and the native filter, in every precision, and refused when not."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from mdenoise import models  # noqa: E402
from mdenoise.cli import main  # noqa: E402
from mdenoise.engines import LEVELS  # noqa: E402
from mdenoise.engines.openvino import OpenVinoEngine  # noqa: E402
from mdenoise.errors import EngineError, ModelError, UsageError  # noqa: E402
from mdenoise.exporters import card, fp16, fused, int8, parity  # noqa: E402
from mdenoise.exporters import onnx as exporter  # noqa: E402
from mdenoise.filter import apply_filter  # noqa: E402
from mdenoise.training.model import KernelNet, ModelConfig  # noqa: E402


def tiny(seed=0, **config):
    torch.manual_seed(seed)
    net = KernelNet(ModelConfig(widths=(8, 16, 32), blocks=2, heads=2, **config)).eval()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.startswith(("head", "chroma")) and name.endswith("weight"):
                weight.normal_(std=0.3)  # kernels that differ from each other and from pixel to pixel
    return net


def write(path, graph):
    """A model with one more graph, not compared with anything."""
    net = tiny()
    exporter.export(net, path)
    exporter.export(net, models.graph_path(path, graph), **exporter.GRAPHS[graph])
    card.write_card(net, path, {}, [graph])
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["one set", "two sets"])
def exported(request, tmp_path_factory):
    net = tiny(chroma=request.param)
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    exporter.export_all(net, path, {"training": {"data": "none"}})
    return net, path


def problem(net, height, width, count, seed=1):
    """Guide, layers (L, 3, H, W) over five decades, confidence with a hidden region and hidden NaN."""
    rng = np.random.default_rng(seed)
    guide = rng.random((1, net.config.guide_channels, height, width), np.float32)
    layers = (10.0 ** rng.uniform(-2, 3, (count, 3, 1, 1)) * rng.gamma(0.7, 1.4, (count, 3, height, width))).astype(
        "f4"
    )
    confidence = (rng.random((height, width)) > 0.2).astype(np.float32)
    confidence[:48, :48] = 0.0
    layers[..., :48, :48] = np.nan
    return guide, layers, confidence


def natively(net, guide, layers, confidence):
    """What the fused graph must answer, by torch's logits and the compiled filter: (L, 3, H, W) and (S, H, W)."""
    with torch.no_grad():
        logits = [level.numpy() for level in net(torch.from_numpy(guide), chroma=net.config.chroma)]
    planes = np.ascontiguousarray(layers.reshape(-1, *confidence.shape).transpose(1, 2, 0))
    out, valid = apply_filter(planes, confidence, logits[:4])
    if not net.config.chroma:
        return out.transpose(2, 0, 1).reshape(layers.shape), valid[None]
    confident = np.concatenate([logits[4], logits[0][:, -4:]], axis=1)
    second, known = apply_filter(planes, confidence, [confident, *logits[5:]])
    both = np.where(np.arange(planes.shape[2]) % 3 == 0, out, second)
    return both.transpose(2, 0, 1).reshape(layers.shape), np.stack([valid, known])


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("height", "width", "count"), [(64, 128, 1), (128, 64, 5), (192, 192, 2)])
def test_the_fused_graph_is_network_and_native_filter(exported, height, width, count):
    net, path = exported
    guide, layers, confidence = problem(net, height, width, count)
    wanted, wanted_valid = natively(net, guide, layers, confidence)
    given = {"guide": guide, "layers": layers, "confidence": confidence[None, None]}
    filtered, valid = session(models.graph_path(path, "fused")).run(None, given)
    np.testing.assert_array_equal(valid[0], wanted_valid)
    assert 0.9 < wanted_valid.mean() < 1.0  # some pixels have nothing around them
    # Logits by two libraries, each with the sums of this CPU; a wrong tap costs a hundredth and more.
    np.testing.assert_allclose(filtered, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(filtered / wanted.mean((2, 3), keepdims=True)).std() > 0.1  # it is no constant


def test_half_precision_rounds_weights_and_never_radiance(exported):
    net, path = exported
    guide, layers, _ = problem(net, 64, 64, 1)
    layers[:] = 1e6  # no number of half precision
    given = {"guide": guide, "layers": layers, "confidence": np.ones((1, 1, 64, 64), np.float32)}
    filtered, valid = session(models.graph_path(path, "fused.fp16")).run(None, given)
    assert valid.all()
    np.testing.assert_allclose(filtered, 1e6, rtol=1e-6)
    model = onnx.shape_inference.infer_shapes(onnx.load(models.graph_path(path, "fused.fp16")))
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    kinds |= {weight.name: weight.data_type for weight in graph.initializer}
    for node in graph.node:
        types = {kinds[name] for name in (*node.input, *node.output) if name}
        if node.op_type in fp16.KEPT or not node.name.startswith(fp16.NETWORK):
            assert onnx.TensorProto.FLOAT16 not in types or node.op_type == "Cast", node.name
        elif node.op_type in ("Conv", "MatMul"):
            assert types == {onnx.TensorProto.FLOAT16}, node.name
    assert {"Conv", "MatMul", "LayerNormalization", "Softmax"} <= {node.op_type for node in graph.node}
    assert models.graph_path(path, "fp16").stat().st_size < 0.75 * path.stat().st_size


def test_files_card_and_parity_table(exported, capsys):
    net, path = exported
    loaded = models.load_card(str(path))
    assert set(loaded.graphs) == set(exporter.GRAPHS) == {"fp16", "fused", "fused.fp16"}
    assert loaded.guide_channels == net.config.guide_channels
    for graph in loaded.graphs:
        models.load_graph(loaded, graph)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "tiny.fp16.onnx", "tiny.fused.fp16.onnx", "tiny.fused.onnx", "tiny.json", "tiny.onnx",
    ]  # fmt: skip
    rows = parity.measure(net, path)
    parity.check(rows)
    assert {(r.graph, r.engine, r.precision) for r in rows} >= {
        ("predict", "openvino", "f32"), ("predict", "onnxruntime", "f32"), ("predict fp16", "onnxruntime", "fp16"),
        ("fused", "onnxruntime", "f32"), ("fused.fp16", "onnxruntime", "fp16"),
    }  # fmt: skip
    assert len({r.problem for r in rows}) == 6
    assert max(r.largest for r in rows if r.precision == "fp16") > max(r.largest for r in rows if r.precision == "f32")


def test_one_wrong_tap_is_found_in_every_file(exported):
    net, path = exported
    with torch.no_grad():
        net.head1.bias[7] += 0.5
    try:
        rows = parity.measure(net, path)
        for graph in {row.graph for row in rows}:
            with pytest.raises(ModelError, match="differs from torch"):
                parity.check([row for row in rows if row.graph == graph])
    finally:
        with torch.no_grad():
            net.head1.bias[7] -= 0.5


def test_a_model_that_computes_nan_replaces_nothing(tmp_path):
    path = write(tmp_path / "model.onnx", "fused.fp16")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    broken = tiny()
    with torch.no_grad():
        broken.head0.bias[3] = float("nan")
    with pytest.raises(ModelError, match="differs from torch"):
        exporter.export_all(broken, path, {})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    # A second export with fewer graphs leaves none of the first weights.
    exporter.export_all(tiny(seed=1), path, {}, [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.onnx"]
    assert models.load_card(str(path)).graphs == {}


def test_a_missing_or_damaged_graph_is_named(tmp_path):
    path = write(tmp_path / "model.onnx", "fused")
    loaded = models.load_card(str(path))
    with pytest.raises(ModelError, match=r"no graph fused\.fp16 \(model\.fused\.fp16\.onnx\): write it with mdenoise"):
        models.load_graph(loaded, "fused.fp16")
    file = models.graph_path(path, "fused")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match="changed or damaged"):
        models.load_graph(loaded, "fused")
    file.unlink()
    with pytest.raises(ModelError, match="no graph fused"):
        models.load_graph(loaded, "fused")


def test_the_command_and_its_errors(tmp_path, capsys):
    from safetensors.torch import save_file

    net = tiny()
    weights = tmp_path / "tiny.safetensors"
    config = {name: getattr(net.config, name) for name in ModelConfig.__dataclass_fields__}
    save_file(net.state_dict(), weights, {"model": repr(config)})
    out = tmp_path / "out" / "mine.onnx"
    assert main(["export", "--weights", str(weights), "--out", str(out), "--graphs", "fused.fp16"]) == 0
    said = capsys.readouterr().out
    assert "fused.fp16" in said and "lost" in said and "mine.json: reach" in said
    values = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert list(values["graphs"]) == ["fused.fp16"] and values["name"] == "mine"
    for wrong in (["--out", str(tmp_path / "x.bin")], ["--out", str(out), "--about", str(tmp_path / "none.toml")]):
        assert main(["export", "--weights", str(weights), *wrong]) == UsageError.exit_code
        assert capsys.readouterr().err.startswith("mdenoise: cannot ")
    assert main(["export", "--weights", str(out), "--out", str(out)]) == ModelError.exit_code
    assert "not weights of mdenoise train" in capsys.readouterr().err


def test_the_filter_of_the_graph_is_that_of_training():
    from mdenoise.training.filter import apply_filter_torch

    rng = np.random.default_rng(3)
    heads = [torch.from_numpy(rng.normal(0, 2, shape).astype("f4")) for shape in
             ((1, 108, 32, 48), (1, 26, 32, 48), (1, 26, 16, 24), (1, 25, 8, 12))]  # fmt: skip
    layers = torch.from_numpy(rng.gamma(0.7, 1.4, (1, 3, 64, 96)).astype("f4"))
    given = torch.from_numpy((rng.random((1, 1, 64, 96)) > 0.4).astype("f4"))
    wanted, wanted_valid = apply_filter_torch(layers, given, tuple(heads))
    first = [torch.nn.functional.pixel_shuffle(heads[0], 2), *heads[1:]]
    trust = given * (first[0][:, 26:] / 6 + 0.5).clamp(0, 1)
    out, valid = fused.filter_planes(layers, trust, first)
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-5)  # exponentials of several libraries
    assert torch.equal(valid, wanted_valid)


# --- eight bits ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """The path of a small model that was measured on one render; ten more files have another scene's place."""
    folder = tmp_path_factory.mktemp("int8")
    path = folder / "small.onnx"
    net = tiny(seed=3, chroma=True)
    exporter.export(net, path)
    card.write_card(net, path, {})
    (folder / "renders").mkdir()
    for i in range(10):
        (folder / "renders" / f"1-{i:05d}.npz").touch()
    rng, spp, side = np.random.default_rng(1), (1, 1, 2, 4, 8, 16), 128
    references = rng.random((1, 3, side // 8, side // 8)).repeat(8, 2).repeat(8, 3).astype(np.float16)
    np.savez(
        folder / "renders" / "1-00010.npz",
        facts=np.array(json.dumps({"runs": spp, "reference_error": [0.0]})),
        references=references,
        runs=(references[:, None] * rng.gamma(1.0, 1.0, (1, 6, 3, side, side))).astype(np.float16),
        albedo=rng.integers(0, 255, (7, 3, side, side), np.uint8),
        normal=rng.integers(-127, 127, (7, 3, side, side), np.int8),
        depth=np.full((7, 1, side, side), 2.0, np.float16),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "BATCHES", 6)
        int8.main(["--model", str(path), "--renders", str(folder / "renders")])
    return path


def test_ranges_are_of_every_layer_but_the_last_ones(eight):
    loaded = models.load_card(str(eight))
    names = [name for name in loaded.int8 if "Conv" in name]
    assert "/net/stem/Conv" in names and "/net/blocks.1/qkv/MatMul" in loaded.int8
    assert not [name for name in loaded.int8 if "head" in name or "chroma" in name]
    assert loaded.int8["/net/enc0/enc0.0/b/Conv"][0] == 0.0  # nothing is negative behind a ReLU
    assert loaded.int8["/net/stem/Conv"][0] < 0.0 < loaded.int8["/net/stem/Conv"][1]
    assert {(row.engine, row.precision) for row in int8.check(loaded)} == {("openvino", "int8")}


def test_eight_bits_are_used_and_too_narrow_ranges_refused(eight):
    loaded = models.load_card(str(eight))
    guide = np.random.default_rng(0).random((1, loaded.guide_channels, 64, 64), np.float32)
    exact, rounded = (OpenVinoEngine(loaded, precision).predict(guide)[0].copy() for precision in ("f32", "int8"))
    assert 1e-4 < np.abs(exact - rounded).max() / np.abs(exact).max() < 0.2
    shipped = models.load_card("base")  # an untrained network gives almost the same weights whatever it sees
    narrow = {name: (low / 50, high / 50) for name, (low, high) in shipped.int8.items()}
    with pytest.raises(ModelError, match="differs from torch"):
        int8.check(replace(shipped, int8=narrow))
    with pytest.raises(EngineError, match="a range for /net/none, its graph no such layer"):
        OpenVinoEngine(replace(loaded, int8={"/net/none": (0.0, 1.0)}), "int8").predict(guide)
    with pytest.raises(EngineError, match="has no ranges for it"):
        OpenVinoEngine(replace(loaded, int8={}), "int8")


def test_eight_bits_in_bands(eight):
    """A sum that a band adds up in another order can be rounded to the next of 256 steps: no more than that."""
    loaded = models.load_card(str(eight))
    engine = OpenVinoEngine(loaded, "int8")
    shape = (1, 128, 32, 4 * loaded.guide_channels)
    guide = np.random.default_rng(0).random(shape, np.float32)
    if engine.packed is None:
        pytest.skip("installed without the compiled filter")
    whole = [level.copy() for level in engine.predict_packed(guide)]
    spans = [(0, 128), (96, 256)]
    network = engine.bands(shape, spans)
    for number, (first, end) in enumerate(spans):
        top, bottom = network.guide_rows(number)
        found = network.predict(number, guide[:, top // 2 : bottom // 2])
        for level, rows in zip(found, whole, strict=True):
            unit = 256 // rows.shape[2]
            difference = np.abs(level - rows[:, :, first // unit : end // unit])
            assert difference.max() < 0.05 * np.abs(rows).max() and np.median(difference) < 1e-5
    assert len(whole) == len(LEVELS)
