"""`mdenoise hook -- COMMAND...`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from mdenoise import batch, posthook
from mdenoise.batch import Outcome
from mdenoise.cli import console
from mdenoise.cli.options import HELP, patterns, pixel_options, resolve
from mdenoise.errors import MDenoiseError

_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP")
_SECONDS = click.FloatRange(0)


@click.command(
    context_settings={**HELP, "allow_interspersed_args": False},
    short_help="Run a render command and denoise its frames as they are finished.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
@click.option(
    "--watch",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    default=(Path(),),
    metavar="DIR",
    help="Where the frames appear; may be given several times [the current folder].",
)
@click.option("--recursive", is_flag=True, help="Frames in the folders below, too.")
@patterns
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Results go here under the same names [beside the frame, as NAME.denoised.EXT].",
)
@click.option(
    "--overwrite",
    "existing",
    flag_value="overwrite",
    help="Replace any output that exists [only those that mdenoise wrote].",
)
@click.option("--skip-existing", "existing", flag_value="skip", help="Leave out frames whose output exists.")
@click.option(
    "--settle",
    "settle_s",
    type=_SECONDS,
    default=3.0,
    envvar="MDENOISE_SETTLE",
    metavar="SECONDS",
    help="How long a file must not change before it is read [3].",
)
@click.option(
    "--poll",
    "poll_s",
    type=_SECONDS,
    default=1.0,
    envvar="MDENOISE_POLL",
    metavar="SECONDS",
    help="Time between scans [1].",
)
@click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback when the program itself fails.")
@pixel_options
def hook(
    command: tuple[str, ...],
    folders: tuple[Path, ...],
    recursive: bool,
    patterns: tuple[str, ...],
    output: Path | None,
    existing: str | None,
    settle_s: float,
    poll_s: float,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Run COMMAND and denoise every frame that it writes, while it goes on rendering.

    Files that were there before and do not change are left alone. COMMAND's output stays as it is: mdenoise writes
    to stderr only. The exit code is COMMAND's own; where that is 0, it is 0 when every frame was denoised, and else
    1, or 3, 4 or 5 when all failed for that reason. A signal is passed on to COMMAND and what it started, and ends
    in 130.
    """
    render = posthook.Render(
        posthook.Hook(
            command, folders, patterns, recursive, output, existing or "ours", resolve(given), settle_s, poll_s
        )
    )
    last: dict[Path, Outcome] = {}
    with _passed_on(render.stop):
        for outcome in render.outcomes():
            last[outcome.src] = outcome
            _tell(outcome, quiet, verbose)
    if not quiet and not last:
        console.say(f"{command[0]} wrote nothing to denoise in {', '.join(map(str, folders))}: is --watch right?")
    return render.returncode or batch.exit_code(last.values())


@contextmanager
def _passed_on(stop: Callable[[int], None]) -> Iterator[None]:
    """Hand the signals that would end this program to `stop` instead; those that are ignored stay ignored."""
    numbers = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # the host program owns the signals
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [number for number, handler in before.items() if handler not in (None, signal.SIG_IGN)]
    try:
        for number in ours:
            signal.signal(number, lambda caught, frame: stop(caught))
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _tell(outcome: Outcome, quiet: bool, verbose: bool) -> None:
    """One line a frame on stderr, as stdout is the command's."""
    if outcome.error is not None:
        error = outcome.error
        console.say(str(error) if isinstance(error, MDenoiseError) else console.internal(error))
        if verbose and not isinstance(error, MDenoiseError):
            console.traceback(error)
    elif not quiet:
        what = f"skipped, {outcome.dst} exists" if outcome.status == "skipped" else f"-> {outcome.dst}"
        console.say(f"{outcome.src} {what}" + (f" ({outcome.roles_line})" if verbose and outcome.roles_line else ""))
