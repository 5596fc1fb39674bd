"""How far every exported file in every engine is from torch in f32, and what that costs in dB on renders.

    python tests/benchmarks/parity.py                            # the shipped model on the validation renders
    python tests/benchmarks/parity.py --renders DIR --spp 4      # other renders, or fewer of them

max and rms: of encoded images with white = 1, the worst of `mdenoise.exporters.parity`. dB lost: PSNR of the clean
suite by torch, less that by the file, through the whole line. Graphs that the package leaves out are exported from the
weights first. The table is that of docs/engines.md. Ends with 1 where a file is beyond its limits, or loses more than
0.05 dB, of 8 bits 0.1 dB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from summary import table

from mdenoise import arrays, pipeline
from mdenoise.config import Options
from mdenoise.engines import Engine
from mdenoise.errors import MDenoiseError
from mdenoise.exporters import int8, parity
from mdenoise.exporters.card import write_card
from mdenoise.exporters.onnx import GRAPHS, export, load_network
from mdenoise.models import ModelCard, graph_path, load_card, load_graph
from mdenoise.training.metrics import psnr
from mdenoise.training.model import KernelNet
from mdenoise.training.renders import Case, load
from mdenoise.training.tables import machine

ROOT = Path(__file__).parents[2]
LOST_DB = {"f32": 0.05, "bf16": 0.05, "fp16": 0.05, "int8": 0.1}
HEAD = ["graph", "engine", "precision", "max", "rms", "dB lost, mean", "dB lost, worst", "max, rms and dB allowed"]


def complete(net: KernelNet, model: Path, folder: Path) -> ModelCard:
    """A copy of a model in `folder`, with the graphs that it came without."""
    card, copy = load_card(str(model)), folder / model.name
    shutil.copy(model, copy)
    for graph, how in GRAPHS.items():
        if graph in card.graphs:
            shutil.copy(load_graph(card, graph), graph_path(copy, graph))
        else:
            export(net, graph_path(copy, graph), **how)
    int8.write(replace(write_card(net, copy, {}, list(GRAPHS)), int8=card.int8))
    return load_card(str(copy))


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
    """The table's rows, and the most that a file loses on average, as a share of what it may. Raises ModelError beyond
    the limits of parity."""
    near = parity.measure(net, card.path)
    parity.check(near)
    wanted = scores(cases, parity.TorchEngine(net), card)
    rows: list[list[object]] = [["network", "torch", "f32", "0", "0", f"0 of {wanted.mean():.2f}", "0", ""]]
    most = 0.0
    for run in parity.runs_of(card):
        key = (run.graph, run.library, run.precision)
        same = [row for row in near if (row.graph, row.engine, row.precision) == key]
        lost = wanted - scores(cases, run.engine, card)
        limit, allowed = parity.LIMITS[run.precision], LOST_DB[run.precision]
        most = max(most, float(lost.mean()) / allowed)
        limits = f"{limit.largest:.0e}, {limit.rms:.0e}, {allowed:g}"
        far = (f"{max(getattr(row, name) for row in same):.1e}" for name in ("largest", "rms"))
        rows.append([*key, *far, f"{lost.mean():+.4f}", f"{lost.max():+.4f}", limits])
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
    return int(not most <= 1)


if __name__ == "__main__":
    sys.exit(main())
