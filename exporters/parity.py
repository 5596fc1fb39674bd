"""Compare an exported ONNX file with torch, number by number; a difference beyond the limit is an error.

    python -m mdenoise.exporters.parity --weights training/weights/base.safetensors --model plugin/weights/base.onnx
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from mdenoise.engines.openvino import OpenVinoEngine
from mdenoise.errors import EngineError, ModelError
from mdenoise.filter import apply_filter
from mdenoise.models import ModelCard, load_card
from mdenoise.training.model import KernelNet

SIZES = ((64, 64), (128, 192), (256, 64))
# Logits are of order 1-10. f32 engines reorder sums; bf16 keeps 8 bits of every product, and what a user sees is the
# filtered image, so that is what is limited there: relative to the mean of the layer.
LOGIT_LIMIT = 2e-3
IMAGE_LIMIT = {"f32": 1e-3, "bf16": 3e-2}


def guides(seed: int = 5) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, guide (1, 16, H, W) and HDR layer (H, W, 3) for every size: noisy radiance over five decades."""
    rng = np.random.default_rng(seed)
    for height, width in SIZES:
        layer = (10.0 ** rng.uniform(-2, 3, (1, 1, 3)) * rng.gamma(0.7, 1.4, (height, width, 3))).astype(np.float32)
        guide = rng.uniform(0, 1, (1, 16, height, width)).astype(np.float32)
        guide[:, 3] = rng.random((height, width)) > 0.2
        guide[:, 12:] = rng.integers(0, 2, (1, 4, 1, 1))
        yield f"{height}x{width}", guide, layer


def compare(net: KernelNet, model: Path) -> list[str]:
    """Lines that tell the differences of every precision this CPU has; raises ModelError beyond the limits."""
    card = load_card(str(model))
    lines = []
    for precision in ("f32", "bf16"):
        try:
            engine = OpenVinoEngine(card, precision)
        except EngineError as error:
            lines.append(f"openvino {precision}: not compared, {error}")
            continue
        lines += _compare_engine(net, card, engine, precision)
    return lines


def _compare_engine(net: KernelNet, card: ModelCard, engine: OpenVinoEngine, precision: str) -> list[str]:
    lines = []
    for name, guide, layer in guides():
        with torch.no_grad():
            expected = [t.numpy() for t in net(torch.from_numpy(guide), chroma=card.chroma)]
        sets = [(engine.predict(guide), expected[:4], "")]
        if card.chroma:
            both = engine.predict(guide, chroma=True)
            sets.append((_with_confidence(both), _with_confidence(expected), " chroma"))
        trust = np.ascontiguousarray(guide[0, 3])
        for got, wanted, label in sets:
            got = [np.array(t, np.float32) for t in got]
            worst = max(float(np.abs(a - b).max()) for a, b in zip(wanted, got, strict=True))
            image, reference = (apply_filter(layer, trust, tuple(t))[0] for t in (got, wanted))
            relative = float(np.abs(image - reference).mean() / reference.mean())
            lines.append(f"openvino {precision} {name}{label}: logits {worst:.1e}, image {relative:.1e}")
            if (precision == "f32" and worst > LOGIT_LIMIT) or relative > IMAGE_LIMIT[precision]:
                raise ModelError(
                    f"{card.path} differs from torch in {precision} at {name}{label}: logits {worst:.2e}, "
                    f"image {relative:.2e}"
                )
    return lines


def _with_confidence(logits: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The second kernel set as a set of its own: both share the confidence that the first one holds."""
    return [np.concatenate([logits[4], logits[0][:, -4:]], axis=1), *logits[5:]]


def main(argv: list[str] | None = None) -> None:
    from mdenoise.exporters.onnx import load_network

    parser = argparse.ArgumentParser(
        prog="mdenoise parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    args = parser.parse_args(argv)
    print("\n".join(compare(load_network(args.weights), args.model)))


if __name__ == "__main__":
    main()
