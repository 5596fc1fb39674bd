"""Soak of `mdenoise watch`: frames written in every bad way, workers killed, stopped and restarted at random.

    python tests/soak/run.py --frames 2000 --kills 60

Prints what it found as one JSON object and ends in 1 when anything is wrong. Checked are: every frame denoised, once,
with the pixels of the plain command line; nothing partial ever under a final name; no input changed; nothing left of
the workers that were killed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import OpenEXR

from mdenoise import spool_journal, watch_status
from mdenoise.watch import Watch

SETTLE_S = 0.4
LEASE_S = 2.0
SIZE = (48, 64)
KINDS = ("plain", "slow", "renamed", "stalled", "overwritten", "same second", "clock ahead", "clock behind")
ENV = os.environ | {"OMP_NUM_THREADS": "1"}


def exr_bytes(seed: int, scratch: Path) -> bytes:
    """A small noisy render, unlike any other."""
    color = np.random.default_rng(seed).gamma(1.0, 0.5, (*SIZE, 3)).astype(np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {c: color[..., i].copy() for i, c in enumerate("RGB")}).write(str(scratch))
    return scratch.read_bytes()


def pixel_hash(path: Path) -> str:
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = file.parts[0].channels
        return hashlib.sha256(b"".join(np.array(channels[c].pixels).tobytes() for c in "RGB")).hexdigest()


def write_frame(path: Path, kind: str, dice: random.Random, scratch: Path) -> None:
    """Write one frame as some renderer, copy or clock would."""
    whole = exr_bytes(dice.getrandbits(32), scratch)
    if kind == "renamed":
        part = path.with_name(path.name + ".tmp")
        part.write_bytes(whole)
        part.rename(path)
    elif kind in ("slow", "stalled"):
        cuts = sorted(dice.sample(range(1, len(whole)), 4))
        with path.open("wb", buffering=0) as file:
            for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                file.write(whole[begin:end])
                time.sleep(dice.uniform(0, SETTLE_S / 2))
                if kind == "stalled" and end == cuts[2]:
                    time.sleep(dice.uniform(1, 3) * SETTLE_S)  # it looks finished, and is damaged
    else:
        path.write_bytes(whole)
    if kind == "overwritten":
        time.sleep(dice.uniform(0, 4) * SETTLE_S)
        path.write_bytes(exr_bytes(dice.getrandbits(32), scratch))
    elif kind == "same second":  # and on a file system that keeps whole seconds
        os.utime(path, (int(time.time()),) * 2)
        path.write_bytes(exr_bytes(dice.getrandbits(32), scratch))
        os.utime(path, (int(time.time()),) * 2)
    elif kind.startswith("clock"):
        hour = time.time() + (3600 if kind == "clock ahead" else -3600)
        os.utime(path, (hour, hour))


class Worker:
    """One `mdenoise watch`, and what it said it made."""

    def __init__(self, source: Path, out: Path) -> None:
        self.made = 0
        command = [
            sys.executable,
            "-m",
            "mdenoise",
            "watch",
            str(source),
            str(out),
            "-q",
            "--poll",
            "0.1",
            "--settle",
            str(SETTLE_S),
            "--lease",
            str(LEASE_S),
            "-j",
            "1",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENV)
        self.counter = threading.Thread(target=self._count)
        self.counter.start()

    def _count(self) -> None:
        with self.process.stdout as results:
            for _ in results:
                self.made += 1

    def wait_for_start(self, out: Path, limit_s: float = 120) -> None:
        """Until it watches: a signal before that ends any program in 130."""
        until_s = time.monotonic() + limit_s
        while not list(out.glob(f".mdenoise/journal/*.{self.process.pid}.*")) and time.monotonic() < until_s:
            time.sleep(0.05)

    def child(self) -> int | None:
        """The process in which it denoises."""
        try:
            pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(pids[0]) if pids else None


def observe(out: Path, ended: threading.Event, faults: list[str]) -> None:
    """Look at every file under a final name as often as can be: it must be whole at first sight, and stay as it is."""
    seen: dict[tuple[str, int], str] = {}
    while True:
        last = ended.is_set()
        for path in out.glob("[!.]*"):
            with suppress(FileNotFoundError):
                info = path.stat()
                key = (path.name, info.st_ino)
                if key in seen and not last:
                    continue
                content = path.read_bytes()
                if path.stat().st_ino != info.st_ino:
                    continue
                digest = hashlib.sha256(content).hexdigest()
                if seen.setdefault(key, digest) != digest:
                    faults.append(f"{path.name} changed under its final name")
                try:
                    pixel_hash(path)
                except FileNotFoundError:
                    continue
                except Exception as error:
                    faults.append(f"{path.name} was partial: {error}")
        if last:
            return
        time.sleep(0.005)


def soak(
    folder: Path, *, frames: int, kills: int, rate: float, workers: int = 2, seed: int = 1, limit_s: float = 3600
) -> dict:
    """Run it in `folder`; `rate` is frames a second of all writers together. Answers counts and faults."""
    began_s = time.monotonic()
    source, out, reference = folder / "in", folder / "out", folder / "reference"
    source.mkdir()
    out.mkdir()
    dice, faults, done = random.Random(seed), [], Counter()
    ended, written = threading.Event(), threading.Event()
    inputs: dict[str, tuple[str, int]] = {}

    def write(which: int, writers: int) -> None:
        own = random.Random(seed * 1000 + which)
        for number in range(which, frames, writers):
            path, kind = source / f"shot.{number:05d}.exr", own.choice(KINDS)
            begin_s = time.monotonic()
            write_frame(path, kind, own, folder / f"scratch.{which}.exr")
            inputs[path.name] = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            time.sleep(max(0.0, begin_s + writers / rate - time.monotonic()))

    def write_all() -> None:
        threads = [threading.Thread(target=write, args=(which, 4)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        written.set()

    watcher = threading.Thread(target=observe, args=(out, ended, faults))
    watcher.start()
    threading.Thread(target=write_all).start()
    crew = [Worker(source, out) for _ in range(workers)]
    try:
        while done["kill"] < kills and time.monotonic() - began_s < limit_s:
            one = dice.randrange(workers)
            # Kills spread over the whole run: after some more results, at any moment of the next.
            goal, until_s = crew[one].made + dice.randint(0, max(1, frames // (2 * kills))), time.monotonic() + 10
            while (
                crew[one].made < goal
                and time.monotonic() < until_s
                and not (written.is_set() and sum(1 for _ in out.glob("[!.]*")) == frames)
            ):
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.2))
            action = dice.choices(("kill", "stop", "freeze", "kill child"), (10, 2, 2, 1))[0]
            done[action] += 1
            process = crew[one].process
            if action == "freeze":  # longer than the lease: its claim is taken away
                process.send_signal(signal.SIGSTOP)
                time.sleep(LEASE_S * dice.uniform(0.5, 2))
                process.send_signal(signal.SIGCONT)
            elif action == "kill child":
                child = crew[one].child()
                if child:
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
            else:
                if action == "stop":
                    crew[one].wait_for_start(out)
                process.send_signal(signal.SIGKILL if action == "kill" else signal.SIGTERM)
                if process.wait(timeout=120) != (-signal.SIGKILL if action == "kill" else 0):
                    faults.append(f"{action} ended in {process.returncode}")
                crew[one].counter.join()
                crew[one] = Worker(source, out)
        written.wait(limit_s)
        left: dict = {}
        while time.monotonic() - began_s < limit_s:
            status = watch_status.status(Watch(source, out))
            left = {name: status[name] for name in ("waiting", "working", "retrying", "failed", "blocked")}
            if not any(left.values()):
                break
            time.sleep(0.5)
        faults += [f"{name}: {files[:3]}" for name, files in left.items() if files]
    finally:
        for worker in crew:
            worker.wait_for_start(out)
            worker.process.terminate()
        for worker in crew:
            if worker.process.wait(timeout=120) != 0:
                faults.append(f"the last stop ended in {worker.process.returncode}")
            worker.counter.join()
        ended.set()
        watcher.join()
    soaked_s = time.monotonic() - began_s
    faults += compare(source, out, reference, inputs)
    state = out / ".mdenoise"
    faults += [
        f"left over: {path.relative_to(out)}"
        for part in ("claims", "work", "tries")
        for path in (state / part).iterdir()
    ]
    events = list(spool_journal.read(state / "journal"))
    published = Counter((e["source"], e["size"], e["mtime_ns"]) for e in events if e["event"] == "denoised")
    faults += [f"{name} was denoised {times} times" for (name, *_), times in published.items() if times > 1]
    return {
        "frames": frames,
        "workers": workers,
        "kills": done["kill"],
        "stops": done["stop"],
        "freezes": done["freeze"],
        "child_kills": done["kill child"],
        "versions_denoised": len(published),
        "events": Counter(e["event"] for e in events),
        "seconds": round(soaked_s, 1),
        "faults": faults,
    }


def compare(source: Path, out: Path, reference: Path, inputs: dict[str, tuple[str, int]]) -> list[str]:
    """What is wrong with inputs and results, the latter beside those of the plain command line."""
    faults = []
    now = {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in source.iterdir()
    }
    faults += [
        f"input {name} is not as it was written"
        for name in inputs.keys() | now.keys()
        if inputs.get(name) != now.get(name)
    ]
    command = [sys.executable, "-m", "mdenoise", str(source), "-q", "-o", f"{reference}/"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENV)
    names = {path.name for path in out.glob("[!.]*")}
    faults += [f"{name} is missing or too much" for name in names ^ inputs.keys()]
    faults += [
        f"{name} has other pixels than the command line's"
        for name in names & inputs.keys()
        if pixel_hash(out / name) != pixel_hash(reference / name)
    ]
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--rate", type=float, default=8.0, help="frames written a second [8]")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(
            Path(folder),
            frames=given.frames,
            kills=given.kills,
            rate=given.rate,
            workers=given.workers,
            seed=given.seed,
        )
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
