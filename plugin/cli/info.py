"""`mdenoise info FILE...`."""

from __future__ import annotations

from typing import Any

import click

from mdenoise import batch
from mdenoise.cli.options import HELP, pixel_options, resolve
from mdenoise.cli.show import show


@click.command(context_settings=HELP, short_help="Layers, roles and noise of files.")
@click.argument("inputs", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FILE...")
@click.option("-f", "--frames", metavar="1-100x2,120", help="Frames of a pattern or folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file.")
@click.option("-v", "--verbose", is_flag=True, help="A traceback when the program itself fails.")
@pixel_options
def info(inputs: tuple[str, ...], frames: str | None, as_json: bool, verbose: bool, **given: Any) -> int:
    """Show layers, their types, the role of each and why, sizes and the estimated noise."""
    described = batch.inspect(inputs, resolve(given), frames=frames)
    return batch.exit_code(list(show(described, as_json=as_json, quiet=True, verbose=verbose)))
