"""Which output each input gets, and every clash, before any work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdenoise import atomic, config, sequences
from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError, UsageError
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
    """One file to denoise; with `replaces`, `dst` is an earlier result that is out of date."""

    src: Path
    dst: Path
    replaces: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one input. `status` is "denoised", "skipped" (its result exists), "planned", "described" or
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
    suffix: str | None = None,
    options: Options | None = None,
) -> Plan:
    """Match inputs (files, folders, frame patterns) with outputs; nothing is written and no picture is read.

    output    None: `.denoised` beside the source; a folder that exists or ends in a slash: same names in there, and
              the same folders below it; a pattern (`out.####.exr`): frames are mapped; else the one output file.
    existing  what an output that exists means: "refuse" (ClashError), "overwrite", or "skip": it stays, unless it is
              a result of ours of another version of its source.
    suffix    added to names, before the frame number; None: `.denoised` beside the source, none in a folder.
    options   those of the job: what raw files are written as changes their extension.
    Raises UsageError, and ClashError with every clash. Inputs that cannot be found become failed outcomes.
    """
    if existing not in EXISTING:
        raise UsageError(f"existing {existing!r} is not known: use {', '.join(EXISTING)}")
    if suffix is not None and (not suffix or set(suffix) & {"/", os.sep, "\0"}):
        raise UsageError(f"suffix {suffix!r} cannot be used: characters of a file name, such as .denoised")
    options = options or Options()
    found = find(inputs, frames=frames, recursive=recursive, leave_out=None if output is None else Path(output))
    sources, notes = _without_results(found.sources, suffix, options)
    tasks = _destinations(sources, output, suffix, options)
    clashes = _clashes(tasks, existing)
    if clashes:
        exist = any(line.endswith("exists already") for line in clashes)
        raise ClashError(clashes, "Give --overwrite or --skip-existing" if exist else "Name another output with -o")
    settled = [Outcome(path, None, "failed", error=error) for path, error in found.refused]
    work = []
    for task in tasks:
        state = _state(task) if existing == "skip" and os.path.lexists(task.dst) else "none"
        if state in ("current", "foreign"):
            settled.append(Outcome(task.src, task.dst, "skipped"))
        else:
            work.append(replace(task, replaces=state == "outdated"))
        if state == "foreign":
            notes = (*notes, f"{task.dst}: kept, mdenoise did not write it")
    return Plan(tuple(work), tuple(settled), (*found.notes, *notes))


def sweep(plan: Plan, *, all_writers: bool = False) -> None:
    """Remove what killed writers of the plan's outputs left beside them: of processes that are gone from this machine.

    With `all_writers` of any, for outputs that nobody else writes now, as for a task of a farm: a live writer fails.
    """
    outputs = (*(task.dst for task in plan.tasks), *(outcome.dst for outcome in plan.settled))
    of = (lambda pid: True) if all_writers else atomic.is_gone
    atomic.sweep(*(dst for dst in outputs if dst is not None), of=of)


def _state(task: Task) -> str:
    """Of an output that exists: "current", "outdated" (of another version of the source), or "foreign", not ours."""
    adapter = file_format(task.dst)
    try:
        stamp = adapter.provenance(task.dst) if adapter is not None else {}
        source = task.src.stat()
    except (InputError, OSError):
        return "foreign"
    if not stamp:
        return "foreign"
    name = task.src.name.encode("utf-8", "replace").decode("utf-8")  # as a header stores a name that is not UTF-8
    ours = {"source": name, "source_size": str(source.st_size), "source_mtime_ns": str(source.st_mtime_ns)}
    return "current" if ours.items() <= stamp.items() else "outdated"


def _without_results(
    sources: tuple[Source, ...], suffix: str | None, options: Options
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """`mdenoise *.exr` run again matches its own results: a result whose source is here too is no input."""
    results = {place(_beside(source.path, suffix, options)) for source in sources}
    kept = tuple(source for source in sources if place(source.path) not in results)
    left_out = len(sources) - len(kept)
    return kept, (f"results among the inputs left out: {left_out}",) if left_out else ()


def _beside(src: Path, suffix: str | None, options: Options) -> Path:
    return sequences.denoised_name(_as_written(src, options), suffix or sequences.SUFFIX)


def _as_written(src: Path, options: Options) -> Path:
    """A source's name with the extension of its result."""
    rename = getattr(file_format(src), "result_suffix", None)
    suffix = src.suffix if rename is None else rename(src, options)
    return src if suffix.lower() == src.suffix.lower() else src.with_suffix(suffix)


def _can_be(dst: Path, src: Path, options: Options) -> bool:
    rename = getattr(file_format(src), "result_suffix", None)
    if rename is None:
        return file_format(dst) is file_format(src)
    return dst.suffix.lower() in {rename(src, replace(options, format=name)) for name in config.FORMATS}


def _destinations(sources: tuple[Source, ...], output: str | None, suffix: str | None, options: Options) -> list[Task]:
    if output is None:
        return [Task(source.path, _beside(source.path, suffix, options)) for source in sources]
    target = Path(output)
    if target.is_dir() or output.endswith(("/", os.sep)):
        tasks = []
        for source in sources:
            name = _as_written(source.path, options)
            if suffix is not None:
                name = sequences.denoised_name(name, suffix)
            tasks.append(Task(source.path, target / source.below / name.name))
            _keep_within(target, tasks[-1].dst)
        return tasks
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
        if not _can_be(task.dst, task.src, options):
            raise UsageError(
                f"cannot write {task.src} as {task.dst}: the output must have the format of the input "
                f"({task.src.suffix}); end a folder's name in /"
            )
        if not task.dst.parent.is_dir():
            raise OutputError(f"cannot write {task.dst}: folder {task.dst.parent} does not exist")
    return tasks


def _keep_within(folder: Path, dst: Path) -> None:
    """Refuse an output that a symbolic link below the output folder would lead out of it. Raises OutputError."""
    if not _real(dst).is_relative_to(_real(folder)):
        raise OutputError(f"cannot write {dst}: a symbolic link leads out of {folder}. Remove it")


def _clashes(tasks: list[Task], existing: str) -> list[str]:
    """One line for every output that would harm a file."""
    inputs = {task.src.resolve() for task in tasks}
    takers: dict[Path, Task] = {}
    clashes: list[str] = []
    for task in tasks:
        first = takers.setdefault(place(task.dst), task)
        if first is not task:
            clashes.append(f"cannot write {task.dst}: it would be the output of both {first.src} and {task.src}")
        elif _real(task.dst) in inputs or _same(task.dst, task.src):
            clashes.append(f"cannot write {task.dst}: it is an input")
        elif os.path.isdir(task.dst):  # noqa: PTH112 (Path.is_dir raises for a name that is too long; writing tells)
            clashes.append(f"cannot write {task.dst}: it is a folder")
        elif existing == "refuse" and os.path.lexists(task.dst):
            clashes.append(f"cannot write {task.dst}: it exists already")
    return clashes


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for a name that is too long


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
