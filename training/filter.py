"""The predicted-kernel filter in torch, for training; `mdenoise.filter` defines it, a test holds them together."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise.filter import _native
from mdenoise.guide import OUTLIER_COMPANY, OUTLIER_FLOOR, OUTLIER_MULTIPLE

LEVELS = 4
TAPS = 25
VALID = 1e-6


def hard_sigmoid(x: Tensor, leak: float = 0.02) -> Tensor:
    """clip(x/6 + 1/2, 0, 1), which reaches 0 and 1 exactly; a leaked gradient lets saturated pixels come back."""
    z = x / 6.0 + 0.5
    return z.clamp(0.0, 1.0) + leak * (z - z.detach())


class _Split(torch.autograd.Function):
    """Logits whose first channels the window takes, and the others as float at the planes' resolution.

    Slices would each fill and add a whole derivative; here the others' part is written into that of the window.
    """

    @staticmethod
    def forward(ctx, logits: Tensor, unshuffled: bool) -> tuple[Tensor, Tensor]:
        ctx.unshuffled = unshuffled
        ctx.set_materialize_grads(False)
        _, others = split_torch(logits, unshuffled)
        return logits.view_as(logits), others

    @staticmethod
    def backward(ctx, window_grad: Tensor, others_grad: Tensor | None):
        if others_grad is not None:
            taps = 4 * TAPS if ctx.unshuffled else TAPS
            window_grad[:, taps:] = F.pixel_unshuffle(others_grad, 2) if ctx.unshuffled else others_grad
        return window_grad, None


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


class _NativeWindow(torch.autograd.Function):
    """The compiled twin of `window_torch`: several times faster, the whole of a level in one pass each way."""

    @staticmethod
    def forward(ctx, logits: Tensor, planes: Tensor, unshuffled: bool) -> tuple[Tensor, Tensor]:
        logits, planes = logits.contiguous(memory_format=torch.channels_last), planes.contiguous()
        out, stats = _native.window(_interleaved(logits), planes.numpy(), unshuffled, torch.get_num_threads())
        out, stats = torch.from_numpy(out), torch.from_numpy(stats)
        valid = stats[:, 1:] > 0
        ctx.unshuffled = unshuffled
        ctx.save_for_backward(logits, planes, out, stats)
        ctx.mark_non_differentiable(valid)
        return out, valid

    @staticmethod
    def backward(ctx, out_grad: Tensor, _):
        logits, planes, out, stats = ctx.saved_tensors
        arrays = (x.contiguous().numpy() for x in (planes, out, stats, out_grad))
        logits_grad, planes_grad = _native.window_backward(
            _interleaved(logits), *arrays, ctx.unshuffled, torch.get_num_threads()
        )
        logits_grad = torch.from_numpy(logits_grad).view(logits.dtype).permute(0, 3, 1, 2)
        return logits_grad, torch.from_numpy(planes_grad), None


def _interleaved(logits: Tensor) -> np.ndarray:
    """(B, C, H, W) channels-last as (B, H, W, C), uncopied; NumPy knows no bfloat16 and sees int16."""
    logits = logits.permute(0, 2, 3, 1)
    return (logits.view(torch.int16) if logits.dtype == torch.bfloat16 else logits).numpy()


def split_torch(logits: Tensor, unshuffled: bool) -> tuple[Tensor, Tensor]:
    """`_Split` by slices: what a compiler can see through."""
    others = logits[:, 4 * TAPS if unshuffled else TAPS :].float()
    return logits, F.pixel_shuffle(others, 2) if unshuffled else others


def window_torch(logits: Tensor, planes: Tensor, unshuffled: bool) -> tuple[Tensor, Tensor]:
    """One level: 5x5 sums of (B, C + 1, H, W) planes by softmax weights, divided by that of the last, the confidence.

    The first 25 channels of `logits` (B, K, H, W), or 100 of (B, K, H/2, W/2) when `unshuffled`, are the taps.
    Returns (B, C, H, W), 0 where invalid, and (B, 1, H, W) bool.
    """
    taps = F.pixel_shuffle(logits[:, : 4 * TAPS].float(), 2) if unshuffled else logits[:, :TAPS].float()
    summed = _WeightedWindow.apply(torch.softmax(taps, 1), planes)
    den = summed[:, -1:]
    valid = den > VALID
    return torch.where(valid, summed[:, :-1] / torch.where(valid, den, torch.ones_like(den)), 0.0), valid


@torch.compiler.disable
def window_native(logits: Tensor, planes: Tensor, unshuffled: bool) -> tuple[Tensor, Tensor]:
    """`window_torch` by compiled code, for float32 planes and float32 or bfloat16 logits on the CPU."""
    return _NativeWindow.apply(logits, planes, unshuffled)


def apply_filter_torch(layers: Tensor, confidence_in: Tensor, logits: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Filter (B, C, H, W) finite layers by the predicted weights; also (B, 1, H, W) bool, where it is valid."""
    floats = all(x.dtype in (torch.float32, torch.bfloat16) for x in logits) and layers.dtype == torch.float32
    native = _native is not None and floats and layers.device.type == "cpu"
    window, split = (window_native, _Split.apply) if native else (window_torch, split_torch)
    heads = [split(level, i == 0) for i, level in enumerate(logits)]
    c = confidence_in * hard_sigmoid(heads[0][1][:, 1:])
    planes = [torch.cat([layers * c, c], 1)]
    for _ in range(LEVELS - 1):
        planes.append(F.avg_pool2d(planes[-1], 2))
    out, valid = window(heads[-1][0], planes[-1], False)
    for level in range(LEVELS - 2, -1, -1):
        fine, fine_valid = window(heads[level][0], planes[level], level == 0)
        up_v = F.interpolate(valid.float(), scale_factor=2, mode="bilinear", align_corners=False)
        coarse_valid = up_v > 0
        # Pixels that are not valid hold 0 and pass no derivative on, so that they need no mask.
        coarse = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
        coarse = coarse / up_v.masked_fill_(~coarse_valid, 1.0)
        share = torch.where(coarse_valid, torch.sigmoid(heads[level][1][:, :1]), 1.0) * fine_valid
        out = (1.0 - share) * coarse + share * fine
        valid = fine_valid | coarse_valid
    return out, valid


def outlier_weight_torch(luminance: Tensor, multiple: float = OUTLIER_MULTIPLE, floor: float = OUTLIER_FLOOR) -> Tensor:
    """Torch twin of `mdenoise.filter.outlier_weight`, of (B, 1, H, W) luminance."""
    b, _, h, w = luminance.shape
    around = F.unfold(F.pad(luminance, (2, 2, 2, 2), mode="replicate"), 5)  # (B, 25, H*W)
    median = around.kthvalue(13, dim=1).values.reshape(b, 1, h, w)
    limit = multiple * median + floor
    weight = torch.where(luminance > limit, limit / luminance.clamp_min(1e-12), torch.ones_like(luminance))
    image, channel, y, x = torch.nonzero(weight < 1, as_tuple=True)
    dark = F.pad(luminance, (2, 2, 2, 2))
    here = luminance[image, channel, y, x] / 4
    company = sum((dark[image, channel, y + dy, x + dx] > here).int() for dy in range(5) for dx in range(5))
    alone = company <= 1 + OUTLIER_COMPANY
    weight[image[alone], channel[alone], y[alone], x[alone]] = 0
    return weight
