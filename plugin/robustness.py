"""`--robustness auto`: what is done for noise that a model was not trained on, by the image's own noise.

The model's card says which measures suit it (`"robustness": {"impulses": false, "grid": true}`; of those not named
impulses and level are taken, phase grids are not) and, for a model that knows one level of noise only, which
(`"sigma"`, of 255). Linear images are left alone: their outliers are bounded already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdenoise import masks
from mdenoise.config import Options
from mdenoise.frame import Planes
from mdenoise.masks import Pattern
from mdenoise.models import ModelCard
from mdenoise.noise import Noise, measure_noise

SAME_LEVEL = 0.08  # a level this close to the model's is the model's: estimates are no better
QUIET = 2.5 / 255  # weaker noise is below the texture of photographs: its correlation cannot be told
# Whether the level is also matched at robustness 0: it is measured once per image, as exposure is.
NORMALISE_ALWAYS = True
GRIDS = {1: "grid2", 2: "grid3"}  # by how far noise is correlated: on its phases it is not


@dataclass(frozen=True)
class Curve:
    """Maps encoded colour to what the model is shown: `values` at `knots`, (n,), shifted by `shift`, (3,)."""

    knots: np.ndarray
    values: np.ndarray
    shift: np.ndarray

    def __call__(self, color: np.ndarray) -> np.ndarray:
        """(3, h, w) float32; straight lines go on beyond the first and the last knot."""
        out = np.interp(color, self.knots, self.values).astype(np.float32)
        for side, beyond in ((0, color < self.knots[0]), (-1, color > self.knots[-1])):
            if beyond.any():
                inner = 1 if side == 0 else -2
                slope = (self.values[side] - self.values[inner]) / (self.knots[side] - self.knots[inner])
                out += beyond * np.float32(slope) * (color - np.float32(self.knots[side]))
        return out + self.shift.astype(np.float32)[:, None, None]


@dataclass(frozen=True)
class Measures:
    """What is done for one image. `patterns` are averaged over; `hidden_px` (H, W) bool are its impulses."""

    patterns: tuple[Pattern, ...] = ()
    hidden_px: np.ndarray | None = None
    curve: Curve | None = None
    notes: tuple[str, ...] = ()


def choose(planes: Planes, card: ModelCard, options: Options) -> Measures:
    """The measures for one image, none for linear ones and where robustness is a number."""
    auto = options.robustness == "auto"
    hides = auto and card.robustness.get("impulses", True)
    # The mean over phases loses texture: on photographs far more than correlated noise costs a single pass.
    phases = auto and card.robustness.get("grid", False)
    levels = card.sigma > 0 and card.robustness.get("level", True) and (auto or NORMALISE_ALWAYS)
    if planes.encoding != "srgb" or not (hides or phases or levels):
        return Measures()
    noise, impulses = measure_noise(planes.color)
    notes = []
    patterns: tuple[Pattern, ...] = ()
    hidden = impulses if hides else None
    if hidden is not None:
        notes.append(f"{noise.impulse_share:.1%} of the values are impulses: hidden")
    if phases and noise.extent_px and noise.level > QUIET:
        layout = GRIDS[noise.extent_px]
        patterns = masks.complementary(layout)
        notes.append(f"noise correlated over {noise.extent_px} px: mean over the {len(patterns)} phases of {layout}")
    curve = level_curve(noise, card.sigma / 255, planes.color) if levels and noise.level > QUIET else None
    if curve is not None:
        notes.append(f"noise {255 * noise.level:.0f} of 255, shown to the model as {card.sigma:.0f}")
    return Measures(patterns, hidden, curve, tuple(notes))


def level_curve(noise: Noise, sigma: float, color: np.ndarray) -> Curve | None:
    """The map that gives the noise of this image the deviation `sigma` at every brightness; None where it has it.

    Its slope is sigma over the noise at that brightness (a variance-stabilising transform). Contrast that shrinks does
    so about mid grey, contrast that grows about the mean of the image: what is shown stays near the middle.
    """
    points = noise.curve or ((0.5, noise.level),)
    levels = np.array([level for _, level in points])
    if np.all(np.abs(sigma / levels - 1) <= SAME_LEVEL) or abs(sigma / noise.level - 1) <= SAME_LEVEL:
        return None
    knots = np.linspace(0.0, 1.0, 33)
    local = np.interp(knots, [at for at, _ in points], np.maximum(levels, 0.25 * noise.level))
    slope = sigma / local
    values = np.concatenate([[0.0], np.cumsum(np.diff(knots) * (slope[1:] + slope[:-1]) / 2)])
    finite = np.isfinite(color).all(axis=-1)
    mean = np.clip(color[finite].mean(axis=0), 0, 1) if finite.any() else np.full(3, 0.5)
    target = 0.5 + (mean - 0.5) * min(1.0, sigma / noise.level)
    return Curve(knots, values, target - np.interp(mean, knots, values))
