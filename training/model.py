"""The masked predicted-kernel network.

U-shaped: pixel-unshuffle x2, 3x3 convolutions at 1/2 and 1/4, Swin window attention at 1/8 (Liu et al. 2021).
No global operation: what one pixel sees is bounded (see `reach_px`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 25
WINDOW = 8


@dataclass(frozen=True)
class ModelConfig:
    """Widths at 1/2, 1/4 and 1/8; `blocks` attention blocks, every second one shifted by half a window."""

    guide_channels: int = 17
    widths: tuple[int, int, int] = (32, 64, 128)
    residuals: tuple[int, int, int, int] = (1, 2, 1, 1)  # encoder 1/2, encoder 1/4, decoder 1/4, decoder 1/2
    blocks: int = 4
    heads: int = 4
    mlp_ratio: float = 2.0
    attention_mask: str = "key"  # hidden tokens: "key" leaves them out of the softmax, "zero" zeroes them (the paper)
    chroma: bool = False  # a second kernel set, for the colour differences of encoded photographs
    leak: float = 0.0  # slope below zero of the convolutions at 1/4 and 1/8, where ReLU died: see `dormant`
    output: str = "kernels"  # or "rgb": pixels, not weights; the yardstick of the ablations, never shipped


class Residual(nn.Module):
    def __init__(self, width: int, leak: float = 0.0):
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        self.leak = leak

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        return x + self.b(F.leaky_relu(hidden, self.leak) if self.leak else F.relu(hidden))


def relative_index(window: int) -> Tensor:
    """(window^2, window^2) index of each pair's offset in a ((2w-1)^2) table."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    points = torch.stack([y.flatten(), x.flatten()])
    offset = points[:, :, None] - points[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


class WindowBlock(nn.Module):
    """One pre-norm Swin block on (B, H, W, C), H and W multiples of 8. Shifted blocks pad by half a window instead of
    rolling, so that the graph holds no mask that depends on the size."""

    def __init__(self, config: ModelConfig, shifted: bool):
        super().__init__()
        c = config.widths[2]
        self.heads, self.shifted, self.mode = config.heads, shifted, config.attention_mask
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.out = nn.Linear(c, 3 * c), nn.Linear(c, c)
        hidden = int(c * config.mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(c, hidden), nn.GELU(), nn.Linear(hidden, c))
        self.bias = nn.Parameter(torch.zeros(config.heads, (2 * WINDOW - 1) ** 2))
        self.register_buffer("index", relative_index(WINDOW), persistent=False)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """`keep` (B, H, W, 1) in {0, 1}: the attention mask of masked training, None at inference."""
        h = self.norm1(x)
        if keep is not None and self.mode == "zero":
            h = h * keep.to(h.dtype)
        pad = WINDOW // 2 if self.shifted else 0
        h = F.pad(h, (0, 0, pad, pad, pad, pad)) if pad else h
        hidden = None
        if keep is not None and self.mode == "key":
            hidden = windows(F.pad(keep, (0, 0, pad, pad, pad, pad), value=1.0) if pad else keep).squeeze(-1)
        b, height, width, c = h.shape
        tokens = windows(h)  # (B * windows, 64, C)
        qkv = self.qkv(tokens).reshape(-1, WINDOW * WINDOW, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        bias = self.bias[:, self.index.reshape(-1)].reshape(1, self.heads, WINDOW * WINDOW, WINDOW * WINDOW)
        if hidden is not None:  # -1e4 and not -inf: a window whose tokens are all hidden must stay finite
            bias = bias + (hidden[:, None, None, :] - 1.0) * 1e4
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1) + bias.to(q.dtype)
        a = torch.softmax(scores, -1) @ v
        a = self.out(a.transpose(1, 2).reshape(-1, WINDOW * WINDOW, c))
        a = (
            a.reshape(b, height // WINDOW, width // WINDOW, WINDOW, WINDOW, c)
            .transpose(2, 3)
            .reshape(b, height, width, c)
        )
        a = a[:, pad : height - pad, pad : width - pad] if pad else a
        x = x + a
        return x + self.mlp(self.norm2(x))


def windows(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B * H/8 * W/8, 64, C)."""
    b, height, width, c = x.shape
    x = x.reshape(b, height // WINDOW, WINDOW, width // WINDOW, WINDOW, c).transpose(2, 3)
    return x.reshape(-1, WINDOW * WINDOW, c)


class KernelNet(nn.Module):
    """Guide (B, C, H, W) -> logits of four levels; H and W multiples of 64 (see DESIGN: graph contract)."""

    def __init__(self, config: ModelConfig | None = None):
        super().__init__()
        self.config = config = config or ModelConfig()
        w0, w1, w2 = config.widths
        r = config.residuals

        def stack(width: int, n: int, leak: float = 0.0) -> nn.Sequential:
            return nn.Sequential(*[Residual(width, leak) for _ in range(n)])

        self.stem = nn.Conv2d(config.guide_channels * 4, w0, 3, padding=1)
        self.enc0, self.down0 = stack(w0, r[0]), nn.Conv2d(w0, w1, 2, stride=2)
        self.enc1, self.down1 = stack(w1, r[1], config.leak), nn.Conv2d(w1, w2, 2, stride=2)
        self.blocks = nn.ModuleList([WindowBlock(config, shifted=i % 2 == 1) for i in range(config.blocks)])
        self.mix2 = Residual(w2, config.leak)
        self.up1, self.dec1 = nn.Conv2d(w2, w1 * 4, 1), stack(w1, r[2], config.leak)
        self.up0, self.dec0 = nn.Conv2d(w1, w0 * 4, 1), stack(w0, r[3])
        if config.output == "rgb":
            self.rgb = nn.Conv2d(w0, 3 * 4, 3, padding=1)
            nn.init.zeros_(self.rgb.weight)  # it starts at the noisy image, to which it adds
            nn.init.zeros_(self.rgb.bias)
            return
        # Finest first; the finest head speaks for the four pixels of a stem cell, and alone of confidence.
        shapes = ((w0, (TAPS + 2) * 4), (w0, TAPS + 1), (w1, TAPS + 1), (w2, TAPS))
        self.head0, self.head1, self.head2, self.head3 = (nn.Conv2d(w, n, 1) for w, n in shapes)
        heads = [self.head0, self.head1, self.head2, self.head3]
        if config.chroma:
            shapes = ((w0, (TAPS + 1) * 4), *shapes[1:])
            self.chroma0, self.chroma1, self.chroma2, self.chroma3 = (nn.Conv2d(w, n, 1) for w, n in shapes)
            heads += [self.chroma0, self.chroma1, self.chroma2, self.chroma3]
        for head in heads:
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        with torch.no_grad():
            self.head0.bias[(TAPS + 1) * 4 :] = 1.5  # confidence starts at 0.75, inside the hard sigmoid's slope

    def forward(self, guide: Tensor, keep: list[Tensor] | None = None, chroma: bool = False) -> tuple[Tensor, ...]:
        """Logits of the four levels, finest first; with `chroma` four more for the colour differences. A network with
        `output` "rgb" returns one (B, 3, H, W) image."""
        a = self.enc0(self.stem(F.pixel_unshuffle(guide, 2)))  # (B, w0, H/2, W/2)
        b = self.enc1(self.down0(a))  # (B, w1, H/4, W/4)
        c = self.down1(b).permute(0, 2, 3, 1)  # (B, H/8, W/8, w2)
        for i, block in enumerate(self.blocks):
            c = block(c, keep[i] if keep is not None else None)
        c = self.mix2(c.permute(0, 3, 1, 2).contiguous())
        b = self.dec1(b + F.pixel_shuffle(self.up1(c), 2))
        a = self.dec0(a + F.pixel_shuffle(self.up0(b), 2))
        if self.config.output == "rgb":
            return (guide[:, :3] + F.pixel_shuffle(self.rgb(a), 2),)
        logits = self.head0(a), self.head1(a), self.head2(b), self.head3(c)
        if not chroma:
            return logits
        return *logits, self.chroma0(a), self.chroma1(a), self.chroma2(b), self.chroma3(c)


def start_chroma(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state without chroma heads, given those that filter colour differences as it filtered everything so far."""
    state = dict(state)
    for level in range(4):
        for name in ("weight", "bias"):
            source = state[f"head{level}.{name}"]
            source = source[: (TAPS + 1) * 4] if level == 0 else source
            state.setdefault(f"chroma{level}.{name}", source.clone())
    return state


def widened(state: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a narrower network as a start for one whose first weights are `fresh`, with the same output:
    new features keep their first weights; who reads them, or guide planes that came later, starts with 0."""
    wide = {}
    for name, target in fresh.items():
        wide[name] = target.clone()
        if target.ndim > 1:
            wide[name][:, state[name].shape[1] :] = 0
        wide[name][tuple(slice(n) for n in state[name].shape)] = state[name]
    return wide


def reach_px(config: ModelConfig) -> int:
    """Largest distance in pixels at which an input can change a filtered pixel, counted layer by layer."""
    r = config.residuals
    convs = 2 * (1 + 2 * r[0]) + 2  # stem and encoder at 1/2 (in px), unshuffle cell
    convs += 4 * 2 * r[1] + 4  # encoder at 1/4, its stride cell
    attention = 8 * (WINDOW - 1) * config.blocks + 8  # each block sees at most window-1 cells away; stride cell
    decode = 8 * 2 + 4 * 2 * r[2] + 2 * 2 * r[3]  # mix2, dec1, dec0
    filtering = 8 * 2 + 8 + 8  # 5x5 at 1/8, its pooling cell, bilinear upsampling
    return convs + attention + decode + filtering
