r"""The paper's open question: do masks make networks generalise in super-resolution and deblurring, too?

    python -m mdenoise.training.open_question sr2 --photos DIR --data DIR --out runs/sr2
    python -m mdenoise.training.open_question deblur --photos DIR --data DIR --out runs/deblur --steps 800 --seeds 1,2

One network without masks and one with those of the preset, for the same steps on the same patches of one degradation;
both tested on that and on others that they never saw. A run that is done is not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mdenoise.errors import UsageError
from mdenoise.training import entry, restoration
from mdenoise.training.ablation import denoise_photo
from mdenoise.training.config import TrainConfig, load_preset
from mdenoise.training.metrics import photo_psnr
from mdenoise.training.objective import build
from mdenoise.training.paper_evaluate import read_set
from mdenoise.training.tables import machine, table
from mdenoise.training.train import train

# The first of each is trained on.
TESTS = {
    "sr2": (
        ("sr2:bicubic", "bicubic"),
        ("sr2:box", "box"),
        ("sr2:lanczos", "Lanczos"),
        ("sr2:nearest", "nearest"),
        ("sr2:bicubic+noise=10", "bicubic, noise 10"),
        ("sr2:bicubic+jpeg=60", "bicubic, JPEG 60"),
    ),
    "deblur": (
        ("blur:gaussian=1.6", "Gaussian 1.6 px"),
        ("blur:gaussian=1.0", "Gaussian 1.0 px"),
        ("blur:gaussian=2.4", "Gaussian 2.4 px"),
        ("blur:motion=9", "motion 9 px"),
        ("blur:gaussian=1.6+noise=5", "1.6 px, noise 5"),
        ("blur:gaussian=1.6+jpeg=60", "1.6 px, JPEG 60"),
    ),
}
MASKS = {"no masks": {"input_share": 0.0, "attention_share": 0.0}, "masked": {}}


def degraded(image: np.ndarray, task: str, seed: int) -> np.ndarray:
    """(H, W, 3) uint8 to the same, odd sides mirrored by a pixel first."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="symmetric")
    x = torch.from_numpy(even).permute(2, 0, 1)[None].float() / 255
    y = restoration.degrade(x, task, torch.Generator().manual_seed(seed))[0, :, :height, :width]
    return (y.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def evaluate(weights: Path, config: TrainConfig, images: list[np.ndarray], question: str) -> dict[str, float]:
    """Mean PSNR in dB for every test of the question."""
    from safetensors.torch import load_file

    net = build(config).to(memory_format=torch.channels_last)
    net.load_state_dict(load_file(weights))
    net.eval()
    scores = {}
    for task, name in TESTS[question]:
        results = [denoise_photo(net, degraded(image, task, i), config) for i, image in enumerate(images)]
        scores[name] = float(np.mean([photo_psnr(y, x) for y, x in zip(results, images, strict=True)]))
    return scores


def runs(config: TrainConfig, seeds: list[int]) -> dict[tuple[str, int], TrainConfig]:
    """Configurations by name and seed; all but the masks is equal."""
    return {
        (name, seed): replace(config, seed=seed, masks=replace(config.masks, **masks))
        for name, masks in MASKS.items()
        for seed in seeds
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=list(TESTS), help="also the preset")
    parser.add_argument("--photos", type=Path, required=True, help="folder with photos.csv and photos/")
    parser.add_argument("--data", type=Path, required=True, help="folder with test/cbsd68")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0, help="a run; the masked ones then take as many steps")
    parser.add_argument("--steps", type=int, default=0, help="a run, instead of minutes")
    parser.add_argument("--images", type=int, default=24, help="the first N of CBSD68")
    parser.add_argument("--seeds", default="1", metavar="N,...", help="one run each (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the preset")
    args = parser.parse_args(argv)
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {args.seeds!r}: write whole numbers, for example 1,2") from None
    images = list(read_set(args.data / "test" / "cbsd68", args.images).values())
    base = load_preset(args.question, args.set)
    steps = args.steps
    results: dict[str, list[dict[str, float]]] = {name: [] for name in MASKS}
    for (name, seed), config in runs(base, seeds).items():
        out = args.out / f"{name.replace(' ', '-')}-{seed}"
        record = out / "scores.json"
        # Equal steps and not equal minutes: the first run says how many fit into the time.
        budget = {"steps": steps, "minutes": 0.0} if steps else {"minutes": args.minutes}
        if not record.is_file():
            train(replace(config, **budget), args.photos, out, resume=True)
            scores = evaluate(out / "ema.safetensors", config, images, args.question)
            step = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)["step"]
            record.write_text(json.dumps({"steps": step, "scores": scores}, indent=1) + "\n", "utf-8")
        done = json.loads(record.read_text("utf-8"))
        steps = steps or done["steps"]
        results[name].append(done["scores"])
        print(name, seed, done, flush=True)
    print(report(results, images, args.question, steps, seeds))
    return 0


def report(
    results: dict[str, list[dict[str, float]]], images: list[np.ndarray], question: str, steps: int, seeds: list[int]
) -> str:
    """The table: the input as it is, and both networks, means over the seeds."""
    rows = []
    for task, name in TESTS[question]:
        shown = [photo_psnr(degraded(image, task, i), image) for i, image in enumerate(images)]
        means = [float(np.mean([scores[name] for scores in results[kind]])) for kind in MASKS]
        rows.append([name, f"{np.mean(shown):.2f}", *(f"{m:.2f}" for m in means), f"{means[1] - means[0]:+.2f}"])
    rows[0][0] += " (trained on)"
    text = table([question, "input", *MASKS, "difference"], rows)
    return f"\n{text}\n\nPSNR, dB; {len(images)} images of CBSD68; {steps} steps; seeds {seeds}; torch, {machine()}"


if __name__ == "__main__":
    entry.run(main, "mdenoise.training.open_question", "train")
