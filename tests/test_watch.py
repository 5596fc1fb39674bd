"""Watched folders: what is taken and when, what is left alone, and that nothing is done twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise import watch
from mdenoise.cli import main
from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.watch import Seen, State, Watch

HEADER = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


def render(path, seed=1, size=64):
    color = np.random.default_rng(seed).gamma(1.0, 0.5, (size, size, 3)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File(dict(HEADER), {c: color[..., i].copy() for i, c in enumerate("RGB")}).write(str(path))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def pixels(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return np.stack([np.array(file.parts[0].channels[c].pixels) for c in "RGB"])


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


def once(folders, **more):
    return [(o.src.name, o.status) for o in watch.once(Watch(*folders, settle_s=more.pop("settle_s", 0.0), **more))]


def test_new_and_changed_files_are_denoised_and_nothing_twice(folders):
    source, out = folders
    render(source / "a.exr"), render(source / "b.0001.exr")
    assert once(folders) == [("a.exr", "denoised"), ("b.0001.exr", "denoised")]
    assert names(out) == ["a.exr", "b.0001.exr"]
    stamps = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    assert once(folders) == []
    assert {name: (out / name).stat().st_mtime_ns for name in names(out)} == stamps

    before = pixels(out / "a.exr")
    render(source / "a.exr", seed=2)
    assert once(folders) == [("a.exr", "denoised")]
    assert not np.array_equal(pixels(out / "a.exr"), before)

    (out / "a.exr").unlink()
    assert once(folders) == [("a.exr", "denoised")]
    assert once(folders) == []


def test_a_source_that_is_older_than_its_result_but_another_is_seen(folders):
    source, _ = folders
    render(source / "a.exr")
    once(folders)
    render(source / "a.exr", seed=2)
    os.utime(source / "a.exr", (1, 1))  # restored from a backup with its old time
    assert once(folders) == [("a.exr", "denoised")]


def test_a_result_of_the_command_line_is_current_too(folders):
    source, out = folders
    render(source / "a.exr")
    assert main([str(source / "a.exr"), "-q", "-o", f"{out}/"]) == 0
    assert once(folders) == []


def test_files_that_still_change_are_left_for_later(folders):
    source, _ = folders
    whole = render(source / "a.exr").read_bytes()
    (source / "a.exr").write_bytes(whole[:1000])
    job = Watch(*folders, settle_s=0.2)
    seen = watch.look(watch.scan(source), {}, 10.0)
    assert watch.pending(job, seen, 10.0) == []
    (source / "a.exr").write_bytes(whole)
    seen = watch.look(watch.scan(source), seen, 10.3)
    assert watch.pending(job, seen, 10.3) == []
    seen = watch.look(watch.scan(source), seen, 10.6)
    assert [task.src.name for task in watch.pending(job, seen, 10.6)] == ["a.exr"]


def test_a_growing_file_is_not_read_by_a_single_scan(folders):
    source, _ = folders
    whole = render(source / "whole.exr").read_bytes()
    writer = (
        "import sys, time\nwith open(sys.argv[1], 'wb', buffering=0) as file:\n"
        "    for byte in range(200): file.write(b'x'); time.sleep(0.02)\n"
    )
    slow = subprocess.Popen([sys.executable, "-c", writer, str(source / "slow.exr")])
    while not (source / "slow.exr").exists() or not (source / "slow.exr").stat().st_size:
        time.sleep(0.01)
    assert once(folders, settle_s=0.5) == [("whole.exr", "denoised")]
    slow.kill()
    slow.wait()
    (source / "slow.exr").write_bytes(whole)
    assert once(folders, settle_s=0.1) == [("slow.exr", "denoised")]


def test_age_is_not_judged_by_file_times(folders):
    source, _ = folders
    render(source / "a.exr")
    os.utime(source / "a.exr", (4e9, 4e9))  # written by a machine whose clock is in the future
    assert once(folders) == [("a.exr", "denoised")]
    assert once(folders) == []


def test_only_finished_files_of_known_kinds_are_taken(folders):
    source, out = folders
    for name in ("a.exr.tmp", "b.exr.part", ".hidden.exr", "c.txt", "d.denoised.exr", "e.exr.inprogress"):
        (source / name).write_bytes(b"x")
    (source / "empty.exr").touch()
    (source / "gone.exr").symlink_to("nowhere")
    (source / "folder.exr").mkdir()
    os.mkfifo(source / "pipe.exr")
    assert set(watch.scan(source)) == {source / "empty.exr"}
    assert once(folders) == []
    assert names(out) == []


ODD = ["two\nlines.exr", "☃.exr", os.fsdecode(b"latin\xe9.exr"), "-q.exr", "a" * 200 + ".exr"]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_done_once(folders, name):
    source, _ = folders
    render(source / "plain.exr").rename(source / name)
    assert once(folders) == [(name, "denoised")]
    assert once(folders) == []


def test_damaged_files_fail_alone(folders, capfd):
    source, out = folders
    whole = render(source / "b.exr").read_bytes()
    (source / "a.exr").write_bytes(whole[:1000])
    assert main(["watch", str(source), str(out), "--once", "--settle", "0"]) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout.splitlines() == [str(out / "b.exr")]
    assert [line for line in stderr.splitlines() if "a.exr" in line and line.startswith("mdenoise: cannot read")]
    assert names(out) == ["b.exr"]


def test_foreign_files_are_never_replaced(folders):
    source, out = folders
    render(source / "a.exr"), render(source / "b.exr")
    theirs = render(out / "a.exr", seed=9).read_bytes()
    (out / "b.exr").write_text("notes")
    results = list(watch.once(Watch(source, out, settle_s=0.0)))
    assert [o.status for o in results] == ["failed", "failed"]
    assert all(isinstance(o.error, OutputError) for o in results)
    assert (out / "a.exr").read_bytes() == theirs and (out / "b.exr").read_text() == "notes"


def test_results_never_leave_the_folder(folders, tmp_path):
    source, out = folders
    render(source / "a.exr"), render(source / "b.exr")
    once(folders)
    (out / "a.exr").rename(tmp_path / "kept.exr")
    (out / "a.exr").symlink_to(tmp_path / "kept.exr")
    (out / "b.exr").unlink()
    (out / "b.exr").symlink_to(tmp_path / "fresh.exr")
    render(source / "a.exr", seed=2)
    kept = (tmp_path / "kept.exr").read_bytes()
    assert once(folders) == [("a.exr", "failed"), ("b.exr", "failed")]
    assert (tmp_path / "kept.exr").read_bytes() == kept and not (tmp_path / "fresh.exr").exists()


def test_folders_are_checked_first(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder"):
        list(watch.once(Watch(tmp_path / "none", tmp_path / "out")))
    with pytest.raises(UsageError, match="into itself"):
        list(watch.once(Watch(tmp_path / "in", tmp_path / "in" / ".." / "in")))
    with pytest.raises(OutputError):
        list(watch.once(Watch(tmp_path / "in", tmp_path / "file" / "out")))


def test_look_keeps_the_time_of_what_did_not_change():
    path, one, two = Path("a"), State(1, 2, 3), State(1, 2, 4)
    assert watch.look({path: one}, {path: Seen(one, 5.0)}, 9.0) == {path: Seen(one, 5.0)}
    assert watch.look({path: two}, {path: Seen(one, 5.0)}, 9.0) == {path: Seen(two, 9.0)}
    assert watch.look({}, {path: Seen(one, 5.0)}, 9.0) == {}


def test_a_running_watch_takes_files_as_they_come_and_ends_on_ctrl_c(folders):
    source, out = folders
    render(source / "a.exr")
    (source / "bad.exr").write_bytes(b"not an image")
    process = subprocess.Popen(
        [sys.executable, "-m", "mdenoise", "watch", str(source), str(out), "--poll", "0.1", "--settle", "0.2", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stdout.readline().decode().strip() == str(out / "a.exr")
        render(source / "b.exr", seed=2)
        assert process.stdout.readline().decode().strip() == str(out / "b.exr")
        source.rename(source.with_name("away"))  # as when a network goes down: waited for
        time.sleep(0.4)
        source.with_name("away").rename(source)
        render(source / "c.exr", seed=3)
        assert process.stdout.readline().decode().strip() == str(out / "c.exr")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and stdout == b""
    lines = stderr.decode().splitlines()
    assert (
        len([line for line in lines if "bad.exr" in line]) == 1
        and lines[-1] == "mdenoise: interrupted"
        and len(lines) == 2
    )


def test_killed_runs_converge(folders):
    source, out = folders
    first = render(source / "f.01.exr", size=192)
    for frame in range(2, 13):
        os.link(first, source / f"f.{frame:02d}.exr")
    for delay in (0.0, 0.05, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-m", "mdenoise", "watch", str(source), str(out), "--once", "--settle", "0", "-q"],
            stdout=subprocess.PIPE,
        )
        with process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
    for path in out.glob("[!.]*"):
        assert np.isfinite(pixels(path)).all()
    assert all(status == "denoised" for _, status in once(folders))
    assert once(folders) == []
    assert sorted(path.name for path in out.glob("[!.]*")) == [f"f.{frame:02d}.exr" for frame in range(1, 13)]
