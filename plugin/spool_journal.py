"""What workers did, one JSON object a line: history for people and monitors; nothing depends on it.

Each process writes files of its own, one a day (appends of several machines to one file tear on network shares).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mdenoise.spool_owner import Owner

KEPT_DAYS = 30


class Journal:
    """An open journal. A disk that is full or away costs lines, never the work."""

    def __init__(self, folder: Path, owner: Owner) -> None:
        self._folder = folder
        self._name = f"{owner.host}.{owner.pid}.{owner.born}.jsonl"
        self._host, self._pid = owner.host, owner.pid

    def write(self, event: str, **facts: Any) -> None:
        now = datetime.now(UTC)
        path = self._folder / f"{now:%Y-%m-%d}.{self._name}"
        line = (
            json.dumps(
                {
                    "time": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
                    "event": event,
                    **facts,
                    "host": self._host,
                    "pid": int(self._pid),
                }
            )
            + "\n"
        )
        with suppress(OSError):
            if not path.exists():
                self._prune(now)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)

    def _prune(self, now: datetime) -> None:
        oldest = f"{now - timedelta(days=KEPT_DAYS):%Y-%m-%d}"
        for path in self._folder.glob("*.jsonl"):
            if path.name < oldest:
                path.unlink(missing_ok=True)


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Every event of every process, by file; a line that a killed process left torn is skipped."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event
