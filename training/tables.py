"""What was measured, as markdown: per scene, means, intervals, what was left out and on which machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.training.metrics import interval

NOISY, OURS, PEER = "noisy", "mdenoise", "OIDN colour+albedo+normal"
CEILING = "ceiling: OIDN before the filter"
SUITE_GAIN_DB = 3.0  # OIDN expects unfiltered noise: where it gains less, the scene is not a clean one


@dataclass(frozen=True)
class Row:
    """One frame of `scene`: `scores[method][metric]`; `left_out` says why it does not count, or is empty."""

    name: str
    suite: str
    spp: int
    scores: dict[str, dict[str, float]]
    left_out: str = ""
    scene: str = ""


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
    """Means over the frames that count; differences are per frame, mdenoise minus the other method, in dB, with the
    interval over scenes. What only some frames have (a ceiling, a texture) counts on those."""
    counted = [row for row in rows if (row.suite, row.spp) == (suite, spp) and not row.left_out]
    methods = list(dict.fromkeys(method for row in counted for method in row.scores))
    summary: dict[str, Any] = {"suite": suite, "spp": spp, "frames": len(counted), "mean": {}}
    for method in methods:
        having = [row for row in counted if method in row.scores]
        values = {k: np.array([row.scores[method][k] for row in having]) for k in having[0].scores[method]}
        known = {k: v[~np.isnan(v)] for k, v in values.items()}
        summary["mean"][method] = {k: float(v.mean()) if v.size else None for k, v in known.items()}
        if method == OURS:
            continue
        differences = np.array([row.scores[OURS]["psnr"] - row.scores[method]["psnr"] for row in having])
        worst = having[int(np.argmin(differences))]
        summary[f"over {method}"] = {
            "mean": float(differences.mean()),
            "interval": interval(differences, groups=[row.scene or row.name for row in having]),
            "worst": f"{worst.name} {differences.min():+.2f}",
            "frames": len(having),
        }
    if PEER in methods:
        gained = [
            float(np.mean([row.scores[m]["psnr"] - row.scores[NOISY]["psnr"] for row in counted])) for m in (OURS, PEER)
        ]
        summary["share of gain"] = gained[0] / gained[1]
    return summary


HEADINGS = {
    "psnr": ("PSNR, dB", ".2f"),
    "psnr-2": ("at -2 EV", ".2f"),
    "psnr+2": ("at +2 EV", ".2f"),
    "relmse": ("relMSE", ".4g"),
    "relmse_all": ("untrimmed", ".3g"),
    "flip": ("FLIP", ".4f"),
    "hdrflip": ("HDR-FLIP", ".4f"),
    "ssim": ("SSIM", ".4f"),
    "texture": ("texture kept", ".2f"),
    "psnr, clean": ("PSNR, clean suite", ".2f"),
    "near": ("99.9th percentile in 9x9", ".4f"),
    "near, clean": ("the same, clean", ".4f"),
}


def report(rows: list[Row], summaries: list[dict[str, Any]]) -> str:
    """The tables as markdown."""
    text = []
    for summary in summaries:
        suite, spp, mean = summary["suite"], summary["spp"], summary["mean"]
        text.append(f"\n### {suite} suite, {spp} spp, {summary['frames']} frames\n\nPSNR, dB:\n")
        lines = [
            [
                row.name + (" (left out)" if row.left_out else ""),
                *(f"{row.scores[m]['psnr']:.2f}" if m in row.scores else "-" for m in mean),
            ]
            for row in rows
            if (row.suite, row.spp) == (suite, spp)
        ]
        lines.append(["**mean**", *(f"**{s['psnr']:.2f}**" for s in mean.values())])
        metrics = [key for key in HEADINGS if any(key in s for s in mean.values())]
        text += [table(["scene", *mean], lines), "\nMeans:\n"]
        lines = [[name, *(format_score(s.get(key), HEADINGS[key][1]) for key in metrics)] for name, s in mean.items()]
        text += [table(["", *(HEADINGS[key][0] for key in metrics)], lines), ""]
        text += [difference_line(other, summary) for other in mean if f"over {other}" in summary]
        text += [fault_line(name, s) for name, s in mean.items() if "psnr, clean" in s]
        if "share of gain" in summary and suite == "clean":
            text.append(f"- share of the gain of {PEER}: {summary['share of gain']:.2f}")
    left_out = [f"- left out: {row.name} at {row.spp} spp: {row.left_out}" for row in rows if row.left_out]
    return "\n".join([*text, "", *left_out])


def format_score(score: float | None, how: str) -> str:
    return "-" if score is None else format(score, how)


def fault_line(name: str, mean: dict[str, float]) -> str:
    """What a fault that was put into the clean frames costs a method."""
    line = f"- {name}: {mean['psnr'] - mean['psnr, clean']:+.2f} dB against its clean suite"
    if "near" in mean:
        line += f"; error around the injected pixels x{mean['near'] / mean['near, clean']:.2f}"
    return line


def difference_line(other: str, summary: dict[str, Any]) -> str:
    found = summary[f"over {other}"]
    low, high = found["interval"]
    verdict = " (a tie)" if low <= 0 <= high else ""
    part = f" over the {found['frames']} frames that have it" if found["frames"] < summary["frames"] else ""
    return (
        f"- {OURS} - {other}: {found['mean']:+.2f} dB{part}, 95 % interval {low:+.2f} to {high:+.2f}{verdict}; "
        f"worst: {found['worst']}"
    )


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
