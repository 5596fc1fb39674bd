"""`mdenoise INPUT...`, the default command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import click

from mdenoise import batch
from mdenoise.cli import console, farm_lines
from mdenoise.cli.options import HELP, pixel_options, resolve
from mdenoise.cli.show import show


@click.command(context_settings=HELP, short_help="Denoise files; the default command.")
@click.argument("inputs", nargs=-1, required=True, type=click.UNPROCESSED, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR|PATTERN",
    help="Where results go; end a new folder in / [beside the input, as NAME.denoised.EXT].",
)
@click.option("-f", "--frames", metavar="1-100x2,120", help="Frames of a pattern or folder.")
@click.option("--overwrite", "existing", flag_value="overwrite", help="Replace outputs that exist.")
@click.option("--skip-existing", "existing", flag_value="skip", help="Leave out inputs whose output exists.")
@click.option("--recursive", is_flag=True, help="Take the files in folders below a folder, too.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done.")
@click.option("--farm", "farm_name", type=click.Choice(["openjd"]), help="Progress lines and frame ranges of a farm.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback when the program itself fails.")
@pixel_options
@click.pass_obj
def denoise(
    interrupted: Callable[[], bool],
    inputs: tuple[str, ...],
    output: str | None,
    frames: str | None,
    existing: str | None,
    recursive: bool,
    dry_run: bool,
    farm_name: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Denoise renders: files, folders, or frames (shot.####.exr, shot.%04d.exr, shot.1-100#.exr).

    Prints the path of every result. Without -o, frame.exr becomes frame.denoised.exr and shot.0101.exr becomes
    shot.denoised.0101.exr. Names that start with a dash go after --.
    """
    options = resolve(given)
    with farm_lines.failures() if farm_name else nullcontext():
        if farm_name and frames:
            frames = farm_lines.frames(frames)
        plan = batch.plan(inputs, output, frames=frames, recursive=recursive, existing=existing or "refuse")
        for note in () if quiet else plan.notes:
            console.say(note)
        number = {task: index for index, task in enumerate(plan.tasks)}
        if farm_name and not dry_run:
            batch.sweep(plan)
        files = 0 if dry_run else len(plan.tasks)
        with farm_lines.lines(files) if farm_name else console.bar(files, not quiet) as move:
            step = None if move is None else lambda task, fraction: move(number[task], task.src.name, fraction)
            if dry_run:
                outcomes = batch.preview(plan, options)
            else:
                overwrite = existing == "overwrite"
                outcomes = batch.run(plan, options, overwrite=overwrite, progress=step, cancel=interrupted)
            shown = list(show(outcomes, as_json=as_json, quiet=quiet, verbose=verbose))
        if farm_name and not dry_run:
            farm_lines.finish(shown)
        return batch.exit_code(shown)
