"""Many files as one job: in processes of their own when there are several, so that none of them stops the others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mdenoise import machine
from mdenoise.batch_plan import EXISTING, ClashError, Outcome, Plan, Task, plan, sweep
from mdenoise.config import Options
from mdenoise.errors import Cancelled, MDenoiseError, OutputError
from mdenoise.inputs import find
from mdenoise.isolation import SECONDS, Worker

__all__ = [
    "EXISTING", "ClashError", "Outcome", "Plan", "Task", "exit_code", "inspect", "plan", "preview", "run", "summary",
    "sweep", "worker",
]  # fmt: skip

Progress = Callable[[Task, float], None]
Cancel = Callable[[], bool]
_JOB_BYTES = 3 << 30  # a frame of 48 MP takes half of it


def run(
    plan: Plan,
    options: Options,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    jobs: int | None = None,
    memory_mib: int | None = None,
    seconds: float = SECONDS,
) -> Iterator[Outcome]:
    """Carry out a plan, one outcome a file, in order. An error of one file does not stop the others, and neither does
    a crash: several files are denoised in `jobs` processes (None: by the machine), each of which loads the model once.
    While one reads or writes, another computes.

    memory_mib, seconds   limits of one file, see `isolation.Worker`; None: an equal share of the machine's memory.
    progress   is called from several threads, one at a time.
    Raises ModelError and EngineError before the first file, and Cancelled.
    """
    yield from plan.settled
    if len(plan.tasks) == 1:
        yield worker(options, overwrite=overwrite, progress=progress, cancel=cancel)(plan.tasks[0])
    elif plan.tasks:
        # One process sees the frames of a sequence go by, and filters each of them once.
        jobs = 1 if options.temporal else min(jobs or default_jobs(), len(plan.tasks))
        memory_mib = memory_mib or int(0.9 * machine.memory() / jobs) >> 20
        workers = [Worker(options, memory_mib=memory_mib, seconds=seconds) for _ in range(jobs)]
        yield from _side_by_side(plan.tasks, workers, overwrite, progress, cancel)


def _side_by_side(
    tasks: Sequence[Task], workers: Sequence[Worker], overwrite: bool, progress: Progress | None, cancel: Cancel | None
) -> Iterator[Outcome]:
    idle: queue.LifoQueue[Worker] = queue.LifoQueue()  # the one used last is warm
    one_at_a_time, over = threading.Lock(), threading.Event()

    def is_over() -> bool:
        return over.is_set() or (cancel is not None and cancel())

    def move(task: Task, fraction: float) -> None:
        with one_at_a_time:
            if progress is not None:
                progress(task, fraction)

    def denoise(task: Task) -> Outcome:
        worker = idle.get()
        try:
            _make_folder(task.dst)
            report = worker.denoise(
                task.src, task.dst, overwrite=overwrite or task.replaces, progress=partial(move, task), cancel=is_over
            )
        finally:
            idle.put(worker)
        return Outcome(task.src, task.dst, "denoised", report, report.roles_line)

    pool = ThreadPoolExecutor(len(workers), "mdenoise")
    try:
        workers[0].open(cancel=is_over)  # what is wrong with the model or the engine is wrong for every file
        for worker in reversed(workers):
            idle.put(worker)
        for future in [pool.submit(_guarded, denoise, task) for task in tasks]:
            yield future.result()
    finally:
        over.set()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.close()


def default_jobs() -> int:
    """Two, so that one reads or writes while the other computes; more on many cores, fewer where memory is short."""
    from mdenoise.filter import usable_cpus

    return max(1, min(2 + usable_cpus() // 16, machine.memory() // _JOB_BYTES))


def summary(outcomes: Iterable[Outcome], seconds: float) -> str:
    """One line about a batch: how many files of each fate, and how long it took."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    fates = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return f"{fates}; {sum(counts.values())} files in {seconds:.1f} s"


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
    from mdenoise import engines, models, pipeline, temporal

    card = models.load_card(options.model)
    engine = engines.open_engine(card, options)
    window = temporal.Window()

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
            overwrite=overwrite or task.replaces,
            progress=None if progress is None else partial(progress, task),
            cancel=cancel,
            window=window,
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
