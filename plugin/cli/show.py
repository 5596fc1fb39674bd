"""What the user reads about each file as it is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mdenoise.batch import Outcome
from mdenoise.cli import console
from mdenoise.errors import MDenoiseError


def show(outcomes: Iterable[Outcome], *, as_json: bool, quiet: bool, verbose: bool) -> Iterator[Outcome]:
    """Print each outcome, then hand it on. Frames of one sequence share their roles: a line that only repeats the
    one before it is left out."""
    before = ""
    for outcome in outcomes:
        if not quiet:
            name = outcome.src.name
            roles = _roles(outcome)
            if roles and (roles != before or verbose):
                console.say(f"{name}: {roles}")
            before = roles or before
            for remark in _remarks(outcome, verbose):
                console.say(f"{name}: {remark}")
        if outcome.error is not None:
            console.say(_message(outcome.error))
            if verbose and not isinstance(outcome.error, MDenoiseError):
                console.traceback(outcome.error)
        if as_json:
            console.result(_as_json(outcome))
        elif outcome.facts is not None:
            from mdenoise.report import lines

            for line in lines(outcome.facts):
                console.result(line)
        elif outcome.status == "denoised" and outcome.dst is not None:
            console.result(outcome.dst)
        elif outcome.status == "planned":
            console.result(f"{outcome.src} -> {outcome.dst}")
        yield outcome


def _roles(outcome: Outcome) -> str:
    divided = outcome.report is not None and outcome.report.demodulated
    return outcome.roles_line + (", light divided by the albedo while filtered" if divided else "")


def _remarks(outcome: Outcome, verbose: bool) -> Iterator[str]:
    report = outcome.report
    if outcome.status == "skipped":
        yield f"skipped, {outcome.dst} exists"
    if report is None:
        return
    yield from report.notes
    if report.left_out:
        yield f"more than 1 % not finite, filtered apart from the others: {', '.join(report.left_out)}"
    if report.distrusted_px:
        yield f"{report.distrusted_px} px not finite, filled from their neighbours"
    if report.nearest_px:
        yield f"{report.nearest_px} px with nothing to trust around them took the nearest value"
    if verbose:
        yield f"{report.width}x{report.height} in {report.seconds:.2f} s"


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, MDenoiseError) else console.internal(error)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    line: dict[str, Any] = {"src": str(outcome.src), "dst": outcome.dst and str(outcome.dst), "status": outcome.status}
    line |= outcome.facts or {}
    if outcome.roles_line:
        line["roles"] = outcome.roles_line
    if outcome.report:
        names = ("notes", "width", "height", "seconds", "distrusted_px", "nearest_px", "left_out", "demodulated")
        line |= {name: getattr(outcome.report, name) for name in names}
    if outcome.error:
        line |= {"error": _message(outcome.error), "exit_code": getattr(outcome.error, "exit_code", 1)}
    return line
