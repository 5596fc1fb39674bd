"""Several processes train one network: torchrun --nproc_per_node=N -m mdenoise.training.train ...

Each process draws its share of the global batch; gradients are averaged before they are clipped, so a step equals that
of one process with all the shares in one batch. Process 0 keeps the time and writes the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mdenoise.errors import UsageError
from mdenoise.training.data import DataConfig


@dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this is; `local_size` of them are on this machine."""

    device: torch.device
    rank: int = 0
    size: int = 1
    local_size: int = 1

    def share(self, config: DataConfig) -> DataConfig:
        """What one process draws. Raises UsageError when the batch cannot be divided."""
        if config.batch % self.size:
            raise UsageError(
                f"data.batch={config.batch} cannot be divided among {self.size} processes: set a multiple of it"
            )
        return replace(config, batch=config.batch // self.size)

    def agree(self, value: float) -> float:
        """The value that process 0 has: clocks differ, the end of a run must not."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the elements of all processes; without gradient where there are several."""
        if self.size == 1:
            return x.mean()
        total = torch.stack([x.detach().sum(), x.new_tensor(float(x.numel()))])
        dist.all_reduce(total)
        return total[0] / total[1]

    def wrap(self, net: nn.Module, optional_parts: bool) -> nn.Module:
        """`net` with gradients averaged in the backward pass; `optional_parts`: some steps leave parameters out."""
        if self.size == 1:
            return net
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            net, device_ids=devices, broadcast_buffers=False, find_unused_parameters=optional_parts
        )


@contextmanager
def join() -> Iterator[Group]:
    """The group that torchrun started, or one process alone; NCCL between GPUs, gloo between CPUs."""
    cuda = torch.cuda.is_available()
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Group(torch.device("cuda" if cuda else "cpu"))
        return
    local = int(os.environ["LOCAL_RANK"])
    if cuda:
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"process {local} has no GPU: there are {torch.cuda.device_count()}. Lower --nproc_per_node"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        yield Group(device, dist.get_rank(), dist.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"]))
    finally:
        dist.destroy_process_group()


def seed_of(*numbers: int) -> int:
    """One seed from run, step, process and worker: no two of them draw alike, also after a resume."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
