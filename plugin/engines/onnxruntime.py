"""onnxruntime on the CPU, the second engine: smaller, on every platform, float32 only."""

from __future__ import annotations

import numpy as np

from mdenoise.engines import CHROMA, LEVELS
from mdenoise.errors import EngineError
from mdenoise.models import ModelCard


class OnnxRuntimeEngine:
    name = "onnxruntime"
    precision = "f32"

    def __init__(self, card: ModelCard, precision: str = "auto"):
        import onnxruntime

        if precision not in ("auto", "f32"):
            raise EngineError(
                f"precision {precision} cannot be used with onnxruntime: it computes in f32. Use --precision f32"
            )
        if hasattr(onnxruntime, "disable_telemetry_events"):
            onnxruntime.disable_telemetry_events()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(card.path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common base but this
            line = str(error).strip().splitlines()[0]
            name = card.path.name
            raise EngineError(f"engine onnxruntime cannot load {name}: {line}. Try --engine openvino") from None

    def session(self) -> OnnxRuntimeEngine:
        """This engine for one more thread: itself, as every answer has memory of its own."""
        return self

    def predict(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]:
        # What no named output needs is not computed.
        return tuple(self._session.run([*LEVELS, *CHROMA] if chroma else [*LEVELS], {"guide": guide}))
