"""The filter: what it promises for any weights, and that its NumPy, compiled and torch forms agree."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdenoise import filter as kernel_filter
from mdenoise.filter import (
    apply_filter,
    apply_filter_numpy,
    fill_nearest,
    native_available,
    outlier_weight,
    outlier_weight_numpy,
)
from mdenoise.guide import OUTLIER_FLOOR, OUTLIER_MULTIPLE

if native_available():
    from mdenoise import _native

    ISAS = _native.isas()
else:
    ISAS = ()

needs_native = pytest.mark.skipif(not native_available(), reason="installed without the compiled filter")
SIZES = [(16, 16), (16, 48), (48, 16), (32, 80), (64, 144)]
few = settings(max_examples=30, deadline=None)


def make_logits(rng, h, w, spread=2.0):
    shapes = (1, 108, h // 2, w // 2), (1, 26, h // 2, w // 2), (1, 26, h // 4, w // 4), (1, 25, h // 8, w // 8)
    return tuple((spread * rng.standard_normal(shape)).astype(np.float32) for shape in shapes)


def native_filter(layers, confidence, logits, threads=1, isa=""):
    out = np.full_like(layers, np.nan)
    valid = _native.filter([layers], [False], None, None, confidence, tuple(logits), out, threads, isa)
    return out, valid.view(bool)


def make_problem(rng, h, w, count):
    return rng.random((h, w, count), np.float32), rng.random((h, w), np.float32), make_logits(rng, h, w)


@st.composite
def problems(draw, counts=(1, 2, 3, 7), spreads=(0.0, 2.0, 8.0, 1e4), masks=("none", "random", "hole", "all")):
    """Layers, confidence and logits of random size, mask and kernel sharpness."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    h, w = draw(st.sampled_from(SIZES))
    count = draw(st.sampled_from(counts))
    layers = rng.lognormal(0.0, 2.0, (h, w, count)).astype(np.float32)
    mask = draw(st.sampled_from(masks))
    confidence = rng.random((h, w)).astype(np.float32)
    if mask == "random":
        confidence *= rng.random((h, w)) < draw(st.floats(0.0, 0.3))
    elif mask == "hole":  # wider than the reach of the coarsest kernel: no level is valid in the middle
        confidence[:, : w * 3 // 4] = 0
    elif mask == "all":
        confidence[:] = 0
    return layers, confidence, make_logits(rng, h, w, draw(st.sampled_from(spreads)))


def assert_agree(out, valid, expected, expected_valid, scale):
    np.testing.assert_array_equal(valid, expected_valid)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out / scale, expected / scale, rtol=1e-5, atol=1e-5)


# What the filter promises


@few
@given(problems(counts=(2,)), st.floats(-4, 4), st.floats(-4, 4))
def test_is_linear_in_the_layers(problem, a, b):
    layers, confidence, logits = problem
    x, y = layers[..., :1], layers[..., 1:]
    both, valid = apply_filter(layers, confidence, logits)
    mixed, mixed_valid = apply_filter(np.float32(a) * x + np.float32(b) * y, confidence, logits)
    expected = a * both[..., :1] + b * both[..., 1:]
    np.testing.assert_array_equal(mixed_valid, valid)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(layers.max())))


@few
@given(problems(counts=(3,)))
def test_a_layer_does_not_depend_on_its_neighbours(problem):
    layers, confidence, logits = problem
    together, _ = apply_filter(layers, confidence, logits)
    alone, _ = apply_filter(layers[..., 1:2], confidence, logits)
    np.testing.assert_array_equal(alone[..., 0], together[..., 1])


@few
@given(problems(counts=(1,)), st.sampled_from([1.0, 0.0, -1.0, 0.25, 1024.0]))
def test_constant_comes_back_bit_for_bit(problem, value):
    """So an opaque alpha stays opaque. Powers of two, for which c * x is exact; see the next test for others."""
    layers, confidence, logits = problem
    for apply in (apply_filter, apply_filter_numpy):
        out, valid = apply(np.full_like(layers, value), confidence, logits)
        np.testing.assert_array_equal(out[valid], np.float32(value))
        np.testing.assert_array_equal(out[~valid], np.float32(0))


@few
@given(problems(counts=(1,)), st.floats(2**-10, 1e6, width=32))
def test_constant_of_any_value_comes_back(problem, value):
    layers, confidence, logits = problem
    out, valid = apply_filter(np.full_like(layers, value), confidence, logits)
    np.testing.assert_allclose(out[valid], value, rtol=1e-6)


@few
@given(problems())
def test_stays_within_the_trusted_range(problem):
    layers, confidence, logits = problem
    out, valid = apply_filter(layers, confidence, logits)
    if not (confidence > 0).any():
        assert not valid.any() and not out.any()
        return
    trusted, kept = layers[confidence > 0], out[valid]
    assert (kept >= trusted.min(axis=0) * (1 - 1e-6)).all()
    assert (kept <= trusted.max(axis=0) * (1 + 1e-6)).all()


@few
@given(problems(counts=(1,)))
def test_alpha_stays_within_0_and_1_exactly(problem):
    layers, confidence, logits = problem
    alpha = np.minimum(layers, 1)  # about half the pixels are 1
    out, _ = apply_filter(alpha, confidence, logits)
    assert out.min() >= 0 and out.max() <= 1


@few
@given(problems(masks=("random", "hole")), st.sampled_from([np.nan, np.inf, 1e30]))
def test_hidden_pixels_do_not_count(problem, hidden):
    layers, confidence, logits = problem
    expected, _ = apply_filter(layers, confidence, logits)
    poisoned = np.where(confidence[..., None] > 0, layers, np.float32(hidden))
    for apply in (apply_filter, apply_filter_numpy):
        out, valid = apply(poisoned, confidence, logits)
        assert_agree(out, valid, expected, valid, layers.max())


@pytest.mark.parametrize("scale", [1e6, 3e38])
def test_huge_radiance_stays_finite(scale):
    rng = np.random.default_rng(5)
    layers = (np.float32(scale) * rng.random((48, 48, 3))).astype(np.float32)
    logits = make_logits(rng, 48, 48)
    for apply in (apply_filter, apply_filter_numpy):
        out, valid = apply(layers, np.ones((48, 48), np.float32), logits)
        assert valid.all() and np.isfinite(out).all() and out.max() <= layers.max()


def test_identity_kernel_returns_the_input():
    rng = np.random.default_rng(1)
    layers = rng.random((32, 32, 3)).astype(np.float32)
    logits = tuple(np.zeros_like(level) for level in make_logits(rng, 32, 32))
    logits[0][:, 12 * 4 : 13 * 4] = 200  # the middle tap
    logits[0][:, kernel_filter.BLEND * 4 : (kernel_filter.BLEND + 1) * 4] = 200  # the finest level alone
    logits[0][:, kernel_filter.CONFIDENCE * 4 :] = 200
    out, valid = apply_filter(layers, np.ones((32, 32), np.float32), logits)
    assert valid.all()
    np.testing.assert_allclose(out, layers, rtol=1e-6)


def test_taps_are_row_major():
    """A kernel with all its weight on tap (dy, dx) shifts the image by it."""
    rng = np.random.default_rng(2)
    layers = rng.random((32, 32, 1)).astype(np.float32)
    for k in range(25):
        logits = tuple(np.zeros_like(level) for level in make_logits(rng, 32, 32))
        logits[0][:, k * 4 : (k + 1) * 4] = 200
        logits[0][:, 25 * 4 :] = 200
        out, _ = apply_filter(layers, np.ones((32, 32), np.float32), logits)
        dy, dx = k // 5 - 2, k % 5 - 2
        np.testing.assert_allclose(out[4:-4, 4:-4], layers[4 + dy : 28 + dy, 4 + dx : 28 + dx], rtol=1e-6)


def test_confidence_reaches_zero():
    """A pixel with confidence logit -3 or less does not count, whatever its value."""
    rng = np.random.default_rng(3)
    layers = rng.random((32, 32, 1)).astype(np.float32)
    logits = make_logits(rng, 32, 32)
    logits[0][:, 26 * 4 :] = 0
    logits[0][:, 26 * 4, 5, 7] = -3.0  # pixel (10, 14)
    expected, _ = apply_filter(layers, np.ones((32, 32), np.float32), logits)
    layers[10, 14] = 1e6
    out, _ = apply_filter(layers, np.ones((32, 32), np.float32), logits)
    np.testing.assert_array_equal(out, expected)


def test_inputs_are_not_written():
    rng = np.random.default_rng(4)
    layers, confidence, logits = make_problem(rng, 16, 16, 2)
    for array in (layers, confidence, *logits):
        array.flags.writeable = False
    for apply in (apply_filter, apply_filter_numpy):
        apply(layers, confidence, logits)


# The three forms agree


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@few
@given(problem=problems(), threads=st.sampled_from([1, 2, 5]))
def test_native_is_numpy(isa, problem, threads):
    layers, confidence, logits = problem
    out, valid = native_filter(layers, confidence, logits, threads, isa)
    assert_agree(out, valid, *apply_filter_numpy(layers, confidence, logits), layers.max())


@few
@given(problem=problems(spreads=(0.0, 2.0, 8.0)))
def test_torch_is_numpy(problem):
    torch = pytest.importorskip("torch")
    from mdenoise.training.filter import apply_filter_torch

    layers, confidence, logits = problem
    out, valid = apply_filter_torch(
        torch.from_numpy(layers.transpose(2, 0, 1).copy())[None],
        torch.from_numpy(confidence)[None, None],
        tuple(torch.from_numpy(level) for level in logits),
    )
    out, valid = out[0].detach().numpy().transpose(1, 2, 0), valid[0, 0].numpy()
    expected, expected_valid = apply_filter_numpy(layers, confidence, logits)
    assert_agree(np.where(valid[..., None], out, 0), valid, expected, expected_valid, layers.max())


def level_problem(rng, shape, count, unshuffled, dtype, channels_last):
    """Logits with one channel (a fourth of four) that is no tap, planes with holes, and a derivative of the result."""
    import torch

    b, h, w = shape
    logits = rng.standard_normal((b, 104, h // 2, w // 2) if unshuffled else (b, 26, h, w)).astype(np.float32) * 2
    logits = torch.from_numpy(logits).to(dtype)
    if channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last)
    planes = rng.lognormal(0.0, 1.5, (b, count + 1, h, w)).astype(np.float32)
    planes[:, -1] = rng.random((b, h, w)) * (rng.random((b, h, w)) < 0.7)
    planes[:, -1, :, : w // 2] = 0  # wider than the window: some pixels are not valid
    planes[:, :-1] *= planes[:, -1:]
    grad = rng.standard_normal((b, count, h, w)).astype(np.float32)
    return logits, torch.from_numpy(planes), torch.from_numpy(grad)


def level_result(window, logits, planes, grad, unshuffled):
    logits, planes = logits.detach().requires_grad_(), planes.detach().requires_grad_()
    out, valid = window(logits, planes, unshuffled)
    out.backward(grad)
    return valid, out.detach(), planes.grad, logits.grad


@needs_native
@pytest.mark.parametrize("unshuffled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_native_window_is_torch(unshuffled, dtype, channels_last):
    """Values and derivatives; heights around the bands of 16 rows, down to a band of one row."""
    torch = pytest.importorskip("torch")
    from mdenoise.training.filter import window_native, window_torch

    rng = np.random.default_rng(11)
    shapes = [(2, 32, 48), (1, 50, 66), (3, 18, 20), (1, 4, 16)]
    shapes += [] if unshuffled else [(2, 17, 21), (1, 33, 16), (1, 1, 7)]
    for shape, count in itertools.product(shapes, (1, 3)):
        problem = level_problem(rng, shape, count, unshuffled, getattr(torch, dtype), channels_last)
        valid, *results = level_result(window_native, *problem, unshuffled)
        expected_valid, *expected = level_result(window_torch, *problem, unshuffled)
        assert torch.equal(valid, expected_valid)
        for got, want in zip(results, expected, strict=True):
            assert got.dtype == want.dtype and torch.isfinite(got).all()
            # Both round to bfloat16 once, at the end: at most one unit in the last of its 8 bits apart.
            near = 2**-7 if want.dtype == torch.bfloat16 else 1e-4
            torch.testing.assert_close(got.float(), want.float(), rtol=near, atol=1e-5 * float(want.abs().max()))


def window_float64(logits, planes, unshuffled):
    import torch
    import torch.nn.functional as F

    taps = F.pixel_shuffle(logits[:, :100], 2) if unshuffled else logits[:, :25]
    b, p, h, w = planes.shape
    around = F.unfold(planes, 5, padding=2).reshape(b, p, 25, h, w)
    summed = (around * torch.softmax(taps, 1)[:, None]).sum(2)
    return torch.where(summed[:, -1:] > 1e-6, summed[:, :-1] / summed[:, -1:].clamp_min(1e-6), 0.0)


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("unshuffled", [False, True])
def test_native_window_derivatives_are_differences(isa, unshuffled):
    """Against the definition in float64, by central differences along random directions."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(12)
    logits, planes, grad = level_problem(rng, (2, 20, 36), 2, unshuffled, torch.float32, True)
    arrays = [x.numpy() for x in (logits.permute(0, 2, 3, 1), planes)]
    out, stats = _native.window(*arrays, unshuffled, 2, isa)
    by_logits, by_planes = _native.window_backward(*arrays, out, stats, grad.numpy(), unshuffled, 2, isa)
    by_logits = torch.from_numpy(by_logits).permute(0, 3, 1, 2).double()
    by_planes = torch.from_numpy(by_planes).double()
    logits, planes, grad = logits.double(), planes.double(), grad.double()

    def total(logits, planes):
        return float((window_float64(logits, planes, unshuffled) * grad).sum())

    for _ in range(4):
        step = torch.from_numpy(rng.standard_normal(logits.shape)) * 1e-5
        expected = total(logits + step, planes) - total(logits - step, planes)
        assert float((by_logits * 2 * step).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-7)
        step = torch.from_numpy(rng.standard_normal(planes.shape)) * planes * 1e-5  # what is hidden stays hidden
        expected = total(logits, planes + step) - total(logits, planes - step)
        assert float((by_planes * 2 * step).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-7)


@needs_native
def test_native_window_does_not_depend_on_threads():
    torch = pytest.importorskip("torch")
    logits, planes, grad = level_problem(np.random.default_rng(13), (3, 70, 32), 3, True, torch.bfloat16, True)
    arrays = logits.permute(0, 2, 3, 1).view(torch.int16).numpy(), planes.numpy()
    one = _native.window(*arrays, True, 1)
    one_back = _native.window_backward(*arrays, *one, grad.numpy(), True, 1)
    for threads in (2, 3, 16):
        many = _native.window(*arrays, True, threads)
        many_back = _native.window_backward(*arrays, *many, grad.numpy(), True, threads)
        for a, b in zip((*one, *one_back), (*many, *many_back), strict=True):
            np.testing.assert_array_equal(a, b)


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_derivatives_of_the_whole_filter_are_those_of_torch(monkeypatch, dtype):
    torch = pytest.importorskip("torch")
    from mdenoise.training import filter as training_filter

    rng = np.random.default_rng(14)
    layers, confidence, logits = make_problem(rng, 48, 80, 3)
    confidence[:, :60] = 0
    results = []
    for compiled in (True, False):
        if not compiled:
            monkeypatch.setattr(training_filter, "_native", None)
        inputs = [torch.from_numpy(layers.transpose(2, 0, 1).copy())[None], torch.from_numpy(confidence)[None, None]]
        inputs += [torch.from_numpy(level).to(getattr(torch, dtype)) for level in logits]
        inputs = [x.detach().clone().requires_grad_() for x in inputs]
        out, _ = training_filter.apply_filter_torch(inputs[0], inputs[1], tuple(inputs[2:]))
        out.square().sum().backward()
        results.append([out.detach(), *(x.grad for x in inputs)])
    for got, want in zip(*results, strict=True):
        near = 2**-7 if want.dtype == torch.bfloat16 else 1e-4
        torch.testing.assert_close(got.float(), want.float(), rtol=near, atol=2e-5 * float(want.abs().max()))


@needs_native
def test_native_window_refuses_what_would_read_outside():
    logits, planes = np.zeros((1, 8, 8, 108), np.float32), np.zeros((1, 2, 16, 16), np.float32)
    out, stats = _native.window(logits, planes, True)
    for wrong in (logits[:, :7], logits[..., :99], logits[..., :107], logits[0], np.zeros((1, 8, 8, 108))):
        with pytest.raises(ValueError, match="logits"):
            _native.window(np.ascontiguousarray(wrong), planes, True)
    with pytest.raises(ValueError, match="C-contiguous"):
        _native.window(logits.transpose(0, 2, 1, 3), planes, True)
    with pytest.raises(ValueError, match="even in height"):
        _native.window(logits, planes[:, :, :15].copy(), True)
    with pytest.raises(ValueError, match="two planes or more"):
        _native.window(logits, planes[:, :1].copy(), True)
    with pytest.raises(ValueError, match="stats has shape"):
        _native.window_backward(logits, planes, out, stats[:, :1].copy(), out, True)
    with pytest.raises(ValueError, match="out_grad has shape"):
        _native.window_backward(logits, planes, out, stats, out[..., :8].copy(), True)
    with pytest.raises(ValueError, match="not available"):
        _native.window(logits, planes, True, 1, "sse9")


@needs_native
def test_result_does_not_depend_on_threads():
    rng = np.random.default_rng(6)
    layers, confidence, logits = make_problem(rng, 128, 96, 4)
    one, _ = apply_filter(layers, confidence, logits, threads=1)
    for threads in (2, 3, 16, 64):
        np.testing.assert_array_equal(apply_filter(layers, confidence, logits, threads=threads)[0], one)


def bfloat16(array):
    """Rounded to nearest, seen as uint16."""
    bits = array.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def channels_last(logits, bf16):
    """The same numbers as an engine hands them over, and as planar float32."""
    levels = [np.ascontiguousarray(level.transpose(0, 2, 3, 1)) for level in logits]
    levels = [(bfloat16(level) if bf16 else level).transpose(0, 3, 1, 2) for level in levels]
    return levels, [np.ascontiguousarray(kernel_filter.as_float32(level)) for level in levels]


@pytest.mark.parametrize("bf16", [False, True])
@few
@given(problem=problems())
def test_logits_with_channels_last(bf16, problem):
    layers, confidence, logits = problem
    given, planar = channels_last(logits, bf16)
    expected, expected_valid = apply_filter(layers, confidence, planar)
    for apply in (apply_filter, apply_filter_numpy):
        assert_agree(*apply(layers, confidence, given), expected, expected_valid, layers.max())
    for isa in ISAS:
        assert_agree(*native_filter(layers, confidence, given, 2, isa), expected, expected_valid, layers.max())


@needs_native
@pytest.mark.parametrize(("rows", "columns"), [(64, 144), (61, 131), (33, 2), (1, 1)])
@pytest.mark.parametrize("isa", ISAS)
def test_layers_as_they_lie_in_an_image(isa, rows, columns):
    """Part of a tile, several types and strides, a mask over NaN, and the division by an albedo and back."""
    rng = np.random.default_rng(8)
    h, w = 64, 144
    trust, (logits, planar) = rng.random((h, w), np.float32), channels_last(make_logits(rng, h, w), True)
    half = rng.lognormal(0, 2, (rows, columns, 3)).astype(np.float16)
    single = rng.random((rows, 3 * columns), np.float32)[:, ::3, None]
    small = rng.integers(0, 255, (columns, rows, 2), np.uint8).transpose(1, 0, 2)
    large = rng.integers(0, 65535, (rows, columns, 1), np.uint16)
    layers, divided = [half, single, small, large], [True, False, False, False]
    factor = rng.uniform(0.1, 1, (rows, columns, 3)).astype(np.float32)
    mask = rng.random((rows, columns)) > 0.05
    mask[0, 0], half[~mask] = True, np.nan
    half[0, 0] = 6e-8  # the smallest a half can hold
    out = np.full((rows, columns, 9), np.nan, np.float32)
    valid = _native.filter(layers, divided, factor, mask, trust, tuple(logits), out[..., 1:8], 2, isa).view(bool)
    whole, confidence = np.zeros((h, w, 7), np.float32), np.zeros((h, w), np.float32)
    plain = [half / factor, single, small, large]
    whole[:rows, :columns] = np.where(mask[..., None], np.concatenate(plain, 2, dtype=np.float32), 0)
    confidence[:rows, :columns] = trust[:rows, :columns] * mask
    expected, expected_valid = (x[:rows, :columns] for x in apply_filter_numpy(whole, confidence, planar))
    scale = whole.max((0, 1))
    assert np.isnan(out[..., [0, 8]]).all()
    out[..., 1:4] /= factor
    assert_agree(out[..., 1:8], valid, expected, expected_valid, scale)


@needs_native
def test_halves_are_read_exactly():
    """All 65536 of them: a pixel alone comes back as it was."""
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(-1, 16, 1)
    shape = (-(-every.shape[0] // 16) * 16, 16)
    logits = [np.zeros_like(level) for level in make_logits(np.random.default_rng(0), *shape)]
    for entry in (12, kernel_filter.BLEND, kernel_filter.CONFIDENCE):
        logits[0][:, entry * 4 : entry * 4 + 4] = 300
    for isa in ISAS:
        out = np.zeros(every.shape, np.float32)
        _native.filter([every], [False], None, None, np.ones(shape, np.float32), tuple(logits), out, 1, isa)
        np.testing.assert_array_equal(out, every.astype(np.float32))


# Wrong calls


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(layers=a["layers"][..., 0]), r"layers has shape \(32, 32\)"),
        (lambda a: a.update(layers=a["layers"][..., :0]), "layers has shape"),
        (lambda a: a.update(layers=a["layers"][:24]), "24 pixels high and 32 wide: both must be multiples of 16"),
        (lambda a: a.update(layers=a["layers"][:0]), "multiples of 16"),
        (lambda a: a.update(layers=a["layers"] * 1j), "layers holds complex"),
        (lambda a: a.update(layers=a["layers"].astype(object)), "layers holds object"),
        (lambda a: a.update(confidence_in=a["confidence_in"][:16]), r"confidence_in has shape \(16, 32\), not"),
        (lambda a: a.update(logits=a["logits"][:3]), "3 arrays of logits"),
        (lambda a: a.update(logits=a["logits"][::-1]), r"logits\[0\] .* \(1, 25, 4, 4\), not \(1, 108, 16, 16\)"),
        (lambda a: a.update(logits=[level[0] for level in a["logits"]]), r"logits\[0\] has shape"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    rng = np.random.default_rng(0)
    call = {
        "layers": rng.random((32, 32, 3), np.float32),
        "confidence_in": np.ones((32, 32), np.float32),
        "logits": make_logits(rng, 32, 32),
    }
    change(call)
    for apply in (apply_filter, apply_filter_numpy):
        with pytest.raises(ValueError, match=message):
            apply(**call)


@needs_native
def test_native_refuses_what_would_read_outside():
    rng = np.random.default_rng(0)
    layers, confidence, logits = make_problem(rng, 32, 32, 3)
    for i in range(4):
        short = list(logits)
        short[i] = short[i][..., :-1]
        with pytest.raises(ValueError, match=rf"logits\[{i}\] has shape"):
            native_filter(layers, confidence, short)
    with pytest.raises(ValueError, match="multiples of 16"):
        native_filter(layers[:16], confidence[:-1], logits)
    with pytest.raises(ValueError, match="must lie in trust"):
        native_filter(np.zeros((48, 32, 3), np.float32), confidence, logits)
    with pytest.raises(ValueError, match="four arrays"):
        native_filter(layers, confidence, logits[:3])
    planar = [level.astype(np.uint16) for level in logits]
    with pytest.raises(ValueError, match="bfloat16 as uint16, channels last"):
        native_filter(layers, confidence, planar)
    out = np.zeros((32, 32, 3), np.float32)
    for change in (
        {"layers": [layers[:31]]},
        {"layers": [layers, layers]},
        {"layers": [layers.astype(np.float64)]},
        {"layers": [layers[..., :2]]},
        {"divided": [True]},
        {"factor": np.ones((31, 32, 3), np.float32), "divided": [True]},
        {"mask": np.ones((32, 31), bool)},
        {"out": out[..., 0]},
        {"out": []},
        {"out": [out[:31]]},
        {"out": [out.astype(np.float64)]},
        {"out": out.astype(np.float16)},
    ):
        call = {"layers": [layers], "divided": [False], "factor": None, "mask": None, "out": out} | change
        with pytest.raises(ValueError, match=r"layer|divided|out|factor has shape|mask has shape"):
            _native.filter(trust=confidence, logits=logits, **call)
    with pytest.raises(ValueError, match="luminance"):
        _native.outlier_weight(layers, 32.0, 0.25)
    with pytest.raises(ValueError, match="not available"):
        native_filter(layers, confidence, logits, 1, "sse9")


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8])
def test_other_types_and_strides_are_cast(dtype):
    rng = np.random.default_rng(7)
    layers = (rng.random((64, 64, 6)) * 200).astype(dtype)[::2, ::-2, ::2]
    confidence = np.asfortranarray(rng.integers(0, 2, (32, 32))).astype(dtype)
    logits = tuple(level.astype(np.float16) for level in make_logits(rng, 32, 32))
    plain = [np.ascontiguousarray(a, np.float32) for a in (layers, confidence, *logits)]
    out, _ = apply_filter(layers, confidence, logits)
    expected, _ = apply_filter(plain[0], plain[1], plain[2:])
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, expected)


@needs_native
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("columns", "count"), [(300, 3), (301, 9), (37, 3)])
def test_results_go_where_the_layers_lie(isa, columns, count):
    """Each layer in its own array, type and strides, of so many layers that rows are cut into strips, and of an image
    so high that its coarser levels are held in part."""
    rng = np.random.default_rng(8)
    h, w, rows = 272, -(-columns // 16) * 16, 265
    types = ["float32", "float16", "uint16", "uint8", "float16", "float32", "float16", "float32", "float32"][:count]
    scale = {"float32": 1, "float16": 1, "uint16": 65535, "uint8": 255}
    layers = [(rng.random((rows, columns, 3)) * scale[name]).astype(name) for name in types]
    layers[-1] = layers[-1][:, ::-1]
    layers.append(np.minimum(2 * rng.random((rows, columns, 1)), 1).astype(np.float16))
    divided = [True] + [False] * count
    factor = rng.uniform(0.1, 1, (rows, columns, 3)).astype(np.float32)
    trust, logits = rng.random((h, w), np.float32), make_logits(rng, h, w)
    planes = np.zeros((h, w, 3 * count + 1), np.float32)
    planes[:rows, :columns] = np.concatenate([layers[0] / factor, *layers[1:]], axis=2)
    trust[rows:], trust[:, columns:] = 0, 0
    expected, expected_valid = (a[:rows, :columns] for a in apply_filter_numpy(planes, trust, logits))
    outs = [np.zeros((rows, columns, layer.shape[2]), layer.dtype) for layer in layers]
    for threads in (1, 3):
        valid = _native.filter(layers, divided, factor, None, trust, logits, outs, threads, isa)
        np.testing.assert_array_equal(valid.view(bool), expected_valid)
        for i, out in enumerate(outs):
            wanted = expected[..., 3 * i : 3 * i + 3] * (factor if i == 0 else 1)
            if out.dtype.kind == "u":
                assert np.abs(out - wanted).max() <= 0.5 + 1e-5 * scale[out.dtype.name]
            else:
                np.testing.assert_allclose(out, wanted, rtol=6e-4 if out.dtype == np.float16 else 1e-5, atol=1e-5)


@needs_native
@pytest.mark.parametrize("isa", ISAS)
def test_results_are_rounded_to_halves(isa):
    """To nearest even, denormals, too; what is beyond the largest half becomes that."""
    shape = 16, 1024
    values = np.geomspace(1e-9, 7e4, 2 * 16 * 1024, dtype=np.float32).reshape(*shape, 2)
    values[0, :4, 0] = 65504, 65519, 1e20, np.float32(2**-14) * np.float32(0.9999)
    values = np.concatenate([values, -values[..., :1]], axis=2)
    logits = [np.zeros_like(level) for level in make_logits(np.random.default_rng(9), *shape)]
    logits[0][:, 12 * 4 : 13 * 4] = 200  # the pixel itself, and nothing else
    logits[0][:, kernel_filter.BLEND * 4 :] = 200
    ones, exact, half = np.ones(shape, np.float32), np.zeros_like(values), np.zeros(values.shape, np.float16)
    for out in (exact, half):
        _native.filter([values], [False], None, None, ones, tuple(logits), [out], 1, isa)
    np.testing.assert_array_equal(half, np.clip(exact, -65504, 65504).astype(np.float16))


# The bound on single pixels


@few
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 32.0]),
    st.sampled_from([0.0, 0.25]),
)
def test_outlier_weight_native_is_numpy(h, w, seed, multiple, floor):
    rng = np.random.default_rng(seed)
    luminance = (rng.lognormal(0, 3, (h, w)) * (rng.random((h, w)) < 0.8)).astype(np.float32)
    expected = outlier_weight_numpy(luminance, multiple, floor)
    np.testing.assert_allclose(outlier_weight(luminance, multiple, floor), expected, rtol=1e-6)
    for isa in ISAS:
        np.testing.assert_allclose(_native.outlier_weight(luminance, multiple, floor, 2, isa), expected, rtol=1e-6)


@needs_native
@pytest.mark.parametrize("isa", ISAS)
def test_median_network_is_proved(isa):
    """By the 0-1 principle a network is right if it is so for all columns of five zeros and ones, sorted or not."""
    sorted_columns = np.array(list(itertools.product(range(6), repeat=5)))  # ones in each of five columns
    windows = np.arange(5)[None, :, None] < sorted_columns[:, None, :]  # (7776, 5, 5)
    any_column = np.array(list(itertools.product((0, 1), repeat=5)))  # five equal columns: the vertical sort
    windows = np.concatenate([windows, np.repeat(any_column[:, :, None], 5, axis=2)])
    ones = windows.sum((1, 2))
    luminance = 1.0 + windows.transpose(1, 0, 2).reshape(5, -1).astype(np.float32)  # 1 or 2
    r = _native.outlier_weight(luminance, 0.125, 0.0, 1, isa)[2, 2::5]
    median = np.rint(r * luminance[2, 2::5] / 0.125)
    np.testing.assert_array_equal(median, np.where(ones >= 13, 2, 1))


def test_outlier_weight_bounds_the_pull():
    luminance = np.full((32, 32), 0.5, np.float32)
    luminance[7, 9] = 1e6
    luminance[7:9, 10:12] = 4e5  # company: more than two others above a quarter of it
    luminance[20, 20] = 0
    r = outlier_weight(luminance)
    assert r[7, 9] * luminance[7, 9] == pytest.approx(OUTLIER_MULTIPLE * 0.5 + OUTLIER_FLOOR)
    np.testing.assert_allclose((r * luminance)[7:9, 10:12], OUTLIER_MULTIPLE * 0.5 + OUTLIER_FLOOR)
    r[7, 9], r[7:9, 10:12] = 1, 1
    assert (r == 1).all()


def test_a_pixel_that_stands_alone_is_a_firefly():
    """Also at the border, where nothing repeats it; with two others it is one still, with three it is not."""
    for y, x in ((0, 9), (15, 9), (8, 8), (0, 0)):
        inward = -1 if y == 15 else 1
        for company in range(4 if x else 1):  # in a corner the median's window is half of what is bright there
            luminance = np.full((16, 16), 0.5, np.float32)
            luminance[y, x] = 100
            for i in range(company):
                luminance[y + inward * (1 + i // 2), x + inward * (i % 2)] = 26
            for weight in (outlier_weight, outlier_weight_numpy):
                assert (weight(luminance)[y, x] == 0) == (company <= 2)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 4)])
def test_outlier_weight_refuses_other_shapes(shape):
    for weight in (outlier_weight, outlier_weight_numpy):
        with pytest.raises(ValueError, match="luminance has shape"):
            weight(np.zeros(shape, np.float32))


# Where nothing was valid


@few
@given(st.integers(1, 24), st.integers(1, 24), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_fill_nearest_takes_the_nearest(h, w, share, seed):
    rng = np.random.default_rng(seed)
    valid = rng.random((h, w)) < share
    out = np.where(valid, np.arange(h * w).reshape(h, w), -1)[..., None].astype(np.float32)
    before = out.copy()
    assert fill_nearest(out, valid) == (~valid).sum()
    if not valid.any():
        np.testing.assert_array_equal(out, before)
        return
    y, x = np.nonzero(valid)
    for i, j in np.ndindex(h, w):
        square = (y - i) ** 2 + (x - j) ** 2
        source = int(out[i, j, 0])
        assert valid[source // w, source % w]
        assert (source // w - i) ** 2 + (source % w - j) ** 2 == square.min()


def test_fill_nearest_refuses_other_shapes():
    with pytest.raises(ValueError, match="height and width differ"):
        fill_nearest(np.zeros((4, 5, 3)), np.ones((5, 4), bool))
