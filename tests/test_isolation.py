"""Processes that denoise for us: real ones, really killed, starved and stalled."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise import batch, errors, isolation, pipeline
from mdenoise.config import Options
from mdenoise.errors import Cancelled, EngineError, InputError, ModelError, OutputError
from mdenoise.isolation import CrashError, Worker

from .processes import children_of, holding, in_workers

SMALL_TILES = Options(tile_px=128, overlap_px=32)
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def render(path, size=64, layers=0):
    color = np.random.default_rng(1).gamma(1.0, 0.5, (size, size, 3)).astype(np.float32)
    channels = {c: color[..., i].copy() for i, c in enumerate("RGB")}
    channels |= {f"black{i}.R": np.zeros((size, size), np.float32) for i in range(layers)}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File(header, channels).write(str(path))
    return path


def pixels(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.parts[0].channels.items()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_same_pixels_and_report_as_in_this_process(tmp_path):
    src = render(tmp_path / "a.exr")
    with Worker(Options()) as worker:
        there = worker.denoise(src, tmp_path / "there.exr")
        again = worker.denoise(src, tmp_path / "again.exr")
    outcome = batch.worker(Options())(batch.Task(src, tmp_path / "here.exr"))
    for other in ("there.exr", "again.exr"):
        assert all(
            (plane == pixels(tmp_path / "here.exr")[name]).all() for name, plane in pixels(tmp_path / other).items()
        )
    assert isinstance(there, pipeline.Report) and there.dst == tmp_path / "there.exr"
    assert (there.roles_line, there.notes, there.width) == (again.roles_line, again.notes, again.width)
    assert there.roles_line == outcome.report.roles_line and there.left_out == outcome.report.left_out == ()


def test_errors_arrive_as_they_are_raised_and_the_process_lives_on(tmp_path):
    src = render(tmp_path / "a.exr")
    (tmp_path / "bad.exr").write_bytes(src.read_bytes()[:100])
    with Worker(Options()) as worker:
        worker.denoise(src, tmp_path / "b.exr")
        pid = worker._process.pid
        with pytest.raises(OutputError, match="it exists already"):
            worker.denoise(src, tmp_path / "b.exr")
        with pytest.raises(InputError, match=r"cannot read .*bad\.exr") as caught:
            worker.denoise(tmp_path / "bad.exr", tmp_path / "c.exr")
        assert not isinstance(caught.value, CrashError)
        worker.denoise(src, tmp_path / "b.exr", overwrite=True)
        assert worker._process.pid == pid
    assert names(tmp_path) == ["a.exr", "b.exr", "bad.exr"]


def test_what_is_wrong_with_model_or_engine_is_told_first(tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx"):
        Worker(Options(model=str(tmp_path / "none.onnx"))).open()
    with pytest.raises(EngineError, match="--file-memory"):
        Worker(Options(), memory_mib=40).open()


@linux
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_one_error_and_the_next_file_gets_a_new_process(number, tmp_path, monkeypatch):
    src = render(tmp_path / "a.exr", 300)
    monkeypatch.setattr(isolation, "_COMMAND", in_workers(holding("b.exr")))
    with Worker(SMALL_TILES) as worker:

        def crash(_fraction):
            os.kill(worker._process.pid, number)

        with pytest.raises(CrashError, match=r"cannot denoise .*a\.exr: .*(SIG|killed)") as caught:
            worker.denoise(src, tmp_path / "b.exr", progress=crash)
        assert "\n" not in str(caught.value) and caught.value.exit_code == 3
        assert names(tmp_path) == ["a.exr"]
        monkeypatch.undo()
        worker.denoise(src, tmp_path / "b.exr")
    assert names(tmp_path) == ["a.exr", "b.exr"]


def test_a_file_that_never_ends_is_given_up(tmp_path):
    os.mkfifo(tmp_path / "endless.exr")  # opens when someone writes, which no one does
    src = render(tmp_path / "a.exr")
    with Worker(Options(), seconds=1) as worker:
        with pytest.raises(CrashError, match="no progress for 1 s"):
            worker.denoise(tmp_path / "endless.exr", tmp_path / "b.exr")
        worker.seconds = 600
        worker.denoise(src, tmp_path / "c.exr")


@linux
def test_a_file_that_wants_too_much_memory_is_refused(tmp_path):
    greedy = render(tmp_path / "greedy.exr", 1600, layers=20)  # 225 MiB of pixels in a small file
    src = render(tmp_path / "a.exr")
    with Worker(Options()) as worker:  # what it takes on this machine: every thread counts with its stack
        worker.denoise(src, tmp_path / "c.exr")
        status = Path(f"/proc/{worker._process.pid}/status").read_text()
    usual = int(status.split("VmData:")[1].split()[0]) >> 10
    with Worker(Options(), memory_mib=usual + 140) as worker:
        with pytest.raises(InputError, match=r"greedy\.exr: .*(memory|MiB)") as caught:
            worker.denoise(greedy, tmp_path / "b.exr")
        assert "\n" not in str(caught.value)
        worker.denoise(src, tmp_path / "d.exr")
    assert names(tmp_path) == ["a.exr", "c.exr", "d.exr", "greedy.exr"]


def test_cancelling_ends_the_work_and_leaves_nothing(tmp_path, monkeypatch):
    src = render(tmp_path / "a.exr", 300)
    begun = threading.Event()
    monkeypatch.setattr(isolation, "_COMMAND", in_workers(holding("b.exr")))
    with Worker(SMALL_TILES) as worker:
        with pytest.raises(Cancelled):
            worker.denoise(src, tmp_path / "b.exr", progress=lambda _: begun.set(), cancel=begun.is_set)
        assert names(tmp_path) == ["a.exr"]
        monkeypatch.undo()
        worker.denoise(src, tmp_path / "b.exr")


@linux
def test_a_process_whose_parent_is_gone_ends(tmp_path):
    with Worker(Options()) as worker:
        worker.open()
        process = worker._process
        process.stdin.close()  # as when the parent is killed
        assert process.wait(timeout=120) == 0


@linux
def test_the_process_goes_before_its_parent_when_memory_runs_out():
    with Worker(Options()) as worker:
        worker.open()
        assert int(Path(f"/proc/{worker._process.pid}/oom_score_adj").read_text()) == 500


def test_nothing_is_imported_from_the_working_folder(tmp_path, monkeypatch):
    for module in ("json", "numpy", "OpenEXR"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('taken from the working folder')")
    monkeypatch.chdir(tmp_path)
    render(tmp_path / "a.exr")
    with Worker(Options()) as worker:
        assert worker.denoise(Path("a.exr"), Path("b.exr")).width == 64


def test_every_class_of_error_survives_the_way():
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.MDenoiseError):
            error = isolation._error({"error": name, "text": "why", "traceback": "where"})
            assert type(error) is kind and str(error) == "why"
    assert type(isolation._error({"error": "ZeroDivisionError", "text": "x", "traceback": "y"})) is ZeroDivisionError
    assert type(isolation._error({"error": "UnicodeDecodeError", "text": "x", "traceback": "y"})) is RuntimeError


@linux
def test_a_crash_costs_a_batch_one_file(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "_COMMAND", in_workers(holding("b.denoised.exr")))
    for name in "abc":
        render(tmp_path / f"{name}.exr", 300)

    def crash_b(task, _fraction):
        if task.src.stem == "b":
            for pid in children_of(os.getpid()):
                os.kill(pid, signal.SIGSEGV)

    outcomes = list(batch.run(batch.plan([tmp_path]), SMALL_TILES, progress=crash_b, jobs=1))
    assert [outcome.status for outcome in outcomes] == ["denoised", "failed", "denoised"]
    assert isinstance(outcomes[1].error, CrashError) and batch.exit_code(outcomes) == 1
    assert names(tmp_path) == ["a.denoised.exr", "a.exr", "b.exr", "c.denoised.exr", "c.exr"]
