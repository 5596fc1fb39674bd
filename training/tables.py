"""What was measured, as markdown: per scene, means, intervals, what was left out and on which machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.training.metrics import METRICS, interval

NOISY, OURS, PEER = "noisy", "mdenoise", "OIDN colour+albedo+normal"
SUITE_GAIN_DB = 3.0  # OIDN expects unfiltered noise: where it gains less, the scene is not a clean one


@dataclass(frozen=True)
class Row:
    """One frame: `scores[method][metric]`; `left_out` says why it does not count, or is empty."""

    name: str
    suite: str
    spp: int
    scores: dict[str, dict[str, float]]
    left_out: str = ""


def leave_out_missuited(rows: list[Row]) -> list[Row]:
    """Clean scenes on which the peer gains too little at 4 spp leave the suite, at every sample count."""
    poor = {}
    for row in rows:
        if row.suite == "clean" and row.spp == 4 and PEER in row.scores:
            gain = row.scores[PEER]["psnr"] - row.scores[NOISY]["psnr"]
            if gain < SUITE_GAIN_DB:
                poor[row.name] = f"OIDN gains {gain:.1f} dB at 4 spp: not a clean scene"
    return [replace(row, left_out=poor[row.name]) if row.name in poor else row for row in rows]


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summarise(rows: list[Row], suite: str, spp: int) -> dict[str, Any]:
    """Means over the frames that count; differences are per frame, mdenoise minus the other method, in dB."""
    counted = [row for row in rows if (row.suite, row.spp) == (suite, spp) and not row.left_out]
    methods = list(counted[0].scores) if counted else []
    value = {m: {k: np.array([row.scores[m][k] for row in counted]) for k in METRICS} for m in methods}
    summary: dict[str, Any] = {
        "suite": suite,
        "spp": spp,
        "frames": len(counted),
        "mean": {m: {k: float(v.mean()) for k, v in value[m].items()} for m in methods},
    }
    for other in (NOISY, PEER):
        if other in value:
            difference = value[OURS]["psnr"] - value[other]["psnr"]
            summary[f"over {other}"] = {"mean": float(difference.mean()), "interval": interval(difference)}
    if PEER in value:
        gained = [float((value[m]["psnr"] - value[NOISY]["psnr"]).mean()) for m in (OURS, PEER)]
        summary["share of gain"] = gained[0] / gained[1]
    return summary


def report(rows: list[Row], summaries: list[dict[str, Any]]) -> str:
    """The tables as markdown."""
    text = []
    for summary in summaries:
        suite, spp, mean = summary["suite"], summary["spp"], summary["mean"]
        text.append(f"\n### {suite} suite, {spp} spp, {summary['frames']} scenes\n\nPSNR, dB:\n")
        lines = [
            [row.name + (" (left out)" if row.left_out else ""), *(f"{s['psnr']:.2f}" for s in row.scores.values())]
            for row in rows
            if (row.suite, row.spp) == (suite, spp)
        ]
        lines.append(["**mean**", *(f"**{s['psnr']:.2f}**" for s in mean.values())])
        text += [table(["scene", *mean], lines), "\nMeans:\n"]
        lines = [
            [name, f"{s['psnr']:.2f}", f"{s['relmse']:.4f}", f"{s['flip']:.4f}", f"{s['ssim']:.4f}"]
            for name, s in mean.items()
        ]
        text += [table(["", "PSNR, dB", "relMSE", "FLIP", "SSIM"], lines), ""]
        text += [
            difference_line(other, **summary[f"over {other}"]) for other in (NOISY, PEER) if f"over {other}" in summary
        ]
        if "share of gain" in summary and suite == "clean":
            text.append(f"- share of the gain of {PEER}: {summary['share of gain']:.2f}")
    left_out = [f"- left out: {row.name} at {row.spp} spp: {row.left_out}" for row in rows if row.left_out]
    return "\n".join([*text, "", *left_out])


def difference_line(other: str, mean: float, interval: tuple[float, float]) -> str:
    low, high = interval
    verdict = " (a tie)" if low <= 0 <= high else ""
    return f"- {OURS} - {other}: {mean:+.2f} dB, 95 % interval {low:+.2f} to {high:+.2f}{verdict}"


def machine() -> str:
    """CPU model and cores, for the foot of a table."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text("utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"
