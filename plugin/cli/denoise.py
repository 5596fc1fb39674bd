"""`mdenoise INPUT...`, the default command."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import click

from mdenoise import batch, isolation
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
@click.option(
    "--skip-existing",
    "existing",
    flag_value="skip",
    help="Leave out inputs whose result is there; one of an older version of its source is made again.",
)
@click.option("--suffix", metavar="TEXT", help="Added to names [.denoised beside the input, nothing in a folder].")
@click.option("--recursive", is_flag=True, help="Take the files in folders below a folder, too; they are mirrored.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1), envvar="MDENOISE_JOBS", metavar="N", help="Files at a time [2 or more]."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(1),
    default=isolation.SECONDS,
    envvar="MDENOISE_TIMEOUT",
    metavar="SECONDS",
    help="Several files: how long one may take without progress [300].",
)
@click.option(
    "--file-memory",
    "memory_mib",
    type=click.IntRange(1),
    envvar="MDENOISE_FILE_MEMORY",
    metavar="MB",
    help="Several files: how much memory one may take [90 % over --jobs].",
)
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
    suffix: str | None,
    recursive: bool,
    jobs: int | None,
    timeout_s: float,
    memory_mib: int | None,
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

    Several files are denoised in processes of their own: one that crashes, or takes too much time or memory, is
    reported, and the others go on.
    """
    began_s = time.monotonic()
    options = resolve(given)
    with farm_lines.failures() if farm_name else nullcontext():
        if farm_name and frames:
            frames = farm_lines.frames(frames)
        plan = batch.plan(
            inputs, output, frames=frames, recursive=recursive, existing=existing or "refuse", suffix=suffix,
            options=options,
        )  # fmt: skip
        for note in () if quiet else plan.notes:
            console.say(note)
        number = {task: index for index, task in enumerate(plan.tasks)}
        if not dry_run:
            batch.sweep(plan, all_writers=farm_name is not None)
        files = 0 if dry_run else len(plan.tasks)
        with farm_lines.lines(files) if farm_name else console.bar(files, not quiet) as move:
            shares = dict.fromkeys(plan.tasks, 0.0)

            def step(task: batch.Task, fraction: float) -> None:
                shares[task] = fraction
                move(number[task], task.src.name, sum(shares.values()))

            if dry_run:
                outcomes = batch.preview(plan, options)
            else:
                outcomes = batch.run(
                    plan, options, overwrite=existing == "overwrite", progress=None if move is None else step,
                    cancel=interrupted, jobs=jobs, memory_mib=memory_mib, seconds=timeout_s,
                )  # fmt: skip
            shown = list(show(outcomes, as_json=as_json, quiet=quiet, verbose=verbose))
        if len(shown) > 1 and not (quiet or dry_run):
            console.say(batch.summary(shown, time.monotonic() - began_s))
        if farm_name and not dry_run:
            farm_lines.finish(shown)
        return batch.exit_code(shown)
