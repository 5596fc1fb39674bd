"""`mdenoise budget FRAME`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mdenoise.cli import console
from mdenoise.cli.options import HELP, pixel_options, resolve


@click.command(context_settings=HELP, short_help="Samples that each region of a render still needs.")
@click.argument("frame", type=click.Path(path_type=Path), metavar="FRAME")
@click.option("--target-flip", type=float, required=True, metavar="F", help="FLIP error to reach, e.g. 0.05.")
@click.option("--spp", type=click.IntRange(1), metavar="N", help="Samples that the frame has [by its header].")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[FRAME's name.budget.exr].")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@pixel_options
def budget(
    frame: Path, target_flip: float, spp: int | None, output: Path | None, overwrite: bool, as_json: bool, **given: Any
) -> int:
    """Write a map of the samples that each region of a render needs until its denoised result has FLIP error F.

    The channels of the map are spp, what is still to be rendered, and flip, what the error is now; one line says both.
    """
    from mdenoise import budget as planner  # help must not load NumPy

    dst = output or frame.with_name(f"{frame.stem}.budget.exr")
    found = planner.run(frame, dst, resolve(given), target_flip, spp, overwrite=overwrite)
    if as_json:
        facts = {"spp": found.spp, "flip": float(found.flip.mean()), "mean_more_spp": float(found.more_spp.mean())}
        console.result({"src": str(frame), "dst": str(dst), **facts, "target_flip": target_flip})
    else:
        console.say(f"{frame.name}: {found.line()}")
        console.result(dst)
    return 0
