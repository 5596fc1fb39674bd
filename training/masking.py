"""The two masks of masked image training (Chen et al., CVPR 2023), with ratios that include 0.

The paper hides 75-85 % of the pixels and never tells the network which; here the mask is an input plane, the
ratio is drawn per patch from a range with 0 in it, and auxiliary planes are never hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskConfig:
    """Shares of patches that are masked at all, and the largest ratio of hidden pixels or tokens."""

    input_share: float = 0.4
    input_max: float = 0.9
    attention_share: float = 0.4
    attention_max: float = 0.75


def input_mask(batch: int, height: int, width: int, config: MaskConfig, device: torch.device | str = "cpu") -> Tensor:
    """(B, 1, H, W) in {0, 1}, i.i.d. per pixel and shared by the channels; 0 = hidden."""
    masked = torch.rand(batch, 1, 1, 1, device=device) < config.input_share
    ratio = torch.rand(batch, 1, 1, 1, device=device) * config.input_max * masked
    return (torch.rand(batch, 1, height, width, device=device) >= ratio).float()


def attention_masks(
    blocks: int, batch: int, height: int, width: int, config: MaskConfig, device: torch.device | str = "cpu"
) -> list[Tensor] | None:
    """One (B, h, w, 1) keep-mask in {0, 1} for every attention block, or None when no patch of the batch is masked."""
    masked = torch.rand(batch, 1, 1, 1, device=device) < config.attention_share
    if not masked.any():
        return None
    ratio = torch.rand(batch, 1, 1, 1, device=device) * config.attention_max * masked
    return [(torch.rand(batch, height, width, 1, device=device) >= ratio).float() for _ in range(blocks)]
