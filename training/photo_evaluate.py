"""The tables of photographs, `evaluate photos`: made and real noise, beside published figures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mdenoise.training import photo_tables, photos, rivals
from mdenoise.training.tables import machine


def add_options(command: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
    """The subcommand `photos`."""
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
