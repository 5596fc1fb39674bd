"""`mdenoise post FILE...`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from mdenoise import batch, postframe
from mdenoise.cli.options import HELP, pixel_options, resolve
from mdenoise.cli.show import show


@click.command(context_settings=HELP, short_help="Denoise frames that a renderer has just written.")
@click.argument("inputs", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR|PATTERN",
    help="Where results go; end a new folder in / [beside the frame, as NAME.denoised.EXT].",
)
@click.option("-f", "--frames", metavar="1-100x2,120", help="Frames of a pattern.")
@click.option(
    "--overwrite",
    "existing",
    flag_value="overwrite",
    help="Replace any output that exists [only those that mdenoise wrote].",
)
@click.option("--skip-existing", "existing", flag_value="skip", help="Leave out frames whose output exists.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=5.0,
    envvar="MDENOISE_WAIT",
    metavar="SECONDS",
    help="How long a file may be missing or unfinished [5].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback when the program itself fails.")
@pixel_options
@click.pass_obj
def post(
    interrupted: Callable[[], bool],
    inputs: tuple[str, ...],
    output: str | None,
    frames: str | None,
    existing: str | None,
    wait_s: float,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Denoise frames from a renderer's post-frame script: a name, or a pattern with --frames.

    As `mdenoise FILE...`, made for being called again and again: the earlier result of a frame is replaced without
    asking, a file of someone else never is, and a frame that the renderer has not quite finished is waited for.
    """
    outcomes = postframe.post(
        inputs,
        output,
        frames=frames,
        existing=existing or "ours",
        options=resolve(given),
        wait_s=wait_s,
        cancel=interrupted,
    )
    return batch.exit_code(list(show(outcomes, as_json=as_json, quiet=quiet, verbose=verbose)))
