"""Folders of damaged files through the command line, as a stranger meets them, and what must hold of the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HANG_S, RSS_MIB = 30, 4096
CONTROL = "control-"  # begins the names of files that nobody damaged
REFUSALS = (3, 4)  # documented exit codes of a file that cannot be denoised; 1 would be a defect of ours
_PROGRAM = [sys.executable, "-m", "mdenoise"]


@dataclass
class Tally:
    """What became of the files; `findings` are (what went wrong, file, words) and should be empty."""

    files: int = 0
    denoised: int = 0
    refused: int = 0
    controls: int = 0
    controls_denoised: int = 0
    worker_crashes: int = 0
    seconds: float = 0.0
    rss_mib: float = 0.0
    findings: list[tuple[str, str, str]] = field(default_factory=list)


def run_batch(files: Mapping[str, bytes], folder: Path, tally: Tally, *, jobs: int = 2) -> None:
    """Denoise `files` (name -> content) as one batch in processes that are replaced when they die."""
    source, out = folder / "in", folder / "out"
    source.mkdir(parents=True)
    for name, content in files.items():
        (source / name).write_bytes(content)
    arguments = [str(source), "-o", f"{out}/", "--json", "-q", "-j", str(jobs), "--timeout", str(HANG_S),
                 "--file-memory", str(RSS_MIB - 512)]  # fmt: skip
    code, stdout, stderr, seconds, rss_mib = _watched([*_PROGRAM, *arguments], 3600)
    tally.seconds += seconds
    tally.rss_mib = max(tally.rss_mib, rss_mib)

    def find(what: str, name: str, words: str) -> None:
        tally.findings.append((what, name, words))

    if code not in (0, 1, 3):
        find("the batch ended by a signal" if code < 0 else "exit code of the batch", "", f"{code}: {stderr[-300:]}")
    if rss_mib > RSS_MIB:
        find("memory", "", f"{rss_mib:.0f} MiB")
    answers = {Path(line["src"]).name: line for line in map(json.loads, stdout.splitlines())}
    failures = [name for name, answer in answers.items() if answer["status"] == "failed"]
    if len(stderr.splitlines()) != len(failures):
        find("lines on stderr", "", f"{len(stderr.splitlines())} for {len(failures)} failures: {stderr[-600:]}")
    for name in files:
        answer = answers.get(name)
        written = (out / name).with_suffix(".dng" if name.endswith(".dng") else Path(name).suffix).exists()
        tally.files += 1
        tally.controls += name.startswith(CONTROL)
        if answer is None:
            find("no answer", name, "")
        elif answer["status"] == "denoised":
            tally.denoised += 1
            tally.controls_denoised += name.startswith(CONTROL)
            if not written:
                find("no result", name, "")
        else:
            tally.refused += 1
            error = answer["error"]
            if written:
                find("a result in spite of an error", name, error)
            if "its process" in error:
                tally.worker_crashes += 1
                find("a worker crashed", name, error)
            elif "no progress" in error:
                find("hang", name, error)
            elif answer["exit_code"] not in REFUSALS:
                find(f"exit code {answer['exit_code']}", name, error)
            elif "\n" in error:
                find("more than one line", name, error)
            elif name.startswith(CONTROL):
                find("a good file refused", name, error)
    left = [path.name for path in out.iterdir() if path.name.startswith(".")] if out.is_dir() else []
    if left:
        find("left behind", "", ", ".join(left))


def run_alone(name: str, content: bytes, folder: Path, tally: Tally) -> None:
    """Denoise one file in a fresh process, which decodes it itself."""
    folder.mkdir(parents=True, exist_ok=True)
    source, out = folder / name, folder / f"out-{name}"
    source.write_bytes(content)
    command = [*_PROGRAM, str(source), "-o", str(out), "-q", "--overwrite"]
    code, _, stderr, seconds, rss_mib = _watched(command, HANG_S)
    tally.files += 1
    tally.denoised += code == 0
    tally.refused += code in REFUSALS
    tally.seconds += seconds
    tally.rss_mib = max(tally.rss_mib, rss_mib)
    if seconds > HANG_S:
        tally.findings.append(("hang", name, f"{seconds:.0f} s"))
    elif code not in (0, *REFUSALS):
        tally.findings.append((f"exit code {code}", name, stderr[-300:]))
    elif len(stderr.splitlines()) != (code != 0):
        tally.findings.append(("lines on stderr", name, stderr[-300:]))
    elif out.exists() != (code == 0):
        tally.findings.append(("a result in spite of an error" if code else "no result", name, stderr[-300:]))
    if rss_mib > RSS_MIB:
        tally.findings.append(("memory", name, f"{rss_mib:.0f} MiB"))
    source.unlink()
    out.unlink(missing_ok=True)


def _watched(command: Iterable[str], limit_s: float) -> tuple[int, str, str, float, float]:
    """(exit code, stdout, stderr, seconds, largest resident memory in MiB of it and its children)."""
    began_s, largest, over = time.monotonic(), [0.0], threading.Event()
    process = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="surrogateescape"
    )

    def look() -> None:
        while not over.wait(0.05):
            for pid in (process.pid, *children_of(process.pid)):
                largest[0] = max(largest[0], _resident_mib(pid))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        stdout, stderr = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
    over.set()
    watcher.join()
    return process.returncode, stdout, stderr, time.monotonic() - began_s, largest[0]


def children_of(pid: int) -> list[int]:
    """Processes that a process started and that live, on Linux."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208
        return [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        return []


def _resident_mib(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in status else 0.0
