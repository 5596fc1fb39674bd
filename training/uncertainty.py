"""How well the predicted uncertainty tells the true error.

    python -m mdenoise.training.uncertainty
    python -m mdenoise.training.uncertainty --photos FOLDER --sparsification curve.png

Spearman's rank correlation with the error, per pixel and image, beside that of the local gradient and of the local
variance of the denoised and of the noisy image: what an uncertainty that knows nothing of the network could tell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.errors import InputError, MDenoiseError
from mdenoise.training import renders
from mdenoise.training.tables import machine, table

OURS, GRADIENT = "uncertainty", "gradient"
WINDOW_PX = 5
ROW = ("set", OURS, GRADIENT, "variance, denoised", "variance, noisy")


@dataclass(frozen=True)
class Judged:
    """One image: its (H, W) error and what each predictor says about it."""

    group: str
    error: np.ndarray
    predictors: dict[str, np.ndarray]


def judge(group: str, noisy: np.ndarray, clean: np.ndarray, denoised: np.ndarray, unsure: np.ndarray) -> Judged:
    noisy, clean, denoised = (x.astype(np.float32) for x in (noisy, clean, denoised))
    slopes = np.gradient(denoised.mean(axis=2))
    return Judged(
        group,
        np.sqrt(((denoised - clean) ** 2).mean(axis=2)),
        {
            OURS: unsure,
            GRADIENT: np.hypot(*slopes),
            "variance, denoised": local_variance(denoised.mean(axis=2)),
            "variance, noisy": local_variance(noisy.mean(axis=2)),
        },
    )


def local_variance(plane: np.ndarray) -> np.ndarray:
    around = np.pad(plane, WINDOW_PX // 2, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(around, (WINDOW_PX, WINDOW_PX)).var(axis=(2, 3))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; equal values share their mean rank."""
    return float(np.corrcoef(ranks(a.ravel()), ranks(b.ravel()))[0, 1])


def ranks(values: np.ndarray) -> np.ndarray:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[where]


def sparsification(error: np.ndarray, predictor: np.ndarray, steps: int = 20) -> np.ndarray:
    """Root mean squared error of what is left when the least sure 0, 5, 10, ... % are taken out, over that of all."""
    square = (error.ravel() ** 2)[np.argsort(predictor.ravel())]  # surest first
    left = np.ceil(square.size * (1 - np.arange(steps) / steps)).astype(int)
    return np.sqrt(np.cumsum(square, dtype=np.float64)[left - 1] / left / square.mean(dtype=np.float64))


def judge_renders(data: Path, denoiser: Denoiser) -> Iterator[Judged]:
    for case in renders.load(data, "all"):
        done = denoiser(case.color, albedo=case.albedo, normal=case.normal, depth=case.depth, uncertainty=True)
        yield judge(f"renders, {case.spp} spp", case.color, case.reference, done.color, done.uncertainty)


def judge_photos(paths: list[Path], denoiser: Denoiser) -> Iterator[Judged]:
    """8-bit photographs with noise of four kinds."""
    import imageio.v3 as imageio

    for number, path in enumerate(paths):
        clean = np.asarray(imageio.imread(path))[..., :3]
        rng = np.random.default_rng(number)
        x = clean.astype(np.float32)
        for name, noisy in (
            ("Gaussian 25", x + rng.normal(0, 25, x.shape)),
            ("Poisson 3", x + 3 * (rng.poisson(x) - x)),
            ("speckle .03", x + x * rng.uniform(-1, 1, x.shape) * np.sqrt(3 * 0.03)),
        ):
            image = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
            done = denoiser(image, uncertainty=True)
            yield judge(f"photos, {name}", image, clean, done.color, done.uncertainty)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mdenoise.training.uncertainty", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("tests/data/renders"), help="folder of the renders")
    parser.add_argument("--photos", type=Path, help="folder of clean 8-bit photographs, or a text file that lists them")
    parser.add_argument("--model", default="base")
    parser.add_argument("--sparsification", type=Path, metavar="PNG", help="draw the mean curves")
    args = parser.parse_args(arguments)
    denoiser = Denoiser(model=args.model, quality="best")
    judged = list(judge_renders(args.data, denoiser))
    if args.photos:
        judged += judge_photos(list_photos(args.photos), denoiser)
    print(report(judged))
    print(f"\nmodel {args.model}, quality best; {machine()}")
    if args.sparsification:
        draw(judged, args.sparsification)
    return 0


def list_photos(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    else:
        found = [path.parent / line for line in path.read_text("utf-8").splitlines() if line.strip()]
    if not found:
        raise InputError(f"cannot measure on {path}: it holds no photographs (png, jpg, webp)")
    return found


def report(judged: list[Judged]) -> str:
    rows = []
    for group in sorted({one.group for one in judged}):
        inside = [one for one in judged if one.group == group]
        scores = {name: [spearman(one.error, one.predictors[name]) for one in inside] for name in ROW[1:]}
        scale = np.median([np.sqrt(np.mean(o.error**2) / max(np.mean(o.predictors[OURS] ** 2), 1e-30)) for o in inside])
        rows.append([f"{group}, {len(inside)} images", *(f"{np.mean(scores[n]):.3f}" for n in ROW[1:]), f"{scale:.2f}"])
    return table([*ROW, "error over uncertainty"], rows)


def draw(judged: list[Judged], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4))
    curves = {name: [sparsification(one.error, one.predictors[name]) for one in judged] for name in ROW[1:]}
    curves["true error"] = [sparsification(one.error, one.error) for one in judged]
    for name, values in curves.items():
        axis.plot(100 * np.arange(len(values[0])) / len(values[0]), np.mean(values, axis=0), label=name)
    axis.set(xlabel="least sure pixels taken out, %", ylabel="error of the rest, share", ylim=(0, 1))
    axis.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MDenoiseError as error:
        sys.exit(str(error))
