"""onnxruntime. On the CPU the second engine: smaller, on every platform, float32 only. On NVIDIA GPUs the third:
slower than TensorRT, but all of it comes with pip."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.engines import CHROMA, LEVELS
from mdenoise.engines.triples import arrange
from mdenoise.errors import EngineError
from mdenoise.models import ModelCard, load_graph

log = logging.getLogger(__name__)

GRAPHS = {"fp16": "fused.fp16", "f32": "fused"}


class OnnxRuntimeEngine:
    name = "onnxruntime"
    precision = "f32"

    def __init__(self, card: ModelCard, precision: str = "auto"):
        if precision not in ("auto", "f32"):
            raise EngineError(
                f"precision {precision} cannot be used with onnxruntime: it computes in f32. Use --precision f32"
            )
        self._session = open_session(card.path, "CPUExecutionProvider", {})

    def session(self) -> OnnxRuntimeEngine:
        """This engine for one more thread: itself, as every answer has memory of its own."""
        return self

    def predict(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]:
        # What no named output needs is not computed.
        return tuple(self._session.run([*LEVELS, *CHROMA] if chroma else [*LEVELS], {"guide": guide}))


class OnnxRuntimeCudaEngine:
    """Network and filter in one graph on an NVIDIA GPU. `provider` is another one only to be compared with."""

    name = "onnxruntime_cuda"

    def __init__(
        self, card: ModelCard, precision: str = "auto", index: int = 0, provider: str = "CUDAExecutionProvider"
    ):
        from mdenoise.engines.verify import verify

        self.precision = "fp16" if precision == "auto" else precision
        if self.precision not in GRAPHS:
            raise EngineError(f"precision {precision} cannot be used with {self.name}. Use --precision fp16 or f32")
        settings: dict[str, Any] = {}
        if provider == "CUDAExecutionProvider":
            settings = {"device_id": index, "use_tf32": int(self.precision != "f32")}
        self._session = open_session(load_graph(card, GRAPHS[self.precision]), provider, settings)
        self._sets = 2 if card.chroma else 1
        if provider == "CUDAExecutionProvider":
            verify(self, card)

    def session(self) -> OnnxRuntimeCudaEngine:
        """This engine for one more thread: itself, as every answer has memory of its own."""
        return self

    def filter(
        self, guide: np.ndarray, layers: np.ndarray, confidence: np.ndarray, differences: Collection[int] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `mdenoise.engines.filter_layers`."""
        plan = arrange(layers.shape[2], differences, self._sets)
        packed = np.empty((plan.count, 3, *layers.shape[:2]), np.float32)
        plan.pack(layers, 0, packed)
        given = {"guide": guide, "layers": packed, "confidence": confidence[None, None]}
        try:
            filtered, valid = self._session.run(["filtered", "valid"], given)
        except Exception as error:  # its errors have no common base but this
            raise EngineError(f"engine {self.name} failed: {_line(error)}. Try a smaller --tile") from None
        out = np.empty(layers.shape, np.float32)
        plan.unpack(filtered, 0, out)
        return out, plan.valid(valid)


def open_session(path: Path, provider: str, options: dict[str, Any]) -> Any:
    """A session on that provider and no other. Raises ImportError, EngineError."""
    import onnxruntime

    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    if provider not in onnxruntime.get_available_providers():
        raise ImportError(f"this onnxruntime {onnxruntime.__version__} has no {provider}")
    if provider == "CUDAExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):  # it prints what it does not find
            onnxruntime.preload_dlls()
        log.debug("%s", said.getvalue())
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=[(provider, options)])
    except Exception as error:  # its errors have no common base but this
        raise EngineError(f"onnxruntime cannot load {path.name}: {_line(error)}. Try --engine openvino") from None
    if session.get_providers()[0] != provider:  # it falls back to the CPU in silence
        raise EngineError(f"onnxruntime cannot start its {provider}: are CUDA and cuDNN installed?")
    return session


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
