"""Options of one job, by the same names in Python and in TOML; the command line has --tile, --overlap, --max-memory."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mdenoise.errors import UsageError

QUALITIES = ("fast", "balanced", "best")
PRECISIONS = ("auto", "f32", "bf16", "fp16", "int8")
ENGINES = ("auto", "openvino", "onnxruntime", "tensorrt", "tensorrt_rtx", "onnxruntime_cuda")
ENCODINGS = ("auto", "linear", "srgb")
ALPHAS = ("denoise", "keep")
DNGS = ("auto", "cfa", "linear")
GAIN_MAPS = ("keep", "drop", "refuse")
FORMATS = ("auto", "dng", "tiff", "png", "exr", "jpeg")


@dataclass(frozen=True)
class Options:
    """Everything that changes the pixels of a result, and how it is computed.

    strength     0..1, blend of input (0, returned bit for bit) and filtered image (1).
    luma, chroma   0..1, how much of that reaches brightness and colour of photographs; renders know strength alone.
    dng          raw files: a mosaic as the source ("cfa"), or demosaiced ("linear"); "auto" keeps the source's kind.
    gain_map     pictures: the HDR gain map of the noisy picture is kept, dropped, or a reason to refuse the file.
    format       what results of raw files are written as; "auto" = DNG. Other files keep their format.
    robustness   share of pixels hidden from the network at inference, 0..0.9, or "auto": by the image's noise.
    uncertainty  also predict how far the result may be off; four more predictions.
    temporal     frames to either side of a sequence that a result is joined with, by their motion vectors, 0..8.
    prefilter    denoise albedo and normal first, by one more prediction; "auto" takes noise out of the albedo where it
                 has some, at no such cost, and leaves clean ones as they are.
    layers       "beauty", "additive", "all" or names separated by commas.
    color, albedo, normal, depth, variance   LAYER or FILE[:LAYER]; None = found by name, "none" = do not use.
    tile_px      largest tile side, a multiple of 64 in 64..2048; by default engines of the CPU use tiles and bands of
                 any shape, up to 1920 x 1088 pixels.
    overlap_px   context of every tile beyond the pixels it delivers, a multiple of 32; None = by quality.
    max_memory_mb  most memory a process takes beside the planes that come in and go out (CPU); None = about 700.
    """

    quality: str = "balanced"
    precision: str = "auto"
    engine: str = "auto"
    device: str = "auto"
    robustness: float | str = "auto"
    strength: float = 1.0
    luma: float = 1.0
    chroma: float = 1.0
    uncertainty: bool = False
    prefilter: bool | str = "auto"
    temporal: int = 0
    model: str = "base"
    layers: str = "beauty"
    alpha: str = "denoise"
    encoding: str = "auto"
    dng: str = "auto"
    gain_map: str = "keep"
    format: str = "auto"
    color: str | None = None
    albedo: str | None = None
    normal: str | None = None
    depth: str | None = None
    variance: str | None = None
    tile_px: int = 1280
    overlap_px: int | None = None
    max_memory_mb: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("quality", QUALITIES),
            ("precision", PRECISIONS),
            ("engine", ENGINES),
            ("encoding", ENCODINGS),
            ("alpha", ALPHAS),
            ("dng", DNGS),
            ("gain_map", GAIN_MAPS),
            ("format", FORMATS),
        ):
            value = getattr(self, name)
            if value not in allowed:
                raise UsageError(f"{name} {value!r} is not known: use {', '.join(allowed)}")
        for name in ("strength", "luma", "chroma"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} {getattr(self, name)} is out of range: use 0 to 1")
        if not 0 <= self.temporal <= 8:
            raise UsageError(f"temporal {self.temporal} is out of range: use 0 to 8 frames")
        if self.uncertainty and self.strength == 0.0:
            raise UsageError("uncertainty needs a result: use a strength above 0")
        if self.robustness != "auto" and not (isinstance(self.robustness, int | float) and 0 <= self.robustness <= 0.9):
            raise UsageError(f"robustness {self.robustness!r} cannot be used: auto, or a number from 0 to 0.9")
        if self.prefilter not in (True, False, "auto"):
            raise UsageError(f"prefilter {self.prefilter!r} cannot be used: true, false or auto")
        if self.tile_px % 64 or not 64 <= self.tile_px <= 2048:
            raise UsageError(f"tile {self.tile_px} cannot be used: a multiple of 64 from 64 to 2048")
        if self.max_memory_mb is not None and self.max_memory_mb <= 0:
            raise UsageError(f"max memory {self.max_memory_mb} cannot be used: a number of MB above 0")
        if self.overlap_px is not None and (self.overlap_px % 32 or self.overlap_px < 0):
            raise UsageError(f"overlap {self.overlap_px} cannot be used: a multiple of 32")


def load_config(path: Path, base: Options | None = None) -> Options:
    """Options from a TOML file over `base`; an unknown key is an error with a suggestion."""
    base = base or Options()
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read config {path}: {error}") from None
    known = [f.name for f in fields(Options)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise UsageError(f"config {path}: unknown key {key!r}{hint}")
    try:
        return replace(base, **values)
    except TypeError as error:
        raise UsageError(f"config {path}: {error}") from None
