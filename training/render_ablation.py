r"""What masks, or the loss, earn and cost on renders, all else equal.

Masks: none, on the radiance, and on the auxiliary planes, too. Losses: absolute error per pixel, that with MS-SSIM, and
the one that is used, at several scales.

    python -m mdenoise.training.render_ablation --photos DIR --out runs/render-masks --steps 800
    python -m mdenoise.training.render_ablation --of losses --photos DIR --out runs/render-losses --steps 800

Each network is trained from nothing for the same steps on the same patches: synthetic scenes alone, no more than 8
samples a pixel, pixels that no filter spread and no fireflies. So splatted and resized pixels, fireflies, 16 samples
and both renderers of the validation scenes are what it never saw. A run that is done is not repeated.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.training import entry, render_suites, renders
from mdenoise.training.ablation import recorded
from mdenoise.training.config import TrainConfig, load_preset
from mdenoise.training.metrics import psnr
from mdenoise.training.tables import machine, table

DATA = Path(__file__).parents[1] / "tests" / "data" / "renders"
SUITES = ("clean", "splat", "resized", "firefly")
VARIANTS = {
    "masks": {
        "no masks": dict(masks=dict(input_share=0.0, attention_share=0.0)),
        "radiance": dict(),
        "radiance and AOVs": dict(masks=dict(hide_aovs=True)),
    },
    "losses": {
        "L1": dict(render_loss="l1"),
        "L1 + MS-SSIM": dict(render_loss="ssim"),
        "L1 of four scales and gradients": dict(render_loss="multiscale"),
    },
}
LATER = ("firefly", "splat", "resize", "shrink", "sharpen", "matte", "encoded", "noisy_aov")
NARROW = dict(photo_share=0.0, most_spp=8.0, turned_normals=0.0, encoded_normals=0.0)
NARROW |= {f"{name}_share": 0.0 for name in LATER}


def grid(base: TrainConfig, of: str, steps: int, seed: int) -> dict[str, TrainConfig]:
    """The runs by name; all but the masks, or but the loss, is equal."""
    narrow = replace(
        base,
        steps=steps,
        minutes=0.0,
        seed=seed,
        warm_start="",
        model=replace(base.model, chroma=False),
        data=replace(base.data, **NARROW),
    )

    def changed(masks: dict | None = None, **values: object) -> TrainConfig:
        return replace(narrow, masks=replace(base.masks, **(masks or {})), **values)

    return {name: changed(**values) for name, values in VARIANTS[of].items()}


def evaluate(model: Path, data: Path) -> dict[str, float]:
    """Mean PSNR in dB by suite and samples a pixel; of the clean suite by renderer, too."""
    renderers = {entry["scene"]: entry["renderer"] for entry in renders.read_index(data)["renders"]}
    scores: dict[str, list[float]] = {}
    with Denoiser(model=str(model)) as denoiser:
        for suite in SUITES:
            for case in render_suites.load(data, suite):
                where = f"{suite}, {renderers[case.scene]}" if suite == "clean" else suite
                shown = denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth)
                scores.setdefault(f"{where}, {case.spp} spp", []).append(psnr(np.asarray(shown), case.reference))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def score(weights: Path, data: Path) -> dict[str, float]:
    """`evaluate` of the weights, exported beside them."""
    model = weights.with_name("net.onnx")
    export = [sys.executable, "-m", "mdenoise.exporters.onnx", "--weights", weights, "--graphs", "--out", model]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    return evaluate(model, data)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=tuple(VARIANTS), default="masks", help="default: %(default)s")
    parser.add_argument("--photos", type=Path, required=True, help="folder with photos.csv and photos/: textures")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the validation renders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of preset base")
    args = parser.parse_args(argv)
    results: dict[str, dict[str, float]] = {}
    for name, config in grid(load_preset("base", args.set), args.of, args.steps, args.seed).items():
        out = args.out / f"{name.replace(' + ', '-').replace(' ', '-')}-{args.seed}"
        results[name] = recorded(config, args.photos, out, partial(score, data=args.data))
    names = list(results)
    rows = [[row, *(f"{results[name][row]:.2f}" for name in names)] for row in results[names[0]]]
    print(f"PSNR, dB; {args.steps} steps each, seed {args.seed}; {machine()}\n")
    print(table(["suite", *names], rows))


if __name__ == "__main__":
    entry.run(main, "mdenoise.training.render_ablation", "train")
