"""Milliseconds per frame on an NVIDIA GPU: mdenoise in every engine that runs there, beside OIDN's CUDA build.

    python tests/benchmarks/gpu.py                        # 1920x1080 HDR with albedo and normal
    python tests/benchmarks/gpu.py --size 2160 3840 --runs 20 --json gpu.json

Frames go from host memory to host memory in both. Every configuration runs in a process of its own; models are compiled
and memory is taken before the clock starts. Results are compared with the CPU's. Needs pyoidn for the peer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from oidn_speed import frame

from mdenoise.engines import ON_GPU, cuda
from mdenoise.errors import MDenoiseError

CASES = (*(f"{engine} {precision}" for engine in ON_GPU for precision in ("fp16", "f32")), "oidn balanced", "oidn high")
TILE_PX = 2048  # a GPU has the memory for whole frames


def ours(planes: tuple[np.ndarray, ...], engine: str, precision: str):
    import mdenoise

    denoiser = mdenoise.Denoiser(engine=engine, precision=precision, tile_px=TILE_PX)
    reference = mdenoise.Denoiser(device="cpu", precision="f32")(*planes)
    scale = float(np.abs(reference).mean())
    return lambda: denoiser(*planes), lambda out: float(np.sqrt(np.mean((out - reference) ** 2))) / scale


def peer(planes: tuple[np.ndarray, ...], quality: str, kind: str = "CUDA"):
    import pyoidn

    if kind == "CUDA" and not pyoidn.Device.is_cuda_available():
        raise ImportError("this pyoidn has no CUDA device here")
    device = pyoidn.Device(getattr(pyoidn, f"OIDN_DEVICE_TYPE_{kind}"))
    device.commit()
    oidn = pyoidn.Filter(device, "RT")
    size = planes[0].nbytes
    names = ("color", "albedo", "normal", "output")
    buffers = {name: pyoidn.Buffer(device, size) for name in names}
    height, width = planes[0].shape[:2]
    for name in names:
        oidn.set_image(name, buffers[name], pyoidn.OIDN_FORMAT_FLOAT3, width, height)
    oidn.set_bool("hdr", True)
    oidn.set_int("quality", getattr(pyoidn, f"OIDN_QUALITY_{quality.upper()}"))
    oidn.commit()
    out = np.empty_like(planes[0])

    def call() -> np.ndarray:
        for name, plane in zip(names, planes, strict=False):
            buffers[name].write(0, size, plane)
        oidn.execute()
        buffers["output"].read(0, size, out)
        return out

    return call, None


def child(case: str, args: argparse.Namespace) -> dict[str, float]:
    name, setting = case.split()
    planes = frame(*args.size)
    call, differs = peer(planes, setting) if name == "oidn" else ours(planes, name, setting)
    started = time.perf_counter()
    out = call()
    first = time.perf_counter() - started
    call()  # recorded here, from now on replayed
    times = []
    for _ in range(args.runs):
        started = time.perf_counter()
        out = call()
        times.append(1e3 * (time.perf_counter() - started))
    assert np.isfinite(out).all()
    found = {"first_ms": 1e3 * first, "ms": statistics.median(times), "least_ms": min(times)}
    return found if differs is None else found | {"rms_against_cpu": differs(out)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 1920), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    problem = cuda.missing()
    if problem:
        sys.exit(f"no figures: {problem}")
    if args.child:
        try:
            print(json.dumps(child(args.child, args)))
        except (MDenoiseError, ImportError) as error:
            sys.exit(str(error))
        return
    gpu = cuda.open_gpu(0)
    print(f"{gpu.name}, CUDA {gpu.driver}, {args.size[1]}x{args.size[0]}, median of {args.runs}\n")
    results: dict[str, dict[str, float]] = {}
    for case in CASES:
        command = [sys.executable, __file__, "--child", case, "--runs", str(args.runs), "--size", *map(str, args.size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            results[case] = json.loads(done.stdout.splitlines()[-1])
        else:
            print(f"{case}: {(done.stderr.strip().splitlines() or ['it crashed'])[-1]}")
    oidn = results.get("oidn balanced", {}).get("ms")
    print("\n| | ms per frame | x OIDN balanced | first call, ms | rms against the CPU |\n|---|---:|---:|---:|---:|")
    for case, found in results.items():
        ratio = f"{found['ms'] / oidn:.2f}" if oidn else ""
        differs = f"{found['rms_against_cpu']:.1e}" if "rms_against_cpu" in found else ""
        print(f"| {case} | {found['ms']:.2f} | {ratio} | {found['first_ms']:.0f} | {differs} |")
    if args.json:
        record = {"gpu": gpu.name, "cuda": gpu.driver, "size": list(args.size), "runs": args.runs, "results": results}
        args.json.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
