"""All benchmarks in one command: JSON, Markdown and plots; what is measured already is not measured again.

    python tests/benchmarks/run.py                          # 720p, 1080p and 4k, results in build/benchmarks
    python tests/benchmarks/run.py --sizes 8k 16k           # the large ones, beside what is measured already
    python tests/benchmarks/run.py --only filter --sizes 1080p
    python tests/benchmarks/run.py --only array,command --runs 5
    python tests/benchmarks/run.py --list                   # the names of all measurements
    python tests/benchmarks/run.py --again --only start     # measure these anew

Kinds for --only: array, layers, command, filter, callgrind, start, threads, quality. Each measurement runs in a process
of its own, and its result is saved at once, so a run that was stopped goes on where it was; those of another model are
measured anew. Let nothing else run meanwhile. Needs pyoidn; callgrind needs valgrind, plots need matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import summary
from oidn_speed import frame

from mdenoise.models import load_card
from mdenoise.training.tables import machine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZES = {
    "720p": (720, 1280), "1080p": (1080, 1920), "4k": (2160, 3840), "8k": (4320, 7680), "16k": (8640, 15360)
}  # fmt: skip
USUAL_SIZES = ("720p", "1080p", "4k")
LARGE = ("4k", "8k", "16k")  # two runs of these are enough: a call takes seconds
OIDN_SIZES = ("720p", "1080p", "4k", "8k")  # 16k takes it more memory than machines like these have
OIDN_QUALITIES = ("fast", "balanced", "high")

Measurement = Callable[[int], dict[str, Any]]


def measurements() -> Iterator[tuple[str, Measurement]]:
    """Names, as kind/size/what, and what takes the number of runs."""
    precisions = ("auto", "f32", "int8") if load_card().int8 else ("auto", "f32")
    for size, (h, w) in SIZES.items():
        for guides in ("aov", "color"):
            base = {"height": h, "width": w, "guides": guides}
            for precision in precisions if guides == "aov" and size == "1080p" else ("auto",):
                yield (
                    f"array/{size}/{guides}/mdenoise {precision}",
                    partial(child, "ours", **base, layers=1, precision=precision, quality="balanced"),
                )
            for quality in OIDN_QUALITIES if size in OIDN_SIZES else ():
                yield f"array/{size}/{guides}/oidn {quality}", partial(child, "oidn", **base, quality=quality)
    for size in ("1080p", "4k"):
        for layers in (1, 4, 12) if size == "1080p" else (1, 12):
            yield f"layers/{size}/{layers}", partial(
                child, "ours", **dict(zip(("height", "width"), SIZES[size], strict=True)), guides="aov",
                layers=layers, precision="auto", quality="balanced",
            )  # fmt: skip
    for size in ("720p", "1080p", "4k", "8k"):
        for state in ("warm", "cold"):
            yield f"command/{size}/{state}", partial(command, SIZES[size], state)
    for size in ("1080p", "4k"):
        for layers in (1, 4, 12) if size == "1080p" else (1,):
            for isa in ("avx512", "avx2", "base") if (size, layers) == ("1080p", 1) else ("",):
                yield (
                    f"filter/{size}/{layers} layers {isa or 'best'}",
                    partial(child, "kernel", height=SIZES[size][0], width=SIZES[size][1], layers=layers, isa=isa),
                )
    for layers in (1, 12):
        for isa in ("avx2", "base"):  # valgrind knows no AVX-512
            yield f"callgrind/256x256/{layers} layers {isa}", partial(callgrind, layers, isa)
    for state in ("warm", "cold"):
        yield f"start/demo/{state}", partial(start, state)
    for count in sorted({1, 2, 4, 8, 16, 32, 64, cpus()}):
        if count <= cpus():
            yield f"threads/1080p/{count}", partial(child, "threads", height=1080, width=1920, count=count)
    data = str(ROOT / "tests" / "data" / "renders")
    ours = ("mdenoise:fast", "mdenoise:balanced", "mdenoise:best")
    for method in (*ours, *(f"oidn:{quality}" for quality in (*OIDN_QUALITIES, "best"))):
        yield f"quality/renders/{method}", partial(child, "quality", data=data, method=method)


def cpus() -> int:
    return len(os.sched_getaffinity(0))


def run_process(arguments: list[str], **more: Any) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return done.stdout.splitlines()[-1]


def child(call: str, runs: int, **arguments: Any) -> dict[str, Any]:
    return json.loads(run_process([str(HERE / "measure.py"), call, json.dumps(arguments | {"runs": runs})]))


def usage_of(arguments: list[str], **more: Any) -> dict[str, float]:
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, **more)
    _, status, used = os.wait4(process.pid, 0)  # of this child alone
    process.returncode = status
    if status:
        raise RuntimeError(f"mdenoise ended with status {status}")
    cpu = used.ru_utime + used.ru_stime
    return {"cpu": cpu, "wall": time.perf_counter() - started, "rss": used.ru_maxrss / 1024}


def whole_command(source: Path, state: str, runs: int) -> dict[str, Any]:
    """`mdenoise FRAME`: process start, import, model, read, denoise, write; cold = with an empty model cache. The first
    warm one fills the cache, and does not count."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        result = str(Path(folder) / "out.exr")
        for i in range(runs + 1 if state == "warm" else max(1, runs - 1)):
            cache = Path(folder) / (f"cache{i}" if state == "cold" else "cache")
            found.append(
                usage_of(
                    ["-m", "mdenoise", "-q", "--overwrite", str(source), "-o", result],
                    env=os.environ | {"XDG_CACHE_HOME": str(cache)},
                )
            )
    counted = (found[1:] or found) if state == "warm" else found
    return {name: statistics.median(one[name] for one in counted) for name in ("cpu", "wall", "rss")}


def command(size: tuple[int, int], state: str, runs: int) -> dict[str, Any]:
    """On a half-float ZIP EXR with RGBA, albedo and normal."""
    import OpenEXR

    color, albedo, normal = frame(*size)
    alpha = np.clip(albedo[..., :1] * 1.5, 0, 1)
    planes = {
        name: plane for name, plane in zip("RGBA", np.moveaxis(np.concatenate([color, alpha], 2), 2, 0), strict=True)
    }
    planes |= {f"albedo.{c}": albedo[..., i] for i, c in enumerate("RGB")}
    planes |= {f"N.{c}": normal[..., i] for i, c in enumerate("XYZ")}
    channels = {name: np.ascontiguousarray(plane, np.float16) for name, plane in planes.items()}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "frame.exr"
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, channels).write(str(source))
        del color, albedo, normal, planes, channels
        return whole_command(source, state, runs)


def start(state: str, runs: int) -> dict[str, Any]:
    return whole_command(ROOT / "docs" / "demo" / "frame.exr", state, runs)


def callgrind(layers: int, isa: str, runs: int) -> dict[str, Any]:
    """Instructions of the filter for each pixel: those of three calls less those of one, so that no start counts."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("valgrind is not installed")
    side, counts = 256, []
    for calls in (1, 3):
        arguments = {"height": side, "width": side, "layers": layers, "isa": isa, "calls": calls}
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        done = subprocess.run(
            [*tool, sys.executable, str(HERE / "measure.py"), "instructions", json.dumps(arguments)],
            capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        lines = [line for line in done.stderr.splitlines() if "Collected" in line]
        if done.returncode or not lines:
            raise RuntimeError((done.stderr.strip().splitlines() or ["callgrind failed"])[-1])
        counts.append(int(lines[0].split(":")[1]))
    return {"instructions_per_px": (counts[1] - counts[0]) / 2 / side**2}


def wanted(name: str, kinds: list[str], sizes: list[str]) -> bool:
    """Whether a measurement is of one of the kinds, if any is named, and of one of the sizes, if it has one of them."""
    kind, size, _ = name.split("/", 2)
    return (not kinds or kind in kinds) and (size in sizes or size not in SIZES)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="KINDS", help="separated by commas (default: all)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=USUAL_SIZES, help="default: 720p 1080p 4k")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    kinds = [word for word in args.only.lower().split(",") if word]
    plan = dict(measurements())
    known = {name.split("/")[0] for name in plan}
    if unknown := set(kinds) - known:
        parser.error(f"--only {', '.join(sorted(unknown))}: use {', '.join(sorted(known))}")
    chosen = [name for name in plan if wanted(name, kinds, args.sizes)]
    if args.list:
        print(*chosen, sep="\n")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "results.json"
    results: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    model = load_card().sha256[:12]
    results = {name: found for name, found in results.items() if found.get("model") == model}
    failed = 0
    for name in chosen:
        if name in results and not args.again:
            continue
        load = os.getloadavg()[0]
        try:
            found = plan[name](args.runs if name.split("/")[1] not in LARGE else min(args.runs, 2))
        except RuntimeError as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        results[name] = found | {"machine": machine(), "cpus": cpus(), "load": load, "runs": args.runs, "model": model}
        shown = {key: round(value, 3) for key, value in found.items() if isinstance(value, float)}
        print(name, json.dumps(shown), flush=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(results, indent=1), "utf-8")
        part.replace(path)
    (args.out / "results.md").write_text(summary.markdown(results), "utf-8")
    for figure in summary.plots(results, args.out):
        print(figure)
    print(args.out / "results.md")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
