"""One worker process group of a watched folder: what it looks at, what it has in hand, what it tells."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace

from mdenoise import machine, models
from mdenoise.batch import Outcome, default_jobs
from mdenoise.config import Options
from mdenoise.errors import EngineError, MDenoiseError, ModelError, OutputError
from mdenoise.isolation import Worker
from mdenoise.spool import FOLDER, Spool
from mdenoise.spool_journal import Journal
from mdenoise.spool_records import key_of
from mdenoise.watch_control import Control
from mdenoise.watch_results import Watch, in_the_way, is_current, result_name, result_of
from mdenoise.watch_scan import Scanner, Seen, State, look
from mdenoise.watch_status import write_metrics
from mdenoise.watch_work import Desk, OutTrouble, attempt, is_of

_RESCAN_S = 10.0  # a long backlog does not keep new files from being seen
_METRICS_S = 15.0


class Run:
    """One worker process on one pair of folders."""

    def __init__(self, watch: Watch, control: Control) -> None:
        models.load_card(watch.options.model)  # a model that is missing is told now, not at the first file
        self.watch, self.control = watch, control
        self.spool = Spool(watch.out, watch.lease_s)
        self.journal = Journal(self.spool.folder / "journal", self.spool.owner)
        aside = [path for path in (watch.out, watch.done_dir, watch.failed_dir) if path is not None]
        since_ns = float("-inf") if watch.since_ns is None else watch.since_ns
        self.scanner = Scanner(
            watch.folder, patterns=watch.patterns, recursive=watch.recursive, barred=aside, since_ns=since_ns
        )
        jobs = watch.jobs or default_jobs()
        self.desks = [
            Desk(watch, Spool(watch.out, watch.lease_s), self._worker(watch.options, jobs), self.journal, self._is_over)
            for _ in range(jobs)
        ]
        self.held: set[str] = set()  # by other workers, when last asked
        self.waiting = 0
        self.counts: Counter[str] = Counter()
        self.pause = ""
        self._seen: dict[str, Seen] = {}
        self._told: dict[str, str] = {}  # failures that are not recorded, as they last only while something is wrong
        self._results: dict[str, str] = {}  # of files at rest
        self._tries = self.spool.records("tries")
        self._over = False
        self._metrics_at_s = float("-inf")
        self.journal.write("start", folder=str(watch.folder), out=str(watch.out))

    def close(self) -> None:
        """End the worker process and tell the journal; claims were given up file by file."""
        for desk in self.desks:
            desk.worker.close()
        with suppress(OSError):
            self.spool.sweep()
        self.journal.write("stop", **self.counts)
        self.tell(now=True)

    def begin(self) -> bool:
        """The first look at everything; whether there is more than results that are current."""
        self._seen = look(self.scanner.scan(), {}, time.monotonic())
        for name, seen in self._seen.items():
            if self.watch.done_dir is None and self._is_current(name, seen.state):
                self._rest(name, seen.state)
        return len(self.scanner.rest) < len(self._seen)

    def look(self, *, patient: bool = True) -> list[str]:
        """Settled files with something to do, those tried least first, then by name. Not `patient`: pauses after
        failed attempts do not count. Raises InputError."""
        full, began_s = self.scanner.is_full_due(), time.thread_time()
        states = self.scanner.scan(full=full)
        if full:
            states |= self._lost()
            self.spool.sweep()
            self.scanner.spent(time.thread_time() - began_s)
        now_s = time.monotonic()
        self._seen = look(states, self._seen, now_s)
        failed, tries = self.spool.records("failed"), self.spool.records("tries")
        self._tries = tries
        due: list[tuple[int, str]] = []
        self.waiting = 0
        for name, seen in self._seen.items():
            state, key = seen.state, key_of(name) if failed or tries else ""
            record = tries.get(key)
            if not state.size or now_s - seen.since_s < self.watch.settle_s:
                continue
            if (key in failed and is_of(failed[key], state)) or not self._is_ready(name):
                continue
            self.waiting += 1
            known = record is not None and is_of(record, state)
            if not (known and patient and not self.spool.is_due(record)):
                due.append((record.tries if known else 0, name))
        return [name for _, name in sorted(due)]

    def work(self, names: list[str]) -> Iterator[Outcome]:
        """Attempt these files, several at a time so that one is read or written while another is computed; ends early
        when asked to stop, or when it is time to look again. Raises OutTrouble, ModelError and EngineError, when what
        else is in hand has ended."""
        self.held.clear()
        self._over = False
        until_s = time.monotonic() + _RESCAN_S
        running: dict[Future[Outcome | str], tuple[str, Desk]] = {}
        idle, troubles = list(self.desks), []
        with ThreadPoolExecutor(len(idle), "mdenoise") as pool:
            try:
                for name in names:
                    while running and not idle:
                        yield from self._ended(running, idle, troubles)
                    if troubles or self.control.stopping or self.control.reloading or time.monotonic() > until_s:
                        break
                    state = self._seen[name].state
                    if self.watch.done_dir is None and self._is_current(name, state):
                        self._rest(name, state)
                    elif (error := in_the_way(self.watch, name)) is not None:
                        blocked = Outcome(self.watch.folder / name, result_of(self.watch, name), "failed", error=error)
                        yield from self._counted(name, blocked)
                    else:
                        desk = idle.pop()  # the one used last, whose worker is warm
                        running[pool.submit(attempt, desk, name, state)] = name, desk
                while running:
                    yield from self._ended(running, idle, troubles)
            finally:
                self._over = True  # only when something was raised is there anything left to stop
        if troubles:
            raise troubles[0]

    def _ended(
        self, running: dict[Future[Outcome | str], tuple[str, Desk]], idle: list[Desk], troubles: list[Exception]
    ) -> Iterator[Outcome]:
        """Wait for an attempt to end; the outcomes of those that have."""
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name, desk = running.pop(future)
            idle.append(desk)
            try:
                done = future.result()
            except (OutTrouble, ModelError, EngineError) as trouble:
                troubles.append(trouble)
                continue
            if done == "held":
                self.held.add(name)
            elif isinstance(done, Outcome):
                yield from self._counted(name, done)

    def _counted(self, name: str, outcome: Outcome) -> Iterator[Outcome]:
        text = str(outcome.error) if outcome.status == "failed" else ""
        if not text or self._told.get(name) != text:
            self._told[name] = text
            self.counts[outcome.status] += 1
            self.tell()
            yield outcome

    def reload(self, options: Callable[[], Options]) -> Iterator[Outcome]:
        """Work by new options from now on; by the old ones still, and say so, when those cannot be used."""
        try:
            fresh = options()
            models.load_card(fresh.model)
        except MDenoiseError as error:
            self.journal.write("reload failed", error=str(error))
            yield Outcome(self.watch.folder, None, "failed", error=error)
            return
        if fresh != self.watch.options:
            self.watch = replace(self.watch, options=fresh)
            for number, desk in enumerate(self.desks):
                desk.worker.close()
                self.desks[number] = replace(desk, watch=self.watch, worker=self._worker(fresh, len(self.desks)))
        self.journal.write("reload")
        yield Outcome(self.watch.folder, None, "reloaded")

    def paused(self, error: MDenoiseError | None) -> Outcome:
        self.pause = str(error or "")
        event = "resumed" if error is None else "paused"
        self.journal.write(event, error=self.pause)
        self.tell(now=True)
        return Outcome(self.watch.folder, None, event, error=error)

    def tell(self, *, now: bool = False) -> None:
        """Write the metrics file when it is due."""
        if self.watch.metrics is not None and (now or time.monotonic() >= self._metrics_at_s):
            self._metrics_at_s = time.monotonic() + _METRICS_S
            with suppress(OSError, OutputError):
                write_metrics(
                    self.watch.metrics,
                    self.watch,
                    self.counts,
                    self.waiting,
                    len(self.spool.records("failed")),
                    bool(self.pause),
                )

    def _worker(self, options: Options, jobs: int) -> Worker:
        memory_mib = self.watch.memory_mib or int(0.9 * machine.memory() / jobs) >> 20
        return Worker(options, memory_mib=memory_mib, seconds=self.watch.timeout_s)

    def _is_over(self) -> bool:
        return self._over

    def _rest(self, name: str, state: State) -> None:
        """Nothing to do about a file until it, or its result, changes."""
        self.scanner.rest[name] = state
        self._results[name] = result_name(self.watch, name)
        key = key_of(name)
        if key in self._tries:  # of a worker that was killed after it published
            with suppress(OSError):
                (self.spool.folder / "tries" / key).unlink(missing_ok=True)

    def _is_current(self, name: str, state: State) -> bool:
        return is_current(result_of(self.watch, name), self.watch.folder / name, state)

    def _is_ready(self, name: str) -> bool:
        suffix = self.watch.ready_suffix
        return suffix is None or os.path.lexists(f"{self.watch.folder / name}{suffix}")

    def _lost(self) -> dict[str, State]:
        """Files at rest whose result is no longer there; none while OUT cannot be listed."""
        if not self.scanner.rest:
            return {}
        there: set[str] = set()
        try:
            self.spool.check()
            for parent, below, names in os.walk(self.watch.out, onerror=_fail):
                below[:] = [name for name in below if self.watch.recursive and name != FOLDER]
                base = os.path.relpath(parent, self.watch.out) + os.sep
                there.update(names if base == f".{os.sep}" else (base + name for name in names))
        except (OSError, OutputError):
            return {}
        rest = self.scanner.rest
        self._results = {name: result for name, result in self._results.items() if name in rest}
        lost = [name for name, result in self._results.items() if result not in there]
        return {name: self.scanner.wake(name) for name in lost}


def _fail(error: OSError) -> None:
    raise error
