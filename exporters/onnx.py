r"""Export trained weights: torch -> ONNX (opset 18) -> compared number by number -> model card.

    mdenoise export --weights runs/base/ema.safetensors --out base.onnx --about training/presets/base.about.toml

writes `base.onnx`, what the CPU engines run (guide -> logits, float32), its card `base.json`, and beside them
`base.fp16.onnx`, the same in half precision, and `base.fused.onnx` and `base.fused.fp16.onnx`, network and filter in
one for GPUs. Every file is compared with torch, and one that differs too much is not written.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from mdenoise.engines import CHROMA, LEVELS
from mdenoise.errors import MDenoiseError, ModelError, OutputError, UsageError
from mdenoise.exporters import card as cards
from mdenoise.exporters import fused as fused_graph
from mdenoise.exporters import parity
from mdenoise.exporters.fp16 import to_half
from mdenoise.exporters.fused import Fused
from mdenoise.models import ModelCard, graph_path
from mdenoise.training.model import KernelNet, ModelConfig

OPSET = 18
# What lies beside the graph that the CPU engines run, by its place in the file's name.
GRAPHS = {"fp16": {"half": True}, "fused": {"fused": True}, "fused.fp16": {"fused": True, "half": True}}


class Predict(nn.Module):
    """The `predict` graph of DESIGN: guide in, logits of four levels out; no softmax, no pixel-shuffle to full size.
    Networks with a second kernel set give its four levels behind them; an engine that does not want those drops them
    from the graph."""

    def __init__(self, net: KernelNet):
        super().__init__()
        self.net = net

    def forward(self, guide: Tensor) -> tuple[Tensor, ...]:
        return self.net(guide, chroma=self.net.config.chroma)


def load_network(weights: Path) -> KernelNet:
    """The network of a .safetensors file, built by the configuration in its metadata."""
    try:
        with safe_open(weights, "pt") as file:
            metadata = file.metadata() or {}
        config = ModelConfig(**ast.literal_eval(metadata["model"]))
        if config.output != "kernels":
            raise ValueError(f"the network gives {config.output} and no filter weights")
        net = KernelNet(config)
        net.load_state_dict(load_file(weights))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SyntaxError, SafetensorError) as error:
        raise ModelError(f"cannot export {weights}: not weights of mdenoise train ({error})") from None
    return net.eval()


def export(net: KernelNet, out: Path, *, fused: bool = False, half: bool = False) -> None:
    """Write one graph; height and width are dynamic, multiples of 64, and of `fused` the number of layers, too."""
    height, width = 128, 192
    guide = torch.zeros(1, net.config.guide_channels, height, width)
    if fused:
        module: nn.Module = Fused(net).eval()
        # Two layers: with one, the trace would take what depends on their number for a constant.
        examples = (guide, torch.zeros(2, 3, height, width), torch.ones(1, 1, height, width))
        inputs, outputs = fused_graph.INPUTS, fused_graph.OUTPUTS
        axes = {name: {2: "height", 3: "width"} for name in (*inputs, *outputs)}
        axes["layers"][0] = axes["filtered"][0] = "layers"
    else:
        module, examples, inputs = Predict(net), (guide,), ("guide",)
        outputs = LEVELS + CHROMA if net.config.chroma else LEVELS
        axes = {"guide": {2: "height", 3: "width"}}
        axes |= {name: {2: f"h{i % 4}", 3: f"w{i % 4}"} for i, name in enumerate(outputs)}
    out.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # the TorchScript exporter is deprecated but makes the smaller graph in a tenth of the time
        torch.onnx.export(
            module,
            examples,
            str(out),
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
            dynamo=False,
            do_constant_folding=True,
        )
    if half:
        onnx.save(to_half(onnx.load(out)), out)


def export_all(net: KernelNet, out: Path, about: dict[str, Any], graphs: Sequence[str] = tuple(GRAPHS)) -> ModelCard:
    """Write `out`, the graphs beside it and their card. Raises ModelError where one differs from torch: then nothing
    is left or replaced."""
    with tempfile.TemporaryDirectory(prefix=".export", dir=ready_folder(out)) as folder:
        draft = Path(folder) / out.name
        export(net, draft)
        for graph in graphs:
            export(net, graph_path(draft, graph), **GRAPHS[graph])
        card = cards.write_card(net, draft, about, graphs)
        rows = parity.measure(net, draft)
        print("\n".join(map(str, rows)))
        parity.check(rows)
        for graph in sorted(GRAPHS):  # one that was not asked for would be of the weights before
            graph_path(out, graph).unlink(missing_ok=True)
        for name in [draft.name, *(graph_path(draft, graph).name for graph in graphs)]:
            (draft.parent / name).replace(out.parent / name)
        draft.with_suffix(".json").replace(out.with_suffix(".json"))
    return replace(card, path=out)


def ready_folder(out: Path) -> Path:
    if out.suffix != ".onnx":
        raise UsageError(f"cannot export to {out}: the name must end in .onnx")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot export to {out}: {error.strerror}") from None
    return out.parent


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mdenoise export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors file written by mdenoise train")
    parser.add_argument(
        "--out", type=Path, required=True, help="the .onnx file to write; its card goes beside it as .json"
    )
    parser.add_argument(
        "--graphs", nargs="*", choices=list(GRAPHS), default=list(GRAPHS), help="more graphs beside it [all]"
    )
    parser.add_argument("--about", type=Path, help="TOML with training data and terms for the card")
    parser.add_argument("--results", type=Path, help="JSON of `mdenoise evaluate renders --json`, for the card")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    about = {}
    try:
        if args.about:
            about = tomllib.loads(args.about.read_text("utf-8"))
        if args.results:
            about["results"] = cards.results_table(json.loads(args.results.read_text("utf-8")))
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"cannot use --about {args.about} or --results {args.results}: {error}") from None
    card = export_all(load_network(args.weights), args.out, about, args.graphs)
    for path in [args.out, *(graph_path(args.out, graph) for graph in args.graphs)]:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    print(f"{args.out.with_suffix('.json')}: reach {card.reach_px} px, sha256 {card.sha256[:16]}")


if __name__ == "__main__":
    try:
        main()
    except MDenoiseError as error:
        sys.exit(str(error))
