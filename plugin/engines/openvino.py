"""OpenVINO on the CPU, the default engine."""

from __future__ import annotations

import copy
import hashlib
import platform
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np

from mdenoise.engines import CHROMA, LEVELS, bands
from mdenoise.engines.int8 import round_layers
from mdenoise.engines.plans import held_alone, private_folder, trim
from mdenoise.errors import EngineError
from mdenoise.filter import _native, as_float32, usable_cpus
from mdenoise.models import ModelCard

SIZES_KEPT = 4  # each holds the memory of its tile
FILES_KEPT = 32  # compiled graphs of one model on the disk, 6 MB each; every size of image has its own
BANDS_KEPT = 8  # graphs of bands, without their memory; an image has three or four
PRECISIONS = {"f32": "FP32", "bf16": "BF16", "fp16": "FP16", "int8": "INT8"}
X86 = ("x86_64", "AMD64")


def import_openvino() -> ModuleType:
    """The package without its model converter, which would report its use over the network from a forked child."""
    if "openvino" in sys.modules:
        return sys.modules["openvino"]
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]  # None makes the import fail, and it is optional
    try:
        import openvino
    finally:
        sys.modules.pop("openvino.tools.ovc", None)
    return openvino


def usual_precision(capable: Sequence[str], rounded: bool, machine: str) -> str:
    """What `auto` is on a CPU of these capabilities; `rounded`: whether the model's card has ranges for int8. On x86
    bf16 is fast with AMX alone, and OpenVINO names no FP16 without it: 8 bits take less than half of the time there."""
    if machine in X86 and rounded and "INT8" in capable and not {"BF16", "FP16"} <= set(capable):
        return "int8"
    return "bf16" if "BF16" in capable else "f32"


class OpenVinoEngine:
    """Compiles the model once per tile size; radiance never passes through here.

    With the compiled filter the graph is cut after the guide's unshuffle, and channels lie last on both its sides:
    reordering guide and logits took as long as half of the network. `packed` is the type of both, None without.
    """

    name = "openvino"

    def __init__(self, card: ModelCard, precision: str = "auto"):
        self._core = import_openvino().Core()
        capable = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "auto":
            precision = usual_precision(capable, bool(card.int8), platform.machine())
        if PRECISIONS[precision] not in capable:
            raise EngineError(f"precision {precision} cannot be used: this CPU has no {precision}. Use --precision f32")
        if precision == "int8" and not card.int8:
            raise EngineError(
                f"precision int8 cannot be used: the card of model {card.name} has no ranges for it; measure them with "
                "python -m mdenoise.exporters.int8. Use --precision f32"
            )
        self.precision = precision
        self._ranges = card.int8 if precision == "int8" else {}
        self.packed = None if _native is None else "bf16" if precision == "bf16" else "f32"
        self._cache = private_folder("openvino")
        self._kind = f"{card.sha256[:16]}-{self.packed or 'planar'}"
        if self._ranges:
            self._kind += f"-int8-{hashlib.sha256(repr(self._ranges).encode()).hexdigest()[:16]}"
        self._path = card.path
        self._models: dict[tuple[int, ...], Any] = {}  # by shape and chroma; compiled, shared by all sessions
        self._bands: dict[Any, Any] = {}  # the same of bands, by shape and recipe
        self._steps: dict[Any, Any] = {}  # of graphs that were not cut yet, by shape
        self._graphs: list[Any] = []  # the model as it was read, once bands were asked for
        self._lock = threading.Lock()
        self._requests: dict[tuple[int, ...], Any] = {}  # of this session alone: they own the outputs' memory

    def session(self) -> OpenVinoEngine:
        """This engine for one more thread: compiled models are shared, the memory of answers is not."""
        twin = copy.copy(self)
        twin._requests = {}
        return twin

    def _compile(self, shape: tuple[int, ...], chroma: bool) -> Any:
        model = self._core.read_model(self._path)
        names = LEVELS + CHROMA if chroma else LEVELS  # a graph of its own, so that no others are computed
        if self.packed is None:
            results = [model.output(name).get_node() for name in names]
            model = import_openvino().Model(results, model.get_parameters(), "predict")
            model.reshape(list(shape))
            model = self._rounded(model)
        else:
            model = self._rounded(packed_graph(model, names, shape))
            model = channels_last(model, [2], [2] * len(names), self.packed)
        return self._compiled(model, self._kind)

    def _rounded(self, model: Any) -> Any:
        return round_layers(model, self._ranges, import_openvino().opset13) if self._ranges else model

    def _compiled(self, model: Any, kind: str) -> Any:
        values = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp16": "f16"}.get(self.precision, "f32"),
            "INFERENCE_NUM_THREADS": usable_cpus(),
            "ENABLE_CPU_PINNING": False,
        }
        if self._cache is None:
            return self._core.compile_model(model, "CPU", values)
        # A folder for each model: OpenVINO's own key takes two that differ in a few constants for the same. And two
        # processes that write one file there at a time fail.
        with held_alone(self._cache / kind) as folder:
            cache = {} if folder is None else {"CACHE_DIR": str(folder)}
            compiled = self._core.compile_model(model, "CPU", values | cache)
            if folder is not None:
                trim(folder, "*.blob", FILES_KEPT)
        return compiled

    def _request(self, shape: tuple[int, ...], chroma: bool) -> Any:
        request = self._requests.pop((*shape, chroma), None)
        if request is None:
            with self._lock:  # the first of several threads compiles, the others take what it made
                model = self._models.pop((*shape, chroma), None) or self._compile(shape, chroma)
                keep_last(self._models, (*shape, chroma), model)
            request = model.create_infer_request()
        return request

    def predict(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]:
        if self.packed is None:
            return self._run(guide, guide.shape, chroma)
        packed = _native.pack(guide[0], self.packed == "bf16", threads=usable_cpus())
        return tuple(as_float32(level) for level in self.predict_packed(packed, chroma))

    def predict_packed(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]:
        """As `predict` for (1, H/2, W/2, 4 G): channel 4 c + 2 dy + dx of a cell is channel c of one of its pixels.
        Guide and answers are float32 or bfloat16 seen as uint16, as `packed` says; the answers' channels lie last."""
        levels = self._run(guide, guide.shape, chroma)
        return tuple(level.transpose(0, 3, 1, 2) for level in levels)

    def _run(self, guide: np.ndarray, shape: tuple[int, ...], chroma: bool) -> tuple[np.ndarray, ...]:
        try:
            request = self._request(shape, chroma)
            levels = infer(request, [guide])
        except RuntimeError as error:
            raise self._failed(error) from None
        keep_last(self._requests, (*shape, chroma), request)
        return tuple(levels)

    def _failed(self, error: RuntimeError) -> EngineError:
        line = str(error).strip().splitlines()[-1]
        return EngineError(f"engine openvino cannot run {self._path.name}: {line}. Try --engine onnxruntime")

    def cuttable(self, channels: int) -> bool:
        """Whether `bands` knows the kind of network; `channels` are those of the packed guide."""
        try:
            self._traced((1, 32, 32, channels))
        except bands.UnknownGraph:
            return False
        return True

    def bands(self, shape: tuple[int, ...], spans: Sequence[tuple[int, int]]) -> Bands:
        """`predict_packed` of a guide (1, H/2, W/2, 4 G), too large to be held, for one span of its rows after another.
        Raises bands.UnknownGraph where it is not `cuttable`."""
        return Bands(self, shape, bands.plan(self._traced(shape), spans, LEVELS))

    def _traced(self, shape: tuple[int, ...]) -> list[bands.Step]:
        with self._lock:
            steps = self._steps.pop(shape, None) or self._trace(shape)
            keep_last(self._steps, shape, steps)
        return steps

    def _trace(self, shape: tuple[int, ...]) -> list[bands.Step]:
        if not self._graphs:
            self._graphs.append(self._core.read_model(self._path))
        return bands.trace(self._rounded(packed_graph(self._graphs[0].clone(), LEVELS, shape)), LEVELS)

    def band_model(self, shape: tuple[int, ...], band: bands.Band) -> Any:
        key = (shape, band.recipe)
        with self._lock:
            model = self._bands.pop(key, None)
            if model is None:
                steps = self._trace(shape)  # anew: it is rewritten
                axes = {step.name: step.axis for step in steps}
                parameters, results = bands.cut(steps, band, LEVELS, import_openvino().opset13)
                cut = import_openvino().Model(results, parameters, "band")
                cut.validate_nodes_and_infer_types()
                inputs = [axes[name] for name in (*(["guide"] if "guide" in band.new else []), *band.kept)]
                outputs = [axes[name] for name in (*LEVELS, *band.left)]
                digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
                model = self._compiled(channels_last(cut, inputs, outputs, self.packed), f"{self._kind}-{digest}")
            keep_last(self._bands, key, model, BANDS_KEPT)
        return model


class Bands:
    """The network over the bands of one image, one after another; of an engine for this thread alone."""

    def __init__(self, engine: OpenVinoEngine, shape: tuple[int, ...], plan: Sequence[bands.Band]):
        self._engine, self._shape, self._plan = engine, shape, plan
        self._kept: list[np.ndarray] = []
        self._recipe: tuple[Any, ...] = ()
        self._model: Any = None
        self._request: Any = None

    def guide_rows(self, number: int) -> tuple[int, int]:
        """Rows of the image whose guide a band takes; an empty span where it needs no more."""
        first, end = self._plan[number].new.get("guide", (0, 0))
        return 2 * first, 2 * end

    def predict(self, number: int, guide: np.ndarray | None) -> tuple[np.ndarray, ...]:
        """Logits of the span of a band, valid until the next call; bands follow each other."""
        band = self._plan[number]
        try:
            if band.recipe != self._recipe:
                self.close()
                self._model, self._recipe = self._engine.band_model(self._shape, band), band.recipe
                self._request = self._model.create_infer_request()
            found = infer(self._request, [*([] if guide is None else [guide]), *self._kept])
        except RuntimeError as error:
            raise self._engine._failed(error) from None
        self._kept = [rows.copy() for rows in found[len(LEVELS) :]]
        return tuple(level.transpose(0, 3, 1, 2) for level in found[: len(LEVELS)])

    def close(self) -> None:
        """Give back the memory of the band before: each graph has its own, and they are not needed at once."""
        model, self._model, self._request = self._model, None, None
        if model is not None:
            with suppress(RuntimeError):  # another thread is in it
                model.release_memory()


def infer(request: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs in the request's own memory; bfloat16, in and out, is seen as uint16."""
    openvino = import_openvino()
    given = [openvino.Tensor(x, list(x.shape), openvino.Type.bf16) if x.dtype == np.uint16 else x for x in inputs]
    request.infer(given, share_inputs=True)
    found = [tensor.data for tensor in request.output_tensors]
    return [array if array.dtype == np.float32 else array.view(np.uint16) for array in found]


def packed_graph(model: Any, names: tuple[str, ...], shape: tuple[int, ...]) -> Any:
    """The graph from its first convolution on, for a guide (1, 4 G, H/2, W/2); `shape` has its channels last."""
    openvino = import_openvino()
    node = model.get_parameters()[0]
    while node.get_type_name() != "Convolution":
        (reader,) = node.output(0).get_target_inputs()
        node = reader.get_node()
    _, height, width, channels = shape
    guide = openvino.opset13.parameter([1, channels, height, width], np.float32, "guide")
    node.input(0).replace_source_output(guide.output(0))
    model = openvino.Model([model.output(name).get_node() for name in names], [guide], "predict")
    model.validate_nodes_and_infer_types()
    return model


def channels_last(model: Any, inputs: Sequence[int], outputs: Sequence[int], kind: str) -> Any:
    """The same graph with channels last on its outside, "f32" or "bf16"; given are the axes of rows of inputs and
    outputs, 2 where channels come first inside."""
    openvino = import_openvino()
    kinds = {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}
    steps = openvino.preprocess.PrePostProcessor(model)
    sides = [(steps.input(i), axis) for i, axis in enumerate(inputs)]
    sides += [(steps.output(i), axis) for i, axis in enumerate(outputs)]
    for side, axis in sides:
        side.tensor().set_element_type(kinds[kind])
        if axis == 2:
            side.tensor().set_layout(openvino.Layout("NHWC"))
            side.model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def keep_last(kept: dict[Any, Any], key: Any, value: Any, most: int = SIZES_KEPT) -> None:
    """Put `value` last, and drop the one that was not used for longest when there are too many."""
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
