"""What a process takes beside the planes that come in and go out, and its time a pixel, from 1080p to 16K.

    python tests/benchmarks/flat_memory.py                 # 1080p, 4k and 8k
    python tests/benchmarks/flat_memory.py --sizes 16k     # 4 GB and a minute and a half of CPU

A render in half floats with albedo and normal, each size in a process of its own: start and model load are in its CPU
seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

SIZES = {"1080p": (1080, 1920), "4k": (2160, 3840), "8k": (4320, 7680), "16k": (8640, 15360)}
ROWS = 256


def plane(height: int, width: int, rng: np.random.Generator | None) -> np.ndarray:
    """(height, width, 3) float16: waves, or with `rng` noise. In rows: at once it would take more than is measured."""
    out = np.empty((height, width, 3), np.float16)
    x = np.arange(width, dtype=np.float32)[None, :, None] / 97 + np.arange(3)
    for top in range(0, height, ROWS):
        y = np.arange(top, min(top + ROWS, height), dtype=np.float32)[:, None, None] / 131
        noise = 1.0 if rng is None else rng.standard_exponential((len(y), width, 3), np.float32)
        out[top : top + len(y)] = (0.5 + 0.4 * np.sin(x) * np.cos(y)) * noise
    return out


def measure(height: int, width: int) -> dict[str, float]:
    from mdenoise import Denoiser

    color = plane(height, width, np.random.default_rng(0))
    albedo, normal = plane(height, width, None), plane(height, width, None)
    began = time.process_time()
    result = Denoiser()(color, albedo=albedo, normal=normal)
    used = time.process_time() - began
    planes = sum(array.nbytes for array in (color, albedo, normal, result))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"planes": planes / 2**20, "peak": peak / 2**20, "us_px": 1e6 * used / (height * width)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["1080p", "4k", "8k"])
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    print(
        "| | planes, MiB | peak, MiB | beside the planes | CPU us a pixel, start included |\n|---|---:|---:|---:|---:|"
    )
    for name in args.sizes:
        command = [sys.executable, __file__, "--one", *map(str, SIZES[name])]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        beside = done["peak"] - done["planes"]
        print(
            f"| {name} | {done['planes']:.0f} | {done['peak']:.0f} | {beside:.0f} | {done['us_px']:.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
