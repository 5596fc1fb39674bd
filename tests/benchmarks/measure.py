"""One measurement in a process of its own, as JSON on the last line; started by run.py.

CPU seconds count all threads of the process; peak memory is its largest resident set, and `beyond` what of that is
neither the planes it was given nor those it made.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from oidn_speed import frame

MIB = 2**20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call: Callable[[], Any], runs: int) -> dict[str, float]:
    """CPU and wall seconds: of the first call, the median of `runs` more, and the least CPU seconds of these."""
    cpu, wall = [], []
    for _ in range(runs + 1):
        c, w = time.process_time(), time.perf_counter()
        call()
        cpu.append(time.process_time() - c)
        wall.append(time.perf_counter() - w)
    later = cpu[1:] or cpu
    return {
        "first_cpu": cpu[0],
        "first_wall": wall[0],
        "cpu": statistics.median(later),
        "wall": statistics.median(wall[1:] or wall),
        "least_cpu": min(later),
    }


def planes(height: int, width: int, guides: str) -> dict[str, np.ndarray]:
    color, albedo, normal = frame(height, width)
    return {"color": color, "albedo": albedo, "normal": normal} if guides == "aov" else {"color": color}


def ours(height: int, width: int, guides: str, layers: int, precision: str, quality: str, runs: int) -> dict[str, Any]:
    """mdenoise on arrays; `layers` includes the beauty, and the others add up to it. Says where the time goes, too."""
    import mdenoise
    from mdenoise import columns, predict
    from mdenoise.engines.openvino import Bands, OpenVinoEngine

    given = planes(height, width, guides)
    share = np.random.default_rng(2).dirichlet(np.ones(max(1, layers - 1))).astype(np.float32)
    extra = {f"l{i}": given["color"] * share[i] for i in range(layers - 1)}
    spent: dict[str, float] = {}

    def spy(owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def outer(*args: Any, **named: Any) -> Any:
            before = time.process_time()
            try:
                return inner(*args, **named)
            finally:
                spent[label] = spent.get(label, 0.0) + time.process_time() - before

        setattr(owner, name, outer)

    spy(OpenVinoEngine, "predict_packed", "predict")
    spy(Bands, "predict", "predict")
    spy(predict, "packed_guide", "guide")
    spy(columns, "packed_guide", "guide")
    spy(predict, "filter_planes", "filter")
    spy(predict, "measure", "measure")
    denoiser = mdenoise.Denoiser(precision=precision, quality=quality)
    result = None

    def call() -> None:
        nonlocal result
        spent.clear()
        result = denoiser(**given, layers=extra)

    found = timed(call, runs)
    arrays = [*given.values(), *extra.values(), result.color, *result.layers.values()]
    peak = peak_mib()
    beyond = peak - sum(array.nbytes for array in arrays) / MIB
    assert np.isfinite(result.color).all()
    return found | {
        "rss": peak,
        "beyond": beyond,
        "engine": f"{denoiser._engine.name} {denoiser._engine.precision}",
        "parts": dict(spent),
    }


def oidn(height: int, width: int, guides: str, quality: str, runs: int) -> dict[str, Any]:
    """`quality` fast, balanced or high; best is high after albedo and normal were denoised, as its manual says."""
    import pyoidn

    given = planes(height, width, guides)
    device = pyoidn.Device()
    device.commit()

    def prepare(images: dict[str, np.ndarray], quality: str, *flags: str) -> Any:
        rt = pyoidn.Filter(device, "RT")
        for name, image in images.items():
            rt.set_image(name, image, pyoidn.OIDN_FORMAT_FLOAT3)
        for flag in flags:
            rt.set_bool(flag, True)
        rt.set_int("quality", getattr(pyoidn, f"OIDN_QUALITY_{quality.upper()}"))
        rt.commit()
        return rt

    out = np.empty_like(given["color"])
    if quality == "best":
        clean = {name: np.empty_like(plane) for name, plane in given.items() if name != "color"}
        steps = [prepare({name: given[name], "output": plane}, "high") for name, plane in clean.items()]
        steps.append(prepare(given | clean | {"output": out}, "high", "hdr", "cleanAux"))
    else:
        steps = [prepare(given | {"output": out}, quality, "hdr")]
    found = timed(lambda: [step.execute() for step in steps], runs)
    assert np.isfinite(out).all()
    peak = peak_mib()
    return found | {"rss": peak, "beyond": peak - sum(a.nbytes for a in (*given.values(), out)) / MIB}


def kernel(height: int, width: int, layers: int, isa: str, runs: int) -> dict[str, Any]:
    """The compiled filter alone on bfloat16 logits, beside a copy of the bytes it must touch and, on an eighth of the
    rows, its NumPy twin. One thread, so that CPU seconds are not waits."""
    from mdenoise.filter import _native, apply_filter_numpy

    rng = np.random.default_rng(1)
    h, w = -(-height // 64) * 64, -(-width // 64) * 64

    def logits(rows: int) -> tuple[np.ndarray, ...]:
        sizes = ((rows // 2, w // 2, 108), (rows // 2, w // 2, 26), (rows // 4, w // 4, 26), (rows // 8, w // 8, 25))
        made = (rng.standard_normal((1, *size), dtype=np.float32) for size in sizes)
        return tuple((level.view(np.uint32) >> 16).astype(np.uint16).transpose(0, 3, 1, 2) for level in made)

    given = logits(h)
    trust = np.ones((h, w), np.float32)
    images = [rng.random((h, w, 3), dtype=np.float32) for _ in range(layers)]
    out = np.zeros((h, w, 3 * layers), np.float32)
    found = timed(lambda: _native.filter(images, [False] * layers, None, None, trust, given, out, 1, isa), runs)
    moved = [*given, trust, *images]
    copies = [np.empty_like(array) for array in moved]
    other = np.empty_like(out)

    def copy() -> None:
        for array, to in zip(moved, copies, strict=True):
            np.copyto(to, array)

    copied = timed(copy, runs)["least_cpu"] + timed(lambda: other.fill(1.0), runs)["least_cpu"]
    rows = max(64, h // 8 // 64 * 64)
    some, part = logits(rows), np.concatenate([image[:rows] for image in images], axis=2)
    twin = timed(lambda: apply_filter_numpy(part, trust[:rows], some), 1)["least_cpu"] * h / rows
    size = sum(array.nbytes for array in moved) + out.nbytes
    return found | {
        "copy_cpu": copied,
        "numpy_cpu": twin,
        "bytes_per_px": size / (h * w),
        "times_copy": found["least_cpu"] / copied,
        "times_faster_than_numpy": twin / found["least_cpu"],
        "isas": list(_native.isas()),
    }


def instructions(height: int, width: int, layers: int, isa: str, calls: int) -> dict[str, Any]:
    """Some calls of the filter, for callgrind to count."""
    from mdenoise.filter import _native

    sizes = ((height // 2, width // 2, 108), (height // 2, width // 2, 26))
    sizes += ((height // 4, width // 4, 26), (height // 8, width // 8, 25))
    given = tuple(np.zeros((1, *size), np.uint16).transpose(0, 3, 1, 2) for size in sizes)
    images = [np.ones((height, width, 3), np.float16) for _ in range(layers)]
    trust, out = np.ones((height, width), np.float32), np.zeros((height, width, 3 * layers), np.float32)
    for _ in range(calls):
        _native.filter(images, [False] * layers, None, None, trust, given, out, 1, isa)
    return {"isas": list(_native.isas())}


def threads(height: int, width: int, count: int, runs: int) -> dict[str, Any]:
    """mdenoise with albedo and normal on the first `count` processors that this process may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    return ours(height, width, "aov", 1, "auto", "balanced", runs)


def quality(data: str, method: str, runs: int) -> dict[str, Any]:
    """CPU seconds of a 1080p frame with albedo and normal, and mean PSNR on the clean validation renders."""
    from mdenoise.training.metrics import psnr
    from mdenoise.training.oidn import guides, methods
    from mdenoise.training.renders import load

    name, setting = method.split(":")
    if name == "mdenoise":
        import mdenoise

        denoiser = mdenoise.Denoiser(quality=setting)
        found = ours(1080, 1920, "aov", 1, "auto", setting, runs)
    else:
        import pyoidn

        found = oidn(1080, 1920, "aov", setting, runs)
    scores: dict[str, list[float]] = {}
    for case in load(Path(data), "clean"):
        if name == "mdenoise":
            result = denoiser(case.color, **guides(case))
        elif setting == "best":
            result = methods()["OIDN best"](case)
        else:
            result = pyoidn.denoise(case.color, **guides(case), hdr=True, quality=setting)
        scores.setdefault(f"{case.spp:2} spp", []).append(psnr(np.asarray(result), case.reference))
    return found | {"db": {spp: float(np.mean(values)) for spp, values in scores.items()}}


CALLS = {call.__name__: call for call in (ours, oidn, kernel, instructions, threads, quality)}

if __name__ == "__main__":
    print(json.dumps(CALLS[sys.argv[1]](**json.loads(sys.argv[2]))))
