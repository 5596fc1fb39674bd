"""The predicted-kernel filter in torch, for training; `mdenoise.filter` defines it, a test holds them together."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise.guide import OUTLIER_FLOOR, OUTLIER_MULTIPLE

LEVELS = 4
TAPS = 25
VALID = 1e-6


def hard_sigmoid(x: Tensor, leak: float = 0.02) -> Tensor:
    """clip(x/6 + 1/2, 0, 1), which reaches 0 and 1 exactly; a leaked gradient lets saturated pixels come back."""
    z = x / 6.0 + 0.5
    return z.clamp(0.0, 1.0) + leak * (z - z.detach())


class _WeightedWindow(torch.autograd.Function):
    """sum_k w_k * shift_k(p) over 5x5 with zeros outside; written out because autograd would keep 25 shifted copies."""

    @staticmethod
    def forward(ctx, weights: Tensor, planes: Tensor) -> Tensor:
        ctx.save_for_backward(weights, planes)
        h, w = planes.shape[-2:]
        padded = F.pad(planes, (2, 2, 2, 2))
        out = torch.zeros_like(planes)
        for k in range(TAPS):
            dy, dx = divmod(k, 5)
            out.addcmul_(weights[:, k : k + 1], padded[..., dy : dy + h, dx : dx + w])
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        weights, planes = ctx.saved_tensors
        h, w = planes.shape[-2:]
        padded = F.pad(planes, (2, 2, 2, 2))
        grad_padded = torch.zeros_like(padded)
        grad_weights = torch.empty_like(weights)
        for k in range(TAPS):
            dy, dx = divmod(k, 5)
            grad_weights[:, k] = (grad * padded[..., dy : dy + h, dx : dx + w]).sum(1)
            grad_padded[..., dy : dy + h, dx : dx + w].addcmul_(weights[:, k : k + 1], grad)
        return grad_weights, grad_padded[..., 2 : 2 + h, 2 : 2 + w]


def apply_filter_torch(layers: Tensor, confidence_in: Tensor, logits: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Filter (B, C, H, W) finite layers by the predicted weights; also (B, 1, H, W) bool, where it is valid."""
    full = F.pixel_shuffle(logits[0].float(), 2)  # (B, 27, H, W)
    heads = [full, *[level.float() for level in logits[1:]]]
    c = confidence_in * hard_sigmoid(full[:, TAPS + 1 : TAPS + 2])
    planes = [torch.cat([layers * c, c], 1)]
    for _ in range(LEVELS - 1):
        planes.append(F.avg_pool2d(planes[-1], 2))
    out = valid = None
    for level in range(LEVELS - 1, -1, -1):
        weights = torch.softmax(heads[level][:, :TAPS], 1)
        summed = _WeightedWindow.apply(weights, planes[level])
        den = summed[:, -1:]
        fine_valid = den > VALID
        fine = torch.where(fine_valid, summed[:, :-1] / torch.where(fine_valid, den, torch.ones_like(den)), 0.0)
        if out is None:
            out, valid = fine, fine_valid
            continue
        v = valid.float()
        up_v = F.interpolate(v, scale_factor=2, mode="bilinear", align_corners=False)
        coarse_valid = up_v > 0
        coarse = F.interpolate(out * v, scale_factor=2, mode="bilinear", align_corners=False)
        coarse = coarse / torch.where(coarse_valid, up_v, torch.ones_like(up_v))
        blend = torch.sigmoid(heads[level][:, TAPS : TAPS + 1])
        both = (1.0 - blend) * coarse + blend * fine
        out = torch.where(fine_valid & coarse_valid, both, torch.where(fine_valid, fine, coarse))
        valid = fine_valid | coarse_valid
    return out, valid


def outlier_weight_torch(luminance: Tensor, multiple: float = OUTLIER_MULTIPLE, floor: float = OUTLIER_FLOOR) -> Tensor:
    """(B, 1, H, W) luminance >= 0 -> min(1, t/L), t = multiple * 5x5 median + floor: bounds the pull of one pixel."""
    b, _, h, w = luminance.shape
    around = F.unfold(F.pad(luminance, (2, 2, 2, 2), mode="replicate"), 5)  # (B, 25, H*W)
    median = around.kthvalue(13, dim=1).values.reshape(b, 1, h, w)
    limit = multiple * median + floor
    return torch.where(luminance > limit, limit / luminance.clamp_min(1e-12), torch.ones_like(luminance))
