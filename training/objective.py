"""From a configuration to a network, from a batch to its output, and from that to the loss."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdenoise import guide as g
from mdenoise.chroma import DIFFERENCES
from mdenoise.training import data as patches
from mdenoise.training.config import TrainConfig
from mdenoise.training.filter import apply_filter_torch
from mdenoise.training.loss import display_psnr, image_loss
from mdenoise.training.masking import attention_masks, input_mask
from mdenoise.training.model import KernelNet
from mdenoise.training.paper import PaperNet, draw_shown, paper_loss

Mean = Callable[[Tensor], Tensor]


def build(config: TrainConfig) -> nn.Module:
    return PaperNet(config.paper) if config.paper else KernelNet(config.model)


def forward(
    model: nn.Module, batch: patches.Batch, config: TrainConfig, masked: bool, filter_layers=apply_filter_torch
) -> Tensor:
    """Denoised (B, 3, H, W) of one batch, with the training masks when `masked`."""
    b, _, h, w = batch.noisy.shape
    device = batch.noisy.device
    if config.paper:
        return paper_forward(model, batch, config, masked)[0]
    mask, confidence = batch.trusted, batch.confidence
    keep = None
    if masked:
        shown = input_mask(b, h, w, config.masks, device)
        mask, confidence = mask * shown, confidence * shown
        keep = attention_masks(config.model.blocks, b, h // 8, w // 8, config.masks, device)
    noisy = batch.noisy * batch.trusted
    guide = patches.make_guide(replace(batch, noisy=noisy), mask)[:, : config.model.guide_channels]
    if masked and config.masks.hide_aovs:
        guide[:, g.ALBEDO.start : g.KIND] *= mask
    chroma = config.model.chroma and not bool(batch.linear.max() > 0)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        logits = model(guide.contiguous(memory_format=torch.channels_last), keep, chroma)
    if config.model.output == "rgb":
        return logits[0].float()
    if chroma:
        turned = patches.opponent(noisy)
        others = [i for i in range(turned.shape[1]) if i not in DIFFERENCES]
        luma, _ = filter_layers(turned[:, others].contiguous(), confidence, logits[:4])
        finest = torch.cat([logits[4], logits[0][:, -4:]], 1)  # one confidence for both kernel sets
        difference, _ = filter_layers(turned[:, list(DIFFERENCES)].contiguous(), confidence, (finest, *logits[5:]))
        return patches.opponent(torch.cat([luma[:, :1], difference, luma[:, 1:]], 1), back=True)
    d = torch.where(batch.demodulate > 0, patches.demodulation(batch.albedo), torch.ones_like(batch.albedo))
    output, _ = filter_layers(noisy / d, confidence, logits)
    return output * d


def paper_forward(
    model: nn.Module, batch: patches.Batch, config: TrainConfig, masked: bool
) -> tuple[Tensor, Tensor | None]:
    """Output of the paper's network, and (B, 1, H, W) bool, what it saw; None = all."""
    shown = None
    if masked:
        b, _, h, w = batch.noisy.shape
        shown = draw_shown(b, h, w, config.paper.mask_ratio, batch.noisy.device)
    with torch.autocast(batch.noisy.device.type, torch.bfloat16, enabled=config.bf16):
        output = model(batch.noisy.contiguous(memory_format=torch.channels_last), shown)
    return output.float(), shown


def batch_loss(
    model: nn.Module,
    batch: patches.Batch,
    config: TrainConfig,
    mean: Mean = torch.mean,
    filter_layers=apply_filter_torch,
) -> Tensor:
    """Scalar training loss; `mean` averages over the images of every process that shares the batch."""
    if config.paper:
        output, shown = paper_forward(model, batch, config, masked=True)
        return paper_loss(output, batch.clean, shown, config.paper)
    output = forward(model, batch, config, True, filter_layers)
    if batch.noisy.shape[1] == 4:  # judged where noise is equally strong at every brightness
        output, clean, noisy = (patches.stabilised(x, batch) for x in (output, batch.clean, batch.noisy))
        return image_loss(output, clean, noisy, batch.linear, batch.inside, config.photo_loss, mean=mean)
    if config.loss == "noise2noise":
        return noise2noise_loss(output, batch.clean, batch.noisy, batch.linear, batch.inside, mean)
    kind = config.render_loss if bool(batch.linear.max() > 0) else config.photo_loss
    return image_loss(output, batch.clean, batch.noisy, batch.linear, batch.inside, kind, mean=mean)


def noise2noise_loss(
    output: Tensor, target: Tensor, noisy: Tensor, linear: Tensor, weight: Tensor, mean: Mean = torch.mean
) -> Tensor:
    """Squared error against another noisy image of the same scene, relative to the output, at four scales.

    (f - y)^2 / (f^2 + 0.01) with a denominator that takes no gradient has its minimum where f is the mean of y
    (Lehtinen et al., Noise2Noise, ICML 2018): in linear radiance that is the true image, as no curve is applied to y.
    Weights depend on input and output alone, never on y: else bright targets would count less and the result darken.
    What bias remains: training clips gradients, so steps with very bright fireflies count less than they should, and
    half floats end at 65504 times the exposure. Encoded photographs are taken as they are: relative to 1, and unbiased
    as far as their noise is before the curve and clipping at black and white.
    """
    error = (output - target) * weight
    shown = output.detach() * weight
    level = ((noisy - shown) * weight).square() / (shown.square() + 0.01)
    level = torch.where(linear > 0, level, ((noisy - shown) * weight).square()).mean((1, 2, 3))
    gain = 1.0 / (0.01 + level)  # noisy images have noisy targets: weigh by 1 / variance
    loss = torch.zeros_like(level)
    for scale in range(4):
        if scale:
            error, shown = F.avg_pool2d(error, 2), F.avg_pool2d(shown, 2)
        relative = error.square() / torch.where(linear > 0, shown.square() + 0.01, torch.ones_like(shown))
        loss = loss + relative.mean((1, 2, 3))
    return (loss * gain / mean(gain)).mean()


class Judge:
    """A copy of the network that takes averaged weights and scores them on fixed held-out batches."""

    def __init__(self, net: nn.Module, batches: list[patches.Batch], config: TrainConfig):
        self.net, self.batches, self.config = copy.deepcopy(net).eval(), batches, config

    @torch.no_grad()
    def score(self, state: dict[str, Tensor]) -> tuple[float, float, float]:
        """Mean display PSNR in dB: renders, photos, and the noisy renders beside; NaN for what is not there."""
        self.net.load_state_dict(state)
        scores: dict[str, list[float]] = {"render": [], "photo": [], "noisy": []}
        devices = sorted({p.device for p in self.net.parameters() if p.is_cuda}, key=str)
        with torch.random.fork_rng(devices):  # a network that is random at test must not change the training
            torch.manual_seed(77)
            for batch in self.batches:
                output, linear, weight = forward(self.net, batch, self.config, False), batch.linear, batch.inside
                kind = "render" if bool(linear.max() > 0) else "photo"
                scores[kind] += display_psnr(output * weight, batch.clean * weight, linear).tolist()
                if kind == "render":
                    scores["noisy"] += display_psnr(batch.noisy * weight, batch.clean * weight, linear).tolist()
        render, photo, noisy = (sum(v) / len(v) if v else math.nan for v in scores.values())
        return render, photo, noisy
