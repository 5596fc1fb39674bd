"""`evaluate gate`: a fixed small set of all suites against the scores on record, which new weights must reach."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.training import renders
from mdenoise.training.metrics import display, photo_psnr, psnr
from mdenoise.training.tables import table

RECORD = Path(__file__).with_name("gate.json")
FALL_DB = 0.15
RENDERS = (
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
PHOTOS = (("living_room", 15), ("product", 25), ("workshop", 25))


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--update", action="store_true", help="record the scores of this model")
    command.add_argument(
        "--data", type=Path, default=renders.DATA, help="folder of the validation renders (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """The subcommand `gate`."""
    return check(args.data, args.model, RECORD, args.update)


def check(data: Path, model: str, record: Path, update: bool) -> int:
    """0, or 1 when a row fell; the table is printed. `update` writes the record instead. Raises InputError."""
    scores = scores_of(data, model)
    recorded = json.loads(record.read_text("utf-8")) if record.exists() else {}
    print(
        table(
            ["row", "PSNR, dB", "recorded"],
            [[n, f"{s:.2f}", f"{recorded[n]:.2f}" if n in recorded else "-"] for n, s in scores.items()],
        )
    )
    if update:
        record.write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
        return 0
    lines = fallen(scores, recorded)
    print("\n".join(["", *lines]) if lines else "\ngate passed")
    return 1 if lines else 0


def scores_of(data: Path, model: str) -> dict[str, float]:
    """PSNR of the fixed small set, by name."""
    denoiser = Denoiser(model=model)
    scores = {}
    for name, spp in RENDERS:
        case = renders.find(data, name, spp)
        scores[f"{name} {spp} spp"] = psnr(
            denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth), case.reference
        )
    for name, sigma in PHOTOS:
        clean = np.rint(255 * display(renders.find(data, name, 4).reference)).astype(np.uint8)
        noise = np.random.default_rng(sigma).normal(0, sigma, clean.shape)
        noisy = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
        scores[f"{name} photo, sigma {sigma}"] = photo_psnr(denoiser(noisy), clean)
    return {name: round(score, 3) for name, score in scores.items()}


def fallen(scores: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """One line for every row that is worse than recorded by more than is allowed, or is not recorded."""
    lines = []
    for name, score in scores.items():
        if name not in recorded:
            lines.append(f"{name}: not recorded; run gate --update and say why in the commit")
        elif score < recorded[name] - FALL_DB:
            lines.append(f"{name}: {score:.2f} dB, recorded {recorded[name]:.2f}: fell by more than {FALL_DB} dB")
    return lines
