r"""Export trained weights: torch -> ONNX (opset 18) -> compared number by number -> model card.

    python -m mdenoise.exporters.onnx --weights runs/base/ema.safetensors --out plugin/weights/base.onnx \
        --about training/presets/base.about.toml --results results.json
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
import tomllib
import warnings
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from mdenoise.errors import MDenoiseError, ModelError
from mdenoise.exporters import card as cards
from mdenoise.exporters import parity
from mdenoise.training.model import KernelNet, ModelConfig

OPSET = 18
LEVELS = ("level0", "level1", "level2", "level3")
CHROMA = ("chroma0", "chroma1", "chroma2", "chroma3")


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
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"cannot export {weights}: not weights of mdenoise train ({error})") from None
    return net.eval()


def export(net: KernelNet, out: Path) -> None:
    """Write the ONNX file; height and width are dynamic, multiples of 64."""
    example = torch.zeros(1, net.config.guide_channels, 128, 192)
    outputs = LEVELS + CHROMA if net.config.chroma else LEVELS
    axes = {"guide": {2: "height", 3: "width"}}
    for i, name in enumerate(outputs):
        axes[name] = {2: f"h{i % 4}", 3: f"w{i % 4}"}
    out.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # the TorchScript exporter is deprecated but makes the smaller graph in a tenth of the time
        torch.onnx.export(
            Predict(net),
            (example,),
            str(out),
            opset_version=OPSET,
            input_names=["guide"],
            output_names=list(outputs),
            dynamic_axes=axes,
            dynamo=False,
            do_constant_folding=True,
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="mdenoise export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help=".safetensors file written by mdenoise train")
    parser.add_argument(
        "--out", type=Path, required=True, help="the .onnx file to write; its card goes beside it as .json"
    )
    parser.add_argument("--about", type=Path, help="TOML with training data and terms for the card")
    parser.add_argument("--results", type=Path, help="JSON of `mdenoise evaluate renders --json`, for the card")
    args = parser.parse_args(argv)
    net = load_network(args.weights)
    draft = args.out.with_name(f"{args.out.stem}.draft.onnx")
    export(net, draft)
    about = tomllib.loads(args.about.read_text("utf-8")) if args.about else {}
    if args.results:
        about["results"] = cards.results_table(json.loads(args.results.read_text("utf-8")))
    try:
        cards.write_card(net, draft, about)
        for row in parity.compare(net, draft):
            print(row)
        draft.replace(args.out)
    finally:  # a model that differs from torch leaves nothing behind
        draft.unlink(missing_ok=True)
        draft.with_suffix(".json").unlink(missing_ok=True)
    card = cards.write_card(net, args.out, about)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, reach {card.reach_px} px, sha256 {card.sha256[:16]}")


if __name__ == "__main__":
    try:
        main()
    except MDenoiseError as error:
        sys.exit(str(error))
