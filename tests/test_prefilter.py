"""`--prefilter`: noisy albedo and normal are denoised before they guide, and what is not there stays away."""

from pathlib import Path

import numpy as np
import pytest

from mdenoise import Denoiser
from mdenoise.cli import main
from mdenoise.frame import Filtered, Planes
from mdenoise.prefilter import prefiltered
from mdenoise.training import evaluate, metrics, render_suites, renders

DATA = Path(__file__).parent / "data" / "renders"


@pytest.fixture(scope="module")
def noisy():
    return render_suites.noisy_aux(evaluate.find(DATA, "gallery", 4))


def test_noisy_planes_cost_less_when_they_are_denoised_first(noisy):
    scores = {}
    for on in (False, True):
        with Denoiser(prefilter=on) as denoiser:
            done = denoiser(noisy.color, noisy.albedo, noisy.normal, depth=noisy.depth)
        scores[on] = metrics.psnr(done, noisy.reference)
    assert scores[True] > scores[False] + 0.3  # 31.3 and 32.1 dB when this was written


def test_only_what_is_there_is_filtered(noisy):
    seen = []

    def denoise(planes):
        seen.append(planes)
        return Filtered({name: layer * 0.5 for name, layer in planes.layers.items()})

    albedo = noisy.albedo.copy()
    albedo[:4] = np.nan
    planes = Planes(noisy.color, {"c": noisy.color}, albedo=albedo, normal=noisy.normal, depth=noisy.depth)
    clean = prefiltered(planes, denoise)
    assert np.isnan(clean.albedo[:4]).all() and np.allclose(clean.albedo[4:], 0.5 * albedo[4:])
    assert np.allclose(clean.normal, 0.5 * noisy.normal) and clean.color is noisy.color and clean.depth is noisy.depth
    assert set(seen[0].layers) == {"albedo", "normal"} and seen[0].albedo is None  # one prediction for both
    alone = prefiltered(Planes(noisy.color, {"c": noisy.color}, normal=noisy.normal), denoise)
    assert alone.albedo is None and len(seen) == 2 and seen[1].color.min() >= 0 and seen[1].color.max() <= 1
    bare = Planes(noisy.color, {"c": noisy.color})
    assert prefiltered(bare, denoise) is bare and len(seen) == 2


def test_the_command_has_it(noisy, tmp_path):
    src = tmp_path / "frame.exr"
    side = np.s_[:96, :96]
    planes = {"color": noisy.color[side], "albedo": noisy.albedo[side], "normal": noisy.normal[side]}
    renders.write(src, planes, renders.NOISY_BITS)
    done = {}
    for name, flags in (("plain", []), ("prefilter", ["--prefilter"])):
        assert main([str(src), "-q", "-o", str(tmp_path / f"{name}.exr"), *flags]) == 0
        done[name] = renders.read(tmp_path / f"{name}.exr")
    assert not np.array_equal(done["plain"]["color"], done["prefilter"]["color"])
    assert np.array_equal(done["prefilter"]["albedo"], renders.read(src)["albedo"])  # a guide; not a result
