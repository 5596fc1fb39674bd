"""`mdenoise budget`: samples by region, from the uncertainty; the maps, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from mdenoise import budget
from mdenoise.adapters import exr
from mdenoise.cli import main
from mdenoise.errors import UsageError
from mdenoise.training import budget as fitting

DATA = Path(__file__).parent / "data" / "renders"


def test_more_doubt_needs_more_samples():
    color = np.full((64, 96, 3), 0.2, np.float32)
    unsure = np.full((64, 96), 0.002, np.float32)
    unsure[:32, 64:] = 0.05
    found = budget.predict(color, unsure, 16, 0.05)
    assert found.flip.shape == found.more_spp.shape == (64, 96)
    assert (found.more_spp[:32, 64:] > 100).all() and (found.more_spp[32:] == 0).all()
    assert np.unique(found.more_spp[:32, 64:]).size == 1 and (found.more_spp == np.ceil(found.more_spp)).all()
    # A power law: samples times k bring the error down by k ** -DECLINE, whatever the frame has.
    twice = budget.predict(color, unsure, 32, 0.05)
    assert np.allclose(twice.more_spp + 32, 2 * (found.more_spp + 16), rtol=0.01)
    reached = found.flip[0, 80] * ((found.more_spp[0, 80] + 16) / 16) ** -budget.DECLINE
    assert reached == pytest.approx(0.05, rel=0.01)


def test_doubt_beyond_white_and_at_the_edge_counts_as_it_shows():
    color = np.full((40, 40, 3), 4.0, np.float32)
    assert (budget.predict(color, np.full((40, 40), 0.5, np.float32), 4, 0.05).more_spp == 0).all()  # white is white
    ramp = np.tile(np.arange(40, dtype=np.float32), (40, 1))
    assert budget.regions(ramp).tolist() == [[15.5, 35.5], [15.5, 35.5]]


@pytest.mark.parametrize(("spp", "target"), [(0, 0.05), (4, 0.0), (4, 1.5)])
def test_what_cannot_be_planned(spp, target):
    with pytest.raises(UsageError, match="use a target between 0 and 1"):
        budget.predict(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.float32), spp, target)


def test_the_command_writes_the_map(tmp_path, capsys):
    src, dst = DATA / "cornell-gaussian.4.exr", tmp_path / "map.exr"
    assert main(["budget", str(src), "--target-flip", "0.05", "-o", str(dst)]) == 2
    assert "give --spp N" in capsys.readouterr().err
    assert main(["budget", str(src), "--target-flip", "0.05", "--spp", "4", "-o", str(dst)]) == 0
    out = capsys.readouterr()
    assert out.out == f"{dst}\n" and "FLIP about 0." in out.err and " at 4 spp; for 0.05 everywhere " in out.err
    part = exr.read(dst).parts[0]
    assert sorted(part.channels) == ["flip", "spp"] and part.channels["spp"].shape == (128, 128)
    assert part.channels["spp"].max() > 0 and 0 < part.channels["flip"].mean() < 0.5
    assert main(["budget", str(src), "--target-flip", "0.05", "--spp", "4", "-o", str(dst)]) == 4
    capsys.readouterr()
    assert main(["budget", str(src), "--target-flip", ".3", "--spp", "4", "-o", str(dst), "--overwrite", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["spp"] == 4 and facts["mean_more_spp"] < 1 and facts["flip"] < 0.3


def test_cycles_tells_its_samples(tmp_path):
    import OpenEXR

    pixels = np.random.default_rng(2).gamma(1, 0.3, (32, 32, 3)).astype(np.float32)
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, "cycles.ViewLayer.samples": "24"}
    OpenEXR.File(header, {"RGB": pixels}).write(str(tmp_path / "f.exr"))
    assert budget.samples_of(exr.read(tmp_path / "f.exr")) == 24
    assert budget.samples_of(exr.read(DATA / "cornell.4.exr")) is None


def test_the_fit_finds_a_power_law():
    rng = np.random.default_rng(3)
    error = np.exp(rng.uniform(-7, -2, 400))
    flip = 0.9 * error**0.6 * np.exp(rng.normal(0, 0.1, 400))
    scale, power = fitting.fit([(error[:200], flip[:200]), (error[200:], flip[200:])])
    assert scale == pytest.approx(0.9, rel=0.1) and power == pytest.approx(0.6, rel=0.03)
    assert fitting.REGION_PX == budget.REGION_PX
    found = {(s, spp): (error, flip * (spp / 4) ** -0.3) for s in ("a", "b") for spp in (4, 16)}
    assert "DECLINE = 0.30" in fitting.report(found)


def test_the_map_follows_the_true_error():
    """On parts of three committed frames, of different scenes and samples."""
    flip_evaluator = pytest.importorskip("flip_evaluator")
    from mdenoise import Denoiser
    from mdenoise.training.metrics import display
    from mdenoise.training.renders import find

    true, guess = [], []
    with Denoiser() as denoiser:
        for name, spp in (("window_room", 16), ("garden", 4), ("gallery", 16)):
            case = find(DATA, name, spp)
            color, albedo, normal, clean = (x[:128] for x in (case.color, case.albedo, case.normal, case.reference))
            done = denoiser(color, albedo, normal, uncertainty=True)
            shown = [display(x).astype(np.float32) for x in (clean, done.color)]
            flip = np.squeeze(flip_evaluator.evaluate(*shown, "LDR", applyMagma=False)[0])
            true.append(fitting.regions(flip))
            guess.append(fitting.regions(budget.predict(done.color, done.uncertainty, spp, 0.02).flip))
    true, guess = np.log(np.concatenate(true)), np.log(np.concatenate(guess))
    assert np.corrcoef(true, guess)[0, 1] > 0.75
    assert abs((true - guess).mean()) < 0.4
