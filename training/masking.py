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
    """Shares of patches that are masked at all, and the largest ratio of hidden pixels or tokens.

    `grid_share` and `block_share` are parts of the masked patches: phase grids, which make correlated noise
    independent, and hidden squares; the others are masked i.i.d. per pixel, as in the paper. `hide_aovs` takes the
    auxiliary planes away with the radiance: what the ablation compares, and nothing that ships was trained with.
    """

    input_share: float = 0.4
    input_max: float = 0.9
    grid_share: float = 0.25
    block_share: float = 0.15
    attention_share: float = 0.4
    attention_max: float = 0.75
    hide_aovs: bool = False


def input_mask(batch: int, height: int, width: int, config: MaskConfig, device: torch.device | str = "cpu") -> Tensor:
    """(B, 1, H, W) in {0, 1}, shared by the channels; 0 = hidden."""
    masked = torch.rand(batch, 1, 1, 1, device=device) < config.input_share
    ratio = torch.rand(batch, 1, 1, 1, device=device) * config.input_max * masked
    mask = (torch.rand(batch, 1, height, width, device=device) >= ratio).float()
    for i, kind in enumerate(torch.rand(batch).tolist()):
        if not masked[i]:
            continue
        if kind < config.grid_share:
            mask[i] = phase_grid(height, width, device)
        elif kind < config.grid_share + config.block_share:
            side = int(torch.randint(2, 5, ()))
            cells = (torch.rand(-(-height // side), -(-width // side), device=device) >= ratio[i, 0]).float()
            cells = cells.repeat_interleave(side, 0).repeat_interleave(side, 1)
            mask[i] = cells[:height, :width]
    return mask


def phase_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(H, W) in {0, 1}: one phase of a random 2x2 or 3x3 grid is all that is seen, or all that is hidden; or a
    checkerboard."""
    side = 2 + int(torch.rand(()) < 0.4)
    phase_y, phase_x = (int(n) for n in torch.randint(0, side, (2,)))
    y = torch.arange(height, device=device)[:, None]
    x = torch.arange(width, device=device)[None]
    chosen = ((y % side == phase_y) & (x % side == phase_x)).float()
    style = float(torch.rand(()))
    if style < 0.5:
        return chosen
    return 1 - chosen if style < 0.75 else ((y + x + phase_x) % 2).float()


def attention_masks(
    blocks: int, batch: int, height: int, width: int, config: MaskConfig, device: torch.device | str = "cpu"
) -> list[Tensor] | None:
    """One (B, h, w, 1) keep-mask in {0, 1} for every attention block, or None when no patch of the batch is masked."""
    masked = torch.rand(batch, 1, 1, 1, device=device) < config.attention_share
    if not masked.any():
        return None
    ratio = torch.rand(batch, 1, 1, 1, device=device) * config.attention_max * masked
    return [(torch.rand(batch, height, width, 1, device=device) >= ratio).float() for _ in range(blocks)]
