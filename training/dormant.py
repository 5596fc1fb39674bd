"""Units that died: found on batches, and drawn anew.

A step of Muon is as large for a layer that hardly learns as for one that does. So the weights before a ReLU that is
nearly always off drift on until it never answers, and nothing brings it back: of the 320 hidden units that the
residuals of `base` have at 1/4 and 1/8, 285 had died. Drawn anew they change nothing at first, since what reads them
starts at zero (Sokar et al., The Dormant Neuron Phenomenon in Deep Reinforcement Learning, ICML 2023); a slope below
zero, `ModelConfig.leak`, keeps them alive.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mdenoise.training.model import Residual

SELDOM = 1e-3  # of all pixels; a unit that answers in fewer is dormant


def dormant(net: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """By the name of each residual, (width,) bool: its hidden units that `run`, which calls `net`, leaves below zero.
    The slope there counts as none, as it was none when they died."""
    seen: dict[str, list[Tensor]] = {}

    def watch(name: str) -> Callable:
        return lambda module, inputs, output: seen[name].append((output > 0).float().mean((0, 2, 3)))

    residuals = {name: part for name, part in net.named_modules() if isinstance(part, Residual)}
    hooks, leaks = [], {}
    for name, part in residuals.items():
        seen[name], leaks[name], part.leak = [], part.leak, 0.0
        hooks.append(part.a.register_forward_hook(watch(name)))
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
        for name, part in residuals.items():
            part.leak = leaks[name]
    return {name: torch.stack(shares).mean(0) < SELDOM for name, shares in seen.items() if shares}


@torch.no_grad()
def redraw(net: nn.Module, asleep: dict[str, Tensor]) -> int:
    """Give the units their first weights again; what they put into the output is left out. Returns how many."""
    for name, which in asleep.items():
        part = net.get_submodule(name)
        fresh = Residual(len(which)).to(part.a.weight)
        part.a.weight[which], part.a.bias[which] = fresh.a.weight[which], fresh.a.bias[which]
        part.b.weight[:, which] = 0
    return int(sum(which.sum() for which in asleep.values()))
