"""What else a photograph can suffer than noise: small pixels lost, and blur. The paper asks whether masks help there.

A task is written KIND:PART+PART..., parts in the order in which they happen:

    sr2:bicubic          half as large, by that kernel (bicubic, box, lanczos, nearest), and back by bicubic
    blur:gaussian=1.6    blurred by a Gaussian of that many pixels; gaussian=0.8-2.4 draws it
    blur:motion=9        moved by that many pixels along a line of any direction; motion=5-15 draws it
    ...+noise=10         then Gaussian noise of sigma = 10/255, on the small image for sr2
    ...+jpeg=60          then a JPEG file of that quality, of the small image for sr2
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mdenoise.errors import UsageError
from mdenoise.training import isp

MARGIN_PX = 16  # a blur reaches beyond a patch; even, so that halving keeps its grid
KERNELS = ("bicubic", "box", "lanczos", "nearest")


def is_task(text: str) -> bool:
    """Whether `text` is a task of this module and no noise."""
    return text.partition(":")[0] in ("sr2", "blur")


def margin_px(text: str) -> int:
    return MARGIN_PX if is_task(text) else 0


def degrade(clean: Tensor, task: str, rng: torch.Generator) -> Tensor:
    """(B, 3, H, W) encoded in [0, 1], even H and W, to what is to be restored, of the same size; rounded to 8 bits
    where a file would be. Pixels nearer to the border than MARGIN_PX suffer from it. Raises UsageError."""
    kind, _, parts = task.partition(":")
    names = [part.partition("=")[0] for part in parts.split("+")]
    values = [part.partition("=")[2] for part in parts.split("+")]
    first = {"sr2": KERNELS, "blur": ("gaussian", "motion")}.get(kind, ())
    if names[0] not in first or set(names[1:]) - {"noise", "jpeg"}:
        allowed = " or ".join(first) or "..."
        raise UsageError(f"task {task!r} is not known: write {kind}:{allowed}, then +noise=SIGMA or +jpeg=QUALITY")
    x = half(clean, names[0]) if kind == "sr2" else blurred(clean, names[0], values[0], task, rng)
    for name, value in zip(names[1:], values[1:], strict=True):
        if name == "noise":
            x = x + number(value, task, rng) / 255 * torch.randn(x.shape, generator=rng)
        else:
            quality = round(number(value, task, rng))
            images = [isp.jpeg(image.permute(1, 2, 0).numpy(), quality) for image in x]
            x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    x = (x.clamp(0, 1) * 255).round() / 255
    return F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False) if kind == "sr2" else x


def number(text: str, task: str, rng: torch.Generator) -> float:
    """`1.6`, or one drawn evenly from `0.8-2.4`."""
    low, _, high = text.partition("-")
    try:
        a = float(low)
        b = float(high) if high else a
    except ValueError:
        raise UsageError(f"task {task!r}: {text!r} is no number and no range like 0.8-2.4") from None
    return a + (b - a) * float(torch.rand(1, generator=rng))


def half(x: Tensor, kernel: str) -> Tensor:
    """(B, C, H, W) to (B, C, H/2, W/2); lanczos has three lobes, nearest takes one pixel of four."""
    size = (x.shape[2] // 2, x.shape[3] // 2)
    if kernel == "bicubic":
        return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)
    if kernel == "box":
        return F.avg_pool2d(x, 2)
    if kernel == "nearest":
        return x[..., ::2, ::2].contiguous()
    at = torch.arange(-5.5, 6.0)  # distances of 12 pixels to the centre of their pair
    taps = torch.sinc(at / 2) * torch.sinc(at / 6)
    taps = taps / taps.sum()
    c = x.shape[1]
    x = F.pad(x, (5, 5, 5, 5), mode="reflect")
    x = F.conv2d(x, taps.view(1, 1, 12, 1).expand(c, 1, 12, 1), stride=(2, 1), groups=c)
    return F.conv2d(x, taps.view(1, 1, 1, 12).expand(c, 1, 1, 12), stride=(1, 2), groups=c)


def blurred(x: Tensor, name: str, value: str, task: str, rng: torch.Generator) -> Tensor:
    """Every image by a kernel of its own."""
    out = []
    for image in x:
        strength = number(value, task, rng)
        kernel = gaussian_kernel(strength) if name == "gaussian" else motion_kernel(strength, rng)
        reach = kernel.shape[0] // 2
        if reach > MARGIN_PX:
            raise UsageError(f"task {task!r}: {name}={strength:.1f} reaches beyond {MARGIN_PX} px")
        padded = F.pad(image[:, None], (reach,) * 4, mode="reflect")
        out.append(F.conv2d(padded, kernel[None, None])[:, 0])
    return torch.stack(out)


def gaussian_kernel(sigma_px: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma_px))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel = taps[:, None] * taps[None]
    return kernel / kernel.sum()


def motion_kernel(length_px: float, rng: torch.Generator) -> Tensor:
    """A line through the centre, in a direction drawn from `rng`, of the width of a pixel."""
    angle = math.pi * float(torch.rand(1, generator=rng))
    reach = max(1, math.ceil(length_px / 2))
    kernel = torch.zeros(2 * reach + 1, 2 * reach + 1)
    for t in torch.linspace(-length_px / 2, length_px / 2, 8 * reach + 1).tolist():
        y, x = reach + t * math.sin(angle), reach + t * math.cos(angle)
        y0, x0 = min(int(y), 2 * reach - 1), min(int(x), 2 * reach - 1)
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):  # each point shared among the pixels around it
            kernel[y0 + dy, x0 + dx] += (1 - abs(y - y0 - dy)) * (1 - abs(x - x0 - dx))
    return kernel / kernel.sum()
