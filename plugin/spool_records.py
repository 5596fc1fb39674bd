"""What lies in the folder `.mdenoise`, as read by anyone: claims and records of attempts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mdenoise.spool_owner import Owner, is_dead


def key_of(name: str) -> str:
    """What stands for a file, by its path relative to IN: the same on every machine, whatever the name holds."""
    return sha256(os.fsencode(name.replace(os.sep, "/"))).hexdigest()[:32]


@dataclass(frozen=True)
class Record:
    """A file's history of attempts, of the one version that `size` and `mtime_ns` tell. `wait_s` is how long to wait,
    from when one sees it, until the next; `moved_to` where the source went; `time` is for people only."""

    source: str
    size: int
    mtime_ns: int
    tries: int = 0
    wait_s: float = 0.0
    error: str = ""
    kind: str = ""
    traceback: str = ""
    moved_to: str = ""
    host: str = ""
    time: str = ""


def read_claims(folder: Path) -> list[dict[str, Any]]:
    """Claims as they are now: key, host, pid, beat, and whether the holder is known to be dead."""
    found = []
    for path in entries(folder):
        facts = parse(read(path))
        if facts and not path.name.startswith("."):
            found.append({"key": path.name, **facts, "dead": is_dead(owner_of(facts))})
    return found


def read_records(folder: Path) -> dict[str, Record]:
    """The records of a folder, by key; those that cannot be read are left out."""
    records = {path.name: read_record(path) for path in entries(folder)}
    return {key: record for key, record in records.items() if record is not None}


def entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def parse(content: bytes | None) -> dict[str, Any] | None:
    try:
        facts = json.loads(content or b"")
    except ValueError:  # just created, or torn
        return None
    return facts if isinstance(facts, dict) else None


def nonce_of(content: bytes | None) -> str | None:
    return (parse(content) or {}).get("nonce")


def owner_of(facts: dict[str, Any]) -> Owner:
    return Owner(*(str(facts.get(name, "")) for name in ("host", "pid", "born", "space")))


def read_record(path: Path) -> Record | None:
    try:
        return Record(**(parse(read(path)) or {}))
    except TypeError:
        return None
