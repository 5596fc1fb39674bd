"""The system of the paper itself: a SwinIR-like network that paints every pixel, with its two masks and its rivals.

    python -m mdenoise.training.train --preset paper-masked --photos DIR --out runs/paper-masked
    python -m mdenoise.training.paper_evaluate --weights runs/paper-masked/ema.safetensors --data DIR --set cbsd68

Chen et al., Masked Image Training for Generalizable Deep Image Denoising, CVPR 2023. Four groups of six Swin blocks (as
in SwinIR, Liang et al. 2021) behind a 1x1 convolution, so that pixels do not mix before they are hidden, and without
any skip from the input to the output. 0.824 M parameters, about 0.96 M multiplications a pixel: it wants a GPU. It is
the yardstick that the product is measured against; it is never shipped nor exported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdenoise.errors import InputError, ModelError, UsageError
from mdenoise.training.model import WINDOW, Residual
from mdenoise.training.swin import Block, same_region

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K, as in SwinIR
HUBER_DELTA = 0.05  # in [0, 1]; slopes beyond it are 1, so that one learning rate serves every loss
CHOICES = {
    "backbone": ("swin", "cnn"),
    "mask_token": ("fixed", "learnable"),
    "attention_mode": ("zero", "key"),
    "loss": ("l1", "charbonnier", "huber"),
    "loss_on": ("all", "masked"),
}


@dataclass(frozen=True)
class PaperConfig:
    """The released model by default. Ratios are (lowest, highest) shares of hidden pixels or tokens, (0, 0) = no mask.

    A narrower copy that a CPU can train: width 30, groups 2, blocks 4, heads 3.
    """

    backbone: str = "swin"  # "cnn": residual pairs of 3x3 convolutions, as many convolutions as there were Swin blocks
    width: int = 60
    groups: int = 4
    blocks: int = 6  # a group
    heads: int = 6
    mlp_ratio: float = 2.0
    stochastic_depth: float = 0.1  # of the last block; it grows from 0 at the first
    mask_ratio: tuple[float, float] = (0.8, 0.9)  # one whole percent per patch, then i.i.d. per pixel
    mask_value: float = -0.1  # no pixel has it
    mask_token: str = "fixed"  # "learnable": a feature vector after the first convolution instead of mask_value
    attention_ratio: tuple[float, float] = (0.75, 0.75)
    attention_mode: str = "zero"  # hidden tokens are zeroed before qkv, as in the paper; "key": not attended to
    attention_at_test: bool = True  # the released code masks at test, too: its output is random
    dropout: float = 0.0  # of channels before the last convolution (Kong et al., Reflash Dropout, CVPR 2022)
    loss: str = "l1"
    loss_on: str = "all"  # or "masked": the hidden pixels alone

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"paper.{name} is {getattr(self, name)!r}: choose one of {', '.join(allowed)}")
        for name in ("mask_ratio", "attention_ratio"):
            ratio = getattr(self, name)
            if len(ratio) != 2 or not 0 <= ratio[0] <= ratio[1] <= 1:
                raise UsageError(f"paper.{name} is {ratio}: give the lowest and the highest share, both in 0-1")
        if self.width % self.heads:
            raise UsageError(f"paper.width is {self.width}: it must be a multiple of paper.heads, {self.heads}")
        if self.backbone == "cnn" and self.attention_ratio[1] > 0:
            raise UsageError("paper.backbone cnn has no attention to mask: set paper.attention_ratio=[0, 0]")
        if self.loss_on == "masked" and self.mask_ratio[0] == 0:
            raise UsageError("paper.loss_on masked needs hidden pixels in every patch: raise paper.mask_ratio above 0")


# --- masks and loss -----------------------------------------------------------------------------------------------


def draw_shown(batch: int, height: int, width: int, ratio: tuple[float, float], device: torch.device | str) -> Tensor:
    """(B, 1, H, W) bool, False = hidden: a whole percent drawn in `ratio` per image, then i.i.d. at every place."""
    low, high = (round(100 * share) for share in ratio)
    percent = torch.randint(low, high + 1, (batch, 1, 1, 1), device=device)
    return torch.rand(batch, 1, height, width, device=device) * 100 >= percent


def paper_loss(output: Tensor, clean: Tensor, shown: Tensor, config: PaperConfig) -> Tensor:
    """Scalar loss of (B, 3, H, W) images in [0, 1]; `shown` (B, 1, H, W) bool is what the network saw."""
    if config.loss == "l1":
        error = (output - clean).abs()
    elif config.loss == "charbonnier":
        error = ((output - clean).square() + 1e-6).sqrt()
    else:
        error = F.smooth_l1_loss(output, clean, beta=HUBER_DELTA, reduction="none")
    if config.loss_on == "all":
        return error.mean()
    return (error * ~shown).sum() / (3 * (~shown).sum()).clamp_min(1)


# --- the network --------------------------------------------------------------------------------------------------


def tail(width: int) -> nn.Sequential:
    """Three convolutions through a bottleneck, as SwinIR ends its groups to save parameters."""
    return nn.Sequential(
        nn.Conv2d(width, width // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width // 4, width // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width // 4, width, 3, padding=1),
    )


class SwinBody(nn.Module):
    """(B, C, H, W) features to features: groups of Swin blocks, a residual around each group and none around all."""

    def __init__(self, config: PaperConfig):
        super().__init__()
        self.config, c, n = config, config.width, config.groups * config.blocks
        drops = torch.linspace(0, config.stochastic_depth, n).tolist()

        def block(i: int) -> Block:
            shifted = i % config.blocks % 2 == 1
            return Block(c, config.heads, config.mlp_ratio, config.attention_mode, shifted, drops[i])

        self.norm0, self.norm1 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.blocks = nn.ModuleList([block(i) for i in range(n)])
        self.tails = nn.ModuleList([tail(c) for _ in range(config.groups)])
        self.tail = tail(c)

    def forward(self, x: Tensor) -> Tensor:
        b, _, height, width = x.shape
        config, region = self.config, same_region(height, width, x.device)
        masked = config.attention_ratio[1] > 0 and (self.training or config.attention_at_test)
        x = self.norm0(x.permute(0, 2, 3, 1))  # (B, H, W, C)
        for i, group_tail in enumerate(self.tails):
            h = x
            for block in self.blocks[i * config.blocks : (i + 1) * config.blocks]:
                keep = draw_shown(b, height, width, config.attention_ratio, x.device) if masked else None
                h = block(h, keep.permute(0, 2, 3, 1) if keep is not None else None, region)
            x = x + group_tail(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.tail(self.norm1(x).permute(0, 3, 1, 2))


class PaperNet(nn.Module):
    """Noisy (B, 3, H, W) in [0, 1], H and W multiples of 8, to denoised (B, 3, H, W); not clamped.

    Random numbers come from torch's global generator of the device. Whether a test is random: see `is_random`.
    """

    def __init__(self, config: PaperConfig | None = None):
        super().__init__()
        self.config = config = config or PaperConfig()
        c = config.width
        self.first = nn.Conv2d(3, c, 1)
        if config.backbone == "swin":
            self.body = SwinBody(config)
        else:
            self.body = nn.Sequential(*[Residual(c) for _ in range(config.groups * config.blocks // 2)])
        self.dropout = nn.Dropout2d(config.dropout)
        self.last = nn.Conv2d(c, 3, 3, padding=1)
        if config.mask_token == "learnable":
            self.token = nn.Parameter(torch.randn(1, c, 1, 1) * 0.02)
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)

    @property
    def is_random(self) -> bool:
        """Whether two passes over one image differ in evaluation mode."""
        return self.config.attention_at_test and self.config.attention_ratio[1] > 0

    def draw_shown(self, noisy: Tensor) -> Tensor:
        """An input mask for one batch of training, (B, 1, H, W) bool, False = hidden."""
        b, _, height, width = noisy.shape
        return draw_shown(b, height, width, self.config.mask_ratio, noisy.device)

    def forward(self, noisy: Tensor, shown: Tensor | None = None) -> Tensor:
        """`shown` (B, 1, H, W) bool; None draws it while training, and hides nothing at test."""
        if noisy.shape[2] % WINDOW or noisy.shape[3] % WINDOW:
            raise InputError(
                f"cannot denoise {noisy.shape[3]}x{noisy.shape[2]} px: sides must be multiples of {WINDOW}"
            )
        if shown is None and self.training:
            shown = self.draw_shown(noisy)
        if shown is not None and self.config.mask_token == "fixed":
            noisy = torch.where(shown, noisy, self.config.mask_value)
        x = self.first(noisy - self.mean)
        if shown is not None and self.config.mask_token == "learnable":
            x = torch.where(shown, x, self.token.to(x.dtype))
        return self.last(self.dropout(self.body(x))).float() + self.mean


# --- use ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def denoise_image(net: PaperNet, image: np.ndarray, passes: int = 1) -> np.ndarray:
    """(H, W, 3) uint8, encoded, any size, whole, to the same; `passes` are averaged where the network is random.

    Mirrored at the right and the bottom to a multiple of 8, by 1 px at least, as the paper's test does. Memory grows
    with the image, by about 7 kB a pixel.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"cannot denoise an array of {image.dtype} {image.shape}: give uint8 of shape (H, W, 3)")
    height, width, _ = image.shape
    padded = np.pad(image, ((0, 8 - height % 8), (0, 8 - width % 8), (0, 0)), mode="symmetric")
    noisy = torch.from_numpy(padded).permute(2, 0, 1)[None].to(net.mean.device).float() / 255
    was_training = net.training
    net.eval()
    try:
        passes = max(1, passes) if net.is_random else 1
        output = sum(net(noisy) for _ in range(passes)) / passes
    finally:
        net.train(was_training)
    output = (output[0, :, :height, :width].clamp(0, 1) * 255).round()
    return output.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def load(path: Path) -> PaperNet:
    """A network in evaluation mode from weights whose metadata hold `paper`, its PaperConfig as JSON."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
            state = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read weights {path}: {error}") from error
    if "paper" not in metadata:
        raise ModelError(f"cannot use weights {path}: no `paper` in their metadata. Train them with a paper-* preset")
    values = json.loads(metadata["paper"])
    net = PaperNet(PaperConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}))
    net.load_state_dict(state)
    return net.eval()
