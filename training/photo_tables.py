"""What was measured on photographs, as markdown and for a JSON file, beside what others published."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdenoise.training.metrics import interval
from mdenoise.training.tables import NOISY, table

SINGLE = "single pass"
IN_DISTRIBUTION = ("gaussian", 15.0)  # of the weights trained on one noise; all else is outside

# PSNR in dB as published; "Masked" and IDF are trained on Gaussian 15 and were measured by the authors of IDF (ICCV
# 2025), FFDNet (TIP 2018) is told the level of the noise.
MASKED, IDF, FFDNET = "Masked (published)", "IDF (published)", "FFDNet (published)"
PUBLISHED: dict[tuple[str, str, float], dict[str, float]] = {
    ("cbsd68", "gaussian", 15): {FFDNET: 33.87},
    ("cbsd68", "gaussian", 25): {FFDNET: 31.21},
    ("cbsd68", "gaussian", 50): {MASKED: 20.95, IDF: 25.73, FFDNET: 27.96},
    ("cbsd68", "poisson", 3.5): {MASKED: 24.17, IDF: 27.47},
    ("cbsd68", "salt_and_pepper", 0.02): {MASKED: 29.74, IDF: 33.38},
    ("cbsd68", "speckle", 0.04): {MASKED: 27.94, IDF: 29.18},
    ("cbsd68", "correlated", 55): {IDF: 27.87},
    ("cbsd68", "mixture", 4): {IDF: 28.11},  # of a composition that is not published: ours differs
    ("polyu", "real", 0): {MASKED: 34.65, IDF: 37.93},
}


@dataclass
class Scores:
    """One row: per method the PSNR (dB) and SSIM of every image, in the order of `images`."""

    photos: str
    family: str
    level: float
    images: list[str] = field(default_factory=list)
    psnr: dict[str, list[float]] = field(default_factory=dict)
    ssim: dict[str, list[float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.photos if self.family == "real" else f"{self.family} {self.level:g}"


def report(rows: list[Scores]) -> str:
    """Markdown: means, the mean outside the training noise, intervals and differences, the worst real image."""
    text = []
    for photos in dict.fromkeys("real" if row.family == "real" else row.photos for row in rows):
        chosen = [r for r in rows if photos == ("real" if r.family == "real" else r.photos)]
        names = list(chosen[0].psnr)
        quoted = [p for p in (MASKED, IDF, FFDNET) if any(p in published(row) for row in chosen)]
        count = "/".join(str(n) for n in dict.fromkeys(len(row.images) for row in chosen))
        text.append(f"\n### {photos}, {count} images: PSNR, dB\n")
        lines = [
            [
                row.name,
                *(f"{np.mean(row.psnr[n]):.2f}" for n in names),
                *(f"{published(row)[p]:.2f}" if p in published(row) else "-" for p in quoted),
            ]
            for row in chosen
        ]
        outside = [row for row in chosen if row.family != "real" and (row.family, row.level) != IN_DISTRIBUTION]
        if len(outside) > 1:
            means = [f"**{np.mean([np.mean(row.psnr[n]) for row in outside]):.2f}**" for n in names]
            label = "**mean" + ("**" if len(outside) == len(chosen) else " without gaussian 15**")
            lines.append([label, *means, *("" for _ in quoted)])
        text.append(table(["noise", *names, *quoted], lines))
        text.append("\nSSIM:\n")
        text.append(table(["noise", *names], [[r.name, *(f"{np.mean(r.ssim[n]):.4f}" for n in names)] for r in chosen]))
        if SINGLE in names[:-1]:
            text += [
                f"\nPSNR minus that of the {SINGLE}, dB, with 95 % intervals over images:\n",
                differences(chosen, names),
            ]
        text.append("\n95 % intervals of the mean PSNR over images, and the single image that lost most:\n")
        text.append(
            table(
                ["noise", "method", "PSNR, dB", "interval", "over noisy", "worst over noisy", "image"],
                [detail(row, name) for row in chosen for name in names if name != NOISY],
            )
        )
    return "\n".join(text)


def differences(rows: list[Scores], names: list[str]) -> str:
    """Every method that follows the single pass, image by image against it."""
    others = names[names.index(SINGLE) + 1 :]
    lines = []
    for row in rows:
        cells = []
        for name in others:
            gain = np.array(row.psnr[name]) - np.array(row.psnr[SINGLE])
            low, high = interval(gain)
            cells.append(f"{gain.mean():+.2f} ({low:+.2f} to {high:+.2f})")
        lines.append([row.name, *cells])
    return table(["noise", *others], lines)


def published(row: Scores) -> dict[str, float]:
    return PUBLISHED.get((row.photos, row.family, row.level), {})


def detail(row: Scores, name: str) -> list[str]:
    values = np.array(row.psnr[name])
    low, high = interval(values)
    gain = values - np.array(row.psnr[NOISY])
    worst = int(np.argmin(gain))
    return [
        row.name,
        name,
        f"{values.mean():.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{gain.mean():+.2f}",
        f"{gain[worst]:+.2f}",
        row.images[worst],
    ]


def record(row: Scores) -> dict[str, Any]:
    """A row for the JSON file: means, intervals and every image."""
    return {
        **vars(row),
        "mean": {
            n: {"psnr": float(np.mean(v)), "ssim": float(np.mean(row.ssim[n])), "interval": interval(v)}
            for n, v in row.psnr.items()
        },
        "published": published(row),
    }
