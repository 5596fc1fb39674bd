"""The other side of `isolation.Worker`: answers requests, lines of JSON on stdin, with lines of JSON on stdout."""

from __future__ import annotations

import _thread
import json
import os
import queue
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mdenoise import engines, models, pipeline, temporal
from mdenoise.config import Options


def serve() -> None:
    """Answer requests until the parent goes away."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a library prints is no answer
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, which decides
        signal.signal(number, signal.SIG_IGN)
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def receive() -> None:
        for line in requests:
            inbox.put(json.loads(line))
        os._exit(0)  # the parent is gone: no one wants what is being computed

    # Not a threading.Thread: the EXR reader catches its library's messages only where it is the one Python thread.
    _thread.start_new_thread(receive, ())

    def answer(**message: Any) -> None:
        answers.write(json.dumps(message, default=_plain).encode() + b"\n")
        answers.flush()

    def fail(error: Exception) -> None:
        kind = type(error)
        name = next((k.__name__ for k in kind.__mro__ if k.__module__ == "mdenoise.errors"), kind.__name__)
        known = name != kind.__name__ or kind.__module__ in ("mdenoise.errors", "builtins")
        text = "".join(traceback.format_exception(error))
        answer(error=name if known else f"{kind.__module__}.{name}", text=str(error), traceback=text)

    setup = inbox.get()
    try:
        _limit(setup["memory_mib"])
        options = Options(**setup["options"])
        card = models.load_card(options.model)
        engine = engines.open_engine(card, options)
        window = temporal.Window()
    except Exception as error:
        fail(error)
        return
    answer(ready=True)
    while True:
        job = inbox.get()
        try:
            report = pipeline.denoise_file(
                Path(job["src"]),
                Path(job["dst"]),
                engine,
                card,
                options,
                overwrite=job["overwrite"],
                progress=lambda fraction: answer(progress=fraction),
                window=window,
            )
        except Exception as error:
            fail(error)
        else:
            answer(report=asdict(report))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)  # a NumPy number, a Path


def _limit(memory_mib: int | None) -> None:
    """Bound this process: private data where the system counts that (Linux), else address space.

    Measured with OpenVINO at the demo frame: 185 MiB resident, 240 of private data, 692 of addresses. CUDA reserves
    terabytes of addresses.
    """
    with suppress(OSError):  # when the machine's memory runs out, this process goes and not its parent
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")
    if memory_mib is None:
        return
    try:
        import resource
    except ImportError:
        return
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    hard = resource.getrlimit(kind)[1]
    limit = memory_mib << 20 if hard == resource.RLIM_INFINITY else min(memory_mib << 20, hard)
    resource.setrlimit(kind, (limit, hard))
