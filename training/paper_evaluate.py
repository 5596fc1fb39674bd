"""PSNR of a network of `mdenoise.training.paper` on noise made for the test.

    python -m mdenoise.training.paper_evaluate --weights FILE --data DIR --set cbsd68 --noise gaussian:50,poisson:3.5
    python -m mdenoise.training.paper_evaluate --weights FILE --data DIR --set mcmaster --passes 8 --json FILE

`--data` holds test/SET/ with the clean images. RGB, uint8, 1 px of border left out, mean of the images' own PSNR.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from mdenoise.errors import InputError, UsageError
from mdenoise.training import entry, noise
from mdenoise.training.metrics import interval, photo_psnr
from mdenoise.training.paper import PaperNet, denoise_image, load
from mdenoise.training.tables import machine, table

IMAGES = (".webp", ".png", ".tif", ".tiff", ".bmp", ".jpg")
PUBLISHED = "gaussian:15,gaussian:50,poisson:3.5,salt_and_pepper:0.02,speckle:0.04,correlated:55"


def read_set(folder: Path, limit: int = 0) -> dict[str, np.ndarray]:
    """(H, W, 3) uint8 of every image of a folder by name; the first `limit` when it is not 0."""
    from PIL import Image

    files = sorted(f for f in folder.glob("*") if f.suffix.lower() in IMAGES) if folder.is_dir() else []
    if not files:
        raise InputError(f"cannot read test images: none in {folder}. Name the folder above test/ with --data")
    return {f.stem: np.asarray(Image.open(f).convert("RGB")) for f in files[: limit or None]}


def read_noise(text: str) -> list[tuple[str, float]]:
    """`gaussian:50,poisson:3.5` to [("gaussian", 50.0), ("poisson", 3.5)]."""
    pairs = []
    for item in text.split(","):
        family, _, level = item.strip().partition(":")
        try:
            pairs.append((family, float(level)))
        except ValueError:
            raise UsageError(f"--noise {item.strip()!r}: write FAMILY:LEVEL, for example gaussian:50") from None
    return pairs


def measure(net: PaperNet, images: dict[str, np.ndarray], family: str, level: float, passes: int) -> dict[str, list]:
    """PSNR in dB of the noisy and of the denoised images, in their order; the noise of image i has seed i."""
    scores: dict[str, list] = {"noisy": [], "denoised": []}
    for seed, clean in enumerate(images.values()):
        noisy = noise.add(clean, family, level, seed)
        torch.manual_seed(seed)  # the attention mask at test
        scores["noisy"].append(photo_psnr(noisy, clean))
        scores["denoised"].append(photo_psnr(denoise_image(net, noisy, passes), clean))
    return scores


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="ema.safetensors of a paper-* run")
    parser.add_argument("--data", type=Path, required=True, help="folder with test/SET/")
    parser.add_argument("--set", default="cbsd68", help="folder of clean images (default: %(default)s)")
    parser.add_argument("--noise", default=PUBLISHED, help="FAMILY:LEVEL,... (default: %(default)s)")
    parser.add_argument("--passes", type=int, default=1, help="passes that are averaged, with attention mask at test")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="the first N images alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    args = parser.parse_args(arguments)
    suite = read_noise(args.noise)
    net = load(args.weights).to("cuda" if torch.cuda.is_available() else "cpu")
    images = read_set(args.data / "test" / args.set, args.limit)
    results = {f"{family} {level:g}": measure(net, images, family, level, args.passes) for family, level in suite}
    rows = []
    for name, scores in results.items():
        low, high = interval(scores["denoised"])
        rows.append([name, f"{np.mean(scores['noisy']):.2f}", f"{np.mean(scores['denoised']):.2f}"])
        rows[-1].append(f"{low:.2f} to {high:.2f}")
    passes = args.passes if net.is_random else 1
    print(table(["noise", "noisy, dB", "denoised, dB", "95 % interval"], rows))
    print(f"\n{args.weights.name}; {args.set}, {len(images)} images; passes: {passes}; {machine()}")
    if args.json:
        record = {"set": args.set, "images": list(images), "passes": passes, "machine": machine(), "scores": results}
        args.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    entry.run(main, "mdenoise.training.paper_evaluate", "train")
