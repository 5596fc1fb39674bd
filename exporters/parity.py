"""Compare exported files with torch, number by number; a difference beyond the limits is an error.

    python -m mdenoise.exporters.parity --weights training/weights/base.safetensors --model plugin/weights/base.onnx

Every graph that lies beside the model is run through every engine that can run it on this CPU, at several sizes, on
radiance over five decades and on encoded images, and so are the whole filtered images compared: what the network
answers is of no interest but for them. Half precision is computed by onnxruntime, which rounds every tensor.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mdenoise import guide as g
from mdenoise.chroma import filter_colors
from mdenoise.engines import Engine, filter_layers
from mdenoise.engines.onnxruntime import OnnxRuntimeCudaEngine, OnnxRuntimeEngine
from mdenoise.engines.openvino import OpenVinoEngine
from mdenoise.errors import EngineError, ModelError
from mdenoise.models import ModelCard, load_card, load_graph
from mdenoise.training.model import KernelNet

SIZES = ((64, 64), (128, 192), (256, 64))


@dataclass(frozen=True)
class Limit:
    """Largest and root mean square difference from torch in f32, of encoded images with white = 1; PSNR lost in dB."""

    largest: float
    rms: float
    lost_db: float


# Some ten times what the shipped networks show, rounding being what it is: a wrong tap costs far more.
LIMITS = {
    "f32": Limit(2e-5, 1e-6, 1e-3),
    "fp16": Limit(4e-3, 3e-4, 2e-2),
    "bf16": Limit(5e-2, 3e-3, 5e-2),
    "int8": Limit(2e-1, 2e-2, 2.5e-1),
}


class TorchEngine:
    """The network itself, which every file is compared with, as an engine."""

    name, precision = "torch", "f32"

    def __init__(self, net: KernelNet):
        self._net = net

    def session(self) -> TorchEngine:
        return self

    def predict(self, guide: np.ndarray, chroma: bool = False) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            return tuple(level.numpy() for level in self._net(torch.from_numpy(guide), chroma=chroma))


@dataclass(frozen=True)
class Run:
    """One file in one engine, and in what precision the two compute."""

    graph: str
    library: str
    precision: str
    engine: Engine


@dataclass(frozen=True)
class Problem:
    """One image: guide (1, G, H, W), noisy and clean layer (H, W, 3), confidence (H, W), encoding, exposure."""

    name: str
    guide: np.ndarray
    noisy: np.ndarray
    clean: np.ndarray
    trust: np.ndarray
    encoding: str
    exposure: float

    def encoded(self, layer: np.ndarray) -> np.ndarray:
        return g.transfer(layer * np.float32(self.exposure)) if self.encoding == "linear" else layer


@dataclass(frozen=True)
class Row:
    """How far one file in one engine is from torch on one problem; see `Limit`."""

    graph: str
    engine: str
    precision: str
    problem: str
    largest: float
    rms: float
    lost_db: float

    def __str__(self) -> str:
        return (
            f"{self.graph:12} {self.engine:11} {self.precision:4} {self.problem:12} "
            f"max {self.largest:.1e}  rms {self.rms:.1e}  lost {self.lost_db:+.4f} dB"
        )


def problems(channels: int, seed: int = 5) -> Iterator[Problem]:
    """Noisy images whose clean originals are known, with some hidden pixels; every second one with albedo."""
    rng = np.random.default_rng(seed)
    for number, (height, width) in enumerate(SIZES):
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        albedo = rng.uniform(0.05, 0.95, (64, 3)).astype(np.float32)[((y // 24) * 7 + (x // 20) * 5).astype(int) % 64]
        light = 0.1 + np.exp(-((x / width - 0.3) ** 2 + (y / height - 0.5) ** 2) * 8)[..., None]
        shown = (rng.random((height, width)) > 0.05).astype(np.float32)
        for encoding in ("linear", "srgb"):
            clean = albedo * light
            if encoding == "linear":
                clean = clean * np.float32(10.0 ** rng.uniform(-2, 3))
                noisy = clean * rng.gamma(0.7, 1.4, (height, width, 3)).astype(np.float32)
            else:
                noisy = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
            exposure = 0.3 / float(clean.mean()) if encoding == "linear" else 1.0
            guide = np.zeros((channels, height, width), np.float32)
            seen = g.transfer(noisy * np.float32(exposure)) if encoding == "linear" else np.clip(noisy, 0, 1)
            guide[g.COLOR] = np.moveaxis(seen, 2, 0) * shown
            guide[g.MASK] = shown
            if number % 2:
                guide[g.ALBEDO] = np.moveaxis(albedo, 2, 0)
                guide[g.HAS_ALBEDO] = 1.0
            if channels > g.KIND:
                guide[g.KIND] = g.KINDS[encoding]
            label = f"{height}x{width} {'HDR' if encoding == 'linear' else 'LDR'}"
            yield Problem(label, guide[None], noisy, clean.astype(np.float32), shown, encoding, exposure)


def measure(net: KernelNet, model: Path) -> list[Row]:
    """Rows for every graph of a model, engine, precision and problem. Raises EngineError without onnxruntime where a
    graph needs it."""
    card = load_card(str(model))
    return differences(card, TorchEngine(net), list(runs_of(card)))


def differences(card: ModelCard, reference: Engine, runs: Sequence[Run]) -> list[Row]:
    """Rows for every run and problem, compared with another engine."""
    rows = []
    for problem in problems(card.guide_channels):
        wanted = _filter(problem, card.chroma, reference)
        for run in runs:
            rows.append(_row(problem, wanted, _filter(problem, card.chroma, run.engine), run))
    return rows


def check(rows: Sequence[Row]) -> None:
    """Raise ModelError for the first row beyond its limits."""
    for row in rows:
        limit = LIMITS[row.precision]
        within = row.largest <= limit.largest and row.rms <= limit.rms and row.lost_db <= limit.lost_db
        if not within:  # NaN is not
            raise ModelError(
                f"an exported file differs from torch by more than {limit.largest:g} (largest), {limit.rms:g} (rms) or "
                f"{limit.lost_db:g} dB: {' '.join(str(row).split())}"
            )


def compare(net: KernelNet, model: Path) -> list[str]:
    """`measure` as lines, after `check`."""
    rows = measure(net, model)
    check(rows)
    return [str(row) for row in rows]


def runs_of(card: ModelCard) -> Iterator[Run]:
    """Every graph of a model in every engine that can run it on this CPU. Raises EngineError, see `measure`."""
    for precision in ("f32", "bf16", "int8"):
        with suppress(EngineError):  # this CPU has no bf16, or the card no ranges
            yield Run("predict", "openvino", precision, OpenVinoEngine(card, precision))
    try:
        yield Run("predict", "onnxruntime", "f32", OnnxRuntimeEngine(card))
    except ImportError:
        if card.graphs:
            raise EngineError('cannot compare them all without onnxruntime: pip install "mdenoise[train]"') from None
        return
    for graph in card.graphs:
        precision = "fp16" if "fp16" in graph else "f32"
        if "fused" in graph:
            fused = OnnxRuntimeCudaEngine(card, precision, provider="CPUExecutionProvider")
            yield Run(graph, "onnxruntime", precision, fused)
        else:
            alone = OnnxRuntimeEngine(replace(card, path=load_graph(card, graph)))
            yield Run(f"predict {graph}", "onnxruntime", precision, alone)


def _row(problem: Problem, reference: np.ndarray, got: np.ndarray, run: Run) -> Row:
    wanted, found, clean = (problem.encoded(a) for a in (reference, got, problem.clean))
    error = found - wanted
    lost = 10 * np.log10(np.mean((found - clean) ** 2) / np.mean((wanted - clean) ** 2))
    return Row(
        run.graph, run.library, run.precision, problem.name,
        float(np.abs(error).max()), float(np.sqrt(np.mean(error**2))), float(lost),
    )  # fmt: skip


def _filter(problem: Problem, chroma: bool, engine: Engine) -> np.ndarray:
    """The filtered layer, encoded images by both kernel sets of a model that has two."""
    colors = [(0, 3)] if chroma and problem.encoding == "srgb" else []

    def by_engine(planes: np.ndarray, differences: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return filter_layers(engine, problem.guide, planes, problem.trust, differences)

    return filter_colors(problem.noisy, colors, by_engine)[0]


def main(argv: list[str] | None = None) -> None:
    from mdenoise.exporters.onnx import load_network

    parser = argparse.ArgumentParser(
        prog="mdenoise parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    args = parser.parse_args(argv)
    rows = measure(load_network(args.weights), args.model)
    print("\n".join(map(str, rows)))
    check(rows)


if __name__ == "__main__":
    main()
