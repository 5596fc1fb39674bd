"""Watched folders: what is taken and when, what is left alone, and that nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise import spool_journal, watch, watch_status
from mdenoise.cli import main
from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.watch import Seen, State, Watch
from mdenoise.watch_scan import Scanner

from .processes import wait_for

HEADER = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


def render(path, seed=1, size=64):
    """A frame that is there whole or not at all, however long a busy machine takes to write it."""
    color = np.random.default_rng(seed).gamma(1.0, 0.5, (size, size, 3)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(".part")
    OpenEXR.File(dict(HEADER), {c: color[..., i].copy() for i, c in enumerate("RGB")}).write(str(part))
    return part.rename(path)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".mdenoise")


def pixels(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return np.stack([np.array(file.parts[0].channels[c].pixels) for c in "RGB"])


@contextmanager
def running(folders, *options):
    """`mdenoise watch` in a process of its own."""
    command = [sys.executable, "-m", "mdenoise", "watch", *map(str, folders), "--poll", "0.05", "--settle", "0.1"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored in there, too
    process = subprocess.Popen(
        [*command, "-q", "-j", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what is not read yet, `communicate` reads
    )
    signal.signal(signal.SIGHUP, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


def once(folders, **more):
    job = Watch(*folders, settle_s=more.pop("settle_s", 0.0), jobs=1, **more)
    return [(o.src.name, o.status) for o in watch.once(job)]


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
    source, out = folders
    whole = render(source / "a.exr").read_bytes()
    (source / "a.exr").write_bytes(whole[:1000])
    with running(folders, "--settle", "4") as process:
        wait_for((out / ".mdenoise" / "root").exists)
        for end in range(1100, 1500, 100):  # each write begins the wait anew
            time.sleep(0.2)
            (source / "a.exr").write_bytes(whole[:end])
            assert not (out / "a.exr").exists()
        written = time.monotonic()
        (source / "a.exr").write_bytes(whole)
        assert process.stdout.readline().decode().strip() == str(out / "a.exr")
        assert time.monotonic() - written > 4
        assert stop(process) == (0, b"", b"")


def test_a_growing_file_is_not_read_by_a_single_scan(folders):
    source, _ = folders
    whole = render(source / "whole.exr").read_bytes()
    writer = (
        "import sys, time\nwith open(sys.argv[1], 'wb', buffering=0) as file:\n"
        "    while True: file.write(b'x'); time.sleep(0.02)\n"
    )
    slow = subprocess.Popen([sys.executable, "-c", writer, str(source / "slow.exr")])
    try:
        wait_for(lambda: (source / "slow.exr").exists() and (source / "slow.exr").stat().st_size)
        assert once(folders, settle_s=3.0) == [("whole.exr", "denoised")]
    finally:
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
    results = list(watch.once(Watch(source, out, settle_s=0.0, jobs=1)))
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
    with running(folders) as process:
        assert process.stdout.readline().decode().strip() == str(out / "a.exr")
        render(source / "b.exr", seed=2)
        assert process.stdout.readline().decode().strip() == str(out / "b.exr")
        source.rename(source.with_name("away"))  # as when a network goes down: waited for
        lines = [process.stderr.readline().decode() for _ in range(3)]
        source.with_name("away").rename(source)
        render(source / "c.exr", seed=3)
        assert process.stdout.readline().decode().strip() == str(out / "c.exr")
        assert stop(process, signal.SIGINT) == (0, b"", b"")
    assert lines == [
        f"mdenoise: cannot read {source / 'bad.exr'}: it is not an OpenEXR file\n",
        "mdenoise: waiting for this to pass:\n",
        f"mdenoise: cannot watch {source}: No such file or directory\n",
    ]


def test_folders_below_are_mirrored_and_patterns_choose(folders, tmp_path):
    source, out = folders
    for name in ("a.exr", "sub/a.exr", "sub/deep/b.exr", ".hidden/c.exr", "sub/skip.exr"):
        render(source / name)
    (tmp_path / "elsewhere").mkdir()
    render(tmp_path / "elsewhere" / "d.exr")
    (source / "link").symlink_to(tmp_path / "elsewhere")
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "deep").symlink_to(tmp_path / "elsewhere")  # results would leave OUT
    done = list(watch.once(Watch(source, out, settle_s=0, recursive=True, patterns=("[ab].exr",), jobs=1)))
    assert [(o.src.relative_to(source).as_posix(), o.status) for o in done] == [
        ("a.exr", "denoised"),
        ("sub/a.exr", "denoised"),
        ("sub/deep/b.exr", "failed"),
    ]
    assert "symbolic link" in str(done[-1].error) and names(tmp_path / "elsewhere") == ["d.exr"]
    assert (out / "sub" / "a.exr").is_file()


def test_ready_markers_ages_and_folders_for_sources(folders, tmp_path):
    source, out = folders
    for name in ("a.exr", "b.exr", "old.exr"):
        render(source / name)
    os.utime(source / "old.exr", (1e9, 1e9))
    (source / "bad.exr").write_bytes(b"not an image")
    for name in ("a.exr.done", "bad.exr.done", "old.exr.done"):
        (source / name).touch()
    aside = {"done_dir": source / "taken", "failed_dir": tmp_path / "bad"}
    (source / "taken").mkdir()
    render(source / "taken" / "a.exr", seed=5)  # of last week
    job = Watch(source, out, settle_s=0, ready_suffix=".done", since_ns=15 * 10**17, recursive=True, jobs=1, **aside)
    assert [(o.src.name, o.status) for o in watch.once(job)] == [("a.exr", "denoised"), ("bad.exr", "failed")]
    assert names(source) == ["b.exr", "old.exr", "old.exr.done", "taken"]
    assert names(source / "taken") == ["a.1.exr", "a.exr"] and names(tmp_path / "bad") == ["bad.exr"]
    assert list(watch.once(job)) == []
    report = watch_status.status(job)
    assert report["failed"][0]["error"].endswith("it is not an OpenEXR file") and report["done"] == 0
    assert watch_status.retry_failed(job) == ["bad.exr"] and (source / "bad.exr").exists()
    assert watch_status.status(job)["failed"] == []


def test_a_source_that_changes_while_it_is_denoised_is_done_again(folders):
    source, out = folders
    path = render(source / "a.exr", size=640)
    with running(folders) as process:
        wait_for(lambda: list(out.glob(".mdenoise/work/*/.a.exr.*")) or (out / "a.exr").exists())
        render(path, seed=2, size=64)
        wait_for(lambda: (out / "a.exr").exists() and pixels(out / "a.exr").shape[1] == 64)
        assert stop(process)[0] == 0
    events = [event["event"] for event in spool_journal.read(out / ".mdenoise" / "journal")]
    assert events.count("failed") == events.count("retry") == 0


def test_options_are_read_again_on_sighup(folders, tmp_path):
    source, out = folders
    config = tmp_path / "watch.toml"
    config.write_text("strength = 0.0")
    noisy = render(source / "a.exr")
    with running(folders, "--config", str(config), "--metrics", str(tmp_path / "m.prom")) as process:
        assert process.stdout.readline()
        assert np.array_equal(pixels(out / "a.exr"), pixels(noisy))
        config.write_text("strength = 2.0")  # cannot be used: the old ones stay
        process.send_signal(signal.SIGHUP)
        assert b"strength 2.0 is out of range" in process.stderr.readline()
        config.write_text("strength = 1.0")
        process.send_signal(signal.SIGHUP)
        render(source / "b.exr")
        assert process.stdout.readline()
        assert not np.array_equal(pixels(out / "b.exr"), pixels(noisy))
        assert stop(process) == (0, b"", b"")
    assert f'mdenoise_watch_denoised_total{{out="{out}"}} 2\n' in (tmp_path / "m.prom").read_text()


def test_status_of_a_folder_nobody_watched_writes_nothing(folders, capfd):
    source, out = folders
    render(source / "a.exr")
    assert main(["watch", "--status", str(source), str(out)]) == 0
    assert capfd.readouterr().out == "0 done, 1 waiting, 0 working, 0 retrying, 0 blocked, 0 failed\n"
    assert main(["watch", "--status", "--json", str(source), str(out)]) == 0
    assert json.loads(capfd.readouterr().out)["waiting"] == [{"source": "a.exr"}]
    assert not out.exists()


def test_a_scan_of_files_at_rest_sees_what_changes(tmp_path):
    for name in ("a.exr", "b.exr"):
        (tmp_path / name).write_bytes(b"x")
    scanner = Scanner(tmp_path, recursive=True)
    scanner.rest = scanner.scan()
    assert scanner.scan() == scanner.scan(full=False) == {}
    (tmp_path / "c.exr").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.exr").write_bytes(b"x")
    assert set(scanner.scan(full=False)) == {"c.exr", "sub/d.exr"}
    (tmp_path / "a.exr").write_bytes(b"xx")
    (tmp_path / "c.exr").write_bytes(b"xxx")
    quick = scanner.scan(full=False)
    assert set(quick) == {"c.exr", "sub/d.exr"} and quick["c.exr"].size == 3
    assert set(scanner.scan()) == {"a.exr", "c.exr", "sub/d.exr"}
    (tmp_path / "b.exr").unlink()
    scanner.scan()
    assert set(scanner.rest) == set()
