"""What others ask of a running watch."""

from __future__ import annotations

import time

_TICK_S = 0.1


class Control:
    """To finish the file in hand and end (`stopping`), and to take the options anew (`reloading`). Plain flags, as a
    signal handler that takes a lock may stop for ever."""

    def __init__(self) -> None:
        self.stopping = False
        self.reloading = False

    def wait(self, seconds: float) -> None:
        """Sleep, unless something is asked."""
        until_s = time.monotonic() + seconds
        while not (self.stopping or self.reloading) and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, _TICK_S))
