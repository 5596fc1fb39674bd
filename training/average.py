r"""The weighted mean of networks that come from one another: often better than each (Wortsman et al., 2022, "soups").

    python -m mdenoise.training.average runs/base/ema.safetensors 0.88 old.safetensors 0.12 --out base.safetensors

The first is the network that results; of older ones, guide planes that they do not know count as not looked at, and
kernel sets that they do not have as those of the first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdenoise.errors import InputError, UsageError
from mdenoise.training import entry
from mdenoise.training.whole import replaced


def average(states: list[tuple[dict[str, Tensor], float]]) -> dict[str, Tensor]:
    """The mean of (weights by name, share), shares of any sum. Raises ValueError for networks of another shape."""
    first = states[0][0]
    total = sum(share for _, share in states)
    mean = {name: value * 0.0 for name, value in first.items()}
    for state, share in states:
        for name, value in first.items():
            found = state.get(name, value)
            if name == "stem.weight" and found.shape[1] < value.shape[1]:
                found = F.pad(found, (0, 0, 0, 0, 0, value.shape[1] - found.shape[1]))
            if found.shape != value.shape:
                raise ValueError(f"{name} is {tuple(found.shape)}, not {tuple(value.shape)}")
            mean[name] += found * (share / total)
    return mean


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", metavar="FILE SHARE", help="two or more, each with its share")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    args = parser.parse_args(argv)
    files, shares = args.networks[::2], args.networks[1::2]
    if len(files) < 2 or len(files) != len(shares):
        raise UsageError("name two or more weights, each with its share: A.safetensors 0.9 B.safetensors 0.1")
    states = []
    for path, share in zip(files, shares, strict=True):
        try:
            states.append((load_file(path), float(share)))
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"cannot average {path} {share}: {error}") from None
    with safe_open(files[0], "pt") as file:
        metadata = file.metadata()
    try:
        mean = average(states)
    except ValueError as error:
        raise InputError(f"cannot average {', '.join(files)}: {error}; they are not one network") from None
    replaced(args.out, lambda temp: save_file(mean, temp, metadata=metadata))


if __name__ == "__main__":
    entry.run(main, "mdenoise.training.average", "train")
