"""Measure the shipped model on whole suites.

    python -m mdenoise.training.evaluate renders
    python -m mdenoise.training.evaluate renders --suite clean firefly noaux --json clean.json --sheets sheets
    python -m mdenoise.training.evaluate additive
    python -m mdenoise.training.evaluate photos --suite ood --model sigma15.onnx --robustness 0 auto --data DIR
    python -m mdenoise.training.evaluate raw --data DIR
    python -m mdenoise.training.evaluate animation --data DIR --temporal 2
    python -m mdenoise.training.evaluate gate
    python -m mdenoise.training.evaluate gate --update

Everything goes through `mdenoise.Denoiser` as a user runs it: default engine, precision and tiles.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.errors import EngineError, InputError, MDenoiseError
from mdenoise.training import (
    additive,
    animation,
    blender_peer,
    oidn,
    photo_tables,
    photos,
    raw_evaluate,
    render_suites,
    renders,
    rivals,
    sensor_sets,
    sheets,
)
from mdenoise.training.metrics import METRICS, display, display_mse, near_error, photo_psnr, psnr
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
    table,
)

DATA = Path("tests/data/renders")
GATE = Path(__file__).with_name("gate.json")
# A reference whose own error is this share of the peer's would decide the comparison itself.
REFERENCE_SHARE = 0.1
# These are measured against their clean origin, too: what the fault costs.
AGAINST_CLEAN = ("firefly", "noaux", "noisyaux")
SHOWN = (NOISY, PEER, "OIDN best", "OIDN 2x2 phases", OURS, f"{OURS} best")  # on contact sheets
GATE_FALL_DB = 0.15
GATE_RENDERS = (
    ("cornell", 4),
    ("materials", 4),
    ("living_room", 4),
    ("meadow", 4),
    ("brick_corner", 16),
    ("gallery", 16),
    ("toys-gaussian", 4),
    ("night_fair-mitchell", 4),
    ("workshop-tent", 4),
)
GATE_PHOTOS = (("living_room", 15), ("product", 25), ("workshop", 25))
Method = Callable[[Case], np.ndarray]


# --- the columns --------------------------------------------------------------------------------------------------


def ours(model: str, quality: str = "balanced") -> Method:
    denoiser = Denoiser(model=model, quality=quality)
    return lambda case: denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth)


# --- renders ------------------------------------------------------------------------------------------------------


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
    # Near the reference's own error nobody can be judged by; of final frames only the fall below the input is.
    final = case.suite == "finalspp"
    judge = NOISY if final and NOISY in done else PEER if PEER in done else OURS
    share = case.reference_mse / display_mse(done[judge], case.reference)
    reason = f"the reference's error is {share:.0%} of that of {judge}" if share > REFERENCE_SHARE else ""
    return Row(case.name, case.suite, case.spp, scores, reason, case.scene or case.name)


def run_renders(args: argparse.Namespace) -> int:
    peers = oidn.methods()
    if not peers:
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


# --- photos -------------------------------------------------------------------------------------------------------


def run_photos(args: argparse.Namespace) -> int:
    notes: list[str] = []
    methods = photos.methods_of(args.model, args.robustness, args.quality, args.peers, args.rivals, notes)
    rows = photos.run(args.data, args.set, args.suite, args.images, methods, args.tell_sigma)
    print("\n".join([*notes, photo_tables.report(rows)]))
    print(f"\nmodel {args.model}; {machine()}")
    if args.json:
        found = {"machine": machine(), "model": args.model, "rows": [photo_tables.record(row) for row in rows]}
        args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def add_photo_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, required=True, help="folder with test/ (cbsd68, polyu, ...) and train/")
    command.add_argument("--set", type=words, default=["cbsd68"], help=f"of {', '.join(photos.SETS)} (default: cbsd68)")
    suites = ", ".join((*photos.SUITES, "real", "all"))
    command.add_argument("--suite", default="all", help=f"{suites}, or FAMILY:LEVEL,... (default: %(default)s)")
    command.add_argument("--robustness", nargs="+", default=["0", "auto"], help="one column each (default: 0 auto)")
    command.add_argument("--quality", nargs="+", default=["balanced"], help="one column each (default: balanced)")
    command.add_argument("--images", type=int, metavar="N", help="only the first N of every set")
    command.add_argument("--peers", type=words, default=[], help=f"classical columns of {','.join(rivals.PEERS)}")
    command.add_argument(
        "--tell-sigma", action="store_true", help="tell peers the noise's deviation, whatever its kind"
    )
    command.add_argument("--rivals", type=words, default=[], help=f"four passes each of {','.join(rivals.RIVALS)}")
    command.add_argument("--json", type=Path, metavar="FILE", help="write every number here")


# --- gate ---------------------------------------------------------------------------------------------------------


def gate_scores(data: Path, model: str) -> dict[str, float]:
    """PSNR of the fixed small set, by name."""
    denoiser = Denoiser(model=model)
    scores = {}
    for name, spp in GATE_RENDERS:
        case = find(data, name, spp)
        scores[f"{name} {spp} spp"] = psnr(
            denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth), case.reference
        )
    for name, sigma in GATE_PHOTOS:
        clean = np.rint(255 * display(find(data, name, 4).reference)).astype(np.uint8)
        noise = np.random.default_rng(sigma).normal(0, sigma, clean.shape)
        noisy = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
        scores[f"{name} photo, sigma {sigma}"] = photo_psnr(denoiser(noisy), clean)
    return {name: round(score, 3) for name, score in scores.items()}


def find(data: Path, name: str, spp: int) -> Case:
    plain = name.removesuffix("-tent")
    for entry in renders.read_index(data)["renders"]:
        if entry["name"] == plain and spp in entry["spp"]:
            case = renders.load_case(data, entry, spp)
            return case if plain == name else renders.tent(case)
    raise InputError(f"cannot run the gate: no {plain} at {spp} spp in {data}; name the full set with --data")


def fallen(scores: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """One line for every row that is worse than recorded by more than is allowed, or is not recorded."""
    lines = []
    for name, score in scores.items():
        if name not in recorded:
            lines.append(f"{name}: not recorded; run gate --update and say why in the commit")
        elif score < recorded[name] - GATE_FALL_DB:
            lines.append(f"{name}: {score:.2f} dB, recorded {recorded[name]:.2f}: fell by more than {GATE_FALL_DB} dB")
    return lines


def run_gate(data: Path, model: str, gate: Path, update: bool) -> int:
    scores = gate_scores(data, model)
    recorded = json.loads(gate.read_text("utf-8")) if gate.exists() else {}
    print(
        table(
            ["row", "PSNR, dB", "recorded"],
            [[n, f"{s:.2f}", f"{recorded[n]:.2f}" if n in recorded else "-"] for n, s in scores.items()],
        )
    )
    if update:
        gate.write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
        return 0
    lines = fallen(scores, recorded)
    print("\n".join(["", *lines]) if lines else "\ngate passed")
    return 1 if lines else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mdenoise evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    tables = commands.add_parser("renders", help="tables of the validation renders beside OIDN")
    tables.add_argument(
        "--suite", nargs="+", choices=render_suites.SUITES, default=["clean", "splat"], help="default: %(default)s"
    )
    tables.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="only these")
    tables.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    tables.add_argument("--sheets", "--save-images", type=Path, metavar="DIR", help="write one contact sheet a scene")
    tables.add_argument(
        "--blender-python", type=Path, metavar="FILE", help="a Python with bpy 5.0: adds Blender's compositor as a peer"
    )
    lights = commands.add_parser("additive", help="light AOVs: gain of each beside OIDN's, and whether they still sum")
    lights.add_argument("--data", type=Path, default=additive.DATA, help="folder of NAME.4.exr (default: %(default)s)")
    moving = commands.add_parser("animation", help="flicker and ghosting of a sequence, by frames that are joined")
    moving.add_argument("--data", type=Path, required=True, help="folder that validation_animation.py rendered")
    moving.add_argument("--temporal", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    gate = commands.add_parser("gate", help="a fixed small set against training/gate.json; exit 1 when a row falls")
    gate.add_argument("--update", action="store_true", help="record the scores of this model")
    photo = commands.add_parser("photos", help="tables of photographs with made and real noise, beside published ones")
    add_photo_options(photo)
    raw = commands.add_parser("raw", help="PSNR of raw files made from photographs, beside classical methods")
    raw_evaluate.add_options(raw)
    for command in (tables, gate):
        command.add_argument(
            "--data", type=Path, default=DATA, help="folder of the validation renders (default: %(default)s)"
        )
    owned = [
        commands.add_parser(name, help=f"real noise of {name}, which you have", description=sensor_sets.__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter)
        for name in sensor_sets.SETS
    ]  # fmt: skip
    for command in owned:
        sensor_sets.add_options(command)
    for command in (tables, gate, photo, raw, moving, lights, *owned):
        command.add_argument("--model", default="base", help="name or path of an ONNX model with its card")
    args = parser.parse_args(arguments)
    if args.command == "photos":
        return run_photos(args)
    if args.command == "raw":
        return raw_evaluate.run(args)
    if args.command in sensor_sets.SETS:
        return sensor_sets.run(args)
    if args.command == "animation":
        print(f"{animation.run(args.data, args.model, args.temporal)}\n\nmodel {args.model}; {machine()}")
        return 0
    if args.command == "additive":
        print(f"{additive.run(args.data, args.model)}\n\nmodel {args.model}; {machine()}")
        return 0
    if args.command == "gate":
        return run_gate(args.data, args.model, GATE, args.update)
    return run_renders(args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MDenoiseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        print(f'mdenoise evaluate needs {error.name}: pip install "mdenoise[eval]"', file=sys.stderr)
        sys.exit(EngineError.exit_code)
