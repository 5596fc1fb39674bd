"""`mdenoise watch IN OUT`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mdenoise import batch
from mdenoise import watch as watching
from mdenoise.cli.options import HELP, pixel_options, resolve
from mdenoise.cli.show import show


def _seconds(flag: str, name: str, default: float, help_: str) -> Callable[[Any], Any]:
    envvar = f"MDENOISE_{flag[2:].upper()}"
    kind = click.FloatRange(0)
    return click.option(flag, name, type=kind, default=default, envvar=envvar, metavar="SECONDS", help=help_)


@click.command(context_settings=HELP, short_help="Keep a folder denoised.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="IN")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--once", is_flag=True, help="Scan once, denoise what is new or changed, and end.")
@_seconds("--poll", "poll_s", 2.0, "Time between scans [2].")
@_seconds("--settle", "settle_s", 3.0, "How long a file must not change before it is read [3].")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback when the program itself fails.")
@pixel_options
@click.pass_obj
def watch(
    interrupted: Callable[[], bool],
    folder: Path,
    out: Path,
    once: bool,
    poll_s: float,
    settle_s: float,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Denoise every file in IN that has no current result in OUT, under the same name; Ctrl-C ends it.

    A result is current when its stamp names this version of its source, so nothing is done twice. Files in OUT that
    mdenoise did not write are never replaced.
    """
    job = watching.Watch(folder, out, resolve(given), settle_s, poll_s)
    outcomes = (watching.once if once else watching.forever)(job, cancel=interrupted)
    shown = show(outcomes, as_json=as_json, quiet=quiet, verbose=verbose)
    if once:
        return batch.exit_code(list(shown))
    for _ in shown:
        pass
    return 0
