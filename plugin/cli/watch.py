"""`mdenoise watch IN OUT`."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from mdenoise import batch, isolation
from mdenoise import watch as watching
from mdenoise.batch import Outcome
from mdenoise.cli import Interrupted, console
from mdenoise.cli.options import HELP, patterns, pixel_options, resolve
from mdenoise.cli.show import show
from mdenoise.errors import UsageError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Since(click.ParamType):
    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Nanoseconds since 1970 of `now`, of an age such as 90m, or of a date and time (local without an offset)."""
        age = re.fullmatch(r"([0-9]+)([smhd])", value)
        if value == "now" or age:
            return time.time_ns() - (int(age[1]) * _UNITS_S[age[2]] * 10**9 if age else 0)
        try:
            return int(datetime.fromisoformat(value).timestamp() * 10**9)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither now, an age (30m, 12h, 7d), nor a date (2026-01-31)", param, ctx)


def _number(flag: str, name: str, kind: Any, default: Any, help_: str, metavar: str = "SECONDS") -> Callable[..., Any]:
    envvar = f"MDENOISE_{flag[2:].replace('-', '_').upper()}"
    return click.option(flag, name, type=kind, default=default, envvar=envvar, metavar=metavar, help=help_)


def _folder(flag: str, help_: str) -> Callable[..., Any]:
    return click.option(flag, type=click.Path(path_type=Path), metavar="DIR", help=help_)


@click.command(context_settings=HELP, short_help="Keep a folder denoised.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="IN")
@click.argument("out", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--once", is_flag=True, help="Denoise what is new or changed, and end.")
@click.option("--status", "wants_status", is_flag=True, help="Tell what is done, waiting and failed, and end.")
@click.option("--retry-failed", is_flag=True, help="Let files that were given up be tried again, and end.")
@click.option("--recursive", is_flag=True, help="The folders below, too; OUT mirrors them.")
@patterns
@click.option(
    "--since",
    "since_ns",
    type=_Since(),
    metavar="now|AGE|DATE",
    help="Leave alone what is older: now, 30m, 12h, 7d, 2026-01-31T18:00.",
)
@click.option("--ready-suffix", metavar=".done", help="Read frame.exr only when frame.exr.done is there, too.")
@_number("--poll", "poll_s", click.FloatRange(0), 2.0, "Time between scans [2].")
@_number("--settle", "settle_s", click.FloatRange(0), 3.0, "How long a file must not change before it is read [3].")
@_folder("--done-dir", "Move sources here once their result is written [they stay].")
@_folder("--failed-dir", "Move sources here that were given up [they stay].")
@_number("--tries", "tries", click.IntRange(1), 3, "Attempts at a file before it is given up [3].", "N")
@_number("--lease", "lease_s", click.FloatRange(1), 60.0, "How long another worker's silence is respected [60].")
@click.option(
    "-j", "--jobs", type=click.IntRange(1), envvar="MDENOISE_JOBS", metavar="N", help="Files at a time [2 or more]."
)
@_number(
    "--timeout", "timeout_s", click.FloatRange(1), isolation.SECONDS, "How long a file may take without progress [300]."
)
@_number(
    "--file-memory", "memory_mib", click.IntRange(1), None, "How much memory a file may take [90 % over --jobs].", "MB"
)
@click.option(
    "--metrics",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep counts in this file, for Prometheus's textfile collector.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout; --status as one object.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on stderr.")
@click.option("-v", "--verbose", is_flag=True, help="More on stderr; a traceback when the program itself fails.")
@pixel_options
def watch(
    folder: Path,
    out: Path,
    once: bool,
    wants_status: bool,
    retry_failed: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Denoise every file in IN that has no current result in OUT, under the same name.

    A result is current when its stamp names this version of its source, so nothing is done twice, whoever is killed.
    Any number of these may run on one IN and OUT, on one machine or several. Files in OUT that mdenoise did not write
    are never replaced. The first Ctrl-C or SIGTERM finishes the file in hand, the second ends at once; SIGHUP reads
    --config again.
    """
    own = {
        name: given.pop(name)
        for name in (
            "recursive",
            "patterns",
            "since_ns",
            "ready_suffix",
            "poll_s",
            "settle_s",
            "done_dir",
            "failed_dir",
            "tries",
            "lease_s",
            "jobs",
            "timeout_s",
            "memory_mib",
            "metrics",
        )
    }
    if once + wants_status + retry_failed > 1:
        raise UsageError("--once, --status and --retry-failed exclude each other")
    job = watching.Watch(folder, out, resolve(given), **own)
    if wants_status or retry_failed:
        return _report(job, as_json) if wants_status else _retry(job)
    control = watching.Control()
    last: dict[Path, Outcome] = {}
    with _asked_by_signals(control):
        outcomes = (
            watching.once(job, control) if once else watching.forever(job, control, options=partial(resolve, given))
        )
        for outcome in show(_told(outcomes, quiet), as_json=as_json, quiet=quiet, verbose=verbose):
            if once:
                last[outcome.src] = outcome
    return batch.exit_code(last.values())


def _told(outcomes: Iterable[Outcome], quiet: bool) -> Iterator[Outcome]:
    """Say what is about the folder and not about a file."""
    for outcome in outcomes:
        if outcome.status == "paused":
            console.say("waiting for this to pass:")
        elif outcome.status in ("resumed", "reloaded") and not quiet:
            console.say("going on" if outcome.status == "resumed" else "options read again")
        yield outcome


def _report(job: watching.Watch, as_json: bool) -> int:
    from mdenoise import watch_status

    report = watch_status.status(job)
    for line in [report] if as_json else watch_status.lines(report):
        console.result(line if as_json else console.printable(line))
    return 0


def _retry(job: watching.Watch) -> int:
    from mdenoise import watch_status

    for name in watch_status.retry_failed(job):
        console.result(job.folder / name)
    return 0


@contextmanager
def _asked_by_signals(control: watching.Control) -> Iterator[None]:
    """The first signal asks to stop, the second ends the program; SIGHUP asks for the options anew."""

    def stop(number: int, frame: FrameType | None) -> None:
        if control.stopping:
            raise Interrupted
        control.stopping = True

    def reload(number: int, frame: FrameType | None) -> None:
        control.reloading = True

    wanted = {"SIGINT": stop, "SIGTERM": stop, "SIGHUP": reload}
    before = {}
    if threading.current_thread() is threading.main_thread():  # else the host program owns the signals
        for name, handler in wanted.items():
            number = getattr(signal, name, None)
            # nohup stays nohup; but a service's SIGHUP, which ends a program by default, is ours
            if number is not None and signal.getsignal(number) not in (None, signal.SIG_IGN):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
