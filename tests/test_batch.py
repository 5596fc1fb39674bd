"""Plans and batches from Python: matching, clashes, progress, cancelling, failures of single files."""

from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise import batch
from mdenoise.config import Options
from mdenoise.errors import Cancelled, InputError, ModelError, OutputError, UsageError


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
    touch(tmp_path, "a.exr", "b.jpg")
    (tmp_path / "gone.exr").symlink_to("nowhere")
    plan = batch.plan([tmp_path / "a.exr", tmp_path / "b.jpg", tmp_path / "gone.exr", "/dev/null"])
    assert len(plan.tasks) == 1
    assert [(outcome.src.name, type(outcome.error)) for outcome in plan.settled] == [
        ("b.jpg", InputError),
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


def test_a_defect_in_one_file_does_not_stop_the_others(tmp_path):
    render(tmp_path / "a.exr"), render(tmp_path / "b.exr")

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
