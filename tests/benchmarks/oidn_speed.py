"""CPU seconds and memory of mdenoise beside Intel OIDN, in one run on one machine.

    python tests/benchmarks/oidn_speed.py                  # 1920x1080 HDR with albedo and normal
    python tests/benchmarks/oidn_speed.py --size 512 512 --runs 5

Every configuration runs in a process of its own, so that peak memory means something; filter and model are built
before the clock starts. The frame is synthetic: this measures time, not quality. Needs pyoidn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mdenoise.training.tables import machine


def frame(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy HDR colour, albedo and normal, (H, W, 3) float32."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    key = ((y // 54).astype(int) * 7919 + (x // 60).astype(int) * 104729) % 4093
    albedo = rng.uniform(0.05, 0.95, (4093, 3)).astype(np.float32)[key]
    normal = rng.normal(size=(4093, 3)).astype(np.float32)
    normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True))[key]
    light = 0.2 + 1.5 * np.exp(-((x / width - 0.3) ** 2 + (y / height - 0.4) ** 2) * 8)
    color = albedo * light[..., None] * rng.gamma(0.5, 2.0, (height, width, 1)).astype(np.float32)
    return color.astype(np.float32), albedo, normal


def mdenoise_call(color, albedo, normal, precision):
    import mdenoise

    denoiser = mdenoise.Denoiser(precision=precision)
    print(f"engine {denoiser._engine.name} {denoiser._engine.precision}", file=sys.stderr)
    return lambda: denoiser(color, albedo, normal)


def oidn_call(color, albedo, normal, quality):
    import pyoidn

    device = pyoidn.Device()
    device.commit()
    oidn = pyoidn.Filter(device, "RT")
    out = np.empty_like(color)
    for name, image in (("color", color), ("albedo", albedo), ("normal", normal), ("output", out)):
        oidn.set_image(name, image, pyoidn.OIDN_FORMAT_FLOAT3)
    oidn.set_bool("hdr", True)
    oidn.set_int("quality", getattr(pyoidn, f"OIDN_QUALITY_{quality.upper()}"))
    oidn.commit()

    def call():
        oidn.execute()
        return out

    return call


def child(args: argparse.Namespace) -> None:
    kind, setting = args.child.split(":")
    planes = frame(*args.size)
    call = (mdenoise_call if kind == "mdenoise" else oidn_call)(*planes, setting)
    cpu, wall = [], []
    for _ in range(args.runs + 1):
        c, w = time.process_time(), time.perf_counter()
        result = call()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    assert np.isfinite(result).all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"first_cpu": cpu[0], "cpu": statistics.median(cpu[1:]), "wall": statistics.median(wall[1:]), "rss": peak}
        )
    )


def command_line(args: argparse.Namespace) -> dict[str, float]:
    """The whole command on an EXR of the same frame (half, ZIP): process start, import, read, denoise, write."""
    import OpenEXR

    color, albedo, normal = frame(*args.size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.exr"
        channels = {
            "R": color[..., 0],
            "G": color[..., 1],
            "B": color[..., 2],
            **{f"albedo.{c}": albedo[..., i] for i, c in enumerate("RGB")},
            **{f"N.{c}": normal[..., i] for i, c in enumerate("XYZ")},
        }
        channels = {k: np.ascontiguousarray(v.astype(np.float16)) for k, v in channels.items()}
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels).write(str(path))
        cpu, wall = [], []
        command = [sys.executable, "-m", "mdenoise", "-q", "--overwrite", str(path)]
        for _ in range(args.runs + 1):
            started = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)  # of this child alone: the peak of all children is the peer's
            assert status == 0
            wall.append(time.perf_counter() - started)
            cpu.append(used.ru_utime + used.ru_stime)
        return {
            "first_cpu": cpu[0],
            "cpu": statistics.median(cpu[1:]),
            "wall": statistics.median(wall[1:]),
            "rss": used.ru_maxrss / 1024,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(1080, 1920), metavar=("H", "W"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args)
        return
    print(f"{args.size[1]}x{args.size[0]}, {machine()}, load {os.getloadavg()[0]:.1f}, median of {args.runs}")
    print(f"{'configuration':38s} {'CPU s':>7s} {'wall s':>7s} {'1st CPU':>8s} {'peak MiB':>9s}")
    rows = {}
    for name, label in (
        ("oidn:balanced", "OIDN balanced, albedo + normal"),
        ("oidn:fast", "OIDN fast, albedo + normal"),
        ("mdenoise:auto", "mdenoise, albedo + normal"),
        ("mdenoise:f32", "mdenoise f32, albedo + normal"),
    ):
        command = [sys.executable, __file__, "--size", *map(str, args.size), "--runs", str(args.runs), "--child", name]
        rows[name] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        show(label, rows[name])
    show("mdenoise frame.exr, whole command", command_line(args))
    for name in ("mdenoise:auto", "mdenoise:f32"):
        ours, peer = rows[name], rows["oidn:balanced"]
        print(
            f"{name}: {ours['cpu'] / peer['cpu']:.2f} x OIDN balanced in CPU seconds, "
            f"{ours['rss'] / peer['rss']:.2f} x in peak memory"
        )


def show(label: str, row: dict[str, float]) -> None:
    print(f"{label:38s} {row['cpu']:7.2f} {row['wall']:7.2f} {row['first_cpu']:8.2f} {row['rss']:9.0f}", flush=True)


if __name__ == "__main__":
    main()
