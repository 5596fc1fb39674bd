"""Plans and batches from Python: matching, clashes, progress, cancelling, failures of single files."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise import batch, isolation
from mdenoise.adapters import adapter_for
from mdenoise.config import Options
from mdenoise.errors import Cancelled, InputError, ModelError, OutputError, UsageError

from .processes import alive, children_of, holding, in_workers, program, wait_for


def render(path, size=64):
    color = np.random.default_rng(1).gamma(1.0, 0.5, (size, size, 3)).astype(np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {c: color[..., i].copy() for i, c in enumerate("RGB")}).write(str(path))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def pairs(plan):
    return [(str(task.src), str(task.dst)) for task in plan.tasks]


def test_order_is_kept_and_each_file_is_taken_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "b.exr", "a.exr", "in/c.exr")
    plan = batch.plan(["b.exr", "./a.exr", "a.exr", str(tmp_path / "b.exr"), "in", "in/c.exr"])
    assert pairs(plan) == [("b.exr", "b.denoised.exr"), ("a.exr", "a.denoised.exr"), ("in/c.exr", "in/c.denoised.exr")]


def test_every_clash_is_reported_at_once(tmp_path):
    touch(tmp_path, "a.exr", "b.exr", "c.exr", "out/a.exr", "out/c.exr")
    with pytest.raises(batch.ClashError) as caught:
        batch.plan([tmp_path], str(tmp_path / "out"))
    assert [Path(line.split(": ")[0]).parent.name for line in caught.value.clashes] == ["out", "out"]
    assert caught.value.exit_code == 4 and isinstance(caught.value, OutputError)


def test_existing_file_wins_over_its_reading_as_a_pattern(tmp_path):
    touch(tmp_path, "s.####.exr", "s.0001.exr")
    assert [task.src.name for task in batch.plan([tmp_path / "s.####.exr"]).tasks] == ["s.####.exr"]
    (tmp_path / "s.####.exr").unlink()
    assert [task.src.name for task in batch.plan([tmp_path / "s.####.exr"]).tasks] == ["s.0001.exr"]


def test_folders_keep_their_shape_and_links_are_not_followed_round(tmp_path):
    touch(tmp_path, "in/a.exr", "in/x/a.exr", "in/x/y/a.EXR", "in/.git/a.exr")
    (tmp_path / "in/x/loop").symlink_to("..")
    out = tmp_path / "out"
    plan = batch.plan([tmp_path / "in"], f"{out}/", recursive=True)
    assert [str(task.dst.relative_to(out)) for task in plan.tasks] == ["a.exr", "x/a.exr", "x/y/a.EXR"]
    assert not out.exists()


def test_frames_choose_from_folders_by_number(tmp_path):
    touch(tmp_path, "s.0001.exr", "s.0002.exr", "t_0002.exr", "still.exr")
    plan = batch.plan([tmp_path], frames="2-9")
    assert [task.src.name for task in plan.tasks] == ["s.0002.exr", "t_0002.exr"]


def test_missing_and_odd_inputs_are_outcomes(tmp_path):
    touch(tmp_path, "a.exr", "b.txt")
    (tmp_path / "gone.exr").symlink_to("nowhere")
    plan = batch.plan([tmp_path / "a.exr", tmp_path / "b.txt", tmp_path / "gone.exr", "/dev/null"])
    assert len(plan.tasks) == 1
    assert [(outcome.src.name, type(outcome.error)) for outcome in plan.settled] == [
        ("b.txt", InputError),
        ("gone.exr", InputError),
        ("null", InputError),
    ]


def test_output_patterns_need_frame_numbers(tmp_path):
    touch(tmp_path, "still.exr")
    with pytest.raises(UsageError, match="no frame number"):
        batch.plan([tmp_path / "still.exr"], str(tmp_path / "o.####.exr"))


def test_a_result_is_not_denoised_again_beside_its_source(tmp_path):
    touch(tmp_path, "s.0001.exr", "s.denoised.0001.exr", "old.denoised.exr")
    plan = batch.plan(sorted(tmp_path.iterdir()), existing="overwrite")
    assert [task.src.name for task in plan.tasks] == ["old.denoised.exr", "s.0001.exr"]
    assert plan.notes == ("results among the inputs left out: 1",)


def test_progress_rises_to_one_for_each_file(tmp_path):
    for name in "ab":
        render(tmp_path / f"{name}.exr", 150)
    seen = []
    plan = batch.plan([tmp_path])
    outcomes = list(
        batch.run(
            plan, Options(tile_px=128, overlap_px=32), progress=lambda task, part: seen.append((task.src.stem, part))
        )
    )
    assert [outcome.status for outcome in outcomes] == ["denoised", "denoised"]
    for name in "ab":
        parts = [part for stem, part in seen if stem == name]
        assert parts == sorted(parts) and parts[-1] == 1.0 and len(parts) > 1


def test_cancel_leaves_nothing(tmp_path):
    render(tmp_path / "a.exr")
    with pytest.raises(Cancelled):
        list(batch.run(batch.plan([tmp_path]), Options(), cancel=lambda: True))
    assert names(tmp_path) == ["a.exr"]


def test_a_defect_in_one_file_does_not_stop_the_others(tmp_path, monkeypatch):
    render(tmp_path / "a.exr"), render(tmp_path / "b.exr")
    # Its process hears of the defect over here by a message, and could have written the file before.
    monkeypatch.setattr(isolation, "_COMMAND", in_workers(holding("a.denoised.exr")))

    def fails_once(task, part):
        if task.src.name == "a.exr":
            raise ZeroDivisionError("boom")

    outcomes = list(batch.run(batch.plan([tmp_path]), Options(), progress=fails_once))
    assert [outcome.status for outcome in outcomes] == ["failed", "denoised"]
    assert isinstance(outcomes[0].error, ZeroDivisionError)
    assert batch.exit_code(outcomes) == 1
    assert names(tmp_path) == ["a.exr", "b.denoised.exr", "b.exr"]


def test_output_that_appears_meanwhile_is_kept(tmp_path):
    render(tmp_path / "a.exr")
    plan = batch.plan([tmp_path / "a.exr"])
    (tmp_path / "a.denoised.exr").write_text("theirs")
    (outcome,) = batch.run(plan, Options())
    assert isinstance(outcome.error, OutputError) and batch.exit_code([outcome]) == 4
    assert (tmp_path / "a.denoised.exr").read_text() == "theirs"


def test_model_is_asked_for_only_when_there_is_work(tmp_path):
    touch(tmp_path, "a.exr", "a.denoised.exr")
    options = Options(model=str(tmp_path / "none.onnx"))
    assert [o.status for o in batch.run(batch.plan([tmp_path], existing="skip"), options)] == ["skipped"]
    with pytest.raises(ModelError):
        list(batch.run(batch.plan([tmp_path], existing="overwrite"), options))


def outcome(error=None):
    return batch.Outcome(Path("a"), None, "failed" if error else "denoised", error=error)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ((), 0),
        ((None, None), 0),
        ((None, InputError("x")), 1),
        ((InputError("x"),), 3),
        ((InputError("x"), InputError("y")), 3),
        ((OutputError("x"),), 4),
        ((InputError("x"), OutputError("y")), 1),
        ((ValueError("x"),), 1),
    ],
)
def test_exit_codes(errors, code):
    assert batch.exit_code(outcome(error) for error in errors) == code


# --- several files


def stamp(path):
    return adapter_for(path).provenance(path)


def state(path):
    info = path.stat()
    return info.st_ino, info.st_mtime_ns, info.st_size


def test_outcomes_come_in_order_from_several_processes(tmp_path):
    for name in "abcde":
        render(tmp_path / f"{name}.exr")
    (tmp_path / "c.exr").write_bytes(b"no picture")
    outcomes = list(batch.run(batch.plan([tmp_path]), Options(), jobs=2))
    assert [(o.src.stem, o.status) for o in outcomes] == [
        ("a", "denoised"), ("b", "denoised"), ("c", "failed"), ("d", "denoised"), ("e", "denoised"),
    ]  # fmt: skip
    assert isinstance(outcomes[2].error, InputError) and "c.exr" in str(outcomes[2].error)
    assert batch.summary(outcomes, 1.5) == "4 denoised, 1 failed; 5 files in 1.5 s"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_files_are_in_hand_at_the_same_time(tmp_path):
    for name in "ab":
        render(tmp_path / f"{name}.exr")
    others, together = set(children_of(os.getpid())), []

    def of_this_batch():
        return set(children_of(os.getpid())) - others

    def look(_task, _fraction):  # while one file waits here
        if not together:
            together.append(wait_for(lambda: len(of_this_batch()) == 2))

    list(batch.run(batch.plan([tmp_path]), Options(), jobs=2, progress=look))
    assert together and not of_this_batch()


def test_skipping_goes_by_the_stamp(tmp_path):
    for name in ("same", "changed", "foreign", "new"):
        render(tmp_path / f"in/{name}.exr")
    out = f"{tmp_path}/out/"
    first = batch.plan([tmp_path / "in"], out)
    list(batch.run(replace(first, tasks=tuple(t for t in first.tasks if t.src.stem in ("same", "changed"))), Options()))
    (tmp_path / "out/foreign.exr").write_text("mine")
    before = {path.name: state(path) for path in (tmp_path / "out").iterdir()}
    os.utime(tmp_path / "in/changed.exr", ns=(1, 1))
    plan = batch.plan([tmp_path / "in"], out, existing="skip")
    assert [(task.src.stem, task.replaces) for task in plan.tasks] == [("changed", True), ("new", False)]
    assert any("foreign.exr: kept" in note for note in plan.notes)
    outcomes = list(batch.run(plan, Options()))
    assert sorted((o.src.stem, o.status) for o in outcomes) == [
        ("changed", "denoised"), ("foreign", "skipped"), ("new", "denoised"), ("same", "skipped"),
    ]  # fmt: skip
    after = {path.name: state(path) for path in (tmp_path / "out").iterdir()}
    assert {name for name in after if after[name] != before.get(name)} == {"changed.exr", "new.exr"}
    assert stamp(tmp_path / "out/changed.exr")["source_mtime_ns"] == "1"
    assert (tmp_path / "out/foreign.exr").read_text() == "mine"
    assert not batch.plan([tmp_path / "in"], out, existing="skip").tasks


@pytest.mark.parametrize(
    ("suffix", "frame", "result"),
    [
        ("_clean", "a.exr", "a_clean.exr"),
        (".dn", "shot.0101.exr", "shot.dn.0101.exr"),
        (None, "a.exr", "a.denoised.exr"),
    ],
)
def test_suffix(suffix, frame, result, tmp_path):
    touch(tmp_path, frame)
    (task,) = batch.plan([tmp_path], suffix=suffix).tasks
    assert task.dst == tmp_path / result
    (task,) = batch.plan([tmp_path], f"{tmp_path}/out/", suffix=suffix).tasks
    assert task.dst == tmp_path / "out" / (result if suffix else frame)
    touch(tmp_path, result)  # a later run: a result is no input
    assert [task.src.name for task in batch.plan([tmp_path], suffix=suffix, existing="overwrite").tasks] == [frame]


@pytest.mark.parametrize("suffix", ["", "/x", "../x"])
def test_suffix_cannot_name_another_folder(suffix, tmp_path):
    touch(tmp_path, "a.exr")
    with pytest.raises(UsageError, match="suffix"):
        batch.plan([tmp_path], suffix=suffix)


def test_no_link_leads_results_out_of_their_folder(tmp_path):
    touch(tmp_path, "in/a.exr", "in/deep/b.exr", "elsewhere/keep")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/deep").symlink_to(tmp_path / "elsewhere")
    for existing in batch.EXISTING:
        with pytest.raises(OutputError, match=r"deep/b\.exr: a symbolic link leads out of"):
            batch.plan([tmp_path / "in"], str(tmp_path / "out"), recursive=True, existing=existing)
    (tmp_path / "out/deep").unlink()
    (tmp_path / "out/a.exr").symlink_to(tmp_path / "elsewhere/keep")
    with pytest.raises(OutputError, match=r"a\.exr: a symbolic link leads out of"):
        batch.plan([tmp_path / "in"], str(tmp_path / "out"), existing="overwrite")


def test_leftovers_of_dead_writers_go_and_those_of_live_ones_stay(tmp_path):
    touch(tmp_path, "a.exr", "b.exr")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    touch(tmp_path, f".a.denoised.exr.{dead.pid}.01234567.tmp", f".b.denoised.exr.{os.getpid()}.01234567.tmp")
    batch.sweep(batch.plan([tmp_path]))
    assert names(tmp_path) == [f".b.denoised.exr.{os.getpid()}.01234567.tmp", "a.exr", "b.exr"]


def command(*arguments):
    return [sys.executable, "-m", "mdenoise", *map(str, arguments)]


def killed_and_resumed(folder, files, kills):
    """Denoise `files` frames in a batch whose processes are killed `kills` times; each rerun does the rest."""
    rng = np.random.default_rng(3)
    render(folder / "in/f.0001.exr")
    for number in range(2, files + 1):
        (folder / f"in/f.{number:04d}.exr").write_bytes((folder / "in/f.0001.exr").read_bytes())
    sources = {path.name: path.read_bytes() for path in (folder / "in").iterdir()}
    times = {path.name: state(path) for path in (folder / "in").iterdir()}
    done = {}
    for attempt in range(kills + 1):
        process = subprocess.Popen(
            command(folder / "in", "-o", f"{folder}/out/", "--skip-existing", "-j", 2),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        if attempt < kills:
            for _ in range(int(rng.integers(1, max(2, files // kills)))):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            workers = children_of(process.pid)
            os.killpg(process.pid, signal.SIGKILL) if attempt % 2 else process.kill()
            wait_for(lambda pids=workers: not any(map(alive, pids)))  # they notice, and could write until then
        _, err = process.communicate(timeout=300)
        assert attempt < kills or process.returncode == 0, err
        now = {path.name: state(path) for path in (folder / "out").iterdir() if not path.name.startswith(".")}
        assert all(now[name] == before for name, before in done.items())  # none is made twice
        done = now
    assert names(folder / "out") == sorted(sources)  # nothing else beside them
    assert all(stamp(folder / "out" / name)["source"] == name for name in sources)
    whole = {(folder / "out" / name).stat().st_size for name in sources}
    assert max(whole) - min(whole) <= 40  # the same picture, and stamps of other lengths
    assert {path.name: path.read_bytes() for path in (folder / "in").iterdir()} == sources
    assert {path.name: state(path) for path in (folder / "in").iterdir()} == times


def test_a_killed_batch_goes_on_where_it_was(tmp_path):
    killed_and_resumed(tmp_path, files=8, kills=2)


@pytest.mark.slow
def test_a_batch_killed_ten_times_goes_on_where_it_was(tmp_path):
    killed_and_resumed(tmp_path, files=100, kills=10)


def test_interrupting_all_processes_of_a_batch_is_one_line(tmp_path):
    for number in range(40):
        render(tmp_path / f"f.{number:04d}.exr", 192)
    process = subprocess.Popen(
        [sys.executable, *program(holding("f.0039.exr")), tmp_path, "-o", f"{tmp_path}/out/", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, b"mdenoise: interrupted\n")
    assert 1 <= len(names(tmp_path / "out")) < 40
    assert not [name for name in names(tmp_path / "out") if name.startswith(".")]


def test_the_command_ends_a_batch_with_one_line_of_summary(tmp_path):
    render(tmp_path / "a.exr"), render(tmp_path / "deep/b.exr")
    (tmp_path / "bad.exr").write_bytes(b"\x76\x2f\x31\x01")
    done = subprocess.run(
        command(tmp_path, "-o", f"{tmp_path}/out/", "--recursive", "--json"), capture_output=True, text=True
    )
    assert done.returncode == 1
    lines = {Path(line["src"]).name: line for line in map(json.loads, done.stdout.splitlines())}
    assert {name: line["status"] for name, line in lines.items()} == {
        "a.exr": "denoised", "b.exr": "denoised", "bad.exr": "failed",
    }  # fmt: skip
    assert lines["bad.exr"]["exit_code"] == 3 and lines["b.exr"]["dst"].endswith("out/deep/b.exr")
    assert re.fullmatch(r"mdenoise: 2 denoised, 1 failed; 3 files in [0-9.]+ s", done.stderr.splitlines()[-1])
