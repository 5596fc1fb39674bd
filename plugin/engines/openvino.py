"""OpenVINO on the CPU, the default engine."""

from __future__ import annotations

import copy
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mdenoise.engines import CHROMA, LEVELS
from mdenoise.errors import EngineError
from mdenoise.filter import _native, as_float32, usable_cpus
from mdenoise.models import ModelCard

SIZES_KEPT = 4  # each holds the memory of its tile
PRECISIONS = {"f32": "FP32", "bf16": "BF16", "fp16": "FP16"}


def cache_folder() -> Path | None:
    """A private folder for compiled models; None when it cannot be had, which only costs time."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("mdenoise")) / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A compiled model is code: a folder that others can write to is not used.
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            return None
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


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


class OpenVinoEngine:
    """Compiles the model once per tile size. bf16 only where the CPU has it; radiance never passes through here.

    With the compiled filter the graph is cut after the guide's unshuffle, and channels lie last on both its sides:
    reordering guide and logits took as long as half of the network. `packed` is the type of both, None without.
    """

    name = "openvino"

    def __init__(self, card: ModelCard, precision: str = "auto"):
        self._core = import_openvino().Core()
        capable = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "auto":
            precision = "bf16" if "BF16" in capable else "f32"
        if PRECISIONS[precision] not in capable:
            raise EngineError(f"precision {precision} cannot be used: this CPU has no {precision}. Use --precision f32")
        self.precision = precision
        self.packed = None if _native is None else "bf16" if precision == "bf16" else "f32"
        cache = cache_folder()
        if cache is not None:
            # A folder for each model: OpenVINO's own key takes two that differ in a few constants for the same.
            kind = self.packed or "planar"
            self._core.set_property({"CACHE_DIR": str(cache / f"{card.sha256[:16]}-{kind}")})
        self._path = card.path
        self._has_chroma = card.chroma
        self._models: dict[tuple[int, ...], Any] = {}  # by shape and chroma; compiled, shared by all sessions
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
        else:
            model = packed_graph(model, names, shape, self.packed)
        return self._core.compile_model(
            model,
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": {"f32": "f32", "bf16": "bf16", "fp16": "f16"}[self.precision],
                "INFERENCE_NUM_THREADS": usable_cpus(),
                "ENABLE_CPU_PINNING": False,
            },
        )

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
            if guide.dtype == np.uint16:
                openvino = import_openvino()
                guide = openvino.Tensor(guide, list(shape), openvino.Type.bf16)
            request.infer([guide], share_inputs=True)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            name = self._path.name
            raise EngineError(f"engine openvino cannot run {name}: {line}. Try --engine onnxruntime") from None
        keep_last(self._requests, (*shape, chroma), request)
        levels = [request.get_output_tensor(i).data for i in range(len(LEVELS + CHROMA) if chroma else len(LEVELS))]
        return tuple(level if level.dtype == np.float32 else level.view(np.uint16) for level in levels)


def packed_graph(model: Any, names: tuple[str, ...], shape: tuple[int, ...], kind: str) -> Any:
    """The graph from its first convolution on, for (1, H/2, W/2, 4 G), all with channels last; kind "f32" or "bf16"."""
    openvino = import_openvino()
    node = model.get_parameters()[0]
    while node.get_type_name() != "Convolution":
        (reader,) = node.output(0).get_target_inputs()
        node = reader.get_node()
    _, height, width, channels = shape
    guide = openvino.opset13.parameter([1, channels, height, width], np.float32, "guide")
    node.input(0).replace_source_output(guide.output(0))
    model = openvino.Model([model.output(name).get_node() for name in names], [guide], "predict")
    kinds = {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}
    steps = openvino.preprocess.PrePostProcessor(model)
    for side in (steps.input(), *(steps.output(i) for i in range(len(names)))):
        side.tensor().set_element_type(kinds[kind]).set_layout(openvino.Layout("NHWC"))
        side.model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def keep_last(kept: dict[tuple[int, ...], Any], key: tuple[int, ...], value: Any) -> None:
    """Put `value` last, and drop the one that was not used for longest when there are too many."""
    kept[key] = value
    if len(kept) > SIZES_KEPT:
        del kept[next(iter(kept))]
