"""The options that every denoising command shares. Flag beats environment beats --config beats default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mdenoise import config


class _Robustness(click.ParamType):
    name = "robustness"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value == "auto" or isinstance(value, float):
            return value
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither auto nor a number from 0 to 0.9", param, ctx)


def _option(flag: str, name: str, type_: Any, help_: str, metavar: str | None = None) -> Callable[[Any], Any]:
    envvar = f"MDENOISE_{flag[2:].replace('-', '_').upper()}"
    return click.option(flag, name, type=type_, metavar=metavar, help=help_, envvar=envvar)


def _flag(flag: str, name: str, help_: str) -> Callable[..., Any]:
    return click.option(flag, name, is_flag=True, default=None, help=help_, envvar=f"MDENOISE_{name.upper()}")


HELP = {"help_option_names": ["-h", "--help"]}
patterns = click.option(  # of commands that look into folders
    "--pattern",
    "patterns",
    multiple=True,
    default=("*",),
    metavar="GLOB",
    help="Only files of such a name; may be given several times.",
)
_LAYER = "LAYER|FILE[:LAYER]"
_PIXELS = (
    _option("--quality", "quality", click.Choice(config.QUALITIES), "Speed against quality [balanced]."),
    _option("--strength", "strength", float, "Blend of input (0) and result (1) [1].", "0..1"),
    _option("--luma", "luma", float, "Photographs: share of --strength for brightness [1].", "0..1"),
    _option("--chroma", "chroma", float, "Photographs: share of --strength for colour [1].", "0..1"),
    _option(
        "--robustness", "robustness", _Robustness(), "Share of pixels hidden from the network [auto].", "auto|0..0.9"
    ),
    _flag("--uncertainty", "uncertainty", "Add a layer: how far the result may be off; 4 more predictions."),
    _option("--temporal", "temporal", int, "Sequences: join N frames to either side, by motion vectors [0].", "N"),
    _flag(
        "--prefilter/--no-prefilter",
        "prefilter",
        "Denoise albedo and normal first: always, or never [the albedo, where it is noisy].",
    ),
    _option(
        "--layers",
        "layers",
        str,
        "What is denoised: beauty, additive, all, or names [beauty].",
        "beauty|additive|all|LIST",
    ),
    _option("--alpha", "alpha", click.Choice(config.ALPHAS), "Alpha by the same weights, or untouched [denoise]."),
    _option("--color", "color", str, "The noisy beauty, when its name does not tell.", _LAYER),
    _option("--albedo", "albedo", str, "Albedo layer; none to use none.", _LAYER),
    _option("--normal", "normal", str, "Normal layer; none to use none.", _LAYER),
    _option("--depth", "depth", str, "Depth layer; none to use none.", _LAYER),
    _option("--variance", "variance", str, "Variance layer; none to use none.", _LAYER),
    _option("--encoding", "encoding", click.Choice(config.ENCODINGS), "How colour is encoded [auto]."),
    _option("--dng", "dng", click.Choice(config.DNGS), "Raw files: a mosaic, or linear RGB [as the source]."),
    _option("--gain-map", "gain_map", click.Choice(config.GAIN_MAPS), "Pictures: what becomes of gain maps [keep]."),
    _option("--format", "format", click.Choice(config.FORMATS), "Raw files: what results are written as [dng]."),
    _option("--model", "model", str, "Model by name, or an .onnx file [base].", "base|PATH"),
    _option("--engine", "engine", click.Choice(config.ENGINES), "Inference engine [auto]."),
    _option("--device", "device", str, "Where the network runs [auto].", "auto|cpu|cuda[:N]"),
    _option("--precision", "precision", click.Choice(config.PRECISIONS), "Arithmetic of the network [auto]."),
    _option("--tile", "tile_px", int, "Largest tile side, a multiple of 64 [by area].", "PX"),
    _option("--overlap", "overlap_px", int, "Context around a tile, a multiple of 32 [by quality].", "PX"),
    _option("--max-memory", "max_memory_mb", int, "Most memory beside the image's planes [about 700].", "MB"),
    _option("--config", "config", click.Path(path_type=Path), "TOML file with these options.", "FILE"),
)


def pixel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Put every option of config.Options on a command; its values arrive as keyword arguments for `resolve`."""
    for option in reversed(_PIXELS):
        command = option(command)
    return command


def resolve(given: dict[str, Any]) -> config.Options:
    """Options from what the command line and the environment gave, over the config file, over the defaults."""
    values = {name: value for name, value in given.items() if value is not None}
    path = values.pop("config", None)
    return replace(config.load_config(path) if path else config.Options(), **values)
