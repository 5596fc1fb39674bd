"""`evaluate additive`: whether light AOVs still sum to the beauty when they are denoised, and what each of them gains.

Two renders with 4 samples go through files and the command line, as users do it: one of Cycles with its light passes,
one of Mitsuba with two light groups. Of Cycles a pass is judged as the light that it brings, colour times light.

Beside it what a prediction for every light would give, whose sum is no longer the beauty's result. Of Cycles' product:
+1.2 dB for the glossy and transmitted light under weights of their own sum, +0.7 dB for the beauty, at twice the cost;
glossy direct light, whose few bright pixels are not drawn at 4 samples, gains less than 4 dB by OIDN on it alone, too.
So all lights share the beauty's weights.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mdenoise import Denoiser
from mdenoise.errors import EngineError, InputError
from mdenoise.training import oidn
from mdenoise.training.metrics import psnr
from mdenoise.training.renders import Case
from mdenoise.training.tables import NOISY, OURS, PEER, table

DATA = Path("tests/data/additive")
LOBES, WAYS = ("Diffuse", "Glossy", "Transmission"), ("Direct", "Indirect")
OWN_LIGHT = ("Emission", "Environment")
GROUP = "light_"
OWN = f"{OURS}, a prediction each"
FINE_DB, GAIN_DB = 30.0, 6.0  # a pass that is noisier than the one should gain the other


def read(path: Path) -> dict[str, np.ndarray]:
    """The layers of a file by their bare names: (H, W, C) float32, C = 3, or 1 of a depth."""
    import OpenEXR

    planes: dict[str, dict[str, np.ndarray]] = {}
    try:
        for part in OpenEXR.File(str(path), separate_channels=True).parts:
            for name, channel in part.channels.items():
                layer, letter = f".{name}".rsplit(".", 1)
                planes.setdefault(layer.rsplit(".", 1)[-1], {})[letter] = channel.pixels
    except (RuntimeError, OSError) as error:
        raise InputError(f"cannot read {path}: {error}; render it with mdenoise.training.validation_additive") from None
    letters = {name: next(o for o in ("RGB", "XYZ", "Z") if set(o) <= set(of)) for name, of in planes.items()}
    return {name: np.stack([planes[name][c] for c in letters[name]], -1).astype(np.float32) for name in planes}


def beauty(planes: Mapping[str, np.ndarray]) -> np.ndarray:
    return planes["Combined" if "Combined" in planes else ""]


def lights(planes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What sums to the beauty, by name, black ones left out."""
    if "Combined" in planes:
        found = {f"{lobe} {way}": planes[f"{lobe} {way}"] * planes[f"{lobe} Color"] for lobe in LOBES for way in WAYS}
        found |= {name: planes[name] for name in OWN_LIGHT}
    else:
        found = {name.removeprefix(GROUP): plane for name, plane in planes.items() if name.startswith(GROUP)}
    return {name: plane for name, plane in found.items() if plane.max() > 1e-6}


def apart(planes: Mapping[str, np.ndarray]) -> float:
    """How far the sum of the lights is from the beauty: the largest difference over the beauty's largest value near it,
    which is the file's own rounding where it is small."""
    whole = beauty(planes).astype(np.float64)
    total = sum(plane.astype(np.float64) for plane in lights(planes).values())
    return float((np.abs(total - whole).max(axis=-1) / np.maximum(np.abs(whole).max(axis=-1), 1e-3)).max())


def run(data: Path, model: str) -> str:
    """One table a file. Raises InputError, EngineError."""
    files = sorted(data.glob("*.4.exr"))
    if not files:
        raise InputError(f"cannot measure additive AOVs: no *.4.exr in {data}; name their folder with --data")
    return "\n\n".join(measure(path, model) for path in files)


def measure(path: Path, model: str) -> str:
    noisy, clean = read(path), read(path.with_name(path.name.replace(".4.", ".reference.")))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mdenoise", str(path), "-q", "--layers", "additive", "-o", f"{folder}/"]
        done = subprocess.run([*command, "--model", model], check=False, capture_output=True, text=True)
        if done.returncode:
            raise EngineError(f"cannot denoise {path}: {done.stderr.strip().splitlines()[-1]}")
        (out,) = Path(folder).glob("*.exr")
        ours = read(out)
    columns = {NOISY: lights(noisy) | {"beauty": beauty(noisy)}, OURS: lights(ours) | {"beauty": beauty(ours)}}
    with Denoiser(model=model) as denoiser:
        alone = {name: case(plane, noisy) for name, plane in columns[NOISY].items()}
        columns[OWN] = {n: denoiser(one.color, albedo=one.albedo, normal=one.normal) for n, one in alone.items()}
    if peer := oidn.methods():
        columns[PEER] = {name: peer[PEER](one) for name, one in alone.items()}
    names = [name for name in columns[NOISY] if name in columns[OURS]]
    targets = lights(clean) | {"beauty": beauty(clean)}
    scores = {who: {name: psnr(planes[name], targets[name]) for name in names} for who, planes in columns.items()}
    lines = [[name, *(f"{of[name]:.2f}" for of in scores.values())] for name in names]
    noisier = [name for name in names if name != "beauty" and scores[NOISY][name] < FINE_DB]
    short = [name for name in noisier if scores[OURS][name] - scores[NOISY][name] < GAIN_DB]
    judged = f"of {len(noisier)} below {FINE_DB:g} dB, {len(noisier) - len(short)} gain {GAIN_DB:g} dB or more"
    sums = f"sum of the lights over the beauty: {apart(noisy):.1e} off in the file, {apart(ours):.1e} off denoised"
    for who in [OWN, PEER] if peer else [OWN]:
        total = sum(columns[who][name] for name in names if name != "beauty")
        sums += f"; {who}: their sum is at {psnr(total, targets['beauty']):.2f} dB"
    short_ones = f" (not: {', '.join(short)})" if short else ""
    return f"### {path.name}, PSNR, dB\n\n{table(['', *scores], lines)}\n\n- {sums}\n- {judged}{short_ones}"


def case(plane: np.ndarray, planes: Mapping[str, np.ndarray]) -> Case:
    """A light as a frame of its own, with the frame's auxiliary planes."""
    albedo, normal = (planes.get(f"Denoising {n.title()}", planes.get(n)) for n in ("albedo", "normal"))
    return Case("", "clean", "", 4, plane, albedo, normal, None, plane, 0.0)
