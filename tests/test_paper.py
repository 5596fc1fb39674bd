"""The paper's own system: its size, masks, losses, rivals, presets, and the test on images of any size."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from mdenoise.errors import InputError, ModelError, UsageError  # noqa: E402
from mdenoise.training import paper, paper_evaluate, swin  # noqa: E402
from mdenoise.training.config import load_preset  # noqa: E402
from mdenoise.training.paper import PaperConfig, PaperNet, denoise_image, draw_shown, paper_loss  # noqa: E402

NAMES = ("paper-masked", "paper-masked-75", "paper-baseline", "paper-dropout", "paper-cnn")
TINY = PaperConfig(width=12, groups=2, blocks=2, heads=2, stochastic_depth=0.0)
PLAIN = replace(TINY, mask_ratio=(0.0, 0.0), attention_ratio=(0.0, 0.0))
CNN = replace(TINY, backbone="cnn", attention_ratio=(0.0, 0.0))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks this small spend their time on waking threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(config, seed=0):
    torch.manual_seed(seed)
    return PaperNet(config)


def lively(config, seed=0):
    """A network whose attention says something: fresh weights hardly attend."""
    net = build(config, seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "qkv" in name or name.endswith("out.weight"):
                parameter.copy_(torch.randn_like(parameter) * 0.4)
    return net


def noisy_batch(b=2, h=16, w=24, seed=1):
    return torch.rand(b, 3, h, w, generator=torch.Generator().manual_seed(seed))


# --- size and shape -----------------------------------------------------------------------------------------------


def test_the_network_has_the_papers_size():
    assert sum(p.numel() for p in PaperNet().parameters()) == 824_118
    cnn = PaperNet(PaperConfig(backbone="cnn", attention_ratio=(0, 0)))
    assert sum(p.numel() for p in cnn.parameters()) == pytest.approx(0.824e6, rel=0.06)


def test_nothing_leads_from_input_to_output_but_the_body():
    net = build(PLAIN).eval()
    with torch.no_grad():
        for parameter in net.body.tail.parameters():
            parameter.zero_()
        a, b = net(noisy_batch(seed=1)), net(noisy_batch(seed=2))
    assert torch.equal(a, b)


def test_first_layer_does_not_mix_pixels():
    net = build(PLAIN)
    assert net.first.kernel_size == (1, 1)


@pytest.mark.parametrize("config", [TINY, CNN, replace(TINY, mask_token="learnable", attention_mode="key")])
def test_trains_in_bf16_with_a_gradient_everywhere(config):
    net, x = build(config), noisy_batch()
    with torch.autocast("cpu", torch.bfloat16):
        output = net(x, shown := net.draw_shown(x))
    assert output.shape == x.shape and output.dtype == torch.float32
    paper_loss(output, x, shown, config).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_sides_must_be_multiples_of_a_window():
    with pytest.raises(InputError, match="20x16 px: sides must be multiples of 8"):
        build(PLAIN)(torch.zeros(1, 3, 16, 20))


# --- cyclic shift -------------------------------------------------------------------------------------------------


def test_shifted_block_is_the_plain_one_on_shifted_windows():
    torch.manual_seed(0)
    plain = swin.Block(12, 2, 2.0, "zero", False, 0.0).double()
    shifted = swin.Block(12, 2, 2.0, "zero", True, 0.0).double()
    shifted.load_state_dict(plain.state_dict())
    x = torch.randn(2, 24, 32, 12, dtype=torch.float64) * 3
    whole = shifted(x, None, swin.same_region(24, 32, x.device))
    inner = plain(x[:, 4:20, 4:28], None, swin.same_region(16, 24, x.device))
    assert torch.allclose(whole[:, 4:20, 4:28], inner, atol=1e-12)


def test_opposite_borders_do_not_meet_in_a_shifted_window():
    torch.manual_seed(0)
    block = swin.Block(12, 2, 2.0, "zero", True, 0.0).double()
    x = torch.randn(1, 16, 24, 12, dtype=torch.float64)
    changed = x.clone()
    changed[:, 0, 0, 0] += 5
    region = swin.same_region(16, 24, x.device)
    moved = (block(changed, None, region) - block(x, None, region)).abs().amax(-1)[0]
    assert moved[:4, :4].min() > 0
    moved[:4, :4] = 0
    assert moved.max() == 0


# --- the input mask -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [TINY, CNN, replace(TINY, mask_token="learnable")])
def test_a_hidden_pixel_cannot_influence_the_output(config):
    net = build(replace(config, attention_at_test=False)).eval()
    x = noisy_batch()
    shown = torch.ones(2, 1, 16, 24, dtype=torch.bool)
    shown[:, :, 5, 7] = False
    changed = x.clone()
    changed[:, :, 5, 7] = torch.nan
    assert torch.equal(net(x, shown), net(changed, shown))
    changed[:, :, 5, 7], changed[:, :, 5, 8] = x[:, :, 5, 7], 0.5
    assert not torch.equal(net(x, shown), net(changed, shown))


def test_hidden_pixels_take_the_mask_value():
    config = replace(PLAIN, mask_value=-0.3)
    net, x = build(config).eval(), noisy_batch()
    shown = draw_shown(2, 16, 24, (0.5, 0.5), "cpu")
    filled = x * shown - 0.3 * ~shown
    assert torch.allclose(net(x, shown), net(filled), atol=1e-6)
    assert PaperConfig().mask_value == -0.1


def test_a_learnable_token_learns_and_a_fixed_one_does_not():
    net = build(replace(TINY, mask_token="learnable"))
    net(noisy_batch()).square().mean().backward()
    assert net.token.shape == (1, 12, 1, 1) and net.token.grad.abs().max() > 0
    assert not hasattr(build(TINY), "token")


def test_mask_ratios_are_whole_percents_of_the_range_shared_by_the_channels():
    torch.manual_seed(3)
    shown = draw_shown(400, 128, 128, (0.75, 0.85), "cpu")
    assert shown.shape == (400, 1, 128, 128)
    hidden = 1 - shown.float().mean((1, 2, 3))
    # 5 sigma of a mean of 128^2 draws are 0.017.
    assert 0.733 < hidden.min() < 0.757 and 0.843 < hidden.max() < 0.867
    assert hidden.mean() == pytest.approx(0.80, abs=0.01)
    assert draw_shown(2, 8, 8, (0.0, 0.0), "cpu").all() and not draw_shown(2, 8, 8, (1.0, 1.0), "cpu").any()


def test_pixels_are_hidden_in_training_alone():
    config = replace(TINY, attention_ratio=(0.0, 0.0))
    net, x = build(config), noisy_batch()
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x)) and not net.is_random
    assert torch.equal(net(x), net(x, torch.ones(2, 1, 16, 24, dtype=torch.bool)))


# --- the attention mask -------------------------------------------------------------------------------------------


def test_attention_mask_stays_on_at_test_only_when_asked():
    x = noisy_batch()
    on = lively(replace(TINY, attention_at_test=True)).eval()
    off = lively(replace(TINY, attention_at_test=False)).eval()
    assert on.is_random and not torch.equal(on(x), on(x))
    assert not off.is_random and torch.equal(off(x), off(x))
    none = lively(replace(TINY, attention_ratio=(0.0, 0.0))).eval()
    assert torch.equal(off(x), none(x))
    off.train()
    shown = torch.ones(2, 1, 16, 24, dtype=torch.bool)
    assert not torch.equal(off(x, shown), off(x, shown))


def test_attention_modes_differ():
    x, outputs = noisy_batch(), []
    for mode in ("zero", "key"):
        net = lively(replace(TINY, attention_mode=mode)).eval()
        torch.manual_seed(5)
        outputs.append(net(x))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("shifted", [False, True])
def test_what_a_hidden_token_still_says(shifted):
    """Its features never; zeroed, its value is the bias of the projection, and left out it is nothing at all."""
    torch.manual_seed(0)
    x = torch.randn(1, 16, 16, 12, dtype=torch.float64)
    keep = torch.ones(1, 16, 16, 1, dtype=torch.bool)
    keep[0, 6, 6] = False
    region = swin.same_region(16, 16, x.device)
    changed = x.clone()
    changed[0, 6, 6] = torch.randn(12, dtype=torch.float64)
    for mode in ("zero", "key"):
        block = swin.Block(12, 2, 2.0, mode, shifted, 0.0).double()
        torch.nn.init.normal_(block.qkv.bias)
        moved = (block(x, keep, region) - block(changed, keep, region)).abs().amax(-1)[0]
        assert moved[6, 6] > 0
        moved[6, 6] = 0
        assert moved.max() == 0, mode
        # Its neighbours would have heard it, had it not been hidden.
        heard = block(x, keep, region) - block(x, torch.ones_like(keep), region)
        assert heard[0, 7, 7].abs().max() > 0
        dark = block.attention(x, torch.zeros_like(keep), region)
        said = block.out(block.qkv.bias[24:]) if mode == "zero" else block.out.bias
        assert torch.allclose(dark, said.expand_as(dark), atol=1e-12)


# --- loss and regularisers ----------------------------------------------------------------------------------------


def test_losses_are_what_they_are_called():
    clean, output = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.01)
    shown = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    shown[..., :2] = False
    output[..., :2] = 0.2
    mean = {"l1": lambda e: e, "charbonnier": lambda e: (e * e + 1e-6) ** 0.5}
    mean["huber"] = lambda e: e - 0.025 if e > 0.05 else e * e / 0.1
    for loss, f in mean.items():
        config = replace(TINY, loss=loss)
        whole = paper_loss(output, clean, shown, config)
        assert whole.item() == pytest.approx(0.25 * f(0.2) + 0.75 * f(0.01), rel=1e-5)
        hidden = paper_loss(output, clean, shown, replace(config, loss_on="masked"))
        assert hidden.item() == pytest.approx(f(0.2), rel=1e-5)


def test_loss_on_hidden_pixels_has_no_gradient_elsewhere():
    output = torch.rand(1, 3, 8, 8, requires_grad=True)
    shown = draw_shown(1, 8, 8, (0.5, 0.5), "cpu")
    paper_loss(output, torch.zeros(1, 3, 8, 8), shown, replace(TINY, loss_on="masked")).backward()
    assert ((output.grad != 0) == ~shown).all()


def test_dropout_drops_channels_in_training_alone():
    net, x, seen = build(replace(PLAIN, dropout=0.7)), noisy_batch(), []
    net.last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(1)
    assert not torch.equal(net(x), net(x))
    gone = (seen[0] == 0).all(-1).all(-1)
    assert gone.any() and not gone.all() and torch.equal((seen[0] == 0).any(-1).any(-1), gone)
    net.eval()
    assert torch.equal(net(x), net(x)) and not (seen[-1] == 0).all(-1).all(-1).any()


def test_stochastic_depth_keeps_the_mean_and_grows_with_depth():
    torch.manual_seed(0)
    branch = swin.drop_path(torch.ones(20000, 1, 1, 1), 0.1)
    assert branch.unique().tolist() == pytest.approx([0, 1 / 0.9]) and branch.mean() == pytest.approx(1, abs=0.02)
    rates = [block.drop for block in PaperNet().body.blocks]
    assert len(rates) == 24 and rates[0] == 0 and rates[-1] == pytest.approx(0.1) and rates == sorted(rates)


@pytest.mark.parametrize("config", [replace(TINY, stochastic_depth=0.1, dropout=0.3), CNN])
def test_one_seed_is_one_result(config):
    x, results = noisy_batch(), []
    for seed in (7, 7, 8):
        net = build(config, seed)
        output = net(x)
        output.mean().backward()
        results.append((output, net.first.weight.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


@pytest.mark.parametrize("config", [PLAIN, CNN])
def test_overfits_one_patch(config):
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 6, 16), torch.linspace(0, 4, 16), indexing="ij")
    clean = torch.stack([torch.sin(x) * 0.4 + 0.5, torch.cos(y) * 0.4 + 0.5, torch.sin(x + y) * 0.4 + 0.5])[None]
    noisy = clean + 0.06 * torch.randn_like(clean)
    net = build(replace(config, groups=1, mask_ratio=(0.05, 0.1)))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(45):
        shown = net.draw_shown(noisy)
        loss = paper_loss(net(noisy, shown), clean, shown, net.config)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


# --- use ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 9), (16, 24), (13, 32)])
def test_any_image_size(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    for config in (PLAIN, CNN, TINY):
        result = denoise_image(build(config), image)
        assert result.shape == image.shape and result.dtype == np.uint8


def test_padding_is_mirrored_and_clamped_and_rounded():
    net = lively(PLAIN).eval()
    image = np.random.default_rng(0).integers(0, 256, (10, 16, 3), np.uint8)
    rows, columns = [*range(10), *range(9, 3, -1)], [*range(16), *range(15, 7, -1)]
    whole = torch.from_numpy(image[rows][:, columns]).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        net.last.weight *= 20  # beyond [0, 1]
        expected = net(whole)[0, :, :10, :16].permute(1, 2, 0).numpy()
    assert expected.min() < 0 and expected.max() > 1
    result = denoise_image(net, image).astype(int)
    assert np.abs(result - np.rint(np.clip(expected, 0, 1) * 255)).max() <= 1
    assert np.mean(result == np.rint(np.clip(expected, 0, 1) * 255)) > 0.99


def test_passes_average_random_outputs_and_leave_the_mode_alone():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    net = lively(TINY).train()
    torch.manual_seed(0)
    singles = [denoise_image(net, image).astype(float) for _ in range(4)]
    torch.manual_seed(0)
    mean = denoise_image(net, image, passes=4)
    assert net.training and np.abs(np.mean(singles, 0) - mean).max() <= 1.01
    assert np.abs(singles[0] - singles[1]).max() > 0


def test_image_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"give uint8 of shape \(H, W, 3\)"):
        denoise_image(build(PLAIN), np.zeros((8, 8, 3), np.float32))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"loss": "l2"}, "choose one of l1, charbonnier, huber"),
        ({"mask_ratio": (0.9, 0.8)}, "lowest and the highest share"),
        ({"width": 50}, "multiple of paper.heads, 6"),
        ({"backbone": "cnn"}, "no attention to mask"),
        ({"mask_ratio": (0.0, 0.9), "loss_on": "masked"}, "needs hidden pixels"),
    ],
)
def test_options_that_cannot_be_are_refused(values, reason):
    with pytest.raises(UsageError, match=reason):
        PaperConfig(**values)


def test_presets_are_the_papers_runs_and_differ_in_masks_alone():
    runs = {name: load_preset(name, []) for name in NAMES}
    assert all(replace(run, paper=None) == replace(runs["paper-masked"], paper=None) for run in runs.values())
    data = runs["paper-masked"].data
    assert (data.batch, data.patch_px, data.photo_patch_px) == (64, 64, (64,))
    assert (data.photo_share, data.photo_noise, data.contrast_share, data.border_share) == (1, "gaussian:15", 0, 0)
    assert runs["paper-masked"].paper == PaperConfig()
    assert runs["paper-masked-75"].paper == PaperConfig(mask_ratio=(0.75, 0.85))
    baseline = PaperConfig(mask_ratio=(0, 0), attention_ratio=(0, 0))
    assert runs["paper-baseline"].paper == baseline
    assert runs["paper-dropout"].paper == replace(baseline, dropout=0.7)
    assert runs["paper-cnn"].paper == PaperConfig(backbone="cnn", attention_ratio=(0, 0))


def test_a_preset_can_be_narrowed_on_the_command_line():
    config = load_preset("paper-masked", ["paper.width=30", "paper.heads=3", "paper.mask_ratio=[0.5, 0.6]"])
    assert config.paper == PaperConfig(width=30, heads=3, mask_ratio=(0.5, 0.6))
    with pytest.raises(UsageError, match=r"unknown key paper\.ratio"):
        load_preset("paper-masked", ["paper.ratio=0.5"])


def write_weights(path, net):
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path, {"paper": json.dumps(asdict(net.config))})
    return path


def test_weights_come_back_with_their_options(tmp_path):
    net = build(replace(TINY, attention_mode="key", mask_token="learnable", attention_at_test=False)).eval()
    again = paper.load(write_weights(tmp_path / "w.safetensors", net))
    assert again.config == net.config and not again.training
    assert torch.equal(again(noisy_batch()), net(noisy_batch()))
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="paper-\\* preset"):
        paper.load(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot read weights"):
        paper.load(tmp_path / "broken.safetensors")


def test_evaluate_measures_a_set(tmp_path, capsys):
    from PIL import Image

    folder = tmp_path / "test" / "own"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(60, 200, (20, 27, 3), np.uint8)).save(folder / f"{i}.png")
    weights = write_weights(tmp_path / "w.safetensors", build(PLAIN))
    command = ["--weights", str(weights), "--data", str(tmp_path), "--set", "own"]
    out = tmp_path / "out.json"
    assert paper_evaluate.main([*command, "--noise", "gaussian:15,poisson:3.5", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert list(record["scores"]) == ["gaussian 15", "poisson 3.5"] and record["images"] == ["0", "1"]
    assert np.mean(record["scores"]["gaussian 15"]["noisy"]) == pytest.approx(24.6, abs=0.4)
    assert "| gaussian 15 |" in capsys.readouterr().out
    with pytest.raises(UsageError, match="write FAMILY:LEVEL"):
        paper_evaluate.main([*command, "--noise", "gaussian"])
    with pytest.raises(InputError, match="none in"):
        paper_evaluate.main([*command[:-1], "nothing"])
