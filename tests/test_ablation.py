"""The runs that an ablation compares differ in what it asks about, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from mdenoise.training import ablation, noise  # noqa: E402
from mdenoise.training.config import load_preset  # noqa: E402
from mdenoise.training.model import KernelNet  # noqa: E402

BASE = load_preset("sigma15", [])


def test_networks_differ_in_output_and_masks_alone():
    runs = ablation.grid(BASE, 7, 3)
    assert len(runs) == 8 and len({str(config) for config in runs.values()}) == 8
    for config in runs.values():
        assert replace(config, model=BASE.model, masks=BASE.masks) == replace(BASE, steps=7, minutes=0.0, seed=3)
    shares = {name: (c.masks.input_share > 0, c.masks.attention_share > 0) for name, c in runs.items()}
    assert shares["rgb, no masks"] == (False, False) and shares["kernels, both"] == (True, True)
    assert shares["rgb, input"] == (True, False) and shares["kernels, attention"] == (False, True)


def test_a_family_is_left_out_with_its_kin_alone():
    runs = ablation.families(BASE, 7, 3)
    everything = runs.pop("all families")
    assert everything.data.photo_noise == "blind" and everything.warm_start.endswith("sigma15.safetensors")
    for family in ablation.LEFT_OUT:
        config = runs[f"without {family}"]
        assert set(config.data.photo_without) == noise.kin(family)
        assert replace(config, data=everything.data) == everything


def test_scores_tell_a_filter_from_none(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    config = replace(BASE, model=replace(BASE.model, widths=(8, 16, 32), blocks=2), warm_start="")
    flat = np.full((48, 80, 3), 120, np.uint8)
    net = KernelNet(config.model)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    scores = ablation.evaluate(tmp_path / "net.safetensors", config, [flat])
    assert len(scores) == len(ablation.NOISES)
    noisy = noise.add(flat, "gaussian", 50, 0)
    alone = 10 * np.log10(255**2 / np.mean((noisy[1:-1, 1:-1].astype(float) - 120) ** 2))
    assert scores["gaussian 50"] > alone + 6  # kernels of an untrained network average
