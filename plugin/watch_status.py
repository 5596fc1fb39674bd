"""What a watched pair of folders is up to, for people and monitors, read from the folders alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mdenoise import atomic
from mdenoise.errors import OutputError
from mdenoise.spool import FOLDER
from mdenoise.spool_records import key_of, read_claims, read_records
from mdenoise.watch_results import Watch, in_the_way, is_current, result_of
from mdenoise.watch_scan import Scanner, state_of
from mdenoise.watch_work import is_of


def status(watch: Watch) -> dict[str, Any]:
    """The state of every file, by what lies on the disk; nothing is written. A file is in one of the lists:

    done (a count only), failed (given up, why), blocked (something in OUT is in its way), working (claimed),
    retrying (failed, will be tried again), waiting. Raises InputError when the folder cannot be listed.
    """
    spool = watch.out / FOLDER
    failed, tries = read_records(spool / "failed"), read_records(spool / "tries")
    claims = {claim["key"]: claim for claim in read_claims(spool / "claims")}
    aside = [path for path in (watch.out, watch.done_dir, watch.failed_dir) if path is not None]
    report: dict[str, Any] = {"in": str(watch.folder), "out": str(watch.out), "done": 0}
    lists: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("failed", "blocked", "working", "retrying", "waiting")
    }
    states = Scanner(watch.folder, patterns=watch.patterns, recursive=watch.recursive, barred=aside).scan()
    for name, state in sorted(states.items()):
        src, dst, key = watch.folder / name, result_of(watch, name), key_of(name)
        record, attempts = failed.pop(key, None), tries.get(key)
        if is_current(dst, src, state):
            report["done"] += 1
        elif record is not None and is_of(record, state):
            lists["failed"].append(_told(asdict(record)))
        elif (error := in_the_way(watch, name)) is not None:
            lists["blocked"].append({"source": name, "error": str(error)})
        elif key in claims:
            claim = claims[key]
            lists["working"].append(
                {"source": name, "host": claim["host"], "pid": int(claim["pid"]), "dead": claim["dead"]}
            )
        elif attempts is not None and attempts.error and is_of(attempts, state):
            lists["retrying"].append(_told(asdict(attempts)))
        else:
            lists["waiting"].append({"source": name})
    lists["failed"] += [_told(asdict(record)) for record in failed.values() if record.moved_to]
    return report | lists


def lines(report: Mapping[str, Any]) -> list[str]:
    """A status for people: the counts, then what needs one of them."""
    names = ("done", "waiting", "working", "retrying", "blocked", "failed")
    counts = {name: report[name] if name == "done" else len(report[name]) for name in names}
    found = [", ".join(f"{count} {name}" for name, count in counts.items())]
    found += [
        f"working: {one['source']}: {one['host']}, process {one['pid']}{', which is dead' * one['dead']}"
        for one in report["working"]
    ]
    for name in ("retrying", "blocked", "failed"):
        found += [f"{name}: {one['source']}: {one['error']}" for one in report[name]]
    return found


def retry_failed(watch: Watch) -> list[str]:
    """Forget why files were given up, and bring back those put aside; a running watch takes them up at its next look.
    Answers their names. Raises OutputError."""
    spool = watch.out / FOLDER
    names = []
    for key, record in read_records(spool / "failed").items():
        try:
            if record.moved_to:
                src, moved = watch.folder / record.source, Path(record.moved_to)
                if state_of(moved) is not None:
                    src.parent.mkdir(parents=True, exist_ok=True)
                    atomic.adopt(moved, src, overwrite=False)
            (spool / "tries" / key).unlink(missing_ok=True)
            (spool / "failed" / key).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot try {record.source} again: {error.strerror or error}") from None
        names.append(record.source)
    return sorted(names)


def write_metrics(path: Path, watch: Watch, counts: Mapping[str, int], waiting: int, failed: int, paused: bool) -> None:
    """One worker's counts in Prometheus's text format, as node_exporter's textfile collector reads it.
    Raises OutputError."""
    folder = str(watch.out).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    rows = (
        ("denoised_total", "counter", "Files denoised by this worker.", counts.get("denoised", 0)),
        ("retries_total", "counter", "Attempts that failed and are made again.", counts.get("retry", 0)),
        ("failures_total", "counter", "Files that this worker gave up or found blocked.", counts.get("failed", 0)),
        ("waiting", "gauge", "Settled files without a current result.", waiting),
        ("failed", "gauge", "Files given up by all workers.", failed),
        ("paused", "gauge", "1 while a folder is away, full or cannot be written.", int(paused)),
        ("updated_seconds", "gauge", "When this was written, since 1970.", int(time.time())),
    )
    text = "".join(
        f"# HELP mdenoise_watch_{name} {about}\n# TYPE mdenoise_watch_{name} {kind}\n"
        f'mdenoise_watch_{name}{{out="{folder}"}} {value}\n'
        for name, kind, about, value in rows
    )
    atomic.publish(path, lambda temp: temp.write_text(text, "utf-8", "surrogateescape"), overwrite=True)


def _told(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value not in ("", 0.0)}
