"""A render command with a denoiser beside it: every frame is denoised as it is finished.

Nothing is remembered on disk. A frame is what the command wrote or changed; what lay there before is not touched.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mdenoise import batch, sequences, watch
from mdenoise.batch import Outcome, Task
from mdenoise.config import Options
from mdenoise.errors import Cancelled, InputError, OutputError, UsageError
from mdenoise.postframe import beforehand, check_existing
from mdenoise.watch import Seen, State

_GRACE_S = 5.0  # for what is left of an interrupted command, before it is killed
_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


@dataclass(frozen=True)
class Hook:
    """A render command and where its frames appear. Results go beside them as `.denoised`, or into the folder `out`
    under the same names; `settle_s` is how long a file must look the same before it is read while the command runs."""

    command: tuple[str, ...]
    folders: tuple[Path, ...] = (Path(),)
    patterns: tuple[str, ...] = ("*",)
    recursive: bool = False
    out: Path | None = None
    existing: str = "ours"
    options: Options = field(default_factory=Options)
    settle_s: float = 3.0
    poll_s: float = 1.0


class Render:
    """One run of a hook's command. `returncode` is the command's own, 128 + N where signal N ended it."""

    def __init__(self, hook: Hook):
        """Raises UsageError, OutputError, ModelError and EngineError: what can fail does so before the render."""
        check_existing(hook.existing)
        if hook.out is not None:
            _make_folder(hook.out)
            if any(folder.is_dir() and folder.samefile(hook.out) for folder in hook.folders):
                raise UsageError(f"cannot write results to {hook.out}: frames are watched there. Name another folder")
        self.hook = hook
        self.returncode: int | None = None
        self.signals: list[int] = []  # passed on; the first ends the denoising
        self._process: subprocess.Popen[bytes] | None = None
        # At a terminal, Ctrl-C reaches command and all, and the command may read keys. Elsewhere it becomes a process
        # group of its own, so that a signal can be passed on to its children, too.
        self._grouped = os.name == "posix" and not (sys.stdin is not None and sys.stdin.isatty())
        self._denoise = batch.worker(hook.options, overwrite=True, cancel=lambda: bool(self.signals))
        self._before: Mapping[Path, State] = {}
        self._seen: dict[Path, Seen] = {}
        self._held: dict[Path, State] = {}  # could not be read, perhaps not finished: tried again at the end
        self._done: dict[Path, State] = {}
        self._made: dict[Path, Path] = {}  # result -> its frame

    def outcomes(self) -> Iterator[Outcome]:
        """Run the command and denoise each frame as it is finished; a frame that changes again is done again.

        A frame that cannot be read while the command runs may be unfinished, and fails only if it is so at the end;
        so does a folder that is not there.
        Raises UsageError when the command cannot be started, and Cancelled after `stop`, when the command has ended.
        However this ends, the command has ended before.
        """
        self._before = {
            path: state for folder in self.hook.folders if folder.exists() for path, state in self._scan(folder).items()
        }
        self._process = self._start()
        if self.signals:
            self._pass_on(self.signals[-1])
        try:
            try:
                while not self.signals and self._wait(self.hook.poll_s) is None:
                    yield from self._frames(ended=False)
                if not self.signals:
                    yield from self._frames(ended=True)
            except Cancelled:
                pass
            except Exception as failure:  # even a defect of ours must not cost the render
                yield Outcome(self.hook.folders[0], None, "failed", error=failure)
            self._wait(None)
        finally:
            self._end()
        if self.signals:
            raise Cancelled(f"stopped {self.hook.command[0]}")

    def stop(self, number: int) -> None:
        """Pass a signal on to the command and its children, and denoise no further. Safe in a signal handler."""
        self.signals.append(number)
        if self._process is not None:
            self._pass_on(number)

    def _start(self) -> subprocess.Popen[bytes]:
        how = {"process_group": 0} if self._grouped else {}
        if sys.platform.startswith("linux"):
            import ctypes

            prctl = ctypes.CDLL(None).prctl  # so that even our SIGKILL leaves no render behind
            how["preexec_fn"] = lambda: prctl(_DEATH_SIGNAL, signal.SIGTERM)
        try:
            return subprocess.Popen(self.hook.command, **how)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot run {self.hook.command[0]}: {why}") from None

    def _wait(self, timeout_s: float | None) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(timeout_s)
            self.returncode = code if code >= 0 else 128 - code
        return self.returncode

    def _pass_on(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._grouped:
                os.killpg(self._process.pid, number)
            elif number != signal.SIGINT and self._process.poll() is None:
                self._process.send_signal(number)

    def _end(self) -> None:
        """Leave nothing running that was to be stopped: a command that goes on, children that outlive it."""
        if self._process.poll() is None:
            self._pass_on(signal.SIGTERM)
            if self._wait(_GRACE_S) is None:
                self._process.kill()
                self._wait(None)
        elif not (self.signals and self._grouped):
            return
        until = time.monotonic() + _GRACE_S
        while self._grouped and _group_lives(self._process.pid):
            if time.monotonic() > until:
                self._pass_on(signal.SIGKILL)
                return
            time.sleep(0.05)

    def _frames(self, *, ended: bool) -> Iterator[Outcome]:
        for path, state in self._fresh(ended):
            outcome = self._one(path)
            if isinstance(outcome.error, InputError) and not ended:
                self._held[path] = state
                continue
            self._done[path] = state
            yield outcome

    def _fresh(self, ended: bool) -> Iterator[tuple[Path, State]]:
        """What the command wrote and nobody has denoised yet, in order; while it runs, only what has settled."""
        states: dict[Path, State] = {}
        for folder in self.hook.folders:
            try:
                states |= self._scan(folder)
            except InputError:
                if ended:  # until then it may be a folder that the renderer makes, or a network that comes back
                    raise
        now_s = time.monotonic()
        self._seen = watch.look(states, self._seen, now_s)
        for path, state in sorted(states.items()):
            settled = state.size and now_s - self._seen[path].since_s >= self.hook.settle_s
            known = (self._before.get(path), self._done.get(path), None if ended else self._held.get(path))
            if state not in known and (ended or settled):
                yield path, state

    def _scan(self, folder: Path) -> dict[Path, State]:
        found = watch.scan(folder)
        if self.hook.recursive:
            barred = None if self.hook.out is None else self.hook.out.resolve()
            for parent, below, _ in os.walk(folder):
                below[:] = [n for n in below if not n.startswith(".") and Path(parent, n).resolve() != barred]
                for name in below:
                    found |= watch.scan(Path(parent, name))
        return {
            path: state
            for path, state in found.items()
            if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in self.hook.patterns)
        }

    def _one(self, src: Path) -> Outcome:
        if self.hook.out is None:
            dst = sequences.denoised_name(src)
        else:
            base = next(folder for folder in self.hook.folders if src.is_relative_to(folder))
            dst = self.hook.out / src.relative_to(base)
        maker = self._made.get(dst)
        if maker is not None and maker != src:
            error = OutputError(f"cannot write {dst}: it is already the result of {maker}. Watch one folder a command")
            return Outcome(src, dst, "failed", error=error)
        known = None if maker is not None else beforehand(Task(src, dst), self.hook.existing)
        outcome = known or self._denoise(Task(src, dst))
        if outcome.status == "denoised":
            self._made[dst] = src
        return outcome


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from None


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True
