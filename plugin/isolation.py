"""Files denoised in a process of their own: a decoder that crashes, loops or eats memory takes down that process alone.

The process keeps the model loaded from file to file. Requests and answers are lines of JSON on its stdin and stdout:
no pickle, and a process that dies in the middle of an answer is only an answer that cannot be read.
"""

from __future__ import annotations

import builtins
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mdenoise import atomic, errors
from mdenoise.config import Options
from mdenoise.errors import Cancelled, EngineError, InputError, MDenoiseError

if TYPE_CHECKING:
    from mdenoise.pipeline import Report

SECONDS = 300.0
_TICK_S = 0.1
# -P: no module is ever taken from the working folder, which may be a folder of strangers' pictures.
_COMMAND = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import mdenoise.isolation_process as p; p.serve()"


class CrashError(InputError):
    """A file on which the process that denoised it crashed, ran out of memory, or made no progress for too long."""


class Worker:
    """One process that denoises file after file; it starts with the first one, and anew after a crash.

    memory_mib  how much memory the process may take (its private data, RLIMIT_DATA); None = no limit. POSIX only.
    seconds     how long a file may go without progress (a sign comes with every tile) before it is given up.

    >>> with Worker(Options(), memory_mib=8000, seconds=120) as worker:  # doctest: +SKIP
    ...     report = worker.denoise(Path("frame.exr"), Path("frame.denoised.exr"))

    One file at a time; a Worker for each thread. Nothing of the parent is shared but the folder it works in.
    """

    def __init__(self, options: Options, *, memory_mib: int | None = None, seconds: float = SECONDS):
        self.options, self.memory_mib, self.seconds = options, memory_mib, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._complaints: IO[bytes] | None = None  # what the process says on stderr

    def open(self, *, cancel: Callable[[], bool] | None = None) -> None:
        """Start the process and load the model, unless that is done. Raises ModelError, EngineError, Cancelled."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self._answers = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _COMMAND, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )
        threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()
        try:
            self._send({"options": asdict(self.options), "memory_mib": self.memory_mib})
            answer = self._answer(None, None, cancel)
        except BaseException:
            self.close()
            raise
        if answer is None:
            raise EngineError(f"cannot start a process to denoise in: {self._end()}")
        if "ready" not in answer:
            self.close()
            if answer["error"] == "MemoryError":
                raise EngineError(f"the model does not fit into {self.memory_mib} MiB. Use a higher --file-memory")
            raise _error(answer)

    def denoise(
        self,
        src: Path,
        dst: Path,
        *,
        overwrite: bool = False,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Report:
        """As `pipeline.denoise_file`, in the process.

        Raises what that raises there, with the same text; CrashError; and Cancelled. Whatever is raised, nothing lies
        beside `dst`, and the next call works.
        """
        self.open(cancel=cancel)
        assert self._process is not None
        pid = self._process.pid
        try:
            self._send({"src": str(src), "dst": str(dst), "overwrite": overwrite})
            answer = self._answer(src, progress, cancel)
        except BaseException:  # what the process does now is of no use to anyone
            self.close()
            atomic.sweep(dst, of=pid.__eq__)
            raise
        if answer is None:
            reason = self._end()
            atomic.sweep(dst, of=pid.__eq__)
            raise CrashError(f"cannot denoise {src}: {reason}")
        if "report" not in answer:
            if answer["error"] == "MemoryError" or (self.memory_mib and "allocate" in answer["text"]):
                self.close()  # what is left of its memory is in pieces
                raise CrashError(f"cannot denoise {src}: {self._too_large()}")
            raise _error(answer)
        from mdenoise.pipeline import Report

        values = {name: tuple(v) if isinstance(v, list) else v for name, v in answer["report"].items()}
        return Report(**values | {"src": src, "dst": dst})

    def close(self) -> None:
        """End the process, at once whatever it does; a later call starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            with suppress(OSError):
                process.stdin.close()  # type: ignore[union-attr]
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, message: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(OSError):  # it has died: the answer will tell
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(
        self, src: Path | None, progress: Callable[[float], None] | None, cancel: Callable[[], bool] | None
    ) -> dict[str, Any] | None:
        """What the process answers, None when it died. Without `src`, the model is being loaded: that has no limit."""
        heard_s = time.monotonic()
        while True:
            if cancel is not None and cancel():
                raise Cancelled("stopped before the end; nothing was written")
            try:
                answer = self._answers.get(timeout=_TICK_S)
            except queue.Empty:
                if src is not None and time.monotonic() - heard_s > self.seconds:
                    raise CrashError(
                        f"cannot denoise {src}: no progress for {self.seconds:g} s, given up. "
                        "Raise --timeout if the machine is only slow"
                    ) from None
                continue
            if answer is None or "progress" not in answer:
                return answer
            heard_s = time.monotonic()
            if progress is not None:
                progress(answer["progress"])

    def _end(self) -> str:
        """Why the process ended, for a reader; then clear it away."""
        assert self._process is not None and self._complaints is not None
        self._process.kill()  # no answer can come any more, even if it lives
        code = self._process.wait()
        self._complaints.seek(0)
        said = self._complaints.read(1 << 16).decode("utf-8", "replace")
        self.close()
        if "std::bad_alloc" in said or "MemoryError" in said:
            return self._too_large()
        if code == -getattr(signal, "SIGKILL", 0):
            return "its process was killed, as when memory runs out. Use --jobs 1, or a smaller --tile"
        name = signal.Signals(-code).name if code < 0 and -code in set(signal.Signals) else f"exit code {code}"
        last = (said.strip().splitlines() or [""])[-1][:200]
        what = f"{name}: {last}" if last else name
        return f"its process crashed ({what}). Write the file again if it may be damaged"

    def _too_large(self) -> str:
        limit = f"more than the {self.memory_mib} MiB that one file may take" if self.memory_mib else "too much memory"
        return f"it needs {limit}. Use --jobs 1, a smaller --tile, or a higher --file-memory"


def _listen(stream: IO[bytes], answers: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    """Hand on every answer, and None at the end or at what is none."""
    with stream:
        for line in stream:
            try:
                answer = json.loads(line)
            except ValueError:  # cut off
                break
            answers.put(answer)
    answers.put(None)


def _error(answer: dict[str, Any]) -> Exception:
    """The error that an answer tells of: one of ours with its class, any other as near as can be."""
    name, text = answer["error"], answer["text"]
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, MDenoiseError):
        return kind(text)
    try:
        found: Exception = kind(text)
    except TypeError:  # a class that we do not know, or one like UnicodeDecodeError that wants more than a text
        found = RuntimeError(f"{name}: {text}")
    found.add_note(answer["traceback"])
    return found
