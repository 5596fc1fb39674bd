r"""Measure a model on sets of real noisy pictures that a user has: SIDD (phones, sRGB) and RawNIND (cameras, raw).

    python -m mdenoise.training.evaluate sidd --root DIR      # SIDD's validation blocks, or its Small or Medium set
    python -m mdenoise.training.evaluate rawnind --root DIR   # DIR/SCENE/NOISY.dng ..., DIR/SCENE/gt/CLEAN.dng

SIDD: DIR holds ValidationNoisyBlocksSrgb.mat and ValidationGtBlocksSrgb.mat, or anywhere below it pictures named
...NOISY_SRGB... beside ...GT_SRGB.... RawNIND: one folder a scene, with the raw files of high ISO in it and one of base
ISO in its gt/; any raw file of one Bayer pattern serves. Pictures of a scene are moved by whole cells and scaled by
plane until noisy and clean agree, and what the clean one clips is left out. Neither set is trained on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.adapters import raw_file, raw_planes
from mdenoise.errors import InputError, UsageError
from mdenoise.training import photos
from mdenoise.training.metrics import decibels, interval
from mdenoise.training.raw_evaluate import denoise
from mdenoise.training.tables import machine, table

BLOCKS = ("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb")
CLIPPED = 0.95  # of the clean picture's white
LARGEST_SHIFT = 32  # in cells of the pattern
Pair = tuple[str, np.ndarray, np.ndarray]
Score = tuple[str, float, float]  # name, PSNR of the noisy and of the denoised picture in dB


def sidd_pairs(root: Path) -> Iterator[Pair]:
    """(name, noisy, clean) uint8 pictures. Raises InputError when there are none."""
    blocks = [root / f"{name}.mat" for name in BLOCKS]
    if all(path.is_file() for path in blocks):
        from scipy.io import loadmat

        noisy, clean = (loadmat(path)[name] for path, name in zip(blocks, BLOCKS, strict=True))
        for i, j in np.ndindex(noisy.shape[:2]):
            yield f"{i + 1}-{j + 1}", noisy[i, j], clean[i, j]
        return
    paths = sorted(path for path in root.rglob("*NOISY_SRGB*") if path.is_file())
    if not paths:
        raise InputError(
            f"cannot measure SIDD: no {BLOCKS[0]}.mat and no *NOISY_SRGB* in {root}; see --help for the layout"
        )
    for path in paths:
        partner = path.with_name(path.name.replace("NOISY", "GT"))
        if not partner.is_file():
            raise InputError(f"cannot measure {path}: its partner {partner.name} is missing; copy it beside the file")
        yield path.stem, photos.read(path), photos.read(partner)


def sidd(root: Path, model: str, count: int | None) -> Iterator[Score]:
    with Denoiser(model=model) as denoiser:
        for i, (name, noisy, clean) in enumerate(sidd_pairs(root)):
            if i == count:
                return
            truth = clean.astype(np.float64)
            shown = np.asarray(denoiser(np.ascontiguousarray(noisy)))
            before, after = (decibels(float(np.mean((x - truth) ** 2)) / 255.0**2) for x in (noisy, shown))
            yield name, before, after


def rawnind(root: Path, model: str, count: int | None) -> Iterator[Score]:
    folders = sorted(path.parent for path in root.glob("*/gt") if path.is_dir())
    if not folders:
        raise InputError(f"cannot measure RawNIND: no SCENE/gt in {root}; see --help for the layout")
    for folder in folders[:count]:
        clean = [path for path in sorted((folder / "gt").iterdir()) if path.is_file()]
        if not clean:
            raise InputError(f"cannot measure {folder}: its gt/ is empty; put the raw file of base ISO there")
        truth = read(clean[0])
        with tempfile.TemporaryDirectory(prefix="mdenoise") as out:
            denoise(folder, Path(out), model)
            for path in sorted(path for path in folder.iterdir() if path.is_file()):
                yield f"{folder.name}/{path.stem}", *compared(read(path), read(Path(out, f"{path.stem}.dng")), truth)


def read(path: Path) -> np.ndarray:
    """(h, w, 4) linear planes of a mosaic, white = 1. Raises InputError for one of another pattern."""
    frame = raw_file.read(path)
    found = raw_planes.lattices(frame.pattern)
    if len(found) != 1:
        raise InputError(f"cannot compare {path}: its pattern is not one Bayer mosaic")
    return raw_planes.take(frame, found[0])


def compared(noisy: np.ndarray, denoised: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """PSNR in dB of both to the truth, all (h, w, 4), where they overlap; moved and scaled alike, as noisy demands."""
    height, width = (min(x.shape[axis] for x in (noisy, truth)) for axis in (0, 1))
    noisy, denoised, truth = (x[:height, :width].astype(np.float64) for x in (noisy, denoised, truth))
    y, x = shift(noisy.mean(axis=2), truth.mean(axis=2))
    here, there = (np.s_[max(s, 0) : n + min(s, 0)] for s, n in ((y, height), (-y, height)))
    across, beyond = (np.s_[max(s, 0) : width + min(s, 0)] for s in (x, -x))
    noisy, denoised, truth = noisy[here, across], denoised[here, across], truth[there, beyond]
    seen = (truth < CLIPPED).all(axis=2)
    noisy, denoised, truth = noisy[seen], denoised[seen], truth[seen]
    scale = truth.sum(axis=0) / noisy.sum(axis=0)  # (4,): exposures never agree to a percent
    before, after = (decibels(float(np.mean((x * scale - truth) ** 2))) for x in (noisy, denoised))
    return before, after


def shift(noisy: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Rows and columns by which `noisy` lies further down and right than `truth`, by phase correlation."""
    window = np.outer(*(np.hanning(n) for n in noisy.shape))
    one, two = (np.fft.rfft2((np.sqrt(np.maximum(x, 0)) - np.sqrt(max(x.mean(), 0))) * window) for x in (noisy, truth))
    product = one * two.conj()
    peak = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-12), noisy.shape)
    reach = [min(LARGEST_SHIFT, n // 4) for n in noisy.shape]
    near = np.roll(peak, reach, axis=(0, 1))[: 2 * reach[0] + 1, : 2 * reach[1] + 1]
    y, x = np.unravel_index(int(near.argmax()), near.shape)
    return int(y) - reach[0], int(x) - reach[1]


SETS: dict[str, Callable[[Path, str, int | None], Iterator[Score]]] = {"sidd": sidd, "rawnind": rawnind}


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--root", type=Path, required=True, metavar="DIR", help="folder of the set")
    command.add_argument("--images", type=int, metavar="N", help="only the first N pictures, or scenes")
    command.add_argument("--json", type=Path, metavar="FILE", help="write every number here")


def run(args: argparse.Namespace) -> int:
    """The subcommands `sidd` and `rawnind`."""
    if not args.root.is_dir():
        raise UsageError(f"cannot measure {args.command}: {args.root} is no folder; name it with --root")
    scores = list(SETS[args.command](args.root, args.model, args.images))
    before, after = (np.array([score[k] for score in scores]) for k in (1, 2))
    low, high = interval(list(after - before))
    worst = scores[int((after - before).argmin())]
    print(
        table(
            ["PSNR, dB", "pictures", "noisy", "mdenoise", "gain, 95 % interval", "worst"],
            [[
                args.command, str(len(scores)), f"{before.mean():.2f}", f"{after.mean():.2f}",
                f"{low:+.2f} to {high:+.2f}", f"{worst[0]} {worst[2] - worst[1]:+.2f}",
            ]],
        )
    )  # fmt: skip
    print(f"\nmodel {args.model}; {machine()}")
    if args.json:
        args.json.write_text(json.dumps({"model": args.model, "scores": scores}, indent=1) + "\n", "utf-8")
    return 0
