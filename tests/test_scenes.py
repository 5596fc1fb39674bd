"""Training renders: scenes by Mitsuba's scalar variant, which needs no LLVM, in processes of their own."""

import csv
import importlib.util
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
import pytest

torch = pytest.importorskip("torch")

from mdenoise.errors import InputError  # noqa: E402
from mdenoise.training import data, rendered, scenes, train  # noqa: E402
from mdenoise.training.config import load_preset  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
needs_mitsuba = pytest.mark.skipif(importlib.util.find_spec("mitsuba") is None, reason="Mitsuba is not installed")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Folders of assets and photos with what the generator asks for, and files that it must not take."""
    from PIL import Image

    root = tmp_path_factory.mktemp("inputs")
    source = (ROOT / "training" / "scenes_materials.py").read_text("utf-8")
    rng = np.random.default_rng(0)
    for folder in ("assets/textures", "photos/photos"):
        (root / folder).mkdir(parents=True)
    picture = Image.fromarray(rng.integers(0, 255, (300, 300, 3), dtype=np.uint8))
    for name in re.findall(r'"(\w+_1K_Color\w*)"', source):
        picture.save(root / "assets/textures" / f"{name}.jpg")
    with (root / "photos/photos.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "set", "source_file", "split"])
        for name, kind, split in (("crag", "gb82", "train"), ("fell", "cid22", "train"), ("tarn", "gb82", "val")):
            rows.writerow([f"{name}.png", kind, name, split])
            picture.save(root / "photos/photos" / f"{name}.png")
    return root


def command(inputs, out, count, *more):
    arguments = ["--assets", inputs / "assets", "--photos", inputs / "photos", "--out", out, "--seed", 3]
    arguments += ["--count", count, "--size", 24, "--reference-spp", 64, "--workers", 1, "--variant", "scalar_rgb"]
    return [sys.executable, "-m", "mdenoise.training.scenes", *map(str, arguments), *more]


def in_mitsuba(code):
    """What `code` prints, as JSON, in a process that has the scalar variant.

    Of two threads on every machine: Mitsuba cuts small images by their number, and each part has its own noise.
    """
    start = "import json, mitsuba\nmitsuba.set_variant('scalar_rgb')\nmitsuba.set_log_level(mitsuba.LogLevel.Error)\n"
    start += "import drjit\ndrjit.set_thread_count(2)\n"
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@needs_mitsuba
def test_a_killed_run_goes_on_and_gives_the_same_files(inputs, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    # A new process after every scene, as long runs have it after some.
    anew = "from mdenoise.training import scenes; scenes.SCENES_PER_PROCESS = 1; scenes.main()"
    arguments = command(inputs, whole, 3)[3:]
    subprocess.run([sys.executable, "-c", anew, *arguments], check=True, capture_output=True, timeout=300)
    run = subprocess.Popen(command(inputs, killed, 3), start_new_session=True, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 120
    while not list(killed.glob("*.npz")) and run.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    kept = {path: path.stat().st_mtime_ns for path in killed.glob("*.npz")}
    assert kept
    again = subprocess.run(command(inputs, killed, 3), check=True, capture_output=True, text=True)
    assert f"3 scenes wanted, {len(kept)} there" in again.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    for path in whole.iterdir():
        with np.load(path) as a, np.load(killed / path.name) as b:
            assert all(np.array_equal(a[name], b[name]) for name in a.files)
            assert a["runs"].shape[1:] == (6, 3, 24, 24) and np.ptp(a["references"].astype(np.float32)) > 0
    assert len(rendered.load(whole, "train", worst_error=np.inf)) == 3


@needs_mitsuba
def test_missing_inputs_are_named(inputs, tmp_path):
    wrong = command(inputs, tmp_path / "out", 1, "--assets", str(tmp_path / "nowhere"))
    done = subprocess.run(wrong, capture_output=True, text=True, check=False)
    assert done.returncode and "nowhere" in done.stderr and "Traceback" not in done.stderr


@needs_mitsuba
def test_light_groups_sum_to_the_whole(inputs):
    """By their means over 16 renders each, against what those means vary by: small lamps make it slow to settle."""
    found = in_mitsuba(f"""
from pathlib import Path
from mdenoise.training import scenes_render as r
photos, assets = (Path({str(inputs)!r}) / "photos/photos/crag.png",), Path({str(inputs)!r}) / "assets"
worlds = (r.make(seed, photos, assets, ("product",))[1] for seed in range(99))
world = next(w for w in worlds if w.lights[1] and not w.fog)
scenes = [r.loaded(world, on, 16) for on in [(1, 0), (0, 1), (1, 1)]]
print(json.dumps([[r.sample(s, 64, 16 * i + j)[:3].tolist() for j in range(16)] for i, s in enumerate(scenes)]))
""")
    parts = np.array(found)  # light, render, 3, 16, 16
    means = parts.mean((2, 3, 4))
    first, second, both = means.mean(1)
    error = float(np.sqrt((means.var(1, ddof=1) / means.shape[1]).sum()))
    assert min(first, second) > 10 * error and error < 0.01 * both
    assert abs(first + second - both) < 3 * error
    blocks = parts.mean(1).reshape(3, 3, 4, 4, 4, 4).mean((3, 5))
    assert np.median(np.abs(blocks[0] + blocks[1] - blocks[2]) / blocks[2]) < 0.05


@needs_mitsuba
def test_every_kind_is_lit_and_has_its_name_on_the_command_line(inputs):
    found = in_mitsuba(f"""
from pathlib import Path
from mdenoise.training import scenes_render as r
photos, assets = (Path({str(inputs)!r}) / "photos/photos/crag.png",), Path({str(inputs)!r}) / "assets"
made = {{name: r.make(5, photos, assets, (name,)) for name in r.KINDS}}
frames = {{name: r.sample(r.loaded(w, (True, bool(w.lights[1])), 12), 4, 0) for name, (_, w, _) in made.items()}}
print(json.dumps({{name: (made[name][0], float(frames[name][:3].mean())) for name in made}}))
""")
    assert tuple(found) == scenes.NAMES
    for name, (kind, light) in found.items():
        assert kind == name and 1e-6 < light < 1e6, name


@needs_mitsuba
def test_moving_scenes_are_blurred_in_every_plane_and_noisy_in_the_runs(inputs):
    """An edge that moves is as wide in the clean albedo as in the clean colour; a run of one sample has seen a sharp
    one, with every pixel at an instant of its own."""
    found = in_mitsuba("""
import numpy as np
from dataclasses import replace
from pathlib import Path
from mdenoise.training import scenes_render as r
from mdenoise.training.scenes_parts import Motion, World, only
from mdenoise.training.scenes_shapes import boxes, transform
from mdenoise.training.scenes_materials import matte, rgb
view = dict(type="perspective", fov=40, to_world=transform().look_at([0, 0, 4], [0, 0, 0], [0, 1, 0]))
box = boxes([((0, 0, 0), (0.5, 0.5, 0.01), 0)], matte(rgb(0.8, 0.8, 0.8)))
sky = [only({"type": "constant", "radiance": rgb(1, 1, 1)})]
world = World(view, [box], (sky, []))
out = []
for turn, travels in (((0, 0, 0), {0: np.array([0.8, 0, 0])}), ((0, 12, 0), {}), ((0, 0, 0), {})):
    moves = replace(world, motion=Motion(turn, (0, 0, 0), travels))
    scene = r.loaded(moves, (True, False), 24)
    put = r.moving(scene, moves)
    clean, runs = r.averaged(scene, put, 32, 9), r.moved_runs(scene, put)
    again = r.moved_runs(scene, put)
    out.append([clean[3, 12].tolist(), [x[3, 12].tolist() for x in runs], all(map(np.array_equal, runs, again))])
print(json.dumps(out))
""")
    for i, (clean, runs, same) in enumerate(found):
        clean, runs = np.array(clean), np.array(runs)
        ramp = np.sum((clean > 0.1) & (clean < 0.7))
        assert same and (ramp >= 8 if i < 2 else ramp <= 2)
        assert set(np.unique(runs[0].round(2))) == {0.0, 0.8}  # sharp: within the box or not
        assert (
            np.abs(runs[5] - clean).max() < 0.45
            and np.abs(np.average(runs, 0, (1, 1, 2, 4, 8, 16)) - clean).max() < 0.3
        )
        assert i == 2 or np.abs(runs[0] - clean).mean() > 3 * np.abs(runs[5] - clean).mean()


@needs_mitsuba
def test_only_training_files_are_used(inputs):
    used = in_mitsuba(f"""
from pathlib import Path
from mdenoise.training import scenes_render as r
from mdenoise.training.terms import photo_files
root = Path({str(inputs)!r})
photos = tuple(photo_files(root / "photos", "train"))
print(json.dumps(sorted({{name for seed in range(40) for name in r.make(seed, photos, root / "assets")[2]}})))
""")
    assert "crag.png" in used and not {"fell.png", "tarn.png"} & set(used)
    assert any("_1K_" in name for name in used)
    validation = "".join(path.read_text("utf-8") for path in (ROOT / "training").glob("validation*.py"))
    for name in used:
        assert Path(name).stem not in re.findall(r'["/]([\w-]+)(?:\.\w+)?"', validation), name


# --- reading them -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """21 files of one scene: two groups, the second's reference useless in file 3; noise of variance 1/spp."""
    root = tmp_path_factory.mktemp("renders")
    rng, spp, side = np.random.default_rng(1), (1, 1, 2, 4, 8, 16), 40
    references = np.stack([np.full((3, side, side), value, np.float16) for value in (0.2, 0.4)])
    for i in range(21):
        noise = rng.normal(0, 1, (2, 6, 3, side, side)) / np.sqrt(spp)[:, None, None, None]
        np.savez(
            root / f"1-{i:05d}.npz",
            facts=np.array(json.dumps({"runs": spp, "reference_error": [0.0, 0.5 if i == 3 else 0.0]})),
            references=references,
            runs=(references[:, None] + 0.02 * noise).astype(np.float16),
            albedo=np.full((7, 3, side, side), 128, np.uint8),
            normal=np.full((7, 3, side, side), 73, np.int8),
            depth=np.full((7, 1, side, side), 2.0, np.float16),
        )
    return root


def test_load_splits_and_drops_groups(folder):
    held, scenes = rendered.load(folder, "val"), rendered.load(folder, "train")
    assert (len(held), len(scenes)) == (1, 20)
    assert sorted(len(scene.references) for scene in scenes) == [1] + [2] * 19


def test_load_names_what_it_cannot_read(tmp_path):
    with pytest.raises(InputError, match=r"no \.npz"):
        rendered.load(tmp_path, "train")
    (tmp_path / "1-00000.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InputError, match="1-00000"):
        rendered.load(tmp_path, "train")


def test_runs_give_every_number_of_samples():
    rng = torch.Generator().manual_seed(0)
    spp = (1, 1, 2, 4, 8, 16)
    chosen = [rendered.choose_runs(spp, rng) for _ in range(3000)]
    assert {sum(spp[i] for i in runs) for runs in chosen} == set(range(1, 33))
    assert [0] in chosen and [1] in chosen and all(len(set(runs)) == len(runs) for runs in chosen)


def test_patches_have_the_noise_of_their_samples(folder):
    """Noise falls with the samples, lights are weighed as the clean image weighs them, planes keep their units."""
    rng = torch.Generator().manual_seed(0)
    scene = rendered.load(folder, "val")[0]
    config = data.DataConfig(patch_px=32)
    deviations, levels = [], set()
    for _ in range(60):
        noisy, clean, albedo, normal, depth = rendered.patch(scene, 32, config, rng)
        assert noisy.shape == clean.shape == (3, 32, 32) and depth.shape == (1, 32, 32)
        np.testing.assert_allclose(noisy.mean((1, 2)), clean.mean((1, 2)), rtol=0.05)
        deviations.append(float((noisy / clean - 1).std()))
        levels.add(round(float(clean[0, 0, 0] / clean[1, 0, 0]), 4))
    assert max(deviations) / min(deviations) > 3 and len(levels) > 50
    assert torch.allclose(albedo, torch.tensor(128 / 255)) and torch.allclose(normal, torch.tensor(73 / 127))
    assert torch.all(depth == 2)


def test_batches_of_renders_feed_training(folder):
    shares = ["data.photo_share=0", "data.rendered_share=1", "data.encoded_share=0"]
    config = load_preset("base", ["data.batch=2", "data.patch_px=32", *shares])
    batch = next(train.batches([], [], rendered.load(folder, "train"), config, 5))
    assert batch.noisy.shape == batch.clean.shape == batch.albedo.shape == (2, 3, 32, 32)
    assert all(torch.isfinite(x).all() for x in vars(batch).values()) and torch.all(batch.linear == 1)
    synthetic = replace(config.data, rendered_share=0.0, scene_pool=1)
    photos = [torch.randint(0, 255, (3, 80, 80), dtype=torch.uint8)]
    made = next(data.stream(photos, synthetic, 5))
    assert {k: v.shape for k, v in vars(made).items()} == {k: v.shape for k, v in vars(batch).items()}


def test_patches_larger_than_the_renders(folder):
    with pytest.raises(InputError, match="40 x 40"):
        rendered.rendered_batch(rendered.load(folder, "val"), data.DataConfig(), torch.Generator())
