"""`evaluate animation`: what a sequence gains from its neighbouring frames, and whether it ghosts.

The folder holds noisy.####.exr and reference.####.exr of Cycles with its Vector pass, as `validation_animation.py`
renders them. Every column goes through files and the command line, as users do it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mdenoise.errors import InputError
from mdenoise.training import oidn
from mdenoise.training.metrics import display, psnr
from mdenoise.training.renders import Case
from mdenoise.training.tables import NOISY, OURS, PEER, table

BLEND_FRAMES = 2  # to either side, of the peer that blends results
BACK_PX = 0.75


def read(path: Path, layer: str, letters: str) -> np.ndarray:
    """(H, W, C) float32 of a layer of Cycles' multilayer file."""
    import OpenEXR

    channels = {}
    try:
        for part in OpenEXR.File(str(path), separate_channels=True).parts:
            channels |= {name.split(".", 1)[1]: channel.pixels for name, channel in part.channels.items()}
        return np.stack([channels[f"{layer}.{letter}"] for letter in letters], -1).astype(np.float32)
    except (RuntimeError, KeyError, IndexError, OSError) as error:
        raise InputError(f"cannot read {layer} of {path}: {error}; render it with validation_animation.py") from None


def moved(plane: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of (H, W, C) at (x, y) `place`."""
    from scipy.ndimage import map_coordinates

    at = [place[..., 1], place[..., 0]]
    return np.stack([map_coordinates(p, at, order=1, mode="nearest") for p in np.moveaxis(plane, -1, 0)], -1)


def ways(vectors: Sequence[np.ndarray], start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the pixels of frame `start` are in frame `end`, (H, W, 2) as x, y, and (H, W) whether they are seen there.
    Vectors are Cycles': to the frame before in X, Y and from the frame after in Z, W, y upwards."""
    height, width = vectors[start].shape[:2]
    place = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    seen = np.ones((height, width), bool)
    step = 1 if end > start else -1
    forth, back = [(slice(2, 4), (-1, 1)), (slice(0, 2), (1, -1))][:: 1 if step > 0 else -1]
    for frame in range(start, end, step):
        go = moved(vectors[frame][..., forth[0]] * np.float32(forth[1]), place)
        place = place + go
        come = moved(vectors[frame + step][..., back[0]] * np.float32(back[1]), place)
        inside = (place >= -0.5).all(-1) & (place < np.array([width, height]) - 0.5).all(-1)
        seen &= inside & (np.linalg.norm(go + come, axis=-1) <= BACK_PX)
    return place, seen


def scores(frames: Sequence[np.ndarray], clean: Sequence[np.ndarray], vectors: Sequence[np.ndarray]) -> list[str]:
    """PSNR; flicker: the change from frame to frame of what is seen in both, less the reference's; ghosting: the error
    of what the frame before did not show. The last two are root mean squares in the display domain, in 1/255."""
    flicker, ghosts = [], []
    for t in range(1, len(frames)):
        place, seen = ways(vectors, t, t - 1)
        change = [display(x[t]) - display(moved(x[t - 1], place)) for x in (frames, clean)]
        flicker.append(((change[0] - change[1])[seen] ** 2).mean())
        ghosts.append(((display(frames[t]) - display(clean[t]))[~seen] ** 2).mean())
    quality = np.mean([psnr(a, b) for a, b in zip(frames, clean, strict=True)])
    return [f"{quality:.2f}", *(f"{255 * np.sqrt(np.mean(x)):.2f}" for x in (flicker, ghosts))]


def blended(frames: Sequence[np.ndarray], vectors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The peer: results of single frames, those seen in five frames averaged where motion leads."""
    out = []
    for t, frame in enumerate(frames):
        total, count = frame.astype(np.float64), np.ones((*frame.shape[:2], 1))
        for other in range(max(0, t - BLEND_FRAMES), min(len(frames), t + BLEND_FRAMES + 1)):
            if other != t:
                place, seen = ways(vectors, t, other)
                total += moved(frames[other], place) * seen[..., None]
                count += seen[..., None]
        out.append((total / count).astype(np.float32))
    return out


def run(data: Path, model: str, reaches: Sequence[int]) -> str:
    """The table. Raises InputError."""
    paths = sorted(data.glob("noisy.*.exr"))
    if len(paths) < 2:
        raise InputError(f"cannot measure the animation in {data}: no noisy.####.exr; see validation_animation.py")
    noisy = [read(path, "Combined", "RGB") for path in paths]
    clean = [read(path.with_name(path.name.replace("noisy", "reference")), "Combined", "RGB") for path in paths]
    vectors = [read(path, "Vector", "XYZW") for path in paths]
    columns = {NOISY: noisy}
    if peer := oidn.methods().get(PEER):
        aux = [(read(path, "Denoising Albedo", "RGB"), read(path, "Denoising Normal", "XYZ")) for path in paths]
        cases = zip(paths, noisy, aux, clean, strict=True)
        columns[PEER] = [peer(Case(p.stem, "", "Cycles", 0, x, a, n, None, c, 0.0)) for p, x, (a, n), c in cases]
    with tempfile.TemporaryDirectory() as folder:
        for reach in (0, *reaches):
            out = Path(folder, str(reach))
            command = [sys.executable, "-m", "mdenoise", str(data / "noisy.####.exr"), "-q", "-o", f"{out}/"]
            subprocess.run(
                [*command, "--model", model, "--temporal", str(reach)], check=True, stdout=subprocess.DEVNULL
            )
            name = OURS if reach == 0 else f"{OURS} --temporal {reach}"
            columns[name] = [read(out / path.name, "Combined", "RGB") for path in paths]
    for name in (PEER, OURS):
        if name in columns:
            columns[f"{name}, results blended over {2 * BLEND_FRAMES + 1} frames"] = blended(columns[name], vectors)
    lines = [[name, *scores(frames, clean, vectors)] for name, frames in columns.items()]
    return table([f"{len(paths)} frames", "PSNR, dB", "flicker", "error of what was hidden"], lines)
