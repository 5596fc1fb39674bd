"""Let a model be computed in 8 bits: measure, on the training renders, what goes into each of its layers.

    python -m mdenoise.exporters.int8 --model plugin/weights/base.onnx --renders DIR

DIR is what `mdenoise.training.scenes` renders, of which the held-out scenes are used, in the mix of training: renders
with every set of auxiliary planes, and photographs and mosaics made of them. The ranges go into the model's card, and
no other file changes; `mdenoise export` writes cards without them. They are not written where the 8-bit network differs
too much from the one in f32. Takes half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mdenoise.engines import CHROMA, LEVELS
from mdenoise.engines.int8 import STEPS, layer_name, weighted_layers
from mdenoise.engines.openvino import OpenVinoEngine, import_openvino
from mdenoise.errors import MDenoiseError
from mdenoise.exporters import parity
from mdenoise.models import ModelCard, load_card
from mdenoise.training.data import DataConfig, make_guide, stream
from mdenoise.training.rendered import Rendered, load

BATCHES, SEED = 32, 1
MIX = DataConfig(batch=4, photo_share=0.25, photo_patch_px=(64,), raw_share=0.3, rendered_share=1.0)


def guides(scenes: Sequence[Rendered], count: int, seed: int) -> Iterator[np.ndarray]:
    """Batches (B, 17, H, W) float32 as training draws them, the same ones for the same scenes."""
    torch.manual_seed(seed)
    for batch in islice(stream([photograph(scene) for scene in scenes], MIX, seed, scenes), count):
        yield make_guide(batch, batch.trusted).numpy()


def photograph(scene: Rendered) -> torch.Tensor:
    """(3, H, W) uint8: the scene under all its lights, its mean at a quarter of white."""
    light = scene.references.float().sum(0)
    return (255 * (light / (4 * light.mean() + 1e-9)).clamp(0, 1) ** (1 / 2.2)).round().to(torch.uint8)


def measure(card: ModelCard, batches: Iterator[np.ndarray]) -> dict[str, tuple[float, float]]:
    """By layer the range of its inputs: the mean over batches of their extremes, but at least half of the largest.
    Layers that give logits are left out, and those that nothing goes into."""
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(card.path)
    answers = {layer_name(convolution_of(model.output(n))) for n in LEVELS + (CHROMA if card.chroma else ())}
    layers = {name: node for name, node in weighted_layers(model).items() if name not in answers}
    results = [openvino.opset13.result(node.input_value(0)) for node in layers.values()]
    inputs = openvino.Model(results, model.get_parameters(), "inputs")
    request = core.compile_model(inputs, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    found = []
    for batch in batches:
        extremes = []
        for guide in batch[:, None, : card.guide_channels]:
            request.infer([np.ascontiguousarray(guide)])
            extremes.append([(float(t.data.min()), float(t.data.max())) for t in request.output_tensors])
        of_batch = np.array(extremes)
        found.append(np.stack([of_batch[..., 0].min(0), of_batch[..., 1].max(0)], 1))
    lows, highs = np.array(found).transpose(2, 0, 1)  # (batches, layers) each
    low = np.minimum(lows.mean(0), lows.min(0) / 2)
    high = np.maximum(highs.mean(0), highs.max(0) / 2)
    return {name: span(*ends) for name, *ends in zip(layers, low, high, strict=True) if max(-ends[0], ends[1]) > 0}


def convolution_of(output: Any) -> Any:
    node = output.get_node()
    while node.get_type_name() != "Convolution":
        node = node.input_value(0).get_node()
    return node


def span(low: float, high: float) -> tuple[float, float]:
    """The range as integers have it: from 0 where nothing is negative, else as far down as up, and a step more."""
    if low >= 0:
        return 0.0, float(high)
    most = max(high, -low * (STEPS / 2 - 1) / (STEPS / 2))
    return float(-most * STEPS / 2 / (STEPS / 2 - 1)), float(most)


def check(card: ModelCard) -> list[parity.Row]:
    """How far the network in 8 bits is from that in f32. Raises ModelError beyond the limits."""
    runs = [parity.Run("predict", "openvino", "int8", OpenVinoEngine(card, "int8"))]
    rows = parity.differences(card, OpenVinoEngine(card, "f32"), runs)
    parity.check(rows)
    return rows


def write(card: ModelCard) -> None:
    """Put the ranges of `card` into its file."""
    path = card.path.with_suffix(".json")
    values = json.loads(path.read_text("utf-8"))
    values["int8"] = {name: [float(f"{end:.5g}") for end in ends] for name, ends in card.int8.items()}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    part.replace(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the .onnx file; its card lies beside it")
    parser.add_argument("--renders", type=Path, required=True, metavar="DIR", help="training renders (.npz)")
    args = parser.parse_args(argv)
    card = load_card(os.fspath(args.model))
    card = replace(card, int8=measure(card, guides(load(args.renders, "val"), BATCHES, SEED)))
    print("\n".join(map(str, check(card))))
    write(card)
    print(f"{card.path.with_suffix('.json')}: ranges of {len(card.int8)} layers")


if __name__ == "__main__":
    try:
        main()
    except MDenoiseError as error:
        sys.exit(str(error))
