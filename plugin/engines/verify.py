"""Whether an engine of a GPU computes what the CPU does: asked of every freshly compiled model, on one small tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from mdenoise.config import Options
from mdenoise.engines import ON_CPU, filter_layers, open_engine
from mdenoise.errors import EngineError
from mdenoise.models import ModelCard

LARGEST_ERROR = 0.02  # root mean square, of the mean; half precision shows some 1e-4
SIDE_PX = 128


def verify(engine: Any, card: ModelCard) -> float:
    """The root mean square difference relative to the mean; raises EngineError when it is beyond LARGEST_ERROR."""
    rng = np.random.default_rng(1)
    guide = rng.random((1, card.guide_channels, SIDE_PX, SIDE_PX), np.float32)
    layers = rng.gamma(0.7, 1.4, (SIDE_PX, SIDE_PX, 4)).astype(np.float32) * np.float32(100.0)
    confidence = (rng.random((SIDE_PX, SIDE_PX)) > 0.1).astype(np.float32)
    differences = (1, 2) if card.chroma else ()
    reference = open_engine(card, Options(device="cpu", precision="f32"))
    wanted, wanted_valid = filter_layers(reference, guide, layers, confidence, differences)
    got, valid = engine.filter(guide, layers, confidence, differences)
    error = float(np.sqrt(np.mean((got - wanted) ** 2)) / wanted.mean())
    if not error < LARGEST_ERROR or (valid != wanted_valid).mean() > 1e-3:
        raise EngineError(
            f"{engine.name} computes something else than {ON_CPU[0]} on the CPU ({error:.1%} of the mean): "
            "it is not used. Please report this with the GPU's name and the driver's version"
        )
    return error
