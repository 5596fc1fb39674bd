"""Measure a model on raw files of known truth, as `mdenoise FILES` denoises them.

Validation photographs are taken back to what a phone's sensor saw (`isp.unprocess`), mosaicked, given photon and read
noise, and written as DNG; what the command makes of them is compared with the noiseless mosaic, linear, white = 1.
The default four photographs are one megapixel. Nothing is clipped: black is stored at a quarter of the range.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mdenoise.adapters import dng, raw_file, raw_planes
from mdenoise.errors import MDenoiseError, UsageError
from mdenoise.training import photos
from mdenoise.training.isp import draw_camera, unprocess
from mdenoise.training.metrics import decibels, interval
from mdenoise.training.tables import NOISY, machine, table

SHOTS = (1e-4, 1e-3, 4e-3, 1e-2, 3e-2)
RGGB = np.array([[0, 1], [1, 2]], np.uint8)
LEVELS = dng.Levels(np.full((1, 1, 1), 16384.0), np.array([65535.0]))
# What the file says of its noise, as a factor on the truth; None = nothing.
PROFILES: dict[str, float | None] = {"profile": 1.0, "profile x2": 2.0, "profile /2": 0.5, "no profile": None}
OURS = "mdenoise, {}"
FLAT_SHOT, FLAT_READ, FLAT_SIZE = 4e-3, 2e-5, (2048, 2176)
ELECTRONS = (5, 50)
NLM_STRENGTHS = (0.5, 0.7, 0.85, 1.0)  # of the noise's deviation; the best for each row is shown
# Anscombe + BM3D, PSNR in dB on the default photographs by shot noise. Its licence is for research alone, so that it
# was run once, by `--peers bm3d` in an environment of its own: bm3d 4.0.3 of sigma 1 on each of the four stabilised
# planes (256x256 a photograph), told the true noise, exact unbiased inverse.
BM3D: dict[float, float] = {1e-4: 51.43, 1e-3: 45.00, 4e-3: 41.51, 1e-2: 39.21, 3e-2: 35.68}


@dataclass(frozen=True)
class Scene:
    """One photograph as a sensor sees it: `clean` (H, W) linear light of each photosite, and its noise."""

    name: str
    clean: np.ndarray
    shot: float
    read: float
    neutral: np.ndarray
    matrix: np.ndarray

    def noisy(self, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        photons = rng.poisson(self.clean / self.shot) * self.shot
        return photons + np.sqrt(self.read) * rng.standard_normal(self.clean.shape)


@dataclass
class Row:
    """PSNR in dB of every image by method, for one level of shot noise."""

    shot: float
    images: list[str] = field(default_factory=list)
    psnr: dict[str, list[float]] = field(default_factory=dict)


def scenes(data: Path, count: int, shot: float) -> Iterator[Scene]:
    """The first of every fifth validation photograph, each seen by a camera of its own."""
    for seed, path in enumerate(photos.photo_paths(data, "val")[::5][:count]):
        camera = draw_camera(np.random.default_rng(seed), shot)
        light = np.clip(unprocess(photos.read(path) / np.float32(255), camera), 0, 1)
        light = light[: light.shape[0] // 2 * 2, : light.shape[1] // 2 * 2]
        clean = light[..., 1].copy()
        clean[::2, ::2], clean[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
        matrix = camera.to_camera @ np.array(raw_file.XYZ_TO_SRGB)
        yield Scene(path.stem, clean, shot, camera.read, camera.gains.min() / camera.gains, matrix)


def write(scene: Scene, path: Path, noisy: np.ndarray, profile: float | None) -> None:
    span = float(LEVELS.white[0] - LEVELS.black[0, 0, 0])
    samples = np.rint(noisy * span + LEVELS.black[0, 0, 0]).clip(0, 65535).astype(np.uint16)
    tags = dng.with_camera(
        dng.DngTags(path, {}, {}, {}, {}), make="mdenoise", model="synthetic phone", xyz_to_camera=scene.matrix,
        neutral=scene.neutral,
    )  # fmt: skip
    noise = () if profile is None else [(scene.shot * profile, scene.read * profile)]
    dng.write_cfa(path, samples, RGGB, LEVELS, tags, strength=0.0, noise_profile=noise)


def read(path: Path) -> np.ndarray:
    """(h, w, 4) linear planes of a DNG."""
    frame = raw_file.read(path)
    (lattice,) = raw_planes.lattices(frame.pattern)
    return raw_planes.take(frame, lattice)


def planes(mosaic: np.ndarray) -> np.ndarray:
    return np.stack([mosaic[::2, ::2], mosaic[::2, 1::2], mosaic[1::2, ::2], mosaic[1::2, 1::2]], axis=-1)


def denoise(folder: Path, out: Path, model: str) -> None:
    """What a user types."""
    command = [sys.executable, "-m", "mdenoise", "denoise", str(folder), "-o", f"{out}/", "--model", model, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MDenoiseError(f"cannot denoise the synthetic raw files: {done.stderr.strip()}")


# --- peers --------------------------------------------------------------------------------------------------------


def stabilised(x: np.ndarray, shot: float, read_noise: float) -> np.ndarray:
    """Generalised Anscombe transform: noise of deviation 1."""
    return 2 * np.sqrt(np.maximum(x / shot + 0.375 + read_noise / shot**2, 0))


def unstabilised(d: np.ndarray, shot: float, read_noise: float) -> np.ndarray:
    """Its exact unbiased inverse in closed form (Makitalo and Foi 2013)."""
    d = np.maximum(d, 1e-3)
    root = np.sqrt(1.5)
    y = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8 - read_noise / shot**2
    low = 2 * np.sqrt(0.375 + read_noise / shot**2)
    return np.where(d <= low, (d**2 / 4 - 0.375 - read_noise / shot**2), y) * shot


def by_plane(noisy: np.ndarray, scene: Scene, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Each colour by itself, its noise stabilised."""
    out = [
        unstabilised(run(stabilised(noisy[..., k], scene.shot, scene.read)), scene.shot, scene.read) for k in range(4)
    ]
    return np.stack(out, axis=-1)


def nlm(plane: np.ndarray, strength: float) -> np.ndarray:
    import cv2

    scale = 60000 / max(float(plane.max()), 1.0)
    coded = np.rint(plane * scale).astype(np.uint16)
    done = cv2.fastNlMeansDenoising(coded, h=[strength * scale], normType=cv2.NORM_L1)
    return done / scale


def bm3d(plane: np.ndarray) -> np.ndarray:
    import bm3d as package

    return package.bm3d(plane, 1.0)


def peer_scores(name: str, noisy: list[np.ndarray], truth: list[np.ndarray], of: list[Scene]) -> list[float]:
    runs = [lambda x, s=s: nlm(x, s) for s in NLM_STRENGTHS] if name == "nlm" else [bm3d]
    found = [
        [psnr(by_plane(x, scene, run), y) for x, y, scene in zip(noisy, truth, of, strict=True)] for run in runs
    ]  # fmt: skip
    return max(found, key=np.mean)


PEERS = {"nlm": ("cv2", "NLM a plane (OpenCV)"), "bm3d": ("bm3d", "Anscombe + BM3D")}


# --- tables -------------------------------------------------------------------------------------------------------


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return decibels(float(np.mean((image - truth) ** 2, dtype=np.float64)))


def measure(data: Path, count: int, shot: float, model: str, peers: list[str]) -> Row:
    row = Row(shot)
    of = list(scenes(data, count, shot))
    mosaics = [scene.noisy(seed) for seed, scene in enumerate(of)]
    noisy, truth = [planes(x) for x in mosaics], [planes(scene.clean) for scene in of]
    row.images = [scene.name for scene in of]
    row.psnr[NOISY] = [psnr(x, y) for x, y in zip(noisy, truth, strict=True)]
    for name in peers:
        row.psnr[PEERS[name][1]] = peer_scores(name, noisy, truth, of)
    for label, profile in PROFILES.items():
        with tempfile.TemporaryDirectory(prefix="mdenoise") as folder:
            source, out = Path(folder, "source"), Path(folder, "out")
            source.mkdir()
            for scene, mosaic in zip(of, mosaics, strict=True):
                write(scene, source / f"{scene.name}.dng", mosaic, profile)
            denoise(source, out, model)
            scores = [psnr(read(out / f"{one.name}.dng"), y) for one, y in zip(of, truth, strict=True)]
        row.psnr[OURS.format(label)] = scores
    return row


def flats(model: str) -> list[dict[str, float]]:
    """How far the mean of a flat frame is off, as a share of it: all photosites, and the worst of the four planes."""
    rows = []
    for electrons in ELECTRONS:
        clean = np.full(FLAT_SIZE, electrons * FLAT_SHOT)
        scene = Scene("flat", clean, FLAT_SHOT, FLAT_READ, np.ones(3), np.array(raw_file.XYZ_TO_SRGB))
        with tempfile.TemporaryDirectory(prefix="mdenoise") as folder:
            source, out = Path(folder, "source"), Path(folder, "out")
            source.mkdir()
            write(scene, source / "flat.dng", scene.noisy(electrons), 1.0)
            denoise(source, out, model)
            before, after = (read(one / "flat.dng").mean(axis=(0, 1), dtype=np.float64) for one in (source, out))
        level = electrons * FLAT_SHOT
        rows.append({
            "electrons": electrons, "megapixels": clean.size / 1e6, "noisy": float(before.mean() / level - 1),
            "denoised": float(after.mean() / level - 1), "worst plane": float(np.abs(after / before - 1).max()),
        })  # fmt: skip
    return rows


def of_mosaics(rows: list[Row]) -> str:
    names = list(rows[0].psnr)
    recorded = PEERS["bm3d"][1] not in names and len(rows[0].images) == 4 and any(row.shot in BM3D for row in rows)
    lines = []
    for row in rows:
        cells = [f"{np.mean(row.psnr[name]):.2f}" for name in names]
        cells += [f"{BM3D[row.shot]:.2f}" if row.shot in BM3D else "-"] if recorded else []
        low, high = interval(row.psnr[OURS.format("profile")])
        lines.append([f"{row.shot:g}", *cells, f"{low:.2f} to {high:.2f}"])
    head = ["shot noise S", *names, *(["Anscombe + BM3D (recorded)"] if recorded else []), "interval, profile"]
    return f"{len(rows[0].images)} photographs: PSNR of the linear mosaic, dB\n\n{table(head, lines)}\n"


def of_flats(flat: list[dict[str, float]]) -> str:
    shares = ("noisy", "denoised", "worst plane")
    cells = [[str(one["electrons"]), f"{one['megapixels']:.1f}", *(f"{one[k]:+.3%}" for k in shares)] for one in flat]
    head = ["electrons", "megapixels", "noisy", "denoised", "worst plane, to the noisy one"]
    return f"mean of a flat frame, off by\n\n{table(head, cells)}"


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, help="folder with train/photos.csv and train/photos")
    command.add_argument("--images", type=int, default=4, metavar="N", help="photographs (default: 4, one megapixel)")
    command.add_argument("--shot", type=float, nargs="+", default=list(SHOTS), help="shot noise S (default: all five)")
    command.add_argument("--flat", action="store_true", help="the mean of flat frames alone; no photograph is needed")
    command.add_argument("--peers", nargs="*", choices=list(PEERS), default=["nlm"], help="(default: nlm)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write every number here")


def run(args: argparse.Namespace) -> int:
    """The subcommand `raw`: says on stderr how far it is. A peer whose package is missing is named."""
    if args.data is None and not args.flat:
        raise UsageError("cannot measure without photographs: name their folder with --data, or ask for --flat alone")
    there = [name for name in args.peers if importlib.util.find_spec(PEERS[name][0])]
    for name in (name for name in args.peers if name not in there):
        print(f"{name} left out: {PEERS[name][0]} is not installed")
    rows = []
    for shot in () if args.flat else args.shot:
        rows.append(measure(args.data, args.images, shot, args.model, there))
        means = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in rows[-1].psnr.items())
        print(f"S {shot:g}: {means}", file=sys.stderr, flush=True)
    if rows:
        print(of_mosaics(rows))
    flat = flats(args.model)
    print(of_flats(flat))
    print(f"\nmodel {args.model}; {machine()}")
    if args.json:
        found = {"machine": machine(), "model": args.model, "rows": [vars(row) for row in rows], "flats": flat}
        args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0
