"""Inference engines: one file each, picked here. All of them answer guide -> logits (see DESIGN: graph contract)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mdenoise.config import Options
from mdenoise.errors import EngineError
from mdenoise.models import ModelCard

LEVELS = ("level0", "level1", "level2", "level3")
CHROMA = ("chroma0", "chroma1", "chroma2", "chroma3")


class Engine(Protocol):
    """`name` and `precision` are printed. `predict` takes (1, 16, H, W) float32, H and W multiples of 64, and answers
    four float32 arrays, or eight with `chroma` where the card has it; their memory is valid until the next call. One
    thread at a time; `session` answers the same engine for one more thread, which shares the compiled models."""

    name: str
    precision: str

    def predict(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]: ...

    def session(self) -> Engine: ...


def open_engine(card: ModelCard, options: Options) -> Engine:
    """The engine that the options ask for; `auto` is OpenVINO, then onnxruntime."""
    if options.device not in ("auto", "cpu"):
        raise EngineError(
            f"device {options.device!r} cannot be used: this version denoises on the CPU. Use --device cpu"
        )
    if options.engine in ("auto", "openvino"):
        from mdenoise.engines.openvino import OpenVinoEngine

        try:
            return OpenVinoEngine(card, options.precision)
        except ImportError as error:
            if options.engine == "openvino":
                raise EngineError(
                    f'engine openvino is not available: {error}. Install it with: pip install "mdenoise"'
                ) from None
    if options.engine in ("auto", "onnxruntime"):
        from mdenoise.engines.onnxruntime import OnnxRuntimeEngine

        try:
            return OnnxRuntimeEngine(card, options.precision)
        except ImportError as error:
            raise EngineError(
                f'engine onnxruntime is not available: {error}. Install it with: pip install "mdenoise[onnxruntime]"'
            ) from None
    raise EngineError(f"engine {options.engine!r} is not part of this version: use openvino or onnxruntime")
