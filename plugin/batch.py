"""Many files as one job: every source gets its destination, and every clash is found, before any work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdenoise import atomic, sequences
from mdenoise.config import Options
from mdenoise.errors import Cancelled, MDenoiseError, OutputError, UsageError
from mdenoise.inputs import Source, file_format, find, place

if TYPE_CHECKING:
    from mdenoise.pipeline import Report

EXISTING = ("refuse", "overwrite", "skip")


class ClashError(OutputError):
    """Outputs that would harm a file; `clashes` has one line for each, and nothing was done."""

    def __init__(self, clashes: Sequence[str], fix: str) -> None:
        self.clashes = tuple(clashes)
        what = self.clashes[0] if len(self.clashes) == 1 else f"{len(self.clashes)} outputs cannot be written"
        super().__init__(f"{what}. {fix}")


@dataclass(frozen=True)
class Task:
    """One file to denoise."""

    src: Path
    dst: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one input. `status` is "denoised", "skipped" (its output existed), "planned", "described" or
    "failed"; `roles_line` says which layers were, or would be, used."""

    src: Path
    dst: Path | None
    status: str
    report: Report | None = None
    roles_line: str = ""
    facts: Mapping[str, Any] | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Plan:
    """Tasks in order; `settled` are outcomes known beforehand (missing inputs, skipped outputs); `notes` for people."""

    tasks: tuple[Task, ...]
    settled: tuple[Outcome, ...] = ()
    notes: tuple[str, ...] = ()


def plan(
    inputs: Sequence[str | Path],
    output: str | None = None,
    *,
    frames: str | None = None,
    recursive: bool = False,
    existing: str = "refuse",
) -> Plan:
    """Match inputs (files, folders, frame patterns) with outputs; nothing is written and no picture is read.

    output    None: `.denoised` beside the source; a folder that exists or ends in a slash: same names in there;
              a pattern (`out.####.exr`): frames are mapped; else the one output file of one input.
    existing  what an output that exists means: "refuse" (ClashError), "overwrite" or "skip".
    Raises UsageError, and ClashError with every clash. Inputs that cannot be found become failed outcomes.
    """
    if existing not in EXISTING:
        raise UsageError(f"existing {existing!r} is not known: use {', '.join(EXISTING)}")
    found = find(inputs, frames=frames, recursive=recursive, leave_out=None if output is None else Path(output))
    sources, notes = _without_results(found.sources)
    tasks = _destinations(sources, output)
    clashes, skipped = _check(tasks, existing)
    if clashes:
        exist = any(line.endswith("exists already") for line in clashes)
        raise ClashError(clashes, "Give --overwrite or --skip-existing" if exist else "Name another output with -o")
    failed = (Outcome(path, None, "failed", error=error) for path, error in found.refused)
    settled = (*failed, *(Outcome(task.src, task.dst, "skipped") for task in tasks if task in skipped))
    return Plan(tuple(task for task in tasks if task not in skipped), settled, (*found.notes, *notes))


def sweep(plan: Plan) -> None:
    """Remove what killed writers of the plan's outputs left beside them.

    Only for outputs that nobody else writes now, as for a task of a farm: else a live writer would fail.
    """
    for dst in (*(task.dst for task in plan.tasks), *(outcome.dst for outcome in plan.settled)):
        if dst is not None:
            atomic.sweep(dst)


def run(
    plan: Plan,
    options: Options,
    *,
    overwrite: bool = False,
    progress: Callable[[Task, float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Iterator[Outcome]:
    """Carry out a plan, one outcome a file as soon as it is known. An error of one file does not stop the others.

    Raises what `worker` raises, and Cancelled.
    """
    yield from plan.settled
    if plan.tasks:
        yield from map(worker(options, overwrite=overwrite, progress=progress, cancel=cancel), plan.tasks)


def worker(
    options: Options,
    *,
    overwrite: bool = False,
    progress: Callable[[Task, float], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Callable[[Task], Outcome]:
    """Open model and engine, once for any number of files, and return what denoises one.

    Raises ModelError and EngineError; calling the worker raises nothing but Cancelled, errors are outcomes.
    """
    from mdenoise import engines, models, pipeline

    card = models.load_card(options.model)
    engine = engines.open_engine(card, options)

    def denoise(task: Task) -> Outcome:
        if cancel is not None and cancel():
            raise Cancelled(f"stopped before {task.src}; nothing was written for it")
        _make_folder(task.dst)
        report = pipeline.denoise_file(
            task.src,
            task.dst,
            engine,
            card,
            options,
            overwrite=overwrite,
            progress=None if progress is None else partial(progress, task),
            cancel=cancel,
        )
        return Outcome(task.src, task.dst, "denoised", report, report.roles_line)

    return partial(_guarded, denoise)


def preview(plan: Plan, options: Options) -> Iterator[Outcome]:
    """What `run` would do: the same plan, each input read and its layers chosen, nothing opened for writing."""
    from mdenoise.adapters import adapter_for

    def look(task: Task) -> Outcome:
        adapter = adapter_for(task.src)
        jobs = adapter.adapt(adapter.read(task.src), options)
        return Outcome(task.src, task.dst, "planned", roles_line="; ".join(job.roles.line() for job in jobs))

    yield from plan.settled
    for task in plan.tasks:
        yield _guarded(look, task)


def inspect(inputs: Sequence[str | Path], options: Options, *, frames: str | None = None) -> Iterator[Outcome]:
    """`facts` of every input (see `report.describe_file`); inputs as in `plan`."""
    from mdenoise.report import describe_file

    def look(task: Task) -> Outcome:
        return Outcome(task.src, None, "described", facts=describe_file(task.src, options))

    found = find(inputs, frames=frames)
    yield from (Outcome(path, None, "failed", error=error) for path, error in found.refused)
    for source in found.sources:
        yield _guarded(look, Task(source.path, source.path))


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """0 all done; 1 some failed; when all failed for one reason, that reason's code."""
    outcomes = list(outcomes)
    codes = {getattr(outcome.error, "exit_code", 1) for outcome in outcomes if outcome.error}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 and all(outcome.error for outcome in outcomes) else 1


def _guarded(work: Callable[[Task], Outcome], task: Task) -> Outcome:
    """A failure of one file as an outcome: even a defect of ours must not cost the other files of a night's batch."""
    try:
        return work(task)
    except Cancelled:
        raise
    except MemoryError:
        error: Exception = MDenoiseError(
            f"cannot denoise {task.src}: not enough memory. Use a smaller --tile or --max-memory"
        )
    except Exception as failure:
        error = failure
    return Outcome(task.src, task.dst, "failed", error=error)


def _make_folder(dst: Path) -> None:
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {dst}: folder {dst.parent}: {error.strerror}") from None


def _without_results(sources: tuple[Source, ...]) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """`mdenoise *.exr` run again matches its own results: a result whose source is here too is no input."""
    results = {place(sequences.denoised_name(source.path)) for source in sources}
    kept = tuple(source for source in sources if place(source.path) not in results)
    left_out = len(sources) - len(kept)
    return kept, (f"results among the inputs left out: {left_out}",) if left_out else ()


def _destinations(sources: tuple[Source, ...], output: str | None) -> list[Task]:
    if output is None:
        return [Task(source.path, sequences.denoised_name(source.path)) for source in sources]
    target = Path(output)
    if target.is_dir() or output.endswith(("/", os.sep)):
        return [Task(source.path, target / source.below / source.path.name) for source in sources]
    if sequences.is_pattern(target.name):
        pattern = sequences.parse(target)
        for source in sources:
            if source.frame is None:
                raise UsageError(f"cannot place {source.path} in {output}: its name has no frame number")
        tasks = [Task(source.path, pattern.at(source.frame)) for source in sources if source.frame is not None]
    elif len(sources) > 1:
        raise UsageError(
            f"{len(sources)} inputs cannot go to one file {output}: "
            "end it in / for a folder, or use a pattern such as out.####.exr"
        )
    else:
        tasks = [Task(source.path, target) for source in sources]
    for task in tasks:
        if file_format(task.dst) is not file_format(task.src):
            raise UsageError(
                f"cannot write {task.src} as {task.dst}: the output must have the format of the input "
                f"({task.src.suffix}); end a folder's name in /"
            )
        if not task.dst.parent.is_dir():
            raise OutputError(f"cannot write {task.dst}: folder {task.dst.parent} does not exist")
    return tasks


def _check(tasks: list[Task], existing: str) -> tuple[list[str], set[Task]]:
    """One line for every output that would harm a file, and the tasks that need not be done."""
    inputs = {task.src.resolve() for task in tasks}
    takers: dict[Path, Task] = {}
    clashes: list[str] = []
    skipped: set[Task] = set()
    for task in tasks:
        first = takers.setdefault(place(task.dst), task)
        if first is not task:
            clashes.append(f"cannot write {task.dst}: it would be the output of both {first.src} and {task.src}")
        elif task.dst.resolve() in inputs or _same(task.dst, task.src):
            clashes.append(f"cannot write {task.dst}: it is an input")
        elif task.dst.is_dir():
            clashes.append(f"cannot write {task.dst}: it is a folder")
        elif os.path.lexists(task.dst):
            if existing == "refuse":
                clashes.append(f"cannot write {task.dst}: it exists already")
            elif existing == "skip":
                skipped.add(task)
    return clashes, skipped


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
