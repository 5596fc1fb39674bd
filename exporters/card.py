"""Write the model card that lies beside an ONNX file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mdenoise.filter import LEVELS
from mdenoise.models import CONTRACT, ModelCard, graph_path, load_card
from mdenoise.training.model import KernelNet, reach_px

GRID_PX = 64
GUIDE = (
    "color 0-2 (bounded log curve of exposed radiance, or encoded sRGB), mask 3, albedo 4-6, normal 7-9, "
    "depth 10, variance 11, presence of albedo, normal, depth and variance 12-15"
)
KIND = ", kind of colour 16 (1 radiance, 0 encoded, -1 mosaic)"


def kflop_per_px(net: KernelNet) -> float:
    """Thousand floating-point operations (2 a multiply-add) per guide pixel, counted by torch."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, net.config.guide_channels, 256, 256))
    return counter.get_total_flops() / 256**2 / 1e3


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def results_table(record: dict[str, Any]) -> dict[str, Any]:
    """Mean PSNR in dB by suite and samples per pixel, from what `mdenoise evaluate renders --json` wrote."""
    table: dict[str, Any] = {"command": "python -m mdenoise.training.evaluate renders", "machine": record["machine"]}
    for summary in record["summaries"]:
        means = {name: round(scores["psnr"], 2) for name, scores in summary["mean"].items()}
        table[f"{summary['suite']} {summary['spp']} spp, PSNR dB, {summary['frames']} frames"] = means
    return table


def write_card(net: KernelNet, onnx: Path, about: dict[str, Any], graphs: Sequence[str] = ()) -> ModelCard:
    """Card of an exported network; `about` holds `training` and `results` tables, `graphs` are the names of further
    files beside it. Returned as the product loads it."""
    values = {
        "name": onnx.stem,
        "sha256": sha256(onnx),
        "graphs": {graph: sha256(graph_path(onnx, graph)) for graph in graphs},
        "contract": CONTRACT,
        "guide_channels": net.config.guide_channels,
        "guide": GUIDE + (KIND if net.config.guide_channels > 16 else ""),
        "levels": LEVELS,
        "chroma": net.config.chroma,
        "sigma": about.get("sigma", 0.0),
        "robustness": about.get("robustness", {}),
        "reach_px": reach_px(net.config),
        "grid_px": GRID_PX,
        "parameters": sum(p.numel() for p in net.parameters()),
        "kflop_per_px": round(kflop_per_px(net), 1),
        "licence": about.get("licence", "Apache-2.0"),
        "training": about.get("training", {}),
        "results": about.get("results", {}),
    }
    onnx.with_suffix(".json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return load_card(str(onnx))
