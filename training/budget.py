"""Fit what `mdenoise budget` goes by, and tell how well it holds: `python -m mdenoise.training.budget`.

On regions of the clean validation renders: FLIP as a power of the predicted error on a display, and how FLIP falls with
samples. Every scene is predicted by a fit to the others.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.errors import MDenoiseError
from mdenoise.guide import luminance
from mdenoise.training import renders
from mdenoise.training.metrics import display
from mdenoise.training.tables import machine, table

REGION_PX = 32


def regions(plane: np.ndarray) -> np.ndarray:
    n = REGION_PX
    height, width = (side // n * n for side in plane.shape)
    return plane[:height, :width].reshape(height // n, n, width // n, n).mean(axis=(1, 3)).ravel()


def measure(data: Path, model: str) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """(scene, spp) -> predicted error on a display and true FLIP, of each region."""
    import flip_evaluator

    denoiser, found = Denoiser(model=model), {}
    for case in renders.load(data, "clean"):
        done = denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth, uncertainty=True)
        light = luminance(done.color)
        ends = [np.clip(light + side * done.uncertainty, 0, 1) ** (1 / 2.2) for side in (1, -1)]
        shown = [display(x).astype(np.float32) for x in (case.reference, done.color)]
        flip = np.squeeze(flip_evaluator.evaluate(*shown, "LDR", applyMagma=False)[0])
        found[case.name, case.spp] = regions((ends[0] - ends[1]) / 2), regions(flip)
    return found


def fit(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Scale and power of FLIP by error, least squares of logarithms."""
    error, flip = (np.concatenate(values) for values in zip(*pairs, strict=True))
    told = (error > 1e-5) & (flip > 1e-4)
    power, scale = np.polyfit(np.log(error[told]), np.log(flip[told]), 1)
    return float(np.exp(scale)), float(power)


def report(found: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]) -> str:
    scale, power = fit(list(found.values()))
    few, many = sorted({spp for _, spp in found})[:2]
    scenes = sorted({scene for scene, _ in found})
    falls = {s: np.log(found[s, few][1].mean() / found[s, many][1].mean()) / np.log(many / few) for s in scenes}
    lines = []
    for scene, spp in found:
        others_scale, others_power = fit([pair for key, pair in found.items() if key[0] != scene])
        error, flip = found[scene, spp]
        guess = others_scale * error**others_power
        rank = np.corrcoef(np.log(guess + 1e-6), np.log(flip + 1e-6))[0, 1]
        lines.append(
            [scene, str(spp), f"{flip.mean():.4f}", f"{guess.mean():.4f}", f"{rank:.2f}", f"{falls[scene]:.2f}"]
        )
    text = table(["scene", "spp", "FLIP", "predicted", "correlation of regions", "decline"], lines)
    decline = float(np.mean(list(falls.values())))
    return f"{text}\n\nFLIP_SCALE, FLIP_POWER = {scale:.3f}, {power:.3f}; DECLINE = {decline:.2f}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="mdenoise.training.budget", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("tests/data/renders"), help="folder of the renders")
    parser.add_argument("--model", default="base")
    args = parser.parse_args(arguments)
    print(f"{report(measure(args.data, args.model))}\n\nmodel {args.model}; {machine()}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MDenoiseError as error:
        sys.exit(str(error))
