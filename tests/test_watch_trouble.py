"""Watches that are killed at every point, and whose disks fill up, turn read-only or go away: nothing is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

import mdenoise
from mdenoise import isolation, spool_journal, watch, watch_status
from mdenoise.spool_records import read_records
from mdenoise.watch import Watch

from .processes import holding, in_workers, program, wait_for

HEADER = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}

# The real program, with one of its steps replaced by its own death; the rest of it runs as always.
KILLED = """
import os, signal, sys
from mdenoise import atomic, isolation, spool, spool_journal
from mdenoise.cli import main

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half_a_line(descriptor, line, write=os.write):
    if b'"denoised"' not in line:
        return write(descriptor, line)
    write(descriptor, line[:len(line) // 2])
    die()

class Os:
    def __getattr__(self, name):
        return half_a_line if name == "write" else getattr(os, name)

point, name = sys.argv[1], atomic._name
if point == "after claim":
    take = spool.Spool.take
    spool.Spool.take = lambda *a: die(take(*a))
elif point == "mid-temp":  # in the worker process, with half of the temporary file written
    head, _, serve = isolation._COMMAND.rpartition("; ")
    isolation._COMMAND = head + '''
import os, mdenoise.atomic as a
def die(path, flags):
    os.truncate(path, path.stat().st_size // 2)
    os.kill(os.getppid(), 9)
    os.kill(os.getpid(), 9)
a._sync = die
''' + serve
elif point == "before rename":
    atomic._name = lambda made, final, overwrite: (
        name if ".mdenoise" in str(final) else die)(made, final, overwrite)
elif point == "after rename":
    atomic._name = lambda made, final, overwrite: (
        name(made, final, overwrite), ".mdenoise" in str(final) or die())
elif point == "mid-journal":
    spool_journal.os = Os()
sys.exit(main(sys.argv[2:]))
"""
POINTS = ("after claim", "mid-temp", "before rename", "after rename", "mid-journal")


def render(path, seed=1):
    """The colour of a frame that is there whole or not at all, however long a busy machine takes to write it."""
    color = np.random.default_rng(seed).gamma(1.0, 0.5, (48, 64, 3)).astype(np.float32)
    part = path.with_name(".part")
    OpenEXR.File(dict(HEADER), {c: color[..., i].copy() for i, c in enumerate("RGB")}).write(str(part))
    part.rename(path)
    return color


def pixels(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return np.stack([np.array(file.parts[0].channels[c].pixels) for c in "RGB"], -1)


def fill(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"\1" * 4096)


def results(out):
    return sorted(path.name for path in out.glob("[!.]*"))


@contextmanager
def running(source, out, *options, code=""):
    """`mdenoise watch`, with `code` run in its worker."""
    command = [sys.executable, *program(code), "watch", source, out, "--poll", "0.05", "--settle", "0.1", "-j", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*map(str, command), *options], **pipes)
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_a_run_killed_at_any_point_is_made_good_by_the_next(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    colors = {}
    for number, point in enumerate(POINTS):
        colors[f"f.{number}.exr"] = render(source / f"f.{number}.exr", seed=number)
        before = set(results(out))
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, point, "watch", source, out, "--once", "--settle", "0", "-q", "-j", "1"],
            check=False,
            capture_output=True,
            timeout=300,
        )
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        assert list(out.glob(".mdenoise/claims/*")), point
        for name in set(results(out)) - before:
            assert pixels(out / name).shape == (48, 64, 3)
    tries = {record.source: record.tries for record in read_records(out / ".mdenoise/tries").values()}
    # Counted before the work, as it may kill the program each time, and the untried first; f.2 was found done since.
    assert tries == dict.fromkeys(["f.0.exr", "f.1.exr", "f.3.exr"], 1)
    assert {o.status for o in watch.once(Watch(source, out, settle_s=0, jobs=1))} <= {"denoised"}
    assert results(out) == sorted(colors)
    for name, color in colors.items():
        np.testing.assert_array_equal(pixels(out / name), mdenoise.denoise(color))
    assert [p for part in ("claims", "work", "tries") for p in (out / ".mdenoise" / part).iterdir()] == []
    done = [e["source"] for e in spool_journal.read(out / ".mdenoise/journal") if e["event"] == "denoised"]
    assert len(done) == len(set(done))
    assert list(watch.once(Watch(source, out, settle_s=0, jobs=1))) == []


def test_a_file_that_kills_its_process_is_given_up_and_the_others_go_on(tmp_path, monkeypatch):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    render(source / "killer.exr"), render(source / "z.exr")
    aborts = """
import os, mdenoise.pipeline as line
real = line.denoise_file
line.denoise_file = lambda src, *a, **k: os.abort() if src.stem == "killer" else real(src, *a, **k)
"""
    monkeypatch.setattr(isolation, "_COMMAND", in_workers(aborts))
    job = Watch(source, out, settle_s=0, tries=2, jobs=1)
    assert [(o.src.name, o.status) for o in watch.once(job)] == [("killer.exr", "retry"), ("z.exr", "denoised")]
    last = list(watch.once(job))
    assert [(o.src.name, o.status) for o in last] == [("killer.exr", "failed")]
    assert "SIGABRT" in str(last[0].error)
    assert list(watch.once(job)) == []
    (record,) = watch_status.status(job)["failed"]
    assert record["tries"] == 2 and record["kind"] == "CrashError"
    os.utime(source / "killer.exr", (1, 1))  # another version
    assert [o.status for o in watch.once(job)] == ["retry"]


def test_the_second_signal_ends_at_once_and_leaves_nothing(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    render(source / "a.exr")
    with running(source, out, code=holding("a.exr")) as process:
        wait_for(lambda: list(out.glob(".mdenoise/work/*/.a.exr.*")))
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None  # the first one lets it finish what it has in hand
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130 and stderr == "mdenoise: interrupted\n"
    left = [p for part in ("claims", "work", "tries") for p in (out / ".mdenoise" / part).iterdir()]
    assert left == [] and results(out) == []


@pytest.fixture
def mounted(tmp_path):
    """A 1 MiB disk, and a function that runs mount and umount; skipped where that is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def call(*command):
        return subprocess.run(list(map(str, command)), check=False, capture_output=True).returncode == 0

    if not (shutil.which("mount") and call("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)):
        pytest.skip("this user may not mount")
    yield disk, call
    for path in (disk, tmp_path / "in"):
        call("umount", "-l", path)


def test_full_readonly_unmounted_and_deleted_folders_are_waited_for(tmp_path, mounted):
    out, call = mounted
    real, source = tmp_path / "real", tmp_path / "in"
    real.mkdir()
    source.mkdir()
    assert call("mount", "--bind", real, source)
    render(source / "a.exr")
    with running(source, out, "--json") as process:

        def heard(status):
            line = process.stdout.readline()
            assert f'"status": "{status}"' in line, (line, process.poll())

        heard("denoised")
        with pytest.raises(OSError, match="No space left"):
            fill(out / "filler")
        render(source / "b.exr", seed=2)
        heard("paused")
        (out / "filler").unlink()
        heard("resumed"), heard("denoised")

        assert call("mount", "-o", "remount,ro", out)
        render(source / "c.exr", seed=3)
        heard("paused")
        assert call("mount", "-o", "remount,rw", out)
        heard("resumed"), heard("denoised")

        assert call("umount", "-l", source)  # an empty folder now: nothing was deleted
        time.sleep(0.5)
        assert results(out) == ["a.exr", "b.exr", "c.exr"]
        assert call("mount", "--bind", real, source)
        render(source / "d.exr", seed=4)
        heard("denoised")

        for path in out.iterdir():  # as somebody who wants everything anew
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for _ in range(4):
            heard("denoised")

        assert call("umount", "-l", out)  # its mount point must not be taken for it
        heard("paused")
        render(source / "e.exr", seed=5)
        time.sleep(0.5)
        assert list(out.iterdir()) == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0
    assert all(o.status == "denoised" for o in watch.once(Watch(source, Path(out), settle_s=0, jobs=1)))


# The real program on a machine whose clock is wrong.
SHIFTED = """
import sys, time
shift, now, now_ns = float(sys.argv[1]), time.time, time.time_ns
time.time, time.time_ns = lambda: now() + shift, lambda: now_ns() + int(shift * 1e9)
from mdenoise.cli import main
sys.exit(main(sys.argv[2:]))
"""


def test_clocks_an_hour_off_lose_nothing_and_do_nothing_twice(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    frames = {f"{i}.exr": render(source / f"{i}.exr", seed=i) for i in range(6)}
    now = time.time()
    os.utime(source / "0.exr", (now + 3600, now + 3600))
    os.utime(source / "1.exr", (now - 3600, now - 3600))
    watching = ["watch", str(source), str(out), "--settle", "0.1", "--poll", "0.05", "--lease", "20", "-j", "1"]
    workers = [
        subprocess.Popen([sys.executable, "-c", SHIFTED, shift, *watching], stdout=subprocess.PIPE, text=True)
        for shift in ("3600", "-3600")
    ]
    wait_for(lambda: out.exists() and len(results(out)) == len(frames))
    time.sleep(0.5)  # for what one of them might do again
    for worker in workers:
        worker.terminate()
    said = [line for worker in workers for line in worker.communicate(timeout=120)[0].splitlines() if line]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert results(out) == sorted(frames) and len(said) == len(frames)
    for name, noisy in frames.items():
        np.testing.assert_allclose(pixels(out / name), mdenoise.denoise(noisy), rtol=1e-3, atol=1e-4)
    assert not list((out / ".mdenoise" / "claims").iterdir())
