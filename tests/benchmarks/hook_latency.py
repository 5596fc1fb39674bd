"""What one call takes in steady state when a host hands over arrays, beside pyoidn.denoise.

    python tests/benchmarks/hook_latency.py                # 512x512 HDR with albedo and normal
    python tests/benchmarks/hook_latency.py --size 1080 1920 --runs 5 --threads 4

Every configuration runs in a process of its own; calls before the clock starts build the filter and compile the model.
pyoidn is asked for "balanced", its quality of the same name. The frame is synthetic: this measures time, not quality.
Needs pyoidn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mdenoise.training.tables import machine

WARM_CALLS = 3
ROWS = (
    ("pyoidn", "pyoidn.denoise(quality='balanced')"),
    ("denoise", "mdenoise.denoise"),
    ("out", "mdenoise.Denoiser, out=color"),
    ("f32", "mdenoise.Denoiser(precision='f32')"),
    ("fast", "mdenoise.Denoiser(quality='fast')"),
)


def frame(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy HDR colour, albedo and normal, (H, W, 3) float32."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    albedo = rng.uniform(0.05, 0.95, (97, 3)).astype(np.float32)[(y // 32 * 7 + x // 32 * 13) % 97]
    normal = np.zeros((height, width, 3), np.float32)
    normal[..., 2] = 1
    return albedo * rng.gamma(0.5, 2.0, (height, width, 1)).astype(np.float32), albedo, normal


def caller(kind: str) -> Callable[..., Any]:
    if kind == "pyoidn":
        import pyoidn

        return lambda color, albedo, normal: pyoidn.denoise(color, albedo, normal, hdr=True, quality="balanced")
    import mdenoise

    if kind == "denoise":
        return mdenoise.denoise
    denoiser = mdenoise.Denoiser(
        precision="f32" if kind == "f32" else "auto", quality="fast" if kind == "fast" else "balanced"
    )
    if kind == "out":  # into one array for every call: each sees the same noise
        return lambda color, albedo, normal: denoiser(color, albedo, normal, out=np.empty_like(color))
    return denoiser


def child(kind: str, height: int, width: int, runs: int, threads: int) -> None:
    call, planes = caller(kind), frame(height, width)
    started = time.perf_counter()
    call(*planes)
    first = time.perf_counter() - started
    for _ in range(WARM_CALLS - 1):
        call(*planes)
    wall = []
    cpu = time.process_time()
    for _ in range(runs):
        started = time.perf_counter()
        result = call(*planes)
        wall.append(time.perf_counter() - started)
    cpu = (time.process_time() - cpu) / runs
    assert np.isfinite(result).all()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: call(*planes), range(threads)))
        started = time.perf_counter()
        list(pool.map(lambda _: call(*planes), range(threads * runs)))
        rate = threads * runs / (time.perf_counter() - started)
    print(
        json.dumps(
            {
                "first": first,
                "median": statistics.median(wall),
                "low": min(wall),
                "high": max(wall),
                "cpu": cpu,
                "rate": rate,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512), metavar=("H", "W"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=4, help="callers at once in the last column")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, *args.size, args.runs, args.threads)
        return
    print(
        f"{args.size[1]}x{args.size[0]}, {machine()}, load {os.getloadavg()[0]:.1f}, {args.runs} calls after "
        f"{WARM_CALLS}; milliseconds"
    )
    head = f"calls/s, {args.threads} threads"
    print(f"{'call':38s} {'median':>8s} {'min':>8s} {'max':>8s} {'CPU':>8s} {'first':>8s} {head:>20s}")
    for kind, label in ROWS:
        command = [
            sys.executable,
            __file__,
            "--size",
            *map(str, args.size),
            "--runs",
            str(args.runs),
            "--threads",
            str(args.threads),
            "--child",
            kind,
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        times = " ".join(f"{1000 * row[name]:8.1f}" for name in ("median", "low", "high", "cpu", "first"))
        print(f"{label:38s} {times} {row['rate']:20.1f}", flush=True)


if __name__ == "__main__":
    main()
