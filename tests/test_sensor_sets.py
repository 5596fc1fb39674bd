"""Sets of real pictures that a user may have, in their layouts, made here from known truth."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

from mdenoise.training import evaluate, raw_evaluate, sensor_sets
from mdenoise.training.raw_evaluate import Scene


def picture(seed, height=96, width=128):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    clean = np.stack([128 + 60 * np.sin(x + seed) * np.cos(k * y) for k in (1, 0.7, 1.3)], -1)
    noisy = np.rint(clean + rng.normal(0, 20, clean.shape)).clip(0, 255).astype(np.uint8)
    return noisy, np.rint(clean).astype(np.uint8)


def scores(command, root, tmp_path):
    assert evaluate.main([command, "--root", str(root), "--json", str(tmp_path / "scores.json")]) == 0
    return json.loads((tmp_path / "scores.json").read_text("utf-8"))["scores"]


def test_sidd_pictures_lie_beside_their_partners(tmp_path, capsys):
    from PIL import Image

    folder = tmp_path / "set/Data/0001_001_S6_00100_00060_3200_L"
    folder.mkdir(parents=True)
    for name, image in zip(("NOISY", "GT"), picture(1), strict=True):
        Image.fromarray(image).save(folder / f"0001_{name}_SRGB_010.PNG")
    ((name, before, after),) = scores("sidd", tmp_path / "set", tmp_path)
    assert name == "0001_NOISY_SRGB_010" and 21 < before < 23 and after > before + 5
    assert "sidd" in capsys.readouterr().out
    (folder / "0001_GT_SRGB_010.PNG").unlink()
    with pytest.raises(Exception, match=r"its partner 0001_GT_SRGB_010\.PNG is missing"):
        evaluate.main(["sidd", "--root", str(tmp_path / "set")])


def test_sidd_validation_blocks(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    blocks = [np.stack([np.stack([picture(2 * i + j)[k] for j in range(2)]) for i in range(2)]) for k in (0, 1)]
    for name, block in zip(sensor_sets.BLOCKS, blocks, strict=True):
        scipy_io.savemat(tmp_path / f"{name}.mat", {name: block})
    found = scores("sidd", tmp_path, tmp_path)
    assert [name for name, *_ in found] == ["1-1", "1-2", "2-1", "2-2"]
    assert all(after > before + 5 for _, before, after in found)


def test_raw_scenes_are_moved_and_scaled_until_they_agree(tmp_path):
    pytest.importorskip("rawpy")
    rng = np.random.default_rng(0)
    light = np.kron(rng.uniform(0.05, 0.6, (16, 18)), np.ones((16, 16)))
    matrix = np.array(raw_evaluate.raw_file.XYZ_TO_SRGB)
    folder = tmp_path / "set/tree"
    (folder / "gt").mkdir(parents=True)
    for place, path, gain, noise in (
        ((8, 12), folder / "gt/base.dng", 1.0, 1e-6),
        ((0, 0), folder / "high.dng", 0.9, 4e-3),
    ):
        clean = gain * light[place[0] :, place[1] :][:200, :240]
        scene = Scene(path.stem, clean, noise, 1e-7, np.ones(3), matrix)
        raw_evaluate.write(scene, path, scene.noisy(1), 1.0)
    ((name, before, after),) = scores("rawnind", tmp_path / "set", tmp_path)
    assert name == "tree/high" and after > before + 6  # half a cell out of place no filter would gain that
    noisy, truth = (sensor_sets.read(path) for path in (folder / "high.dng", folder / "gt/base.dng"))
    assert sensor_sets.shift(noisy.mean(axis=2), truth.mean(axis=2)) == (4, 6)


@pytest.mark.parametrize("command", ["sidd", "rawnind"])
def test_an_empty_folder_is_one_line(command, tmp_path):
    with pytest.raises(Exception, match="see --help for the layout"):
        evaluate.main([command, "--root", str(tmp_path)])
    with pytest.raises(Exception, match="is no folder"):
        evaluate.main([command, "--root", str(tmp_path / "none")])
