"""Value types that travel down the line: what a file holds, and what is to be filtered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Window:
    """A pixel rectangle in absolute coordinates, both corners inclusive (OpenEXR's convention)."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @property
    def width(self) -> int:
        return self.x_max - self.x_min + 1

    @property
    def height(self) -> int:
        return self.y_max - self.y_min + 1


@dataclass(frozen=True)
class Part:
    """One part of a file: its header as the library gave it, and its channels as stored.

    `channels` maps the full channel name to an (H, W) array of the file's own type
    (float16, float32 or uint32), where (H, W) is the size of `window`.
    """

    name: str
    header: Mapping[str, Any]
    channels: Mapping[str, np.ndarray]
    window: Window
    view: str = ""


@dataclass(frozen=True)
class Layer:
    """Channels of one part that belong together, e.g. `ViewLayer.Combined`.

    `name` is the channel name without its component ("" for plain R, G, B);
    `channels` are full channel names in the order of the role: R,G,B(,A), X,Y,Z or one scalar.
    """

    name: str
    part: int
    channels: tuple[str, ...]
    alpha: str | None = None


@dataclass(frozen=True)
class Frame:
    """A file in memory. Planes keep the file's type; nothing is converted."""

    path: Path
    parts: tuple[Part, ...]
    layers: tuple[Layer, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Planes:
    """What the pipeline needs to denoise one image; every array has the same H and W.

    color     (H, W, 3) beauty: scene-linear radiance, encoded sRGB in [0, 1], or the stabilised guide of a mosaic.
    layers    name -> (H, W) or (H, W, C): what is filtered, beauty included; float16/32, uint8/16.
    demodulated  names of the layers that are divided by the albedo before filtering.
    albedo    (H, W, 3) in [0, 1], NaN where absent; None when there is none.
    normal    (H, W, 3) in [-1, 1], 0 on the background, NaN where absent; None when there is none.
    depth     (H, W) distance, any unit; variance (H, W) of the mean luminance, linear.
    encoding  "linear" or "srgb": how `color` and `layers` are encoded; "mosaic": see `mdenoise.mosaic`, `layers` are
              linear photosites, (H, W, 4).
    noise     standard deviation of the noise of a mosaic's `color`.
    """

    color: np.ndarray
    layers: Mapping[str, np.ndarray]
    demodulated: frozenset[str] = frozenset()
    albedo: np.ndarray | None = None
    normal: np.ndarray | None = None
    depth: np.ndarray | None = None
    variance: np.ndarray | None = None
    encoding: str = "linear"
    noise: float = 0.0


@dataclass(frozen=True)
class InWords:
    """What an adapter found to be denoised in a file that has no layers to choose from."""

    text: str

    def line(self) -> str:
        return self.text


@dataclass(frozen=True)
class Filtered:
    """The pipeline's answer: `layers` as in Planes, each of the type that it came in.

    `nearest_px` pixels had no trusted input at any level and took the nearest valid value;
    `distrusted_px` had confidence 0 (not finite in some layer of the group);
    `left_out` names layers that left the joint group (more than 1 % not finite);
    `uncertainty` (H, W) float32, on request: predicted standard deviation of the denoised beauty, in its unit, before
    any blend with the input; `notes` say what was done against noise that the model does not know.
    """

    layers: Mapping[str, np.ndarray]
    nearest_px: int = 0
    distrusted_px: int = 0
    left_out: tuple[str, ...] = ()
    demodulated: bool = False
    exposure: float = 1.0
    uncertainty: np.ndarray | None = None
    notes: tuple[str, ...] = ()
