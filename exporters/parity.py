"""Compare exported files with torch, number by number; a difference beyond the limits is an error.

    python -m mdenoise.exporters.parity --weights training/weights/base.safetensors --model plugin/weights/base.onnx

Every graph that lies beside the model is run through every engine that can run it on this CPU, at several sizes, on
radiance over five decades and on encoded images, and so are the whole filtered images compared: what the network
answers is of no interest but for them. Half precision is computed by onnxruntime, which rounds every tensor.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mdenoise import guide as g
from mdenoise.chroma import DIFFERENCES, OPPONENTS
from mdenoise.engines.openvino import OpenVinoEngine
from mdenoise.errors import EngineError, ModelError
from mdenoise.filter import apply_filter
from mdenoise.models import ModelCard, load_card, load_graph
from mdenoise.training.model import KernelNet

SIZES = ((64, 64), (128, 192), (256, 64))
TURN = OPPONENTS[3]


@dataclass(frozen=True)
class Limit:
    """Largest and root mean square difference from torch in f32, of encoded images with white = 1; PSNR lost in dB."""

    largest: float
    rms: float
    lost_db: float


# Some ten times what the shipped networks show, rounding being what it is: a wrong tap costs far more.
LIMITS = {"f32": Limit(2e-5, 1e-6, 1e-3), "fp16": Limit(4e-3, 3e-4, 2e-2), "bf16": Limit(5e-2, 3e-3, 5e-2)}


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
    runs = list(_runs(card))
    rows = []
    for problem in problems(card.guide_channels):
        colors = card.chroma and problem.encoding == "srgb"
        reference = _filter(problem, colors, lambda guide: _torch(net, guide))
        for graph, engine, precision, run in runs:
            rows.append(_row(problem, reference, run(problem, colors), graph, engine, precision))
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


def _row(problem: Problem, reference: np.ndarray, got: np.ndarray, graph: str, engine: str, precision: str) -> Row:
    wanted, found, clean = (problem.encoded(a) for a in (reference, got, problem.clean))
    error = found - wanted
    lost = 10 * np.log10(np.mean((found - clean) ** 2) / np.mean((wanted - clean) ** 2))
    return Row(
        graph, engine, precision, problem.name,
        float(np.abs(error).max()), float(np.sqrt(np.mean(error**2))), float(lost),
    )  # fmt: skip


def _runs(card: ModelCard) -> Iterator[tuple[str, str, str, Callable[[Problem, bool], np.ndarray]]]:
    """Graph, engine, precision and what denoises a problem with it."""
    for precision in ("f32", "bf16"):
        try:
            engine = OpenVinoEngine(card, precision)
        except EngineError:  # this CPU has no bf16
            continue
        yield (
            "predict",
            "openvino",
            precision,
            lambda p, colors, e=engine: _filter(p, colors, lambda guide: e.predict(guide, chroma=card.chroma)),
        )
    try:
        import onnxruntime
    except ImportError:
        if card.graphs:
            raise EngineError('cannot compare them all without onnxruntime: pip install "mdenoise[train]"') from None
        return
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    for graph in ("", *card.graphs):
        path = load_graph(card, graph) if graph else card.path
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        precision = "fp16" if "fp16" in graph else "f32"
        if "fused" in graph:
            yield graph, "onnxruntime", precision, lambda p, colors, s=session: _fused(s, card, p, colors)
        else:
            name = f"predict {graph}".strip()
            yield (
                name,
                "onnxruntime",
                precision,
                lambda p, colors, s=session: _filter(p, colors, lambda guide: s.run(None, {"guide": guide})),
            )


def _torch(net: KernelNet, guide: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [level.numpy() for level in net(torch.from_numpy(guide), chroma=net.config.chroma)]


def _filter(problem: Problem, colors: bool, predict: Callable[[np.ndarray], Sequence[np.ndarray]]) -> np.ndarray:
    """The filtered layer by the compiled filter and any source of logits, with and without chroma kernels."""
    logits = [np.array(level, np.float32) for level in predict(problem.guide)]
    if not colors:
        return apply_filter(problem.noisy, problem.trust, logits[:4])[0]
    turned = np.ascontiguousarray(problem.noisy @ TURN.T)
    confident = np.concatenate([logits[4], logits[0][:, -4:]], axis=1)
    out = apply_filter(turned, problem.trust, logits[:4])[0]
    out[..., DIFFERENCES] = apply_filter(turned[..., DIFFERENCES], problem.trust, [confident, *logits[5:]])[0]
    return out @ TURN


def _fused(session, card: ModelCard, problem: Problem, colors: bool) -> np.ndarray:
    """The filtered layer by a fused graph, one of two layers, so that their number is seen to be free."""
    planes = np.moveaxis(problem.noisy @ TURN.T if colors else problem.noisy, 2, 0)
    if card.chroma and not colors:  # every plane by the first kernel set
        layers = np.zeros((3, 3, *planes.shape[1:]), np.float32)
        layers[:, 0] = planes
    else:
        layers = np.stack([planes, planes[:, ::-1]])
    given = {"guide": problem.guide, "layers": layers, "confidence": problem.trust[None, None]}
    filtered = session.run(["filtered"], given)[0]
    out = filtered[:, 0] if card.chroma and not colors else filtered[0]
    out = np.moveaxis(out, 0, 2)
    return out @ TURN if colors else out


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
