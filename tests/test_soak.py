"""A small soak; the full one is `python tests/soak/run.py`."""

import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("soak_run", Path(__file__).parent / "soak" / "run.py")
run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(run)


def test_no_frame_is_lost_done_twice_or_seen_half(tmp_path):
    report = run.soak(tmp_path, frames=30, kills=4, rate=15, limit_s=800)
    assert report["faults"] == []
    assert report["kills"] == 4 and report["versions_denoised"] >= 30 and report["events"]["denoised"] >= 26


def test_the_soak_can_fail(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    one = tmp_path / "in" / "a.exr"
    one.write_bytes(run.exr_bytes(1, tmp_path / "scratch"))
    (tmp_path / "out" / "a.exr").write_bytes(run.exr_bytes(2, tmp_path / "scratch"))
    (tmp_path / "out" / "b.exr").write_bytes(b"")
    faults = run.compare(tmp_path / "in", tmp_path / "out", tmp_path / "reference", {"a.exr": ("other", 0)})
    assert faults == [
        "input a.exr is not as it was written",
        "b.exr is missing or too much",
        "a.exr has other pixels than the command line's",
    ]
