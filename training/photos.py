"""Measure a model on photographs with made and with real noise, through `mdenoise.Denoiser` on uint8 arrays.

RGB PSNR and SSIM of uint8 images without their outermost pixels, mean of per-image values, bootstrap 95 % interval over
the images. Image number i of a set has noise of seed i, whatever else is measured.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise import Denoiser
from mdenoise.errors import InputError, UsageError
from mdenoise.training import noise, rivals
from mdenoise.training.metrics import photo_psnr
from mdenoise.training.photo_tables import IN_DISTRIBUTION, SINGLE, Scores
from mdenoise.training.tables import NOISY
from mdenoise.training.terms import is_permissive

SETS = ("cbsd68", "kodak24", "mcmaster", "val")
REAL = ("polyu", "cc15")
OOD = (
    *(("gaussian", 50), ("poisson", 3.5), ("salt_and_pepper", 0.02)),
    *(("speckle", 0.04), ("correlated", 55), ("mixture", 4)),
)
SUITES: dict[str, tuple[tuple[str, float], ...]] = {
    "ood": (IN_DISTRIBUTION, *OOD),
    "gaussian": (("gaussian", 15), ("gaussian", 25), ("gaussian", 50)),
    "peers": (("salt_and_pepper", 0.02), ("correlated", 55)),
    # Nothing of it is in a test: rules and constants are chosen on this suite and the validation photographs.
    "choose": (
        *(("gaussian", 10), ("gaussian", 20), ("gaussian", 35), ("poisson", 1.5), ("poisson", 2.7)),
        *(("speckle", 0.01), ("speckle", 0.06), ("laplacian", 15), ("laplacian", 30)),
        *(("impulses", 0.005), ("impulses", 0.02), ("correlated_box2", 30), ("correlated_box2", 60)),
        *(("correlated_gauss", 15), ("correlated_gauss", 25), ("resampled", 25)),
    ),
    "full": tuple(
        (name, level)
        for name in (
            *("gaussian", "poisson", "speckle", "correlated", "salt_and_pepper", "mixture"),
            *("isp", "film_grain", "monte_carlo", "resampled"),
        )
        for level in noise.FAMILIES[name].levels
    ),
}

Method = Callable[[np.ndarray, float | None], np.ndarray]  # noisy, true sigma of 255 or None -> denoised


# --- photographs --------------------------------------------------------------------------------------------------


def read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"cannot read test photo {path}: {error}") from None


def photo_paths(data: Path, name: str) -> list[Path]:
    """Files of a clean set, sorted by name; `val` are the permissive validation rows of train/photos.csv."""
    if name == "val":
        index = data / "train" / "photos.csv"
        if not index.is_file():
            raise InputError(f"cannot read validation photos: {index}: not found. Name the folder with --data")
        with index.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "val" and is_permissive(row)]
        return [data / "train" / "photos" / Path(row["file"]).name for row in sorted(rows, key=lambda r: r["file"])]
    paths = sorted(path for path in (data / "test" / name).glob("*") if path.suffix in (".webp", ".png", ".jpg"))
    if not paths:
        raise InputError(f"cannot read test photos: {data / 'test' / name} holds none. Name its parent with --data")
    return paths


def synthetic(data: Path, name: str, family: str, level: float, count: int | None) -> Iterator[tuple[str, Any, Any]]:
    """(file name, noisy, clean) of one noise on one set."""
    for seed, path in enumerate(photo_paths(data, name)[:count]):
        clean = read(path)
        yield path.stem, noise.add(clean, family, level, seed), clean


def real(data: Path, name: str, count: int | None) -> Iterator[tuple[str, Any, Any]]:
    """(scene, noisy, reference) of a set of real pairs *_real and *_mean."""
    paths = [path for path in photo_paths(data, name) if path.stem.endswith("_real")]
    for path in paths[:count]:
        clean = path.with_name(path.name.replace("_real.", "_mean."))
        yield path.stem.removesuffix("_real"), read(path), read(clean)


# --- measuring ----------------------------------------------------------------------------------------------------


def methods_of(
    model: str, robustness: list[str], qualities: list[str], peers: list[str], cheap: list[str], notes: list[str]
) -> dict[str, Method]:
    """The columns by name. Libraries that are missing become a line of `notes`."""
    methods: dict[str, Method] = {"blur": lambda noisy, sigma: rivals.gaussian_blur(noisy)}
    for peer in peers:
        if note := rivals.missing(peer):
            notes.append(note)
        else:
            methods[f"{peer} (peer)"] = lambda noisy, sigma, peer=peer: rivals.run_peer(
                peer, noisy, rivals.estimated_sigma(noisy) if sigma is None else sigma / 255
            )
    for quality in qualities:
        for value in robustness:
            denoiser = Denoiser(model=model, quality=quality, robustness=number(value))
            name = column(value, quality)
            methods[name] = lambda noisy, sigma, denoiser=denoiser: denoiser(noisy)
    if cheap:
        single = Denoiser(model=model, robustness=0.0)
        for spec in cheap:
            run = rivals.rival(spec, single)
            methods[f"4 x {spec}"] = lambda noisy, sigma, run=run: run(noisy)
    return methods


def number(value: str) -> float | str:
    try:
        return float(value)
    except ValueError:
        return value  # Options knows which words there are


def column(value: str, quality: str) -> str:
    shown = SINGLE if number(value) == 0 else f"robustness {value}"
    return shown if quality == "balanced" else f"{shown}, {quality}"


def photo_ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """SSIM of two uint8 images without their outermost pixels, with the Gaussian window of Wang et al. 2004."""
    from skimage.metrics import structural_similarity

    pair = [x[1:-1, 1:-1] * np.float32(1 / 255) for x in (image, reference)]
    return float(
        structural_similarity(
            *pair, data_range=1.0, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def measure(
    row: Scores, cases: Iterator[tuple[str, Any, Any]], methods: dict[str, Method], tell_sigma: bool = False
) -> Scores:
    """Fills a row, one image at a time. Peers know sigma of Gaussian noise, of all noise with `tell_sigma`."""
    sigma = row.level if row.family == "gaussian" else None
    for name, noisy, clean in cases:
        row.images.append(name)
        if tell_sigma:
            sigma = float(np.std(noisy.astype(np.float32) - clean))
        for method, run in {NOISY: lambda noisy, sigma: noisy, **methods}.items():
            result = run(noisy, sigma)
            row.psnr.setdefault(method, []).append(photo_psnr(result, clean))
            row.ssim.setdefault(method, []).append(photo_ssim(result, clean))
    return row


def rows_of(data: Path, photos: list[str], suite: str, count: int | None) -> Iterator[tuple[Scores, Iterator[Any]]]:
    """Empty rows with the images to fill them with."""
    parts = {"all": ["gaussian", "ood", "real"]}.get(suite, [suite])
    noises: dict[tuple[str, float], None] = {}
    for part in parts:
        if part != "real":
            noises |= dict.fromkeys(SUITES[part] if part in SUITES else parse_noises(part))
    for name in photos:
        if name not in SETS:
            raise UsageError(f"photo set {name!r} is not known: use {', '.join(SETS)}")
        for family, level in noises:
            yield Scores(name, family, float(level)), synthetic(data, name, family, level, count)
    if "real" in parts:
        for name in REAL:
            yield Scores(name, "real", 0.0), real(data, name, count)


def parse_noises(text: str) -> list[tuple[str, float]]:
    """`gaussian:50,poisson:3.5` -> [("gaussian", 50.0), ("poisson", 3.5)]. Raises UsageError."""
    pairs = []
    for item in text.split(","):
        family, _, level = item.partition(":")
        if family not in noise.FAMILIES or not level.replace(".", "", 1).isdigit():
            raise UsageError(f"suite {item!r} is not known: use {', '.join(SUITES)}, real, all, or FAMILY:LEVEL,...")
        pairs.append((family, float(level)))
    return pairs


def run(
    data: Path, photos: list[str], suite: str, count: int | None, methods: dict[str, Method], tell_sigma: bool = False
) -> list[Scores]:
    """Every row of a suite; says on stderr how far it is."""
    rows = []
    for row, cases in rows_of(data, photos, suite, count):
        rows.append(measure(row, cases, methods, tell_sigma))
        means = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in row.psnr.items())
        print(f"{row.photos} {row.name} ({len(row.images)}): {means}", file=sys.stderr, flush=True)
    return rows
