"""`mdenoise farm template|bundle|submit`: the job as a farm takes it; how it runs there is the farm's business."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mdenoise import config
from mdenoise.cli import console
from mdenoise.cli.options import HELP
from mdenoise.errors import EngineError


@click.group(context_settings=HELP, short_help="Jobs for render farms (OpenJD).")
def farm() -> None:
    """Jobs for render farms that speak OpenJD. Workers need mdenoise on their PATH, and nothing else."""


def _jobs() -> Any:
    return importlib.import_module("mdenoise.integrations.openjd")


def _job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("pattern", type=click.Path(path_type=Path), metavar="shot.####.exr"),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Folder of the results.",
        ),
        click.option("-f", "--frames", required=True, metavar="1-100x2,120", help="Frames of the job."),
        click.option("--frames-per-task", "FramesPerTask", type=click.IntRange(1), help="Frames of one task [10]."),
        click.option(
            "--overwrite",
            "Existing",
            flag_value="overwrite",
            help="Replace results that exist, instead of leaving them out.",
        ),
        click.option("--quality", "Quality", type=click.Choice(config.QUALITIES), help="Speed against quality."),
        click.option("--strength", "Strength", type=click.FloatRange(0, 1), help="Blend of input and result."),
        click.option("--layers", "Layers", metavar="beauty|additive|all|LIST", help="What is denoised."),
        click.option("--device", "Device", metavar="auto|cpu|cuda[:N]", help="Where the network runs."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@farm.command(context_settings=HELP)
def template() -> int:
    """Print the OpenJD job template."""
    console.result(_jobs().template().rstrip())
    return 0


@farm.command(context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="BUNDLE")
@_job_options
def bundle(folder: Path, pattern: Path, output: Path, frames: str, **more: Any) -> int:
    """Write a job bundle into the folder BUNDLE: the template and the values of its parameters."""
    jobs = _jobs()
    jobs.write_bundle(folder, jobs.parameters(pattern, output, frames, **more))
    console.result(folder)
    return 0


@farm.command(context_settings=HELP | {"ignore_unknown_options": True})
@_job_options
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- DEADLINE OPTIONS]")
def submit(pattern: Path, output: Path, frames: str, options: tuple[str, ...], **more: Any) -> int:
    """Submit a job to AWS Deadline Cloud with its own command, `deadline bundle submit`.

    What follows -- is passed on, e.g. --queue-id ID --yes.
    """
    jobs = _jobs()
    values = jobs.parameters(pattern, output, frames, **more)
    deadline = shutil.which("deadline")
    if deadline is None:
        raise EngineError("cannot submit the job: there is no deadline command. Install it: pip install deadline")
    with tempfile.TemporaryDirectory(prefix="mdenoise-") as folder:
        jobs.write_bundle(Path(folder), values)
        return subprocess.run([deadline, "bundle", "submit", folder, *options], check=False).returncode
