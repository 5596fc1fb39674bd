"""`mdenoise budget`: how many more samples each region of a render needs, by how unsure its denoised colour is.

The uncertainty, taken through a display's curve, tells the FLIP error that an eye would see, region by region; more
samples bring that down by a power law. Both were fitted to the validation renders at 4 and 16 samples:
`python -m mdenoise.training.budget` fits them again and tells how well they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mdenoise import engines, models, pipeline
from mdenoise.adapters import adapter_for, exr_file
from mdenoise.adapters.aov_names import readable
from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.frame import Frame, Part
from mdenoise.guide import luminance

REGION_PX = 32
FLIP_SCALE, FLIP_POWER = 0.812, 0.643  # FLIP of a region = scale * (error on a display) ** power
DECLINE = 0.29  # FLIP falls by samples ** -DECLINE, as the filter has done most of the work already
MOST_SPP = 1e6


@dataclass(frozen=True)
class Budget:
    """`flip` (H, W) float32: predicted FLIP error; `more_spp` (H, W) float32, whole numbers: samples still needed for
    `target`; both constant over a region. `spp` is what the frame has."""

    flip: np.ndarray
    more_spp: np.ndarray
    spp: int
    target: float

    def line(self) -> str:
        total = self.more_spp + self.spp
        even = self.spp * max(1.0, (float(self.flip.mean()) / self.target) ** (1 / DECLINE))
        enough = float((self.more_spp == 0).mean())
        return (
            f"FLIP about {self.flip.mean():.3f} at {self.spp} spp; for {self.target:g} everywhere {total.mean():.0f} "
            f"spp in the mean, {np.percentile(total, 90):.0f} or less in 90 % of the image, {total.max():.0f} at most; "
            f"{enough:.0%} is good enough; for a mean of {self.target:g}, {even:.0f} spp everywhere"
        )


def predict(color: np.ndarray, uncertainty: np.ndarray, spp: int, target: float) -> Budget:
    """From a denoised (H, W, 3) linear image, at display exposure, and its (H, W) deviation. Raises UsageError."""
    if spp < 1 or not 0 < target < 1:
        raise UsageError(
            f"cannot plan for FLIP {target} from {spp} spp: use a target between 0 and 1 and 1 spp or more"
        )
    flip = np.float32(FLIP_SCALE) * regions(display_error(color, uncertainty)) ** np.float32(FLIP_POWER)
    needed = np.minimum(spp * (flip.astype(np.float64) / target) ** (1 / DECLINE), MOST_SPP)
    more = np.ceil(np.maximum(needed - spp, 0)).astype(np.float32)
    height, width = uncertainty.shape
    whole = [x.repeat(REGION_PX, axis=0).repeat(REGION_PX, axis=1)[:height, :width] for x in (flip, more)]
    return Budget(*whole, spp, target)


def display_error(color: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """(H, W) float32: how far a display's value of the luminance may be off, by its slope about the result."""
    light = luminance(color.astype(np.float32))
    ends = [np.clip(light + side * uncertainty, 0, 1) ** np.float32(1 / 2.2) for side in (1, -1)]
    return (ends[0] - ends[1]) / 2


def regions(plane: np.ndarray) -> np.ndarray:
    """Means over squares of REGION_PX, of what lies inside the image."""
    rows, cols = (np.arange(0, length, REGION_PX) for length in plane.shape)
    sums = np.add.reduceat(np.add.reduceat(plane, rows, axis=0), cols, axis=1)
    ones = [np.diff(np.append(starts, length)) for starts, length in zip((rows, cols), plane.shape, strict=True)]
    return (sums / np.outer(*ones)).astype(np.float32)


def run(
    src: Path,
    dst: Path,
    options: Options,
    target: float,
    spp: int | None = None,
    *,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Budget:
    """Denoise `src` with its uncertainty and write the maps as the channels `spp` and `flip` of `dst`.

    `spp` is what the frame was rendered with; None: what its header tells (Cycles). Raises UsageError, InputError,
    OutputError, ModelError, EngineError.
    """
    if dst.suffix.lower() != ".exr":
        raise OutputError(f"cannot write {dst}: a map of samples is an EXR file; name it .exr")
    frame = adapter_for(src).read(src)
    if not isinstance(frame, Frame):
        raise InputError(f"cannot plan samples for {src}: it is no render")
    job = adapter_for(src).adapt(frame, options)[0]
    had = spp or samples_of(frame)
    if not had:
        raise UsageError(f"cannot plan samples for {src}: its header does not tell how many it has; give --spp N")
    card = models.load_card(options.model)
    whole = replace(options, uncertainty=True, strength=1.0)
    done = pipeline.denoise_planes(job.planes, engines.open_engine(card, whole), card, whole, progress=progress)
    color = done.layers[job.beauty]
    assert done.uncertainty is not None
    found = predict(color if color.ndim == 3 else color[..., None].repeat(3, 2), done.uncertainty, had, target)
    part = frame.parts[job.roles.color.part]
    kept = {name: part.header[name] for name in ("dataWindow", "displayWindow", "compression", "type")}
    maps = {"spp": found.more_spp, "flip": found.flip}
    exr_file.write(Frame(dst, (Part("", kept, maps, part.window),), ()), dst, overwrite=overwrite)
    return found


def samples_of(frame: Frame) -> int | None:
    """Samples per pixel by the header: Cycles writes them for each view layer."""
    for part in frame.parts:
        for name, value in part.header.items():
            if name.startswith("cycles.") and name.endswith(".samples") and readable(value).isdigit():
                return int(value)
    return None
