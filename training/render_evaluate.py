"""`evaluate renders`: every frame of the validation suites by every method, ours and the peers'."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.training import blender_peer, oidn, render_suites, renders, sheets
from mdenoise.training.metrics import METRICS, display_mse, near_error, psnr
from mdenoise.training.renders import Case
from mdenoise.training.tables import (
    CEILING,
    NOISY,
    OURS,
    PEER,
    Row,
    leave_out_missuited,
    machine,
    report,
    summarise,
)

# A reference whose own error is this share of the peer's would decide the comparison itself.
REFERENCE_SHARE = 0.1
# Of final frames only the fall below the input is judged, and what is left in the reference adds as much to the error
# of the one as of the other: it makes differences smaller, and keeps their sign.
FINAL_SHARE = 0.6
# These are measured against their clean origin, too: what the fault costs.
AGAINST_CLEAN = ("firefly", "noaux", "noisyaux")
SHOWN = (NOISY, PEER, "OIDN best", "OIDN 2x2 phases", OURS, f"{OURS} best")  # on contact sheets
Method = Callable[[Case], np.ndarray]


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--suite", nargs="+", choices=render_suites.SUITES, default=["clean", "splat"], help="default: %(default)s"
    )
    command.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="only these")
    command.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    command.add_argument("--sheets", "--save-images", type=Path, metavar="DIR", help="write one contact sheet a scene")
    command.add_argument("--no-peers", action="store_true", help="mdenoise alone, which is five times as fast")
    command.add_argument(
        "--blender-python", type=Path, metavar="FILE", help="a Python with bpy 5.0: adds Blender's compositor as a peer"
    )
    command.add_argument(
        "--data", type=Path, default=renders.DATA, help="folder of the validation renders (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """The subcommand `renders`."""
    peers = {} if args.no_peers else oidn.methods()
    if not peers and not args.no_peers:
        print('OIDN columns left out: pyoidn is not installed (pip install "mdenoise[eval]")')
    with ExitStack() as stack:
        if args.blender_python:
            peers[blender_peer.BLENDER] = stack.enter_context(blender_peer.method(args.blender_python))
        rows = measure_suites(args.data, args.suite, args.scenes, args.model, peers, args.sheets)
    rows = leave_out_missuited(rows)
    groups = sorted({(row.suite, row.spp) for row in rows}, key=lambda group: (args.suite.index(group[0]), group[1]))
    summaries = [summarise(rows, *group) for group in groups]
    print(report(rows, summaries))
    print(f"\nmodel {args.model}; {machine()}")
    if args.json:
        record = {"machine": machine(), "model": args.model}
        record |= {"summaries": summaries, "rows": [vars(row) for row in rows]}
        args.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 0


def measure_suites(
    data: Path, suites: list[str], scenes: list[str], model: str, peers: dict[str, Method], images: Path | None
) -> list[Row]:
    """Every frame by every method, the peers' and ours; one contact sheet a scene into the folder `images`."""
    balanced = ours(model)
    methods: dict[str, Method] = {
        NOISY: lambda case: case.color,
        **peers,
        OURS: balanced,
        f"{OURS} best": ours(model, "best"),
    }
    rows = []
    for suite in suites:
        columns = dict(methods)
        if suite == "noisyaux":
            columns[f"{OURS}, no AOVs"] = lambda case: balanced(render_suites.without_aux(case))
        strips: dict[str, list[np.ndarray]] = {}
        for case in render_suites.load(data, suite, scenes):
            results: dict[str, np.ndarray] = {}
            rows.append(measure(case, columns, results))
            if images:
                shown = {name: results[name] for name in SHOWN if name in results}
                strip = sheets.strip(shown, OURS, case.reference, f"{case.name} {case.spp} spp")
                strips.setdefault(case.name, []).append(strip)
                sheets.write(images / f"{suite}.{case.name}.png", strips[case.name])
    return rows


def measure(case: Case, methods: dict[str, Method], results: dict[str, np.ndarray] | None = None) -> Row:
    """The scores of every method on one frame; `results` takes their images."""
    done = {name: np.asarray(method(case), np.float32) for name, method in methods.items()}
    if case.degrade is not None and PEER in methods:
        done[CEILING] = case.degrade(np.asarray(methods[PEER](case.origin), np.float32))
    scores = {name: {metric: f(image, case.reference) for metric, f in METRICS.items()} for name, image in done.items()}
    if case.suite in AGAINST_CLEAN:
        for name, method in methods.items():
            clean = np.asarray(method(case.origin), np.float32)
            scores[name]["psnr, clean"] = psnr(clean, case.reference)
            if case.around is not None:
                scores[name]["near"] = near_error(done[name], case.reference, case.around)
                scores[name]["near, clean"] = near_error(clean, case.reference, case.around)
    if results is not None:
        results |= done
    final = case.suite == "finalspp"
    judge = NOISY if final and NOISY in done else PEER if PEER in done else OURS
    share = case.reference_mse / display_mse(done[judge], case.reference)
    left_out = share > (FINAL_SHARE if final else REFERENCE_SHARE)
    reason = f"the reference's error is {share:.0%} of that of {judge}" if left_out else ""
    return Row(case.name, case.suite, case.spp, scores, reason, case.scene or case.name)


def ours(model: str, quality: str = "balanced") -> Method:
    denoiser = Denoiser(model=model, quality=quality)
    return lambda case: denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth)
