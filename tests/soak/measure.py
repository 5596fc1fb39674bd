"""What a watch costs: idle on many files, and beside the plain command line on a backlog.

python tests/soak/measure.py idle --files 20000 --seconds 60
python tests/soak/measure.py backlog --frames 200
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import OpenEXR

HEADER = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


def render(path: Path, height: int, width: int) -> None:
    rng = np.random.default_rng(1)
    planes = {c: rng.gamma(1.0, 0.5, (height, width)).astype(np.float16) for c in "RGB"}
    OpenEXR.File(dict(HEADER), planes).write(str(path))


def mdenoise(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "mdenoise", *map(str, arguments)]


def idle(folder: Path, files: int, seconds: float) -> dict:
    """CPU time of a watch, its children included, with nothing to do: share of one core after it has looked around."""
    source, out = folder / "in", folder / "out"
    source.mkdir()
    first = source / "shot.00000.exr"
    render(first, 48, 64)
    os.utime(first, (1.7e9, 1.7e9))
    subprocess.run(mdenoise(source, "-q", "-o", f"{out}/"), check=True, stdout=subprocess.DEVNULL)
    noisy, clean = first.read_bytes(), (out / first.name).read_bytes()
    for number in range(1, files):  # as if each had been denoised: the stamp names its source
        name = f"shot.{number:05d}.exr"
        (source / name).write_bytes(noisy)
        os.utime(source / name, (1.7e9, 1.7e9))
        (out / name).write_bytes(clean.replace(first.name.encode(), name.encode()))
    process = subprocess.Popen(mdenoise("watch", source, out), stdout=subprocess.PIPE)
    shares: list[float] = []
    while len(shares) < 2 or (shares[-1] < 0.8 * shares[-2] and len(shares) < 8):  # it first reads every result's stamp
        spent, began_s = _cpu_s(process.pid), time.monotonic()
        time.sleep(seconds)
        shares.append((_cpu_s(process.pid) - spent) / (time.monotonic() - began_s))
    process.send_signal(signal.SIGTERM)
    made = process.communicate()[0]
    return {
        "files": files,
        "idle_share_of_a_core": round(shares[-1], 4),
        "before": [round(s, 4) for s in shares[:-1]],
        "made": len(made),
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def backlog(folder: Path, frames: int, height: int, width: int) -> dict:
    """Seconds of the plain command line and of `watch --once` for the same frames, less the time to settle."""
    source = folder / "in"
    source.mkdir()
    render(source / "shot.0000.exr", height, width)
    for number in range(1, frames):
        (source / f"shot.{number:04d}.exr").write_bytes((source / "shot.0000.exr").read_bytes())
    report: dict = {"frames": frames, "size": f"{width}x{height}"}
    settle_s = 1.0
    for name, command in {
        "batch": mdenoise(source, "-q", "-o", f"{folder / 'batch'}/"),
        "watch": mdenoise("watch", source, folder / "watched", "--once", "-q", "--settle", settle_s),
    }.items():
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = time.monotonic() - began_s - (settle_s if name == "watch" else 0)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        report[name] = {
            "seconds": round(seconds, 2),
            "cpu_s": round(cpu_s, 2),
            "frames_per_minute": round(60 * frames / seconds, 1),
        }
    report["watch_to_batch"] = round(report["batch"]["seconds"] / report["watch"]["seconds"], 3)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("idle")
    one.add_argument("--files", type=int, default=20000)
    one.add_argument("--seconds", type=float, default=60.0)
    other = commands.add_parser("backlog")
    other.add_argument("--frames", type=int, default=200)
    other.add_argument("--height", type=int, default=1080)
    other.add_argument("--width", type=int, default=1920)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "idle":
            report = idle(Path(folder), given.files, given.seconds)
        else:
            report = backlog(Path(folder), given.frames, given.height, given.width)
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
