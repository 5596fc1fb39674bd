"""A file appears whole or not at all, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdenoise.atomic import publish
from mdenoise.errors import InputError, OutputError


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def text(content):
    return lambda temp: temp.write_text(content)


def test_publish_writes_and_leaves_no_temp(tmp_path):
    target = tmp_path / "a.exr"
    publish(target, text("new"), overwrite=False)
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.exr"]
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_temp_lies_beside_the_target_under_its_own_name(tmp_path):
    seen = []
    publish(tmp_path / "a.exr", lambda temp: (seen.append(temp), temp.write_text("x")), overwrite=False)
    assert seen[0].parent == tmp_path
    assert seen[0].name.startswith(f".a.exr.{os.getpid()}.") and seen[0].name.endswith(".tmp")


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    target = tmp_path / "a.exr"
    target.write_text("old")
    with pytest.raises(OutputError, match="exists already"):
        publish(target, text("new"), overwrite=False)
    assert target.read_text() == "old"
    publish(target, text("new"), overwrite=True)
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.exr"]


def test_a_file_that_appears_while_writing_is_kept(tmp_path):
    target = tmp_path / "a.exr"

    def race(temp):
        temp.write_text("ours")
        target.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        publish(target, race, overwrite=False)
    assert target.read_text() == "theirs"
    assert names(tmp_path) == ["a.exr"]


def test_without_hard_links_an_existing_file_is_still_kept(tmp_path, monkeypatch):
    """FAT and some network shares refuse os.link."""

    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.exr"
    publish(target, text("new"), overwrite=False)
    assert target.read_text() == "new"

    def race(temp):
        temp.write_text("ours")
        (tmp_path / "b.exr").write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        publish(tmp_path / "b.exr", race, overwrite=False)
    assert (tmp_path / "b.exr").read_text() == "theirs"
    assert names(tmp_path) == ["a.exr", "b.exr"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), InputError("bad"), KeyboardInterrupt(), RuntimeError("bug")],
)
def test_whatever_is_raised_the_old_file_stays_and_the_temp_goes(tmp_path, error):
    target = tmp_path / "a.exr"
    target.write_text("old")

    def fail(temp):
        temp.write_text("half")
        raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        publish(target, fail, overwrite=True)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.exr"]
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {target}: No space left on device"


def test_places_that_cannot_be_written(tmp_path):
    for path, reason in [
        (tmp_path / "missing" / "a.exr", "No such file or directory"),
        (tmp_path, "it is a folder"),
        (tmp_path / ("x" * 300 + ".exr"), "File name too long"),
    ]:
        with pytest.raises(OutputError) as caught:
            publish(path, text("x"), overwrite=False)
        assert str(caught.value) == f"cannot write {path}: {reason}"
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Not a directory"):
        publish(tmp_path / "file" / "a.exr", text("x"), overwrite=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        publish(tmp_path / "a.exr", text("x"), overwrite=False)
    tmp_path.chmod(0o700)


def test_the_longest_name_that_a_file_may_have(tmp_path):
    target = tmp_path / ("x" * 251 + ".exr")
    publish(target, text("x"), overwrite=False)
    assert names(tmp_path) == [target.name]


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "store").mkdir()
    real, link = tmp_path / "store" / "real.exr", tmp_path / "a.exr"
    real.write_text("old")
    link.symlink_to(real)
    with pytest.raises(OutputError, match="exists already"):
        publish(link, text("new"), overwrite=False)
    publish(link, text("new"), overwrite=True)
    assert link.is_symlink() and real.read_text() == "new"
    assert names(tmp_path / "store") == ["real.exr"]


def test_symbolic_links_to_nowhere_and_to_themselves(tmp_path):
    nowhere, loop = tmp_path / "nowhere.exr", tmp_path / "loop.exr"
    nowhere.symlink_to(tmp_path / "gone" / "a.exr")
    loop.symlink_to(loop)
    for link in (nowhere, loop):
        with pytest.raises(OutputError, match="exists already"):
            publish(link, text("x"), overwrite=False)
    with pytest.raises(OutputError, match="No such file"):
        publish(nowhere, text("x"), overwrite=True)
    assert names(tmp_path) == ["loop.exr", "nowhere.exr"]


SLOW_WRITER = """
import signal, sys, time
from pathlib import Path
from mdenoise.atomic import publish
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
def write(temp):
    temp.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
publish(Path(sys.argv[1]), write, overwrite=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_real_process_stopped_while_writing_leaves_the_old_file(tmp_path, sent):
    target = tmp_path / "a.exr"
    target.write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(target)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(sent)
    process.wait(120)
    process.stdout.close()
    assert target.read_text() == "old"
    left = [name for name in names(tmp_path) if name != "a.exr"]
    # Nothing can clean up after SIGKILL; what stays is hidden and recognisable.
    assert left == [] if sent == signal.SIGINT else all(n.startswith(".a.exr.") and n.endswith(".tmp") for n in left)
    publish(target, text("new"), overwrite=True)
    assert target.read_text() == "new"


@pytest.fixture
def small_disk(tmp_path):
    """256 KiB of its own file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path):
    target = small_disk / "a.exr"
    target.write_text("old")
    with pytest.raises(OutputError) as caught:
        publish(target, lambda temp: temp.write_bytes(bytes(1 << 20)), overwrite=True)
    assert str(caught.value) == f"cannot write {target}: No space left on device"
    assert target.read_text() == "old" and names(small_disk) == ["a.exr"]
