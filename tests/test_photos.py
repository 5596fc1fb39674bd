"""Photographs measured: the command on a small set through the shipped model, the columns beside it, the tables."""

import json
from pathlib import Path

import numpy as np
import pytest

import mdenoise
from mdenoise.errors import InputError, UsageError
from mdenoise.training import evaluate, noise, photo_tables, photos, rivals
from mdenoise.training.metrics import photo_psnr

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
pytest.importorskip("PIL")


def picture(seed: int, height: int = 70, width: int = 91) -> np.ndarray:
    """Soft shading with hard edges, (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    soft = 110 + 60 * np.sin((x + 3 * seed) / 17) * np.cos(y / 13) + 50 * ((x // 23 + y // 19 + seed) % 2)
    return np.stack([soft, 0.8 * soft + 20, 230 - 0.7 * soft], axis=2).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, lossless=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, name in enumerate(("b", "a", "c")):
        save(tmp_path / "test" / "cbsd68" / f"{name}.webp", picture(seed))
    for name in photos.REAL:
        for seed in (1, 2):
            clean = picture(seed)
            save(tmp_path / "test" / name / f"shot{seed}_mean.webp", clean)
            save(tmp_path / "test" / name / f"shot{seed}_real.webp", noise.add(clean, "isp", seed, seed))
    return tmp_path


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_measures_the_product(data, tmp_path, capsys):
    pytest.importorskip("skimage")
    out = tmp_path / "found.json"
    command = ["photos", "--data", str(data), "--suite", "ood", "--images", "2", "--robustness", "0", "auto"]
    assert evaluate.main([*command, "--rivals", "flips", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert "### cbsd68, 2 images: PSNR, dB" in text
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in reversed(text.splitlines())}
    header = lines["noise"]
    assert header[1:6] == ["noisy", "blur", "single pass", "robustness auto", "4 x flips"]
    shown = dict(zip(header, lines["gaussian 50"], strict=True))
    assert shown["Masked (published)"] == "20.95" and shown["IDF (published)"] == "25.73"
    assert "**mean without gaussian 15**" in lines
    found = json.loads(out.read_text("utf-8"))
    rows = {(row["family"], row["level"]): row for row in found["rows"]}
    assert list(rows) == [(family, float(level)) for family, level in photos.SUITES["ood"]]
    # By hand: the files sorted by name, their number as seed, the public class on uint8.
    denoiser = mdenoise.Denoiser(robustness=0.0)
    row = rows["gaussian", 50.0]
    assert row["images"] == ["a", "b"]
    for i, clean in enumerate((picture(1), picture(0))):
        noisy = noise.add(clean, "gaussian", 50, i)
        assert row["psnr"]["noisy"][i] == pytest.approx(photo_psnr(noisy, clean), abs=1e-6)
        assert row["psnr"]["single pass"][i] == pytest.approx(photo_psnr(denoiser(noisy), clean), abs=0.02)
    assert row["mean"]["single pass"]["psnr"] > row["mean"]["noisy"]["psnr"] + 3
    assert row["mean"]["single pass"]["ssim"] > row["mean"]["noisy"]["ssim"]
    assert f"{row['mean']['single pass']['psnr']:.2f}" == shown["single pass"]


def test_real_pairs_name_the_image_that_lost_most(data, capsys):
    pytest.importorskip("skimage")
    assert evaluate.main(["photos", "--data", str(data), "--suite", "real", "--robustness", "0"]) == 0
    text = capsys.readouterr().out
    assert "### real, 2 images" in text and "34.65" in text
    for name in photos.REAL:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} | single pass |")]
        assert line.rstrip(" |").endswith(("shot1", "shot2"))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (["--suite", "odd"], UsageError, "suite 'odd' is not known: use ood, gaussian"),
        (["--suite", "gaussian:x"], UsageError, "suite 'gaussian:x' is not known"),
        (["--set", "kodak"], UsageError, "photo set 'kodak' is not known: use cbsd68"),
        (["--set", "kodak24"], InputError, r"kodak24 holds none. Name its parent with --data"),
        (["--set", "val"], InputError, r"photos.csv: not found. Name the folder with --data"),
        (["--rivals", "sharpen"], UsageError, "rival 'sharpen' is not known: use flips"),
        (["--rivals", "preblur:a"], UsageError, "rival 'preblur:a' cannot be used: write preblur:NUMBER"),
        (["--peers", "dncnn"], UsageError, "peer 'dncnn' is not known: use blur"),
        (["--robustness", "some"], UsageError, "robustness 'some' cannot be used"),
    ],
)
def test_what_cannot_be_measured_is_one_line(data, options, error, said):
    with pytest.raises(error, match=said) as caught:
        evaluate.main(["photos", "--data", str(data), *options])
    assert "\n" not in str(caught.value)


def test_validation_photos_are_the_permissive_val_rows(tmp_path):
    pytest.importorskip("torch")
    rows = ["file,set,source_file,split"]
    for name, kind, split in (
        ("z", "gb82", "val"),
        ("a", "clic2025", "val"),
        ("b", "cid22", "val"),
        ("c", "gb82", "train"),
    ):
        save(tmp_path / "train" / "photos" / f"{name}.webp", picture(1))
        rows.append(f"{name}.webp,{kind},x,{split}")
    (tmp_path / "train" / "photos.csv").write_text("\n".join(rows), "utf-8")
    assert [path.stem for path in photos.photo_paths(tmp_path, "val")] == ["a", "z"]


def test_nothing_is_chosen_on_the_test():
    tested = {*photos.SUITES["ood"], *photos.SUITES["gaussian"], *photos.SUITES["peers"]}
    assert not tested & set(photos.SUITES["choose"])
    listed = {family for family, _ in photos.SUITES["choose"]} - {family for family, _ in photos.SUITES["full"]}
    assert listed == {"laplacian", "impulses", "correlated_box2", "correlated_gauss"}


def test_published_rows_are_rows_of_a_suite():
    rows = {(family, float(level)) for suite in photos.SUITES.values() for family, level in suite}
    for name, family, level in photo_tables.PUBLISHED:
        assert name in (photos.REAL if family == "real" else photos.SETS)
        assert family == "real" or (family, float(level)) in rows


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count", "psnr"), [("polyu", 100, 35.97), ("cc15", 15, 33.41)])
def test_real_noisy_input_measures_as_known(name, count, psnr):
    if not DATA.is_dir():
        pytest.skip("the real pairs are not there (../shared/data)")
    scores = [photo_psnr(noisy, clean) for _, noisy, clean in photos.real(DATA, name, None)]
    assert len(scores) == count and np.mean(scores) == pytest.approx(psnr, abs=0.02)


# --- rivals and peers ---------------------------------------------------------------------------------------------


def test_rivals_of_a_network_that_does_nothing():
    noisy = noise.add(picture(1), "gaussian", 25, 1)

    def identity(image: np.ndarray) -> np.ndarray:
        assert image.dtype == np.uint8 and image.flags.c_contiguous
        return image

    assert np.array_equal(rivals.rival("flips", identity)(noisy), noisy)
    assert np.array_equal(rivals.rival("preblur:0.9", identity)(noisy), rivals.gaussian_blur(noisy, 0.9))
    added = rivals.rival("inject:12", identity)(noisy).astype(float) - noisy
    inner = (noisy > 60) & (noisy < 195)
    assert added[inner].std() == pytest.approx(12 / 2, rel=0.05)  # the mean of four
    smaller = rivals.rival("downscale", identity)(noisy)
    assert smaller.shape == noisy.shape and photo_psnr(smaller, picture(1)) > photo_psnr(noisy, picture(1)) + 2


def test_rivals_take_four_passes():
    for name in rivals.RIVALS:
        calls = []
        rivals.rival(name, lambda image, calls=calls: calls.append(image) or image)(picture(2))
        assert len(calls) == 4


def test_blur_keeps_flat_and_smooths():
    flat = np.full((20, 30, 3), 77, np.uint8)
    assert np.array_equal(rivals.gaussian_blur(flat), flat)
    noisy = noise.add(flat, "gaussian", 20, 1)
    assert rivals.gaussian_blur(noisy).std() < 0.25 * noisy.std()


@pytest.mark.parametrize("peer", [name for name in rivals.PEERS if name != "bm3d"])
def test_peers_remove_noise_of_known_level(peer):
    if note := rivals.missing(peer):
        pytest.skip(note)
    clean = picture(1)
    noisy = noise.add(clean, "gaussian", 25, 1)
    assert photo_psnr(rivals.run_peer(peer, noisy, 25 / 255), clean) > photo_psnr(noisy, clean) + 2
    assert rivals.estimated_sigma(noisy) * 255 == pytest.approx(25, rel=0.15)


@pytest.mark.slow
def test_bm3d_removes_noise_of_known_level():
    if note := rivals.missing("bm3d"):
        pytest.skip(note)
    clean = picture(1)
    noisy = noise.add(clean, "gaussian", 25, 1)
    assert photo_psnr(rivals.run_peer("bm3d", noisy, 25 / 255), clean) > photo_psnr(noisy, clean) + 6


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(rivals.PEERS, "wavelet", (rivals.peer_wavelet, ("no_such_module",)))
    assert rivals.missing("wavelet").startswith(
        "wavelet left out: no_such_module is not installed (pip install no_such_module"
    )
    notes: list[str] = []
    assert list(photos.methods_of("base", [], [], ["wavelet"], [], notes)) == ["blur"]
    assert notes == [rivals.missing("wavelet")]


@pytest.mark.parametrize(("tell", "sigma"), [(False, None), (True, 30.0)])
def test_peers_are_told_what_was_asked(tell, sigma):
    pytest.importorskip("skimage")
    clean = np.full((60, 60, 3), 128, np.uint8)
    told = []

    def method(noisy: np.ndarray, sigma: float | None) -> np.ndarray:
        told.append(sigma)
        return noisy

    for family in ("gaussian", "laplacian"):
        cases = iter([("a", noise.add(clean, family, 30, 1), clean)])
        photos.measure(photo_tables.Scores("cbsd68", family, 30.0), cases, {"m": method}, tell)
    assert told[0] == pytest.approx(30, rel=0.03)
    assert told[1] == (sigma if sigma is None else pytest.approx(sigma, rel=0.05))


# --- tables -------------------------------------------------------------------------------------------------------


def scores(family: str, level: float, **psnr: list[float]) -> photo_tables.Scores:
    named = {name.replace("_", " "): values for name, values in psnr.items()}
    names = ["one", "two", "three"][: len(next(iter(psnr.values())))]
    return photo_tables.Scores("cbsd68", family, level, names, named, {name: [0.5] * len(names) for name in named})


def test_the_mean_leaves_out_the_training_noise():
    rows = [
        scores("gaussian", 15.0, noisy=[20, 20], single_pass=[40, 40], auto=[39, 41]),
        scores("gaussian", 50.0, noisy=[10, 10], single_pass=[20, 22], auto=[22, 23]),
        scores("speckle", 0.04, noisy=[12, 14], single_pass=[30, 30], auto=[30, 32]),
    ]
    text = photo_tables.report(rows)
    assert "| **mean without gaussian 15** | **11.50** | **25.50** | **26.75** |" in text
    assert "| gaussian 50 | +1.50 (+1.00 to +2.00) |" in text and "| gaussian 15 | +0.00 (-1.00 to +1.00) |" in text
    assert "| gaussian 50 | single pass | 21.00 | 20.00 to 22.00 | +11.00 | +10.00 | one |" in text


def test_the_worst_image_is_named():
    row = scores("speckle", 0.04, noisy=[20, 30, 25], single_pass=[26, 29.5, 27])
    assert "| speckle 0.04 | single pass | 27.50 | 26.00 to 29.50 | +2.50 | -0.50 | two |" in photo_tables.report([row])
    assert photo_tables.record(row)["mean"]["single pass"]["psnr"] == pytest.approx(27.5)
    assert photo_tables.record(row)["published"] == {"Masked (published)": 27.94, "IDF (published)": 29.18}
