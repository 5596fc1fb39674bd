"""`mdenoise warmup`: what the first frame would wait for, done ahead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from mdenoise.cli import console
from mdenoise.cli.options import HELP, pixel_options, resolve


class _Size(click.ParamType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        width, cross, height = str(value).lower().partition("x")
        if not (cross and width.isdigit() and height.isdigit() and 0 < int(width) * int(height) <= 2**28):
            self.fail(f"{value!r} is not a size like 1920x1080", param, ctx)
        return int(width), int(height)


@click.command(context_settings=HELP, short_help="Compile the model for this machine, before the first frame.")
@click.option("--size", type=_Size(), default="1920x1080", show_default=True, help="Of the frames to come.")
@pixel_options
@click.pass_obj
def warmup(interrupted: Callable[[], bool], size: tuple[int, int], **given: Any) -> None:
    """Open the engine that the options choose and denoise two made-up frames with it.

    Engines compile the model at first use and keep the result: TensorRT in minutes, the CPU engines in a second.
    Give the options of the job to come: model, engine, device, precision, tile and quality decide what is compiled.
    """
    options = resolve(given)
    import numpy as np

    from mdenoise import engines, models, pipeline
    from mdenoise.frame import Planes

    width, height = size
    started = time.perf_counter()
    card = models.load_card(options.model)
    engine = engines.open_engine(card, options)
    console.say(f"{engine.name} ({engine.precision}) is open after {time.perf_counter() - started:.1f} s")
    color = np.random.default_rng(1).gamma(0.7, 1.0, (height, width, 3)).astype(np.float32)
    photo = np.clip(color * 80, 0, 255).astype(np.uint8)
    kinds = {"linear": color, "srgb": photo} if card.chroma else {"linear": color}  # each has kernels of its own
    for encoding, image in kinds.items():
        for which in ("first", "second"):
            started = time.perf_counter()
            planes = Planes(image, {"color": image}, encoding=encoding)
            pipeline.denoise_planes(planes, engine, card, options, cancel=interrupted)
            console.say(f"{which} frame of {width}x{height}, {encoding}: {time.perf_counter() - started:.1f} s")
