"""The tables and plots of run.py, from its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PIXELS = {"720p": 720 * 1280, "1080p": 1080 * 1920, "4k": 2160 * 3840, "8k": 4320 * 7680, "16k": 8640 * 15360}
# What must hold: of what, figure, the least or the most that it may be, and where it is meant to get.
LIMITS = (
    ("a", "predict + filter at 1080p, CPU s / OIDN balanced", "<=", 0.30, 0.15),
    ("a", "the same in f32, for CPUs with neither bf16 nor int8", "", None, None),
    ("a", "whole command at 1080p, CPU s / OIDN balanced's filter", "<=", 0.60, None),
    ("b", "time per pixel, 4K / 1080p", "<=", 1.00, None),
    ("b", "peak memory at 4K / OIDN balanced", "<=", 0.50, None),
    ("b", "memory beyond the planes, 8K / 1080p", "<=", 1.15, None),
    ("b", "memory beyond the planes, 16K / 1080p", "<=", 1.15, None),
    ("c", "12 layers / 1 layer, CPU s", "<=", 2.00, 1.60),
    ("d", "filter alone at 1080p / a copy of its bytes", "<=", 3.00, None),
    ("d", "NumPy twin / filter", ">=", 20.0, None),
    ("e", "import, model and first tile, CPU s, warm", "<=", 0.80, None),
)


def ratio(results: dict[str, Any], above: str, below: str, key: str = "cpu") -> float | None:
    if above not in results or below not in results:
        return None
    return results[above][key] / results[below][key]


def claims(results: dict[str, Any]) -> list[float | None]:
    """The figures of LIMITS, None where one is not measured yet."""
    ours, oidn = "array/{}/aov/mdenoise auto".format, "array/{}/aov/oidn balanced".format
    large = ratio(results, ours("4k"), ours("1080p"))
    kernel = results.get("filter/1080p/1 layers avx512") or results.get("filter/1080p/1 layers avx2") or {}
    return [
        ratio(results, ours("1080p"), oidn("1080p")),
        ratio(results, "array/1080p/aov/mdenoise f32", oidn("1080p")),
        ratio(results, "command/1080p/warm", oidn("1080p")),
        None if large is None else large * PIXELS["1080p"] / PIXELS["4k"],
        ratio(results, ours("4k"), oidn("4k"), "rss"),
        ratio(results, ours("8k"), ours("1080p"), "beyond"),
        ratio(results, ours("16k"), ours("1080p"), "beyond"),
        ratio(results, "layers/1080p/12", "layers/1080p/1"),
        kernel.get("times_copy"),
        kernel.get("times_faster_than_numpy"),
        results.get("start/demo/warm", {}).get("cpu"),
    ]


def held(results: dict[str, Any]) -> list[list[Any]]:
    rows = []
    for (letter, figure, sense, limit, goal), found in zip(LIMITS, claims(results), strict=True):
        verdict = ""
        if found is not None and limit is not None:
            verdict = "yes" if (found <= limit if sense == "<=" else found >= limit) else "**no**"
        shown = "not measured" if found is None else found
        rows.append([letter, figure, "" if limit is None else f"{sense} {limit:g}", goal or "", shown, verdict])
    return rows


def table(header: list[str], rows: list[list[Any]]) -> str:
    shown = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *shown]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows_of(results: dict[str, Any], kind: str, *keys: str) -> list[list[Any]]:
    return [
        [name.removeprefix(f"{kind}/"), *(found.get(key, "") for key in keys)]
        for name, found in results.items() if name.startswith(f"{kind}/")
    ]  # fmt: skip


def markdown(results: dict[str, Any]) -> str:
    machines = sorted({f"{one['machine']}, {one['cpus']} processors" for one in results.values()})
    busy = max((one["load"] for one in results.values()), default=0.0)
    out = ["# Benchmarks", "", "; ".join(machines), f"Largest load when a measurement began: {busy:.1f}.", ""]
    out += ["## What must hold", "", table(["", "figure", "limit", "goal", "measured", "held"], held(results)), ""]
    out += [
        "Memory at 8K and 16K: `run.py --sizes 8k 16k`. f, what every file loses: `tests/benchmarks/parity.py`.",
        "",
    ]
    times = ("cpu", "wall", "first_cpu", "rss", "beyond")
    heads = ["CPU s", "wall s", "first CPU s", "peak MiB", "MiB beyond the planes"]
    out += section("Arrays in memory", ["size/guides/what", *heads], rows_of(results, "array", *times))
    out += section("Additive layers", ["size/layers", *heads], rows_of(results, "layers", *times))
    parts = [
        [name, *(found["parts"].get(part, 0.0) for part in ("predict", "guide", "filter", "measure")), found["cpu"]]
        for name, found in results.items() if "parts" in found
    ]  # fmt: skip
    heads = ["measurement", "predict", "guide", "filter", "measure", "all"]
    out += section("Where the CPU seconds go", heads, parts)
    for kind, title in (
        ("command", "Whole command, EXR to EXR"),
        ("start", "`mdenoise docs/demo/frame.exr`"),
        ("threads", "Processors, 1080p"),
    ):
        out += section(title, ["what", "CPU s", "wall s", "peak MiB"], rows_of(results, kind, "cpu", "wall", "rss"))
    kernel = ("least_cpu", "copy_cpu", "times_copy", "numpy_cpu", "times_faster_than_numpy")
    heads = ["filter", "CPU s", "copy CPU s", "times a copy", "NumPy CPU s", "times faster"]
    out += section("The filter alone, one thread", heads, rows_of(results, "filter", *kernel))
    counts = rows_of(results, "callgrind", "instructions_per_px")
    out += section("Instructions", ["filter", "instructions per pixel"], counts)
    out += section("dB against CPU seconds: clean validation renders, CPU seconds at 1080p", *quality(results))
    return "\n".join(out)


def section(title: str, header: list[str], rows: list[list[Any]]) -> list[str]:
    return [f"## {title}", "", table(header, rows), ""] if rows else []


def scored(results: dict[str, Any]) -> dict[str, tuple[float, dict[str, float]]]:
    """CPU seconds and mean PSNR by samples of every method of the quality part, the cheapest first."""
    found = {name.split("/")[-1]: (one["cpu"], one["db"]) for name, one in results.items() if "db" in one}
    return dict(sorted(found.items(), key=lambda item: item[1][0]))


def on_front(methods: dict[str, tuple[float, dict[str, float]]], method: str, spp: str) -> bool:
    """Whether no other method is as good for fewer CPU seconds."""
    cpu, db = methods[method]
    return not any(c < cpu and other[spp] >= db[spp] for c, other in methods.values())


def quality(results: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the table that the plot of the same name shows."""
    methods = scored(results)
    counts = sorted({spp for _, db in methods.values() for spp in db})
    heads = [head for spp in counts for head in (f"dB, {spp.strip()}", "on the front")]
    rows = []
    for method, (cpu, db) in methods.items():
        cells = ((f"{db[spp]:.2f}", "yes" if on_front(methods, method, spp) else "no") for spp in counts)
        rows.append([method, cpu, *(cell for pair in cells for cell in pair)])
    return ["method", "CPU s", *heads], rows


def plots(results: dict[str, Any], folder: Path) -> list[Path]:
    """quality.png, pixels.png and threads.png, of what has been measured; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot

    made = []

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / name, dpi=120)
        pyplot.close(figure)
        made.append(folder / name)

    methods = scored(results)
    counts = sorted({spp for _, db in methods.values() for spp in db})
    if counts:
        figure, axes = pyplot.subplots(1, len(counts), figsize=(4.5 * len(counts), 3.5), squeeze=False)
        for axis, spp in zip(axes[0], counts, strict=True):
            for owner, color in (("mdenoise", "tab:red"), ("oidn", "tab:blue")):
                line = {label: (cpu, db[spp]) for label, (cpu, db) in methods.items() if label.startswith(owner)}
                axis.plot(*zip(*line.values(), strict=True), "o-", color=color) if line else None
                for i, (label, point) in enumerate(line.items()):  # above and below: some points are all but one
                    shift = (3, 5 if i % 2 else -11)
                    axis.annotate(label, point, xytext=shift, textcoords="offset points", fontsize=7)
            axis.set(title=f"clean, {spp.strip()}", xlabel="CPU s at 1080p", ylabel="PSNR, dB", xscale="log")
            axis.margins(0.2)
        save(figure, "quality.png")
    series: dict[str, list[tuple[int, float, float]]] = {}
    for name, found in results.items():
        if name.startswith("array/") and "/aov/" in name:
            _, size, _, label = name.split("/")
            series.setdefault(label, []).append((PIXELS[size], found["cpu"], found["rss"]))
    if any(len(points) > 1 for points in series.values()):
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5))
        for label, points in series.items():
            ordered = sorted(points)
            for axis, column in zip(axes, (1, 2), strict=True):
                axis.plot([p[0] / 1e6 for p in ordered], [p[column] for p in ordered], "o-", label=label)
        axes[0].set(xlabel="megapixels", ylabel="CPU s", xscale="log", yscale="log")
        axes[1].set(xlabel="megapixels", ylabel="peak MiB", xscale="log", yscale="log")
        axes[0].legend(fontsize=7)
        save(figure, "pixels.png")
    scaling = sorted((int(n.split("/")[-1]), f) for n, f in results.items() if n.startswith("threads/"))
    if len(scaling) > 1:
        figure, axis = pyplot.subplots(figsize=(4.5, 3.5))
        axis.plot([n for n, _ in scaling], [f["wall"] for _, f in scaling], "o-", label="wall s")
        axis.plot([n for n, _ in scaling], [f["cpu"] for _, f in scaling], "o-", label="CPU s")
        axis.set(xlabel="processors", xscale="log", yscale="log")
        axis.legend()
        save(figure, "threads.png")
    return made
