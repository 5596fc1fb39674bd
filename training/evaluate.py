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
from collections.abc import Callable
from pathlib import Path

from mdenoise.training import (
    additive,
    animation,
    entry,
    gate,
    photo_evaluate,
    raw_evaluate,
    render_evaluate,
    sensor_sets,
)
from mdenoise.training.tables import machine


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mdenoise evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], about: str, **more: object) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, **more)
        made.set_defaults(run=run)
        made.add_argument("--model", default="base", help="name or path of an ONNX model with its card")
        return made

    render_evaluate.add_options(add("renders", render_evaluate.run, "tables of the validation renders beside OIDN"))
    lights = add("additive", run_additive, "light AOVs: gain of each beside OIDN's, and whether they still sum")
    lights.add_argument("--data", type=Path, default=additive.DATA, help="folder of NAME.4.exr (default: %(default)s)")
    moving = add("animation", run_animation, "flicker and ghosting of a sequence, by frames that are joined")
    moving.add_argument("--data", type=Path, required=True, help="folder that validation_animation.py rendered")
    moving.add_argument("--temporal", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    gate.add_options(add("gate", gate.run, "a fixed small set against training/gate.json; exit 1 when a row falls"))
    photo_evaluate.add_options(
        add("photos", photo_evaluate.run, "tables of photographs with made and real noise, beside published ones")
    )
    raw_evaluate.add_options(
        add("raw", raw_evaluate.run, "PSNR of raw files made from photographs, beside classical methods")
    )
    told = {"description": sensor_sets.__doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    for name in sensor_sets.SETS:
        sensor_sets.add_options(add(name, sensor_sets.run, f"real noise of {name}, which you have", **told))
    args = parser.parse_args(arguments)
    return args.run(args)


def run_additive(args: argparse.Namespace) -> int:
    print(f"{additive.run(args.data, args.model)}\n\nmodel {args.model}; {machine()}")
    return 0


def run_animation(args: argparse.Namespace) -> int:
    print(f"{animation.run(args.data, args.model, args.temporal)}\n\nmodel {args.model}; {machine()}")
    return 0


if __name__ == "__main__":
    entry.run(main, "mdenoise evaluate", "eval")
