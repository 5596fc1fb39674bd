"""Whose turn it is: the engines of one model among the threads that call it, until the last call has ended."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from mdenoise import engines
from mdenoise.errors import Cancelled, UsageError

_WAIT_S = 0.05  # how soon a call that waits for its turn asks `cancel` again


class Turns:
    """At most `at_once` calls at a time, each with an engine of its own; further ones wait."""

    def __init__(self, engine: engines.Engine, at_once: int) -> None:
        self.at_once = at_once
        self._idle: queue.LifoQueue[engines.Engine] = queue.LifoQueue()  # the one used last has its memory at hand
        for session in (engine, *(engine.session() for _ in range(at_once - 1))):
            self._idle.put(session)
        self._state = threading.Condition()
        self._open_calls = 0  # running or submitted
        self._callers: set[int] = set()  # threads that are inside a call
        self._workers: set[int] = set()  # threads of `submit`
        self._closed = False
        self._pool: ThreadPoolExecutor | None = None

    @contextmanager
    def take(self, cancel: Callable[[], bool] | None) -> Iterator[engines.Engine]:
        """An engine for this thread alone, once one is idle. Raises UsageError where it would wait for itself or is
        closed, and Cancelled."""
        caller = get_ident()
        with self._state:
            if caller not in self._workers:  # what was submitted before `close` is still done
                self._refuse_closed()
            if caller in self._callers:  # it could wait for itself for ever
                raise UsageError("cannot call a Denoiser from its own callback: make another Denoiser")
            self._callers.add(caller)
            self._open_calls += 1
        try:
            session = self._next(cancel)
            try:
                yield session
            finally:
                self._idle.put(session)
        finally:
            self._callers.discard(caller)
            self._end()

    def submit(self, call: Callable[..., Any], *arguments: Any, **more: Any) -> Future[Any]:
        """`call`, which takes a turn, on another thread. Raises UsageError when this is closed."""
        with self._state:
            self._refuse_closed()
            if self._pool is None:
                workers = self._workers  # not self, which would then live as long as the threads
                self._pool = ThreadPoolExecutor(self.at_once, "mdenoise", lambda: workers.add(get_ident()))
            self._open_calls += 1
        future = self._pool.submit(call, *arguments, **more)
        future.add_done_callback(lambda _: self._end())  # of one that was cancelled, too
        return future

    def close(self) -> None:
        """Free the engines, after the calls that run or were submitted have ended; later ones raise UsageError."""
        with self._state:
            if get_ident() in self._callers | self._workers:
                raise UsageError("cannot close a Denoiser from its own callback: close it after the call")
            self._closed = True
            self._state.wait_for(lambda: self._open_calls == 0)
            pool, self._pool = self._pool, None
            self._idle = queue.LifoQueue()
            self._workers.clear()
        if pool is not None:
            pool.shutdown()

    def _next(self, cancel: Callable[[], bool] | None) -> engines.Engine:
        while True:
            try:
                return self._idle.get(timeout=None if cancel is None else _WAIT_S)
            except queue.Empty:
                if cancel is not None and cancel():
                    raise Cancelled("stopped before its turn came; nothing was written") from None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UsageError("this Denoiser is closed: make a new one")

    def _end(self) -> None:
        with self._state:
            self._open_calls -= 1
            self._state.notify_all()
