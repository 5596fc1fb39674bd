"""Claims of one file at a time, records of attempts, and what killed or silent holders leave."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from mdenoise import spool_journal
from mdenoise.errors import OutputError
from mdenoise.spool import Spool
from mdenoise.spool_owner import Owner, is_dead, myself
from mdenoise.spool_records import Record, key_of, read_claims, read_records

from .processes import wait_for

LEASE_S = 0.4


def rename_holder(claim, **changes):
    """Make the holder look like one of another machine; it goes on beating only if its thread does."""
    facts = json.loads(claim.path.read_bytes()) | changes
    claim._owner = Owner(*(facts[name] for name in ("host", "pid", "born", "space")))
    claim._write(0)


def test_one_holder_at_a_time_and_nothing_is_left(tmp_path):
    one, other = Spool(tmp_path), Spool(tmp_path)
    with one.take("a.exr") as claim:
        (claim.folder / "half").write_bytes(b"x")
        assert other.take("a.exr") is None and claim.is_held()
        with other.take("b.exr") as second:
            assert second.is_held()
        assert [c["key"] for c in read_claims(tmp_path / ".mdenoise/claims")] == [key_of("a.exr")]
    with other.take("a.exr"):
        pass
    assert not list(tmp_path.glob(".mdenoise/claims/*")) and not list(tmp_path.glob(".mdenoise/work/*"))


def test_a_dead_process_of_this_machine_is_no_holder(tmp_path):
    code = (
        "import os, sys, pathlib\nfrom mdenoise.spool import Spool\n"
        "Spool(pathlib.Path(sys.argv[1])).take('a.exr')\nprint(flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()
        spool = Spool(tmp_path)
        assert spool.take("a.exr") is None
        process.kill()
        process.wait()  # as a zombie it would count as dead, too
        with spool.take("a.exr") as claim:
            assert claim.is_held()
            assert [path.name for path in tmp_path.glob(".mdenoise/work/*")] == [claim.folder.name]


def test_a_silent_holder_elsewhere_loses_after_a_lease_and_one_that_beats_does_not(tmp_path):
    holder, contender = Spool(tmp_path, LEASE_S), Spool(tmp_path, LEASE_S)
    with holder.take("a.exr") as claim:
        rename_holder(claim, host="far", space="another boot")
        until = time.monotonic() + 3 * LEASE_S
        while time.monotonic() < until:  # a look at every beat: how late one comes is the machine's affair
            before = claim.path.read_bytes()
            assert contender.take("a.exr") is None
            wait_for(lambda before=before: claim.path.read_bytes() != before)
        claim._ended.set()  # the machine is suspended, or cut off
        claim._thread.join()
        assert contender.take("a.exr") is None  # the lease is counted from what the contender saw
        time.sleep(1.1 * LEASE_S)
        with contender.take("a.exr") as stolen:
            assert not claim.is_held() and stolen.is_held()
            claim._write(99)  # it wakes up, and does not get its claim back
            assert not claim.is_held() and stolen.is_held()
            claim.__exit__()
            assert stolen.is_held()  # nor does it give up another's
            claim._descriptor = os.open(os.devnull, os.O_RDONLY)


def test_files_of_the_dead_are_swept(tmp_path):
    spool = Spool(tmp_path, LEASE_S)
    claim = spool.take("a.exr")
    (claim.folder / "half").write_bytes(b"x")
    rename_holder(claim, host="far", space="another boot")
    claim._ended.set()
    claim._thread.join()
    os.close(claim._descriptor)
    (tmp_path / ".mdenoise/work/0123.dead").mkdir()
    (tmp_path / ".mdenoise/claims/.0123.half").write_bytes(b"")
    (tmp_path / ".mdenoise/claims/0456").write_bytes(b"")  # killed before it wrote who it is
    spool.sweep()
    time.sleep(1.1 * LEASE_S)
    with spool.take("live.exr") as live:
        spool.sweep()
        assert live.is_held() and [path.name for path in tmp_path.glob(".mdenoise/work/*")] == [live.folder.name]
    assert not list((tmp_path / ".mdenoise/claims").iterdir())


def test_records_are_of_one_version_and_wait_on_our_own_clock(tmp_path):
    spool = Spool(tmp_path)
    record = Record("a\n\udce9.exr", 5, 7, tries=2, wait_s=0.3, error="no", time="2099-01-01T00:00:00Z")
    with spool.take(record.source) as claim:
        claim.put("tries", record)
    assert spool.records("tries") == {key_of(record.source): record} == read_records(tmp_path / ".mdenoise/tries")
    assert not spool.is_due(record)
    wait_for(lambda: spool.is_due(record))
    later = replace(record, wait_s=3600.0)
    assert not spool.is_due(later) and not spool.is_due(later)
    (tmp_path / ".mdenoise/tries" / key_of("torn")).write_text('{"source": "to')
    assert list(spool.records("tries")) == [key_of(record.source)]
    with spool.take(record.source) as claim:
        claim.drop("tries")
    assert spool.records("tries") == {}


def test_a_deleted_folder_is_made_anew(tmp_path):
    spool = Spool(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    spool.check()
    with spool.take("a.exr") as claim:
        assert claim.is_held()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="cannot write to"):
        Spool(tmp_path / "out")


def test_owners():
    me = myself()
    assert not is_dead(me) and not is_dead(Owner(me.host, me.pid, "1", ""))
    if me.space:
        assert is_dead(Owner("renamed", me.pid, "1", me.space)), "a reused pid"
        assert not is_dead(Owner(me.host, me.pid, me.born, "another boot")), "cannot be told from here"


def test_a_torn_line_of_the_journal_costs_itself_alone(tmp_path):
    journal = spool_journal.Journal(tmp_path, myself())
    (tmp_path / "2001-01-01.old.jsonl").write_text("{}\n")
    journal.write("denoised", source="a\n.exr")
    (tmp_path / "9999-01-01.torn.jsonl").write_bytes(b'{"event": "start"}\n{"event": "den')
    assert [(e["event"], e.get("source")) for e in spool_journal.read(tmp_path)] == [
        ("denoised", "a\n.exr"),
        ("start", None),
    ]
    assert not (tmp_path / "2001-01-01.old.jsonl").exists()
