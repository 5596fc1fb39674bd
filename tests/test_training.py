"""The training system: network contract, masks, noise, data, a short run, a kill and a resume, export and parity."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from mdenoise.errors import InputError, ModelError, UsageError  # noqa: E402
from mdenoise.training import (  # noqa: E402
    checkpoint,
    data,
    finish,
    loss,
    masking,
    montecarlo,
    photo_patches,
    terms,
    train,
)
from mdenoise.training.dormant import dormant, redraw  # noqa: E402
from mdenoise.training.filter import apply_filter_torch  # noqa: E402
from mdenoise.training.model import KernelNet, ModelConfig, reach_px  # noqa: E402

TINY = ["model.widths=[16, 16, 32]", "data.batch=2", "data.patch_px=64", "data.scene_pool=2", "validation_batches=1"]


def photo_folder(folder: Path) -> Path:
    """Six photo-like pictures of our own making with the index that the loader reads."""
    from PIL import Image

    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(1)
    with (folder / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "set", "source_file", "split"])
        for i in range(6):
            y, x = np.mgrid[0:256, 0:256] / 256
            image = np.stack([np.sin(x * (5 + i * c) + y * 9) * 0.4 + 0.5 for c in range(3)], -1) + 0.1 * rng.random(
                (256, 256, 3)
            )
            Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8)).save(
                folder / "photos" / f"gb82_{i}.jpg", quality=95
            )
            rows.writerow([f"gb82_{i}.jpg", "gb82", f"{i}.png", "val" if i == 5 else "train"])
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("train"))


def test_logits_follow_the_graph_contract():
    shapes = [tuple(t.shape) for t in KernelNet()(torch.zeros(1, 17, 64, 128))]
    assert shapes == [(1, 108, 32, 64), (1, 26, 32, 64), (1, 26, 16, 32), (1, 25, 8, 16)]


def test_reach_bounds_what_a_pixel_can_change():
    torch.manual_seed(0)
    config = ModelConfig(widths=(8, 8, 16), blocks=2, heads=2)
    net, reach = KernelNet(config).double(), reach_px(config)
    assert 100 < reach < 320
    guide = torch.rand(1, 17, 64, 704, dtype=torch.double)
    layers, trust = torch.rand(1, 3, 64, 704, dtype=torch.double), torch.ones(1, 1, 64, 704, dtype=torch.double)
    for x in (256, 317):
        changed = guide.clone()
        changed[..., 30, x] += 1.0
        moved = layers.clone()
        moved[..., 30, x] += 1.0
        with torch.no_grad():
            before, _ = apply_filter_torch(layers.float(), trust.float(), net(guide))
            after, _ = apply_filter_torch(moved.float(), trust.float(), net(changed))
        columns = torch.nonzero((after - before).abs().amax((0, 1, 2)) > 0).flatten()
        assert columns.min() >= x - reach
        assert columns.max() <= x + reach


def test_attention_mask_hides_tokens():
    torch.manual_seed(0)
    for mode in ("key", "zero"):
        net = KernelNet(ModelConfig(widths=(8, 8, 16), blocks=2, heads=2, attention_mask=mode)).eval()
        guide = torch.rand(1, 17, 64, 64)
        keep = [torch.ones(1, 8, 8, 1)] * 2
        open_logits = net(guide, keep)
        for a, b in zip(net(guide), open_logits, strict=True):
            torch.testing.assert_close(a, b)
        shut = net(guide, [torch.zeros(1, 8, 8, 1)] * 2)
        assert all(torch.isfinite(t).all() for t in shut)
        assert (shut[3] - open_logits[3]).abs().max() > 1e-6


def test_dormant_units_are_found_and_start_anew_without_a_change():
    torch.manual_seed(0)
    net = KernelNet(ModelConfig(widths=(8, 8, 16), blocks=1, heads=2)).double().eval()
    guide = torch.rand(2, 17, 64, 64, dtype=torch.double)
    with torch.no_grad():
        net.mix2.a.bias[:5] = -100.0
        net.dec1[0].a.bias[2] = -100.0
        before = net(guide)
    asleep = dormant(net, lambda: net(guide))
    assert asleep["mix2"][:5].all() and not asleep["mix2"].all() and asleep["dec1.0"][2]
    assert redraw(net, asleep) >= 6
    assert not dormant(net, lambda: net(guide))["mix2"][:5].all()
    for a, b in zip(net(guide), before, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # a unit that answers once in 1000 pixels is dormant, too
    sum(x.square().sum() for x in net(guide)).backward()
    assert (net.mix2.b.weight.grad[:, :5] != 0).any()  # they learn


def test_a_slope_below_zero_keeps_units_learning_and_a_warm_start_may_add_it(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = ModelConfig(widths=(8, 8, 16), blocks=1, heads=2)
    for leak, learns in ((0.0, False), (0.05, True)):
        net = KernelNet(replace(config, leak=leak))
        with torch.no_grad():
            net.mix2.a.bias[:] = -100.0
        sum(x.square().sum() for x in net(torch.rand(1, 17, 64, 64))).backward()
        assert bool((net.mix2.a.weight.grad != 0).any()) is learns
    file = tmp_path / "old.safetensors"
    save_file(KernelNet(config).state_dict(), file, metadata={"model": repr(asdict(config))})
    start = train.TrainConfig(warm_start=str(file), model=ModelConfig(leak=0.05))
    assert checkpoint.adopt(start).model == replace(config, leak=0.05)


def test_mask_ratios_include_zero_and_reach_the_maximum():
    torch.manual_seed(0)
    masks = masking.input_mask(400, 32, 32, masking.MaskConfig(input_share=0.5, input_max=0.9))
    hidden = 1 - masks.mean((1, 2, 3))
    assert 0.4 < (hidden == 0).float().mean() < 0.6
    assert 0.8 < hidden.max() < 0.95
    assert masking.attention_masks(2, 3, 8, 8, masking.MaskConfig(attention_share=0.0)) is None


@pytest.mark.parametrize("kind", ["multiscale", "l1", "ssim"])
def test_every_loss_is_least_where_the_image_is_right(kind):
    rng = torch.Generator().manual_seed(3)
    clean = torch.rand(2, 3, 64, 64, generator=rng)
    noise = torch.randn(2, 3, 64, 64, generator=rng)
    one = torch.ones(2, 1, 1, 1)

    def of(output):
        return float(loss.image_loss(output, clean, clean + noise, one, torch.ones(2, 1, 64, 64), kind))

    values = [of(clean), of(clean + 0.02 * noise), of(clean + 0.1 * noise), of(clean * 0)]
    assert values[0] == pytest.approx(0, abs=1e-6) and values == sorted(values)


def test_structure_counts_more_to_ssim_than_a_shift_of_brightness():
    clean = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    noisy = clean + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    assert loss.ms_ssim(clean, clean).item() == pytest.approx(1, abs=1e-5)
    assert loss.ms_ssim(noisy, clean) < loss.ms_ssim(clean + 0.1, clean) < 1


def test_monte_carlo_noise_is_unbiased_and_falls_with_samples():
    rng = torch.Generator().manual_seed(1)
    mean = torch.full((1, 3, 300, 300), 0.7)
    one = torch.ones(1, 1, 1, 1)
    deviations = []
    for spp in (4, 64):
        x = montecarlo.monte_carlo(mean, one * spp, one, 0.5 * one, torch.zeros(1), rng)
        assert x.mean() == pytest.approx(0.7, rel=0.02)
        deviations.append(float(x.std()))
    assert deviations[0] / deviations[1] == pytest.approx(4.0, rel=0.1)


def test_splat_kernels_sum_to_one():
    rng = torch.Generator().manual_seed(2)
    for _ in range(50):
        assert montecarlo.splat_kernel(rng).sum() == pytest.approx(1.0, abs=1e-6)


def finished(size=64, **shares):
    """Four noisy patches of a white floor under an even light, and what `finish` makes of them."""
    rng = torch.Generator().manual_seed(5)
    clean = torch.full((4, 3, size, size), 0.5)
    noisy = clean * (1 + 0.2 * torch.randn(4, 1, size, size, generator=rng))
    normal = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(4, 3, size, size)
    depth = torch.full((4, 1, size, size), 3.0)
    kept = dict.fromkeys((f"drop_{name}" for name in ("all", "albedo", "normal", "depth")), 0.0)
    none = dict.fromkeys(("firefly_share", "splat_share", "resize_share"), 0.0)
    config = data.DataConfig(batch=4, **(kept | none | shares))
    return finish.finished(noisy, clean, torch.full_like(clean, 0.8), normal, depth, config, rng)


def test_cutting_out_leaves_black_around_and_takes_all_planes_along():
    parts = finished(matte_share=1.0)
    outside = parts["clean"].amax(1) == 0
    assert 0.02 < outside.float().mean() < 0.98
    for name in ("noisy", "albedo", "normal"):
        assert parts[name].abs().amax(1)[outside].max() == 0
    assert parts["depth"][:, 0][outside].min() == 1.0  # as where a ray hits nothing


def test_renders_of_8_bits_are_encoded_and_quantised():
    parts = finished(encoded_share=1.0)
    levels = parts["noisy"] * 255
    assert parts["linear"].max() == 0 and parts["demodulate"].max() == 0
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert parts["clean"].min() >= 0 and parts["noisy"].max() <= 1 and 0.01 < parts["noisy"].std() < 0.3


def test_shrinking_halves_the_patch_and_averages_noise():
    plain, small = finished(128), finished(128, shrink_share=1.0)
    assert {x.shape[2] for name, x in small.items() if x.shape[2] > 1} == {64}
    assert (small["noisy"] / small["clean"]).std() < 0.9 * (plain["noisy"] / plain["clean"]).std()


def test_sharpening_raises_the_noise_and_keeps_the_mean():
    plain, sharp = finished(), finished(sharpen_share=1.0)
    ratio = [(parts["noisy"] / parts["clean"]) for parts in (plain, sharp)]
    assert ratio[1].std() > 1.1 * ratio[0].std() and ratio[1].mean() == pytest.approx(1, abs=0.01)


def test_normals_come_turned_and_as_colours():
    turned = finished(turned_normals=1.0)["normal"]
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(4, 64, 64))
    assert turned[:, 2].mean((1, 2)).std() > 0.1 and (turned[0] - turned[0, :, :1, :1]).abs().max() < 1e-6
    colours = finished(encoded_normals=1.0)["normal"]
    torch.testing.assert_close(colours[:, :, 0, 0], torch.tensor([0.5, 0.5, 1.0]).expand(4, 3))
    q = montecarlo.rotations(50, torch.Generator().manual_seed(1))
    torch.testing.assert_close(q @ q.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(q), torch.ones(50))


def test_batches_are_finite_and_differ_only_by_noise(photos):
    images = photo_patches.load_photos(photos, "train")
    assert len(images) == 5
    shares = dict(photo_share=0.4, raw_share=0.5, resize_share=0.5, noisy_aov_share=0.5, matte_share=0.3)
    shares |= dict(sharpen_share=0.3, encoded_share=0.2, turned_normals=0.5, encoded_normals=0.2)
    config = data.DataConfig(batch=2, patch_px=64, photo_patch_px=(64,), scene_pool=2, **shares)
    stream = data.stream(images, config, 3)
    for _ in range(16):
        batch = next(stream)
        for name, value in vars(batch).items():
            assert torch.isfinite(value).all(), name
        guide = data.make_guide(batch, batch.trusted)
        assert guide.shape == (2, 17, 64, 64)
        assert guide.abs().max() <= 2.4
        if batch.linear.max() > 0:
            bias = (batch.noisy - batch.clean).mean() / batch.clean.mean()
            assert -0.5 < bias < 5  # fireflies only add


def test_only_permissive_photos_are_used():
    assert terms.is_permissive({"set": "gb82", "source_file": "x"})
    assert not terms.is_permissive({"set": "cid22", "source_file": "x"})
    assert terms.is_permissive({"set": "umate", "source_file": "a-photos/b.jpg"})
    assert not terms.is_permissive({"set": "umate", "source_file": "b.jpg"})


def test_preset_errors_name_the_key(tmp_path):
    with pytest.raises(UsageError, match="no preset 'nope'"):
        train.load_preset("nope", [])
    with pytest.raises(UsageError, match="unknown key 'speed'"):
        train.load_preset("smoke", ["speed=3"])
    with pytest.raises(UsageError, match=r"unknown key data\.size"):
        train.load_preset("smoke", ["data.size=3"])
    with pytest.raises(InputError, match=r"photos\.csv"):
        photo_patches.load_photos(tmp_path, "train")


def test_a_killed_run_resumes(photos, tmp_path):
    command = [
        sys.executable,
        "-m",
        "mdenoise.training.train",
        "--preset",
        "smoke",
        "--photos",
        str(photos),
        "--out",
        str(tmp_path),
    ]
    settings = [x for s in [*TINY, "minutes=0", "checkpoint_minutes=0.02"] for x in ("--set", s)]
    child = subprocess.Popen(
        [*command, *settings, "--set", "steps=100000"], start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 900
    while not (tmp_path / "checkpoint.pt").is_file() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    step = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]
    assert step > 0
    train.main([*command[3:], *settings, "--set", f"steps={step + 5}", "--resume"])
    after = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert after["step"] >= step + 5
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == sorted({int(r["step"]) for r in rows})
    assert (tmp_path / "log.png").stat().st_size > 1000


def test_export_runs_and_matches_torch(tmp_path):
    pytest.importorskip("onnx")
    from mdenoise.exporters import card, onnx, parity

    torch.manual_seed(0)
    net = KernelNet(ModelConfig(widths=(8, 16, 32), blocks=2, heads=2)).eval()
    path = tmp_path / "tiny.onnx"
    onnx.export(net, path)
    written = card.write_card(net, path, {"training": {"data": "none"}})
    assert written.reach_px == reach_px(net.config)
    assert any("f32  128x192" in line for line in parity.compare(net, path))
    with torch.no_grad():
        net.head3.bias[0] += 1.0
    with pytest.raises(ModelError, match="differs from torch"):
        parity.compare(net, path)


def test_shipped_weights_are_the_exported_model():
    pytest.importorskip("onnx")
    from mdenoise import models
    from mdenoise.exporters import onnx, parity

    net = onnx.load_network(Path(train.HERE) / "weights" / "base.safetensors")
    assert sum(p.numel() for p in net.parameters()) == models.load_card("base").parameters
    assert parity.compare(net, models.load_card("base").path)


def test_the_average_of_networks(tmp_path):
    from safetensors.torch import load_file, save_file

    from mdenoise.training import average

    torch.manual_seed(4)
    young = KernelNet(ModelConfig(widths=(8, 16, 32), blocks=1, heads=2, chroma=True))
    old = KernelNet(ModelConfig(widths=(8, 16, 32), blocks=1, heads=2, guide_channels=16))
    files = [str(tmp_path / "young.safetensors"), str(tmp_path / "old.safetensors")]
    for net, path in zip((young, old), files, strict=True):
        save_file(net.state_dict(), path)
    average.main([files[0], "3", files[1], "1", "--out", str(tmp_path / "mean.safetensors")])
    mean = load_file(tmp_path / "mean.safetensors")
    a, b = young.state_dict(), old.state_dict()
    torch.testing.assert_close(mean["head0.weight"], 0.75 * a["head0.weight"] + 0.25 * b["head0.weight"])
    torch.testing.assert_close(mean["chroma1.bias"], a["chroma1.bias"])
    torch.testing.assert_close(mean["stem.weight"][:, 64:], 0.75 * a["stem.weight"][:, 64:])
    with pytest.raises(UsageError, match="each with its share"):
        average.main([files[0], "1", files[1], "--out", str(tmp_path / "x")])
    with pytest.raises(InputError, match="cannot average"):
        average.main([files[0], "1", str(tmp_path / "none"), "1", "--out", str(tmp_path / "x")])
