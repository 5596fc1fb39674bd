"""The `fused` graph of DESIGN: network and filter in one, so that a GPU is asked once a tile.

    guide (1, G, H, W), layers (L, 3, H, W), confidence (1, 1, H, W), all float32, H and W multiples of 64, any L >= 1
    -> filtered (L, 3, H, W) float32, valid (1, S, H, W) bool, by kernel set

What they mean is said in `mdenoise.filter.apply_filter`. Of a network with two kernel sets, plane 0 of every triple
takes the first and planes 1 and 2 the second.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdenoise.filter import BLEND, CONFIDENCE, LEVELS, MIN_DENOMINATOR, TAPS
from mdenoise.training.model import KernelNet

INPUTS = ("guide", "layers", "confidence")
OUTPUTS = ("filtered", "valid")


class Fused(nn.Module):
    """Written in operations that every engine compiles: no shapes but constants, no autograd functions."""

    def __init__(self, net: KernelNet):
        super().__init__()
        self.net = net

    def forward(self, guide: Tensor, layers: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        chroma = self.net.config.chroma
        logits = self.net(guide, chroma=chroma)
        first = [F.pixel_shuffle(logits[0], 2), *logits[1:4]]
        trust = confidence * (first[0][:, CONFIDENCE:] / 6.0 + 0.5).clamp(0.0, 1.0)
        if not chroma:
            return filter_planes(layers, trust, first)
        brightness, valid = filter_planes(layers[:, :1], trust, first)
        differences, known = filter_planes(layers[:, 1:], trust, [F.pixel_shuffle(logits[4], 2), *logits[5:]])
        return torch.cat([brightness, differences], 1), torch.cat([valid, known], 1)


def filter_planes(layers: Tensor, trust: Tensor, heads: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(L, C, H, W) by the weights of four levels, each (1, taps and blend, h, w), and the confidence (1, 1, H, W)."""
    trusted = torch.where(trust > 0, layers, 0.0) * trust
    # The confidence goes with every group of layers as one more plane: half as many operations, some done twice.
    pooled = [torch.cat([trusted, trust.expand(layers.shape[0], -1, -1, -1)], 1)]
    for _ in range(LEVELS - 1):
        pooled.append(F.avg_pool2d(pooled[-1], 2))
    out, valid = gather(pooled[-1], heads[-1])
    for level in range(LEVELS - 2, -1, -1):
        fine, fine_valid = gather(pooled[level], heads[level])
        weight = twice(valid.float())
        coarse_valid = weight > 0
        coarse = twice(out) / torch.where(coarse_valid, weight, 1.0)
        share = torch.where(coarse_valid, torch.sigmoid(heads[level][:, BLEND : BLEND + 1]), 1.0)
        share = torch.where(fine_valid, share, 0.0)
        out = (1.0 - share) * coarse + share * fine
        valid = fine_valid | coarse_valid
    return out, valid


def gather(planes: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """5x5 sums by softmax weights of (L, C + 1, h, w), divided by the last plane's; 0 where that is too little."""
    kernel = torch.softmax(head[:, :TAPS], 1).split(1, 1)
    padded = F.pad(planes, (2, 2, 2, 2))
    total = torch.zeros_like(planes)
    for tap in range(TAPS):
        dy, dx = divmod(tap, 5)  # ends are counted from behind: no shape enters the graph
        total = total + kernel[tap] * padded[..., dy : dy - 4 or None, dx : dx - 4 or None]
    weight = total[:1, -1:]
    valid = weight > MIN_DENOMINATOR
    return torch.where(valid, total[:, :-1] / torch.where(valid, weight, 1.0), 0.0), valid


def twice(planes: Tensor) -> Tensor:
    return F.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
