"""What light AOVs gain, each by itself, beside OIDN run on each of them.

    python -m mdenoise.training.lobes NOISY.exr REFERENCE.exr

for two renders of one view with light AOVs that add up to the beauty (`validation_cycles.py --lights`). Ours is one
pass of the command line over the file with `--layers additive`; OIDN filters every AOV alone, with albedo and normal.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mdenoise.adapters import exr
from mdenoise.config import Options
from mdenoise.errors import InputError, MDenoiseError
from mdenoise.training import oidn
from mdenoise.training.metrics import psnr
from mdenoise.training.renders import Case
from mdenoise.training.tables import NOISY, OURS, PEER, table

CLEAN_DB = 60.0  # an AOV this near to its reference has no noise to remove


def run(noisy: Path, reference: Path, model: str = "base") -> str:
    """The table, and how well the denoised AOVs add up. Raises InputError."""
    options = Options(layers="additive", model=model)
    frame, clean = exr.read(noisy), exr.read(reference)
    (job,) = exr.adapt(frame, options)
    names = [name for names in job.sums for name in names]
    if not names:
        raise InputError(f"cannot measure {noisy}: no lobes in it add up to its colour; render it with --lights")
    planes = job.planes
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.exr")
        command = [sys.executable, "-m", "mdenoise", str(noisy), "-q", "--layers", "additive", "--model", model]
        subprocess.run([*command, "-o", str(out)], check=True, stdout=subprocess.DEVNULL)
        (done,) = exr.adapt(exr.read(out), options)
    truth = exr.adapt(clean, options)[0].planes.layers
    peer, guides = oidn.methods().get(PEER), (planes.albedo, planes.normal, None)
    lines = []
    for name in (job.beauty, *names):
        case = Case(name, "", "", 0, planes.layers[name], *guides, truth[name], 0.0)
        images = [case.color, done.planes.layers[name], *([peer(case)] if peer else [])]
        lines.append([name, *(f"{psnr(image, case.reference):.2f}" for image in images)])
    gains = [[float(x) - float(line[1]) for x in line[2:]] for line in lines[1:] if float(line[1]) < CLEAN_DB]
    lines.append(["mean gain of the AOVs", "", *(f"{gain:.2f}" for gain in np.mean(gains, axis=0))])
    return table(["PSNR, dB", NOISY, OURS, *([PEER] if peer else [])], lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="mdenoise.training.lobes", description=__doc__.splitlines()[0])
    parser.add_argument("noisy", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--model", default="base", help="name or path of an ONNX model with its card")
    args = parser.parse_args()
    try:
        print(run(args.noisy, args.reference, args.model))
    except MDenoiseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
