r"""What earns the gain: pixels or kernels, each without masks, with input masks, attention masks, and both; and what a
blind network owes to each family of noise.

    python -m mdenoise.training.ablation --photos DIR --data DIR --out runs/ablation --steps 600
    python -m mdenoise.training.ablation --photos DIR --data DIR --out runs/families --steps 600 --grid families

Every network is trained for the same steps on the same patches, and tested in torch, one pass, no measure taken at
inference. `masks`: from nothing, on Gaussian noise of sigma = 15 alone. `families`: from the weights that know sigma =
15 alone, on all families of noise, and on all without one and its kin. A run that is done is not repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from mdenoise.training import checkpoint, entry, noise
from mdenoise.training import data as patches
from mdenoise.training.config import TrainConfig, load_preset
from mdenoise.training.metrics import photo_psnr
from mdenoise.training.model import KernelNet
from mdenoise.training.objective import forward
from mdenoise.training.paper_evaluate import read_set
from mdenoise.training.tables import machine, table
from mdenoise.training.train import train

GRID_PX = 64
NOISES = (("gaussian", 15), ("gaussian", 50), ("poisson", 3.5), ("speckle", 0.04), ("salt_and_pepper", 0.02))
NOISES += (("correlated", 55),)
LEFT_OUT = ("salt_and_pepper", "correlated", "speckle")
MASKS = {
    "no masks": dict(input_share=0.0, attention_share=0.0),
    "input": dict(attention_share=0.0),
    "attention": dict(input_share=0.0),
    "both": {},
}


def grid(base: TrainConfig, steps: int, seed: int) -> dict[str, TrainConfig]:
    """The eight runs by name; all but output and masks is equal."""
    runs = {}
    for output in ("rgb", "kernels"):
        model = replace(base.model, output=output, chroma=base.model.chroma and output == "kernels")
        for name, masks in MASKS.items():
            config = replace(base, steps=steps, minutes=0.0, seed=seed, model=model, masks=replace(base.masks, **masks))
            runs[f"{output}, {name}"] = config
    return runs


def families(base: TrainConfig, steps: int, seed: int) -> dict[str, TrainConfig]:
    """One run on all families of noise, and one without each of LEFT_OUT and what resembles it."""
    blind = replace(base.data, photo_noise="blind", contrast_share=0.0)
    config = replace(
        base,
        steps=steps,
        minutes=0.0,
        seed=seed,
        data=blind,
        warm_start=str(checkpoint.WEIGHTS / "sigma15.safetensors"),
    )
    runs = {"all families": config}
    for family in LEFT_OUT:
        without = replace(blind, photo_without=tuple(sorted(noise.kin(family))))
        runs[f"without {family}"] = replace(config, data=without)
    return runs


@torch.no_grad()
def denoise_photo(net: KernelNet, image: np.ndarray, config: TrainConfig) -> np.ndarray:
    """(H, W, 3) uint8 -> uint8, one pass of a torch network over the whole image."""
    height, width = image.shape[:2]
    rows, cols = -height % GRID_PX, -width % GRID_PX
    noisy = torch.from_numpy(np.pad(image, ((0, rows), (0, cols), (0, 0)))).permute(2, 0, 1)[None].float() / 255
    inside = torch.zeros(1, 1, height + rows, width + cols)
    inside[..., :height, :width] = 1
    zeros = torch.zeros_like(inside)
    batch = patches.Batch(
        noisy=noisy,
        clean=noisy,
        albedo=torch.zeros_like(noisy),
        normal=torch.zeros_like(noisy),
        depth=zeros,
        variance=zeros,
        flags=zeros.expand(1, 4, -1, -1),
        linear=torch.zeros(1, 1, 1, 1),
        demodulate=torch.zeros(1, 1, 1, 1),
        sensor=torch.zeros(1, 2, 1, 1),
        inside=inside,
        trusted=inside,
        confidence=inside,
    )
    output = forward(net, batch, config, masked=False)[0, :, :height, :width].clamp(0, 1)
    return (output * 255).round().byte().permute(1, 2, 0).numpy()


def evaluate(weights: Path, config: TrainConfig, images: list[np.ndarray]) -> dict[str, float]:
    """Mean PSNR in dB for every noise of the table."""
    config = checkpoint.adopt(config)
    net = KernelNet(config.model).to(memory_format=torch.channels_last)
    net.load_state_dict(load_file(weights))
    net.eval()
    scores = {}
    for family, level in NOISES:
        pairs = ((noise.add(image, family, level, seed), image) for seed, image in enumerate(images))
        scores[f"{family} {level:g}"] = float(np.mean([photo_psnr(denoise_photo(net, y, config), x) for y, x in pairs]))
    return scores


def recorded(
    config: TrainConfig, photos: Path, out: Path, score: Callable[[Path], dict[str, float]]
) -> dict[str, float]:
    """What `score` says of the weights that a run leaves in `out`; neither is done twice."""
    record = out / "scores.json"
    if not record.is_file():
        train(config, photos, out, resume=True)
        record.write_text(json.dumps(score(out / "ema.safetensors"), indent=1) + "\n", "utf-8")
    return json.loads(record.read_text("utf-8"))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with photos.csv and photos/")
    parser.add_argument("--data", type=Path, required=True, help="folder with test/cbsd68")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--images", type=int, default=24, help="the first N of CBSD68")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grid", choices=("masks", "families"), default="masks")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of preset sigma15")
    args = parser.parse_args(argv)
    images = list(read_set(args.data / "test" / "cbsd68", args.images).values())
    results: dict[str, dict[str, float]] = {}
    runs = {"masks": grid, "families": families}[args.grid]
    for name, config in runs(load_preset("sigma15", args.set), args.steps, args.seed).items():
        out = args.out / f"{name.replace(', ', '-').replace(' ', '-')}-{args.seed}"
        results[name] = recorded(config, args.photos, out, partial(evaluate, config=config, images=images))
        print(name, results[name], flush=True)
    header = ["network", *next(iter(results.values()))]
    print(f"\nPSNR, dB; {len(images)} images of CBSD68; {args.steps} steps each; torch, {machine()}\n")
    print(table(header, [[name, *(f"{v:.2f}" for v in scores.values())] for name, scores in results.items()]))


if __name__ == "__main__":
    entry.run(main, "mdenoise.training.ablation", "train")
