"""Inference engines: one file each, picked here.

Those of the CPU answer guide -> logits, which the compiled filter applies; those of GPUs hold the filter, too, so that
radiance crosses the bus once each way (see DESIGN: graph contract).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Protocol

import numpy as np

from mdenoise.config import Options
from mdenoise.errors import EngineError
from mdenoise.filter import TAPS, apply_filter
from mdenoise.models import ModelCard

log = logging.getLogger(__name__)

LEVELS = ("level0", "level1", "level2", "level3")
CHROMA = ("chroma0", "chroma1", "chroma2", "chroma3")
ON_GPU = ("tensorrt", "tensorrt_rtx", "onnxruntime_cuda")  # in the order of trying
ON_CPU = ("openvino", "onnxruntime")


class Engine(Protocol):
    """`name` and `precision` are printed. `predict` takes (1, G, H, W) float32, H and W multiples of 64, and answers
    four float32 arrays, or eight with `chroma` where the card has it; their memory is valid until the next call. One
    thread at a time; `session` answers the same engine for one more thread, which shares the compiled models.

    An engine of a GPU has `filter(guide, layers, confidence, differences)` instead of `predict`: see `filter_layers`.
    """

    name: str
    precision: str

    def predict(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]: ...

    def session(self) -> Engine: ...


def filter_layers(
    engine: Engine, guide: np.ndarray, layers: np.ndarray, confidence: np.ndarray, differences: Collection[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """One tile through network and filter, wherever the engine has the latter.

    Args:
        guide: (1, G, H, W) float32. layers: (H, W, C) float32, finite. confidence: (H, W) float32 in [0, 1].
        differences: channels of `layers` that take the second kernel set of a model that has two.

    Returns what `mdenoise.filter.apply_filter` does: (H, W, C) float32 and (H, W) bool, valid in all sets in use.
    """
    if hasattr(engine, "filter"):
        return engine.filter(guide, layers, confidence, differences)
    if not differences:
        return apply_filter(layers, confidence, engine.predict(guide))
    logits = engine.predict(guide, chroma=True)
    seconds = sorted(differences)
    firsts = [i for i in range(layers.shape[2]) if i not in differences]
    out = np.empty(layers.shape, np.float32)
    confident = np.concatenate([logits[4], logits[0][:, 4 * (TAPS + 1) :]], axis=1)  # the sets share the confidence
    out[..., seconds], valid = apply_filter(layers[..., seconds], confidence, (confident, *logits[5:]))
    if firsts:
        out[..., firsts], known = apply_filter(layers[..., firsts], confidence, logits[:4])
        valid = valid & known
    return out, valid


def open_engine(card: ModelCard, options: Options) -> Engine:
    """The engine that the options ask for. `auto` is the first that works of TensorRT, TensorRT-RTX and onnxruntime's
    CUDA where there is a GPU, else OpenVINO, then onnxruntime; why one was passed over is logged. One that is asked
    for by name is that one or an EngineError."""
    kind, index = parse_device(options.device)
    name = options.engine
    if name != "auto":
        if (kind == "cpu" and name in ON_GPU) or (kind == "cuda" and name in ON_CPU):
            raise EngineError(f"engine {name} does not run on device {options.device}: leave out one of the two")
        try:
            return _open(name, card, options, index)
        except EngineError as error:
            raise EngineError(f"engine {name} is not available: {error}") from None
    if kind != "cpu":
        engine, reasons = _first_on_gpu(card, options, index)
        if engine is not None:
            return engine
        if kind == "cuda":
            raise EngineError(f"device {options.device} cannot be used: {reasons}. Use --device cpu")
    try:
        return _open("openvino", card, options, index)
    except MissingLibrary as error:
        log.info("openvino is not used: %s", error)
        return _open("onnxruntime", card, options, index)


def parse_device(device: str) -> tuple[str, int]:
    """`auto`, `cpu`, `cuda` or `cuda:N` to kind and number; raises EngineError."""
    found = re.fullmatch(r"(auto|cpu|cuda)|cuda:(\d{1,2})", device)
    if found is None:
        raise EngineError(f"device {device!r} is not known: use auto, cpu, cuda or cuda:N")
    return found[1] or "cuda", int(found[2] or 0)


class MissingLibrary(EngineError):
    """The package of an engine is not installed."""


def _first_on_gpu(card: ModelCard, options: Options, index: int) -> tuple[Engine | None, str]:
    """The first engine that works on the GPU, or why there is none."""
    from mdenoise.engines import cuda

    problem = cuda.missing()
    if problem:
        log.debug("the GPU is not used: %s", problem)  # on most machines there is none
        return None, problem
    reasons = []
    for name in ON_GPU:
        try:
            engine = _open(name, card, options, index)
        except EngineError as error:
            reasons.append(f"{name}: {error}")
            continue
        if reasons:
            log.info("%s is used, as %s", name, "; ".join(reasons))
        return engine, ""
    log.info("the GPU is not used: %s", "; ".join(reasons))
    return None, "; ".join(reasons)


def _open(name: str, card: ModelCard, options: Options, index: int) -> Engine:
    """Raises MissingLibrary where that is the reason, else EngineError."""
    if name in ("tensorrt", "tensorrt_rtx"):
        from mdenoise.engines.tensorrt import TensorRtEngine

        return TensorRtEngine(card, options.precision, name, index, options.tile_px)
    try:
        if name == "openvino":
            from mdenoise.engines.openvino import OpenVinoEngine

            return OpenVinoEngine(card, options.precision)
        from mdenoise.engines.onnxruntime import OnnxRuntimeCudaEngine, OnnxRuntimeEngine

        if name == "onnxruntime":
            return OnnxRuntimeEngine(card, options.precision)
        return OnnxRuntimeCudaEngine(card, options.precision, index)
    except ImportError as error:
        extra = {"openvino": "mdenoise", "onnxruntime": "mdenoise[onnxruntime]"}.get(name, "mdenoise[onnxruntime-cuda]")
        raise MissingLibrary(f'{error}. Install it with: pip install "{extra}"') from None
