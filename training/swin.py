"""The window attention of Swin (Liu et al. 2021) as the paper uses it: cyclic shifts, stochastic depth, hidden tokens.

`model.WindowBlock` pads where this one rolls: its graph must serve every size, this one must be the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdenoise.training.model import WINDOW, relative_index, windows


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """A residual branch (B, ...) left out of whole images at `rate`, its mean kept (Huang et al. 2016)."""
    if rate == 0:
        return branch
    kept = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) >= rate
    return branch * kept.to(branch.dtype) / (1 - rate)


def same_region(height: int, width: int, device: torch.device) -> Tensor:
    """(windows, 1, 64, 64) bool: which tokens of a cyclically shifted window were neighbours before the shift."""

    def bands(size: int) -> Tensor:
        at = torch.arange(size, device=device)
        return (at >= size - WINDOW).int() + (at >= size - WINDOW // 2).int()

    region = windows((3 * bands(height)[:, None] + bands(width))[None, :, :, None])[..., 0]
    return (region[:, :, None] == region[:, None, :])[:, None]


class Block(nn.Module):
    """One pre-norm Swin block on (B, H, W, C), H and W multiples of 8; shifted blocks roll by half a window.

    `attention_mode`: hidden tokens are zeroed after the norm ("zero", the paper) or not attended to ("key").
    `drop`: how often a residual branch is left out of an image in training.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, attention_mode: str, shifted: bool, drop: float):
        super().__init__()
        c, hidden = width, int(width * mlp_ratio)
        self.heads, self.mode, self.shift, self.drop = heads, attention_mode, WINDOW // 2 if shifted else 0, drop
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.out = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.mlp = nn.Sequential(nn.Linear(c, hidden), nn.GELU(), nn.Linear(hidden, c))
        self.bias = nn.Parameter(torch.empty(heads, (2 * WINDOW - 1) ** 2))
        self.register_buffer("index", relative_index(WINDOW).flatten(), persistent=False)
        nn.init.trunc_normal_(self.bias, std=0.02)
        for linear in (self.qkv, self.out, self.mlp[0], self.mlp[2]):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, keep: Tensor | None, region: Tensor) -> Tensor:
        """`keep` (B, H, W, 1) bool: tokens that are not hidden; `region` as of `same_region`."""
        rate = self.drop if self.training else 0.0
        x = x + drop_path(self.attention(x, keep, region), rate)
        return x + drop_path(self.mlp(self.norm2(x)), rate)

    def attention(self, x: Tensor, keep: Tensor | None, region: Tensor) -> Tensor:
        b, height, width, c = x.shape
        h = self.norm1(x)
        if keep is not None and self.mode == "zero":  # no rescaling, and the softmax still sees the token's bias
            h = h * keep
        tokens = windows(h.roll((-self.shift, -self.shift), (1, 2)))  # (B * windows, 64, C)
        qkv = self.qkv(tokens).reshape(b, -1, WINDOW**2, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each (B, windows, heads, 64, C / heads)
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.bias[:, self.index].reshape(self.heads, WINDOW**2, WINDOW**2).to(scores.dtype)
        allowed = region if self.shift else None
        if keep is not None and self.mode == "key":
            key = windows(keep.roll((-self.shift, -self.shift), (1, 2))).reshape(b, -1, 1, 1, WINDOW**2)
            allowed = key if allowed is None else key & allowed
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -1e4)
        weights = torch.softmax(scores, -1)
        if allowed is not None:  # with nothing to attend to, nothing is added
            weights = weights * allowed.any(-1, keepdim=True)
        a = (weights @ v).transpose(2, 3).reshape(-1, WINDOW**2, c)
        a = self.out(a).reshape(b, height // WINDOW, width // WINDOW, WINDOW, WINDOW, c)
        return a.transpose(2, 3).reshape(b, height, width, c).roll((self.shift, self.shift), (1, 2))
