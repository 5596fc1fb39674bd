"""The optimiser: Muon for the matrices inside the network, AdamW for stem, heads, biases and norms.

Muon (Jordan et al., 2024) steps along the orthogonalised momentum, so that all directions of a layer learn at one rate;
scaled as by Liu et al. (Muon is Scalable for LLM Training, 2025), it takes AdamW's learning rate. After 500 steps on
photographs of sigma = 15 it was 1.4 dB ahead of AdamW, where AdamW came after ten times the steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

OUTSIDE = ("stem", "head", "chroma", "rgb")  # first and last layers: their rows are no directions of one space
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of Jordan et al.: five rounds bring singular values to 0.7-1.2
UPDATE_RMS = 0.2  # of AdamW's steps (Liu et al.)


class Muon(torch.optim.Optimizer):
    """`matrices` (2-D or convolution kernels, flattened to 2-D) by Muon, `others` by AdamW, at one learning rate."""

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        learning_rate: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ):
        defaults = dict(lr=learning_rate, weight_decay=weight_decay, momentum=momentum, betas=betas)
        groups = [dict(params=matrices, muon=True), dict(params=others, muon=False)]
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                if group["muon"]:
                    self._muon(p, group)
                else:
                    self._adam(p, group)

    def _muon(self, p: Tensor, group: dict) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        momentum = state["momentum"].mul_(group["momentum"]).add_(p.grad)
        update = p.grad.add(momentum, alpha=group["momentum"]).flatten(1)  # Nesterov
        scale = UPDATE_RMS * max(update.shape) ** 0.5
        p.add_(orthogonal(update).reshape(p.shape), alpha=-group["lr"] * scale)

    def _adam(self, p: Tensor, group: dict) -> None:
        state = self.state[p]
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(p), square=torch.zeros_like(p))
        state["step"] += 1
        fast, slow = group["betas"]
        mean, square = state["mean"], state["square"]
        mean.lerp_(p.grad, 1 - fast)
        square.lerp_(p.grad.square(), 1 - slow)
        step = float(state["step"])
        root = (square / (1 - slow**step)).sqrt_().add_(1e-8)
        p.addcdiv_(mean, root, value=-group["lr"] / (1 - fast**step))


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with (almost) equal singular values, near 1, by Newton-Schulz rounds; (n, m) any float."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()  # as the authors: rounding does not hurt a direction, and it is many times faster
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def make_optimizer(net: nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """`name` is "muon" or "adamw"."""
    if name == "adamw":
        return torch.optim.AdamW(net.parameters(), learning_rate, weight_decay=weight_decay)
    inside, outside = [], []
    for key, p in net.named_parameters():
        own = key.removeprefix("module.").removeprefix("_orig_mod.")
        is_matrix = p.ndim >= 2 and own.endswith("weight") and not own.startswith(OUTSIDE)
        (inside if is_matrix else outside).append(p)
    return Muon(inside, outside, learning_rate, weight_decay)
