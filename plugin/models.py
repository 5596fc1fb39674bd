"""Model cards: which network, what it expects, what it was trained on; found by name or path, checked by hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mdenoise.errors import ModelError

WEIGHTS = Path(__file__).parent / "weights"
CONTRACT = "predict-1"


@dataclass(frozen=True)
class ModelCard:
    """What lies beside an ONNX file as JSON.

    reach_px   the largest distance at which an input changes an output.
    chroma     the graph has a second kernel set, for the colour differences of encoded images.
    graphs     hash by name of the further files beside it: "fused.fp16" of base.onnx is base.fused.fp16.onnx.
    int8       lowest and highest input of every layer that may be computed in 8 bits, by its name; {} = none may.
    sigma      the one level of Gaussian noise, of 255, that the network was trained on; 0 = blind, made for any.
    robustness   which measures `--robustness auto` may take for this network, by name; {} = impulses and level
               (phase grids only where a card asks for them).
    """

    name: str
    path: Path
    sha256: str
    contract: str
    guide_channels: int
    levels: int
    reach_px: int
    grid_px: int
    parameters: int
    kflop_per_px: float
    licence: str
    chroma: bool = False
    graphs: dict[str, str] = field(default_factory=dict)
    int8: dict[str, tuple[float, float]] = field(default_factory=dict)
    sigma: float = 0.0
    robustness: dict[str, bool] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


def load_card(model: str = "base") -> ModelCard:
    """The card of a model by name (in the package) or by the path of its .onnx file; the file's hash must match."""
    path = Path(model) if model.endswith(".onnx") else WEIGHTS / f"{model}.onnx"
    card_path = path.with_suffix(".json")
    if not path.is_file() or not card_path.is_file():
        if path.parent == WEIGHTS:
            known = ", ".join(sorted(p.stem for p in WEIGHTS.glob("*.json"))) or "none"
            raise ModelError(
                f"no model {model!r} is installed (installed: {known}). Name one of these or an .onnx file"
            )
        missing = path if not path.is_file() else card_path
        raise ModelError(
            f"cannot load model {path}: {missing} does not exist. A model is an .onnx file and its .json card"
        )
    try:
        values = json.loads(card_path.read_text("utf-8"))
        card = ModelCard(**{k: v for k, v in values.items() if k in ModelCard.__dataclass_fields__}, path=path)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"cannot load model {path}: its card {card_path.name} is damaged ({error}). Export it again"
        ) from None
    if card.contract != CONTRACT:
        raise ModelError(
            f"cannot load model {path}: its contract is {card.contract!r}, not {CONTRACT!r}. Export it again"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != card.sha256:
        raise ModelError(
            f"cannot load model {path}: its hash is not that of its card, it was changed or damaged. "
            "Reinstall mdenoise or export it again"
        )
    return card


def graph_path(model: Path, graph: str) -> Path:
    """Where a further graph of a model lies: "fused" of base.onnx is base.fused.onnx."""
    return model.with_name(f"{model.stem}.{graph}.onnx")


def load_graph(card: ModelCard, graph: str) -> Path:
    """The file of a further graph of a model; its hash must be that in the card."""
    path = graph_path(card.path, graph)
    if graph not in card.graphs or not path.is_file():
        raise ModelError(
            f"model {card.name} has no graph {graph} ({path.name}): write it with mdenoise export, or use --device cpu"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != card.graphs[graph]:
        raise ModelError(
            f"cannot load {path}: its hash is not that of its card, it was changed or damaged. "
            "Reinstall mdenoise or export it again"
        )
    return path
