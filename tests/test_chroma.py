"""Models with a second kernel set: brightness and colour differences apart, for encoded images only."""

import hashlib
import json

import numpy as np
import pytest

import mdenoise
from mdenoise import chroma, models
from mdenoise.config import Options
from mdenoise.engines import open_engine

onnx = pytest.importorskip("onnx")


def write_model(folder, kind):
    """The shipped network with other chroma outputs: none ("plain"), its own first kernels ("same"), or the flattest
    that there are ("flat")."""
    card = models.load_card()
    graph = onnx.load(card.path)
    nodes, outputs = graph.graph.node, graph.graph.output
    for node in nodes:  # those that it ships with stay, under names that nobody asks for
        node.output[:] = [f"own_{name}" if name.startswith("chroma") else name for name in node.output]
    for value in [value for value in outputs if value.name.startswith("chroma")]:
        outputs.remove(value)
    if kind != "plain":
        keep = np.array([float(kind == "same")], np.float32)
        graph.graph.initializer.append(onnx.numpy_helper.from_array(keep, "keep"))
        for name, value in (("start", 0), ("stop", 104), ("axis", 1)):
            graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([value], np.int64), f"cut_{name}"))
        nodes.append(onnx.helper.make_node("Slice", ["level0", "cut_start", "cut_stop", "cut_axis"], ["cut"]))
        for level in range(4):
            source = "cut" if level == 0 else f"level{level}"
            nodes.append(onnx.helper.make_node("Mul", [source, "keep"], [f"chroma{level}"]))
            outputs.append(onnx.helper.make_tensor_value_info(f"chroma{level}", onnx.TensorProto.FLOAT, None))
    path = folder / f"{kind}.onnx"
    onnx.save(graph, path)
    values = json.loads(card.path.with_suffix(".json").read_text("utf-8"))
    values |= {"name": kind, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "chroma": kind != "plain"}
    path.with_suffix(".json").write_text(json.dumps(values), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("plain"), "plain")


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("same"), "same")


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("flat"), "flat")


def image():
    return np.random.default_rng(1).integers(0, 256, (90, 130, 3)).astype(np.uint8)


def test_the_transform_is_a_rotation():
    matrix = chroma.OPPONENTS[3]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_same_kernels_twice_change_nothing(same, engine, plain):
    if engine == "onnxruntime":
        pytest.importorskip("onnxruntime")
    for options in ({}, {"quality": "best"}):
        one = mdenoise.Denoiser(precision="f32", engine=engine, model=plain, **options)(image()).astype(int)
        two = mdenoise.Denoiser(precision="f32", engine=engine, model=same, **options)(image()).astype(int)
        assert np.abs(one - two).max() <= 1


def test_flat_chroma_kernels_leave_brightness_alone(flat, plain):
    x = image().astype(np.float32) / 255
    one = mdenoise.Denoiser(precision="f32", encoding="srgb", model=plain)(x) @ chroma.OPPONENTS[3].T
    two = mdenoise.Denoiser(precision="f32", encoding="srgb", model=flat)(x) @ chroma.OPPONENTS[3].T
    np.testing.assert_allclose(two[..., 0], one[..., 0], atol=1e-5)
    assert np.abs(two[..., 1:] - one[..., 1:]).mean() > 0.1 * one[..., 1:].std()


def test_grey_images_extra_layers_and_alpha(flat, plain):
    x = image()
    grey = np.ascontiguousarray(x[..., 0])
    denoiser = mdenoise.Denoiser(precision="f32", model=flat)
    assert np.abs(denoiser(grey).astype(int) - mdenoise.Denoiser(precision="f32", model=plain)(grey)).max() <= 1
    done = denoiser(np.dstack([x, grey]), layers={"again": x, "mask": grey})
    np.testing.assert_array_equal(done.layers["again"], done.color[..., :3])
    np.testing.assert_array_equal(done.layers["mask"], done.color[..., 3])


def test_linear_images_take_the_first_set_alone(flat, plain):
    x = np.random.default_rng(2).gamma(1.0, 0.5, (90, 130, 3)).astype(np.float32)
    np.testing.assert_allclose(
        mdenoise.Denoiser(precision="f32", model=flat)(x),
        mdenoise.Denoiser(precision="f32", model=plain)(x),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_answer_four_or_eight(same, engine):
    if engine == "onnxruntime":
        pytest.importorskip("onnxruntime")
    options = Options(engine=engine, precision="f32", model=same)
    opened = open_engine(models.load_card(same), options)
    guide = np.random.default_rng(3).random((1, models.load_card(same).guide_channels, 64, 128), np.float32)
    eight = [a.copy() for a in opened.predict(guide, chroma=True)]
    four = [a.copy() for a in opened.predict(guide)]
    assert (len(eight), len(four)) == (8, 4)
    for a, b in zip(four, eight[:4], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(eight[4], eight[0][:, :104], atol=1e-5)
