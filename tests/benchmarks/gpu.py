"""Milliseconds per frame on an NVIDIA GPU: mdenoise in every engine that runs there, beside OIDN's CUDA build.

    python tests/benchmarks/gpu.py                        # 1920x1080 HDR with albedo and normal
    python tests/benchmarks/gpu.py --size 2160 3840 --runs 20 --json gpu.json

Frames go from host memory to host memory in both. Every configuration runs in a process of its own; models are compiled
and memory is taken before the clock starts. Results are compared with the CPU's. Needs pyoidn for the peer, and a torch
with CUDA for the yardstick, which is the network alone, its guide and logits on the GPU, and for the roofline: what the
network must compute and move, at the rates of a large matrix product and of a large copy.
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

from mdenoise.engines import LEVELS, ON_GPU, cuda
from mdenoise.engines.openvino import import_openvino
from mdenoise.errors import MDenoiseError
from mdenoise.models import load_card

ROOT = Path(__file__).parents[2]
CASES = (
    *(f"{engine} {precision}" for engine in ON_GPU for precision in ("fp16", "f32")),
    "torch fp16",
    "oidn balanced",
    "oidn high",
)
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


def import_torch():
    import torch

    if not torch.cuda.is_available():
        raise ImportError(f"torch {torch.__version__} finds no CUDA device here")
    return torch


def padded(size: tuple[int, int]) -> tuple[int, int]:
    return tuple(-(-side // 64) * 64 for side in size)


def yardstick(size: tuple[int, int]):
    """The network in half precision by torch, as a CUDA graph: what the engines' networks must not be slower than."""
    torch = import_torch()
    from mdenoise.exporters.onnx import load_network

    torch.backends.cudnn.benchmark = True
    net = load_network(ROOT / "training" / "weights" / "base.safetensors").half().cuda()
    net = net.to(memory_format=torch.channels_last).requires_grad_(False)
    guide = torch.rand(1, net.config.guide_channels, *padded(size), device="cuda", dtype=torch.float16)
    guide = guide.contiguous(memory_format=torch.channels_last)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # kernels are chosen and memory is taken before the recording
        for _ in range(3):
            net(guide)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = net(guide)

    def call():
        graph.replay()
        torch.cuda.synchronize()
        return logits

    return call, None


def demand(model: Path, channels: int, size: tuple[int, int]) -> tuple[float, float]:
    """FLOP and bytes in half precision of a `predict` graph for one frame. Convolutions and matrix products read their
    inputs and write their output once; all between them is taken for fused."""
    graph = import_openvino().Core().read_model(model)
    results = [graph.output(name).get_node() for name in LEVELS]
    graph = import_openvino().Model(results, graph.get_parameters(), "predict")
    graph.reshape([1, channels, *padded(size)])
    flop = moved = 0.0
    for node in graph.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "MatMul"):
            continue
        first, second = (list(node.input_value(i).get_shape()) for i in range(2))
        out = float(np.prod(list(node.output(0).get_shape())))
        if node.get_type_name() == "Convolution":
            inner = np.prod(second[1:])
        else:
            inner = first[-2 if node.get_attributes()["transpose_a"] else -1]
        flop += 2 * out * inner
        moved += 2 * (np.prod(first) + np.prod(second) + out)
    return flop, float(moved)


def ceilings() -> dict[str, float]:
    """Measured FLOP/s of a product of half-precision matrices and bytes/s of a copy, the best of ten."""
    torch = import_torch()

    def seconds(work) -> float:
        times = []
        for _ in range(11):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return min(times[1:])

    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.float16) for _ in range(2))
    source = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    return {
        "flop_per_s": 2 * n**3 / seconds(lambda: a @ b),
        "bytes_per_s": 2 * source.numel() / seconds(lambda: target.copy_(source)),
    }


def roofline(size: tuple[int, int]) -> dict[str, float]:
    card = load_card()
    flop, moved = demand(card.path, card.guide_channels, size)
    top = ceilings()
    return {
        "gflop": flop / 1e9,
        "megabytes": moved / 1e6,
        "compute_ms": 1e3 * flop / top["flop_per_s"],
        "move_ms": 1e3 * moved / top["bytes_per_s"],
    } | top


def child(case: str, args: argparse.Namespace) -> dict[str, float]:
    name, _, setting = case.partition(" ")
    if name == "roofline":
        return roofline(args.size)
    if name == "torch":
        call, differs = yardstick(args.size)
    else:
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
    if name == "torch":
        assert all(level.isfinite().all() for level in out)
    else:
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
    for case in (*CASES, "roofline"):
        command = [sys.executable, __file__, "--child", case, "--runs", str(args.runs), "--size", *map(str, args.size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            results[case] = json.loads(done.stdout.splitlines()[-1])
        else:
            print(f"{case}: {(done.stderr.strip().splitlines() or ['it crashed'])[-1]}")
    top = results.pop("roofline", None)
    oidn = results.get("oidn balanced", {}).get("ms")
    print("\n| | ms per frame | x OIDN balanced | first call, ms | rms against the CPU |\n|---|---:|---:|---:|---:|")
    for case, found in results.items():
        ratio = f"{found['ms'] / oidn:.2f}" if oidn else ""
        differs = f"{found['rms_against_cpu']:.1e}" if "rms_against_cpu" in found else ""
        print(f"| {case} | {found['ms']:.2f} | {ratio} | {found['first_ms']:.0f} | {differs} |")
    if top:
        print(
            f"\nroofline of the network: {top['gflop']:.0f} GFLOP at {top['flop_per_s'] / 1e12:.0f} TFLOP/s take "
            f"{top['compute_ms']:.2f} ms, {top['megabytes']:.0f} MB at {top['bytes_per_s'] / 1e9:.0f} GB/s "
            f"{top['move_ms']:.2f} ms"
        )
        if "torch fp16" in results:
            reached = max(top["compute_ms"], top["move_ms"]) / results["torch fp16"]["ms"]
            print(f"torch fp16 reaches {reached:.0%} of it")
    if args.json:
        record = {"gpu": gpu.name, "cuda": gpu.driver, "size": list(args.size), "runs": args.runs, "results": results}
        record["roofline"] = top
        args.json.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
