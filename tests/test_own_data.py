"""Your own images: what prepare takes and refuses, that training sees what the product sees, and the three commands."""

import csv
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("PIL")

from PIL import Image  # noqa: E402

from mdenoise import look  # noqa: E402
from mdenoise import tile_guide as product  # noqa: E402
from mdenoise.config import Options  # noqa: E402
from mdenoise.errors import InputError, OutputError, UsageError  # noqa: E402
from mdenoise.training import (  # noqa: E402
    compare,
    data,
    masking,
    objective,
    pairing,
    pairs,
    photo_patches,
    prepare,
    restoration,
    train,
)
from mdenoise.training.config import load_preset  # noqa: E402
from mdenoise.training.loss import image_loss  # noqa: E402

RENDERS = Path(__file__).parent / "data" / "renders"
TEN = ("cornell", "toys", "materials", "living_room", "garden", "breakfast", "workshop", "window_room", "gallery")
TEN += ("product",)


def photo(seed: int, height: int = 300, width: int = 400) -> np.ndarray:
    """(H, W, 3) uint8 with detail: bands and grain-free noise of several scales."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for scale in (4, 16, 64):
        small = rng.random((height // scale + 2, width // scale + 2, 3))
        image += np.repeat(np.repeat(small, scale, 0), scale, 1)[:height, :width] / 3
    return (image * 255).astype(np.uint8)


def pictures(folder: Path, count: int = 10) -> Path:
    """Photographs of several formats and modes."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = Image.fromarray(photo(i))
        if i % 4 == 0:
            image.save(folder / f"p{i}.jpg", quality=92)
        elif i % 4 == 1:
            image.convert("RGBA").save(folder / f"p{i}.png")
        elif i % 4 == 2:
            image.save(folder / f"p{i}.webp", quality=90)
        else:
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(folder / f"p{i}.tiff")
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# --- photographs


def test_photos_are_split_by_photo_and_the_poor_ones_refused(tmp_path, capsys):
    source = pictures(tmp_path / "in")
    Image.fromarray(photo(50, 100, 400)).save(source / "tiny.png")
    Image.fromarray(np.full((400, 400, 3), 90, np.uint8)).save(source / "flat.png")
    Image.fromarray(photo(0)).save(source / "zcopy.png")
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (source / "notes.txt").write_text("not a picture, and no line about it")
    assert prepare.main(["photos", str(source), "--out", str(tmp_path / "out"), "--val", "0.2", "--crops", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    left_out = [line.removeprefix("left out: ") for line in lines if line.startswith("left out")]
    assert sorted(line.split(":")[0] for line in left_out) == ["broken.jpg", "flat.png", "tiny.png", "zcopy.png"]
    assert "too small (400x100" in "".join(left_out) and "the same picture as p0.jpg" in "".join(left_out)
    rows = read_rows(tmp_path / "out" / "photos.csv")
    by_photo = {
        name: {r["split"] for r in rows if r["source_file"] == name} for name in {r["source_file"] for r in rows}
    }
    assert len(by_photo) == 10 and all(len(splits) == 1 for splits in by_photo.values())
    assert sum(splits == {"val"} for splits in by_photo.values()) == 2
    shapes = {tuple(x.shape) for s in ("train", "val") for x in photo_patches.load_photos(tmp_path / "out", s)}
    assert shapes == {(3, 300, 300)}
    with pytest.raises(OutputError, match="exists already"):
        prepare.main(["photos", str(source), "--out", str(tmp_path / "out")])
    prepare.main(["photos", str(source), "--out", str(tmp_path / "out"), "--overwrite"])
    assert len(read_rows(tmp_path / "out" / "photos.csv")) == len(list((tmp_path / "out" / "photos").iterdir()))


def test_a_blurred_photograph_is_blurry_and_a_sharp_corner_saves_it():
    from PIL import ImageFilter

    sharp = photo(3, 512, 512)
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(6)))
    tenth = prepare.sharpest_tenth
    assert 255 * tenth(soft) < prepare.BLURRY < 255 * tenth(sharp) / 3
    portrait = soft.copy()
    portrait[:170, :170] = sharp[:170, :170]  # a tenth of the area in focus
    assert 255 * tenth(portrait) > prepare.BLURRY


def test_large_photographs_are_averaged_down():
    image = np.random.default_rng(1).integers(0, 256, (2100, 3000, 3)).astype(np.uint8)
    small, scale = prepare.shrunk(image)
    assert scale == 2 and small.shape == (1050, 1500, 3)
    assert small[0, 0, 0] == pytest.approx(image[:2, :2, 0].mean(), abs=0.5)
    assert small.std() == pytest.approx(image.std() / 2, rel=0.05)


def test_what_is_held_out_is_named_or_drawn():
    assert prepare.hold_out("abcdefghij", 0.2) == prepare.hold_out("jihgfedcba", 0.2)
    assert len(prepare.hold_out("abcdefghij", 0.2)) == 2 and len(prepare.hold_out("abc", 0.01)) == 1
    assert prepare.hold_out("a", 0.5) == set() and prepare.hold_out("abc", 0.1, ("b",)) == {"b"}
    with pytest.raises(UsageError, match="--held-out 'z' is not there: choose from a, b, c"):
        prepare.hold_out("abc", 0.1, ("z",))
    with pytest.raises(UsageError, match="nothing is left to train on"):
        prepare.hold_out("ab", 0.1, ("a", "b"))


# --- pairs


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_patterns_and_folders_find_partners(tmp_path):
    touch(tmp_path, "a.x.4.exr", "a.x.16.exr", "a.x.ref.exr", "b/b.4.exr", "c.4.exr", "c.ref.exr")
    found, alone = pairing.match(f"{tmp_path}/{{scene}}.{{spp}}.exr", f"{tmp_path}/{{scene}}.ref.exr", None)
    assert {(m.scene, m.noisy.name, m.target.name) for m in found} == {
        ("a.x", "a.x.4.exr", "a.x.ref.exr"),
        ("a.x", "a.x.16.exr", "a.x.ref.exr"),
        ("c", "c.4.exr", "c.ref.exr"),
    }
    assert alone == []  # b lies in another folder, which the pattern does not name
    touch(tmp_path, "n/s1/f.0001.exr", "n/s2.exr", "r/s1/f.0001.png", "r/s3.exr")
    found, alone = pairing.match(str(tmp_path / "n"), str(tmp_path / "r"), None)
    assert [(m.scene, m.target.suffix) for m in found] == [("s1/f.0001", ".png")]
    assert alone == ["s2.exr: no reference for it"]
    touch(tmp_path, *(f"runs/{s}.{i}.exr" for s in "ab" for i in range(3)), "runs/c.0.exr")
    found, alone = pairing.match(f"{tmp_path}/runs/{{scene}}.{{run}}.exr", None, None)
    assert len(found) == 8 and all(m.noisy_target for m in found)  # two couples a scene, both ways
    assert {m.scene for m in found} == {"a", "b"} and alone == ["c.0.exr: the only run of it"]
    with pytest.raises(UsageError, match=r"names no \{scene\}"):
        pairing.match(f"{tmp_path}/*.exr", None, None)
    with pytest.raises(UsageError, match="name --reference or --second"):
        pairing.match(f"{tmp_path}/{{scene}}.exr", None, None)


def test_training_sees_what_the_product_sees():
    noisy = pairing.read(RENDERS / "toys.4.exr", Options())
    target = pairing.read(RENDERS / "toys.reference.exr", Options())
    color = noisy.color.astype(np.float32).copy()
    color[40, 50] = np.nan
    noisy = replace(noisy, color=color, layers={"color": color})
    planes, demodulate = pairing.stacked(noisy, target)
    seen = look.measure(replace(noisy, demodulated=frozenset({"color"})), Options())
    assert demodulate == seen.demodulated
    trusted = np.isfinite(color).all(2)
    rows = cols = slice(0, 256)
    guide, trust, _ = product.build_guide(noisy, seen, rows, cols, trusted, (256, 256))
    quiet = data.DataConfig(batch=1, patch_px=256, drop_albedo=0, drop_normal=0, drop_depth=0, drop_variance=0)
    crops = pairs.Crops(planes[None], "toys", True, demodulate, False, Path("a"), Path("b"), {})
    raw = {name: torch.from_numpy(planes[None, at].astype(np.float32)) for name, at in pairs.PLANES.items()}
    one = torch.ones(1, 1, 1, 1)
    raw |= dict(linear=one, demodulate=one, sensor=torch.zeros(1, 2, 1, 1), confidence=raw["trusted"])
    ours = data.make_guide(data.Batch(**raw), raw["trusted"])[0].numpy()
    np.testing.assert_allclose(ours, guide, atol=2e-3)  # half floats are stored
    batch = next(pairs.stream([crops], quiet, 1))
    assert float(batch.confidence.sum()) == pytest.approx(float(trust.sum()), rel=1e-3)
    assert batch.trusted.sum() == 256 * 256 - 1 and batch.inside.sum() == 256 * 256


def test_pairs_that_teach_nothing_are_refused(tmp_path):
    noisy = pairing.read(RENDERS / "toys.4.exr", Options())
    one = pairing.Match("toys", Path("a.exr"), Path("b.exr"), True)
    with pytest.raises(InputError, match=r"a\.exr: the same pixels as b\.exr; render it with another seed"):
        pairing.check(one, noisy, noisy)
    with pytest.raises(InputError, match=r"a\.exr: differs from b\.exr \(256x256 and 256x255\)"):
        pairing.check(one, noisy, replace(noisy, color=noisy.color[:-1]))
    with pytest.raises(InputError, match=r"linear and srgb"):
        pairing.check(one, noisy, replace(noisy, encoding="srgb"))


def test_crops_cover_the_image_and_small_ones_are_padded():
    planes = np.ones((20, 200, 333), np.float16) * np.arange(333, dtype=np.float16)
    crops = pairing.crops_of(planes, 128, 99)
    assert crops.shape == (6, 20, 128, 128)
    assert set(np.unique(crops)) == set(range(333))
    assert pairing.crops_of(planes, 128, 2).shape[0] == 2
    small = pairing.crops_of(np.ones((20, 30, 40), np.float16), 64, 4)
    assert small.shape == (1, 20, 64, 64) and small.sum() == 20 * 30 * 40


def test_photographs_can_be_pairs_and_noisy_ones_need_their_loss(tmp_path):
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        rng = np.random.default_rng(seed)
        for i in range(3):
            noisy = np.clip(photo(i, 96, 128) + rng.normal(0, 20, (96, 128, 3)), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / folder / f"{i}.png")
    out = tmp_path / "pairs"
    prepare.main(["pairs", str(tmp_path / "a"), "--second", str(tmp_path / "b"), "--out", str(out), "--crop", "64"])
    crops = pairs.load(out, "train")
    assert len(crops) == 4 and len(pairs.load(out, "val")) == 2
    assert all(c.noisy_target and not c.linear for c in crops)
    batch = next(pairs.stream(crops, data.DataConfig(batch=3, patch_px=64), 1))
    assert batch.noisy.shape == (3, 3, 64, 64) and float(batch.linear.max()) == 0
    assert 15 / 255 < float((batch.noisy - batch.clean).std()) / math.sqrt(2) < 25 / 255
    with pytest.raises(UsageError, match="have noisy targets: use --preset noise2noise"):
        train.load_data(load_preset("finetune", []), None, out, "train")


def test_noise_to_noise_has_its_minimum_at_the_mean_and_the_image_loss_has_not():
    rng = torch.Generator().manual_seed(4)
    shape = (64, 1, 32, 32)
    samples = torch._standard_gamma(torch.full(shape, 0.3), generator=rng) / 0.3 * 0.4  # heavy tail, mean 0.4
    target = samples.expand(-1, 3, -1, -1)
    noisy, ones, linear = target.flip(0), torch.ones(shape), torch.ones(64, 1, 1, 1)
    slopes = {}
    for name, loss in (("n2n", objective.noise2noise_loss), ("image", image_loss)):
        for value in (0.25, float(samples.mean()), 0.6):
            level = torch.tensor(value, requires_grad=True)
            loss(level.expand(64, 3, 32, 32), target, noisy, linear, ones).backward()
            slopes[name, value] = float(level.grad)
    low, middle, high = (slopes["n2n", v] for v in (0.25, float(samples.mean()), 0.6))
    assert low < 0 < high
    assert abs(middle) < 0.02 * min(-low, high)
    assert slopes["image", float(samples.mean())] > 0.1 * slopes["image", 0.6]  # it would darken


# --- other restorations


def test_tasks_degrade_as_they_say():
    rng = torch.Generator().manual_seed(1)
    clean = torch.from_numpy(photo(1, 96, 128)).permute(2, 0, 1)[None].float() / 255
    for kernel in restoration.KERNELS:
        ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
        half = restoration.half(ramp, kernel)
        assert half.shape == (1, 3, 32, 32)
        assert float(half[..., 8:24].diff(dim=3).mean()) == pytest.approx(2 / 63, rel=1e-3)
        assert restoration.degrade(clean, f"sr2:{kernel}", rng).shape == clean.shape
    impulse = torch.zeros(1, 3, 65, 65)
    impulse[..., 32, 32] = 1
    at = torch.arange(65.0) - 32
    wide = restoration.blurred(impulse, "gaussian", "2", "blur", rng)[0, 0]
    assert float((wide.sum(0) * at**2).sum()) == pytest.approx(4, rel=0.03)
    moved = restoration.blurred(impulse, "motion", "9", "blur", rng)[0, 0]
    spread = float((moved.sum(0) * at**2).sum() + (moved.sum(1) * at**2).sum())
    assert float(moved.sum()) == pytest.approx(1, abs=1e-5) and 81 / 12 < spread < 81 / 12 + 1
    noisy = restoration.degrade(clean, "blur:gaussian=0.5+noise=10", rng)
    still = restoration.degrade(clean, "blur:gaussian=0.5", rng)
    assert 8 / 255 < float((noisy - still).std()) < 11 / 255
    assert float((restoration.degrade(clean, "blur:gaussian=0.5+jpeg=40", rng) - still).std()) > 1 / 255
    for task in ("sr2:cubic", "blur:gaussian=wide", "blur:gaussian=1+rain=3", "blur:gaussian=9"):
        with pytest.raises(UsageError):
            restoration.degrade(clean, task, rng)


def test_presets_of_the_open_question_differ_from_their_rivals_in_masks_alone():
    from mdenoise.training import open_question

    for question, tests in open_question.TESTS.items():
        config = load_preset(question, [])
        assert config.data.photo_noise == tests[0][0] and config.model.output == "rgb"
        plain, masked = (open_question.runs(config, [1])[name, 1] for name in open_question.MASKS)
        assert replace(plain, masks=masked.masks) == masked
        assert bool((masking.input_mask(64, 32, 32, plain.masks) == 1).all())
        assert float(masking.input_mask(64, 32, 32, masked.masks).mean()) < 0.9
        for task, _ in tests:
            shown = open_question.degraded(photo(1, 65, 97), task, 1)
            assert shown.shape == (65, 97, 3) and shown.dtype == np.uint8


# --- the three commands


def commands(*lines: str, cwd: Path) -> str:
    """Run command lines as docs/training.md has them; returns what they print."""
    text = ""
    for line in lines:
        words, one_thread = [sys.executable, "-m", *line.split()], {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=cwd, env=one_thread, capture_output=True, text=True)
        assert done.returncode == 0, line + done.stderr[-2000:]
        text += done.stdout
    return text


SHORT = "--set minutes=0 --set validation_batches=2 --set warmup=5 --set data.batch=4"


@pytest.mark.slow
def test_three_commands_on_ten_pairs_beat_base_on_scenes_held_out(tmp_path):
    pytest.importorskip("onnx")
    for name in TEN:
        for kind in ("4", "reference"):
            (tmp_path / f"{name}.{kind}.exr").write_bytes((RENDERS / f"{name}.{kind}.exr").read_bytes())
    commands(
        "mdenoise prepare pairs {scene}.{spp}.exr --reference {scene}.reference.exr --out pairs"
        " --held-out cornell,gallery,product",
        f"mdenoise train --preset finetune --pairs pairs --out ours {SHORT} --set steps=60 --set learning_rate=5e-4"
        " --set ema=0.95",
        "mdenoise export --weights ours/ema.safetensors --out ours.onnx",
        cwd=tmp_path,
    )
    cases = list(compare.pair_cases(tmp_path / "pairs"))
    assert {case.name.split(".")[0] for case in cases} == {"cornell", "gallery", "product"}
    found = compare.measure(cases, ["base", str(tmp_path / "ours.onnx")])
    noisy, base, ours = (float(np.mean([psnr for psnr, _ in scores])) for scores in found.values())
    assert noisy + 5 < base and base + 0.2 < ours, f"PSNR, dB: noisy {noisy:.2f}, base {base:.2f}, ours {ours:.2f}"


@pytest.mark.slow
def test_three_commands_on_ten_photos_from_scratch(tmp_path):
    pytest.importorskip("onnx")
    pictures(tmp_path / "mine")
    text = commands(
        "mdenoise prepare photos mine --out photos",
        f"mdenoise train --preset scratch --photos photos --out ours {SHORT} --set steps=12 --set data.scene_pool=2"
        " --set model.widths=[16,16,32] --set model.blocks=2",
        "mdenoise export --weights ours/ema.safetensors --out ours.onnx",
        "mdenoise.training.compare --photos photos --model ./ours.onnx",
        cwd=tmp_path,
    )
    assert "photos.csv: " in text and "for validation" in text
    assert "| mean |" in text


@pytest.mark.slow
def test_three_commands_on_noisy_pairs_alone(tmp_path):
    pytest.importorskip("onnx")
    reference = {name: pairing.read(RENDERS / f"{name}.reference.exr", Options()).color for name in TEN[:4]}
    import OpenEXR

    for name, clean in reference.items():
        for run in range(2):  # ten-sample Monte Carlo noise of our own: independent of each other
            rng = np.random.default_rng([run, len(name)])
            noisy = (clean * rng.gamma(0.5, 2.0, (*clean.shape[:2], 1))).astype(np.float32)
            header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
            OpenEXR.File(header, {"RGB": noisy}).write(str(tmp_path / f"{name}.run{run}.exr"))
    commands(
        "mdenoise prepare pairs {scene}.run{run}.exr --out pairs --held-out toys",
        f"mdenoise train --preset noise2noise --pairs pairs --out ours {SHORT} --set steps=30 --set ema=0.9",
        "mdenoise export --weights ours/ema.safetensors --out ours.onnx",
        cwd=tmp_path,
    )
    cases = [replace(case, target=reference["toys"]) for case in compare.pair_cases(tmp_path / "pairs")]
    found = compare.measure(cases, ["base", str(tmp_path / "ours.onnx")])
    noisy, base, ours = (float(np.mean([psnr for psnr, _ in scores])) for scores in found.values())
    # No clean image was seen, and nothing darkened.
    assert ours > noisy + 5 and ours > base - 0.3, f"PSNR, dB: noisy {noisy:.2f}, base {base:.2f}, ours {ours:.2f}"
