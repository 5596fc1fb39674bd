"""How far every exported file in every engine is from torch in f32, and what that costs in dB on renders.

    python tests/benchmarks/parity.py                            # the shipped model on the validation renders
    python tests/benchmarks/parity.py --renders DIR --spp 4      # other renders, or fewer of them

max and rms: of encoded images with white = 1, the worst of `mdenoise.exporters.parity`. dB lost: PSNR of the clean
suite by torch, less that by the file, through the whole line. Graphs that the package leaves out are exported from the
weights first. Ends with 1 where a file is beyond its limits, or loses more than 0.05 dB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from summary import table

from mdenoise import arrays, pipeline
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import MDenoiseError
from mdenoise.exporters import parity
from mdenoise.exporters.card import write_card
from mdenoise.exporters.onnx import GRAPHS, export, load_network
from mdenoise.models import ModelCard, graph_path, load_card, load_graph
from mdenoise.training.metrics import psnr
from mdenoise.training.model import KernelNet
from mdenoise.training.renders import Case, load
from mdenoise.training.tables import machine

ROOT = Path(__file__).parents[2]
LOST_DB = 0.05
HEAD = ["graph", "engine", "precision", "max", "rms", "dB lost, mean", "dB lost, worst"]


def complete(net: KernelNet, model: Path, folder: Path) -> ModelCard:
    """A copy of a model in `folder`, with the graphs that it came without."""
    card, copy = load_card(str(model)), folder / model.name
    shutil.copy(model, copy)
    for graph, how in GRAPHS.items():
        if graph in card.graphs:
            shutil.copy(load_graph(card, graph), graph_path(copy, graph))
        else:
            export(net, graph_path(copy, graph), **how)
    return write_card(net, copy, {}, list(GRAPHS))


def scores(cases: Sequence[Case], engine: Engine, card: ModelCard) -> np.ndarray:
    """PSNR of every frame, denoised as the product does it but by this engine."""
    found = []
    for case in cases:
        guides = {"albedo": case.albedo, "normal": case.normal, "depth": case.depth}
        planes = arrays.to_planes(case.color, guides, {}, "linear", False)
        done = pipeline.denoise_planes(planes, engine, card, Options())
        found.append(psnr(done.layers["color"], case.reference))
    return np.array(found)


def measure(net: KernelNet, card: ModelCard, cases: Sequence[Case]) -> tuple[list[list[object]], float]:
    """The table's rows, and the most that a file loses on average. Raises ModelError beyond the limits of parity."""
    near = parity.measure(net, card.path)
    parity.check(near)
    wanted = scores(cases, parity.TorchEngine(net), card)
    rows, most = [], 0.0
    for run in parity.runs_of(card):
        key = (run.graph, run.library, run.precision)
        same = [row for row in near if (row.graph, row.engine, row.precision) == key]
        lost = wanted - scores(cases, run.engine, card)
        most = max(most, float(lost.mean()))
        far = (f"{max(getattr(row, name) for row in same):.1e}" for name in ("largest", "rms"))
        rows.append([*key, *far, f"{lost.mean():+.4f}", f"{lost.max():+.4f}"])
    return rows, most


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=ROOT / "training" / "weights" / "base.safetensors")
    parser.add_argument("--model", type=Path, default=ROOT / "plugin" / "weights" / "base.onnx")
    parser.add_argument("--renders", type=Path, default=ROOT / "tests" / "data" / "renders", metavar="DIR")
    parser.add_argument("--spp", type=int, nargs="+", default=[4, 16], help="samples of the frames (default: 4 16)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            cases = list(load(args.renders, "clean", args.spp))
            net = load_network(args.weights)
            rows, most = measure(net, complete(net, args.model, Path(folder)), cases)
        except MDenoiseError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    print(f"{len(cases)} clean frames, {machine()}\n\n{table(HEAD, rows)}")
    return int(not most <= LOST_DB)


if __name__ == "__main__":
    sys.exit(main())
