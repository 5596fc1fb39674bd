"""Is your model better on what it never saw? Two models on the held-out images of `prepare`, as the product runs them.

python -m mdenoise.training.compare --pairs data/pairs --model runs/ours.onnx
python -m mdenoise.training.compare --photos data/photos --model runs/ours.onnx --sigma 25
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Planes
from mdenoise.training import entry, pairing, pairs
from mdenoise.training.metrics import photo_psnr, psnr, relative_mse
from mdenoise.training.prepare import read_photo
from mdenoise.training.tables import table


@dataclass(frozen=True)
class Case:
    """A held-out image and what it should look like; the target is noisy where nothing better is known."""

    name: str
    planes: Planes
    target: np.ndarray
    noisy_target: bool = False


def pair_cases(folder: Path) -> Iterator[Case]:
    """The files that pairs.csv holds out, read whole."""
    for one in pairs.load(folder, "val"):
        noisy = pairing.read(one.noisy, Options(**one.roles))
        target = pairing.read(one.clean, Options(**(one.roles if one.noisy_target else {})))
        yield Case(one.noisy.name, noisy, target.color, one.noisy_target)


def photo_cases(folder: Path, sigma: float) -> Iterator[Case]:
    """The held-out crops of photos.csv with Gaussian noise of sigma/255, rounded to 8 bits."""
    index = folder / "photos.csv"
    if not index.is_file():
        raise InputError(f"cannot read photographs: {index}: not found. Make it with `mdenoise prepare photos`")
    with index.open(newline="", encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["split"] == "val"]
    for seed, name in enumerate(names):
        clean = read_photo(folder / "photos" / name)
        noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
        color = np.rint(np.clip(clean + noise, 0, 255)).astype(np.float32) / 255
        yield Case(name, Planes(color, {}, encoding="srgb"), clean.astype(np.float32) / 255)


def denoised(denoiser: Denoiser, planes: Planes) -> np.ndarray:
    if planes.encoding == "srgb":
        return denoiser(np.rint(planes.color * 255).astype(np.uint8)).astype(np.float32) / 255
    color = planes.color.astype(np.float32)
    guides = {name: getattr(planes, name) for name in ("depth", "variance")}
    return denoiser(color, albedo=planes.albedo, normal=planes.normal, **guides)


def scores(image: np.ndarray, case: Case) -> tuple[float, float]:
    """PSNR in dB, as for renders or photographs, and relative squared error."""
    if case.planes.encoding == "srgb":
        bytes_of = [np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8) for x in (image, case.target)]
        return photo_psnr(*bytes_of), relative_mse(image, case.target)
    return psnr(image, case.target), relative_mse(image, case.target.astype(np.float32))


def measure(cases: list[Case], models: list[str]) -> dict[str, list[tuple[float, float]]]:
    """`scores` of every case, by "noisy" and by model."""
    found = {"noisy": [scores(case.planes.color, case) for case in cases]}
    for model in models:
        with Denoiser(model=model) as denoiser:
            found[model] = [scores(denoised(denoiser, case.planes), case) for case in cases]
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, metavar="DIR", help="folder with pairs.csv")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="folder with photos.csv")
    parser.add_argument("--model", required=True, help="the exported .onnx")
    parser.add_argument("--against", default="base", help="the model to beat (default: %(default)s)")
    parser.add_argument("--sigma", type=float, default=25.0, help="noise on photographs, of 255 (default: %(default)s)")
    args = parser.parse_args(argv)
    if bool(args.pairs) == bool(args.photos):
        raise UsageError("name what is held out: either --pairs or --photos")
    cases = list(pair_cases(args.pairs) if args.pairs else photo_cases(args.photos, args.sigma))
    if not cases:
        raise InputError(
            f"cannot compare: {args.pairs or args.photos} holds nothing out. Prepare it with --val above 0"
        )
    found = measure(cases, [args.against, args.model])
    rows = [[case.name, *(f"{v[i][0]:.2f}" for v in found.values())] for i, case in enumerate(cases)]
    rows.append(["mean", *(f"{np.mean([p for p, _ in v]):.2f}" for v in found.values())])
    rows.append(["mean relMSE", *(f"{np.mean([r for _, r in v]):.4f}" for v in found.values())])
    print(table(["PSNR, dB", *found], rows))
    if any(case.noisy_target for case in cases):
        print("\nThe targets are noisy: their noise lowers every PSNR and narrows the difference.")
    return 0


if __name__ == "__main__":
    entry.run(main, "mdenoise.training.compare", "eval")
