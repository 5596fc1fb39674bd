"""What a run leaves behind: checkpoint, averaged weights, log and plot; each file appears whole or not at all."""

from __future__ import annotations

import ast
import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdenoise.errors import InputError, ModelError, UsageError
from mdenoise.training.config import TrainConfig
from mdenoise.training.model import KernelNet, ModelConfig, start_chroma, widened
from mdenoise.training.whole import replaced

WEIGHTS = Path(__file__).with_name("weights")
COLUMNS = ("step", "seconds", "learning_rate", "loss", "psnr_render", "psnr_photo", "psnr_noisy", "patches_per_s")


def save(out: Path, state: dict[str, Any], config: TrainConfig) -> None:
    """`checkpoint.pt` to go on from, `ema.safetensors` to export: averaged weights that say what network they are."""
    replaced(out / "checkpoint.pt", lambda temp: torch.save(state, temp))
    metadata = {"step": str(state["step"]), "minutes": f"{state['used_s'] / 60:.1f}"}
    if config.paper:
        metadata["paper"] = json.dumps(asdict(config.paper))
    else:
        metadata["model"] = repr(asdict(config.model))
    weights = {k: v.contiguous() for k, v in state["ema"].items()}
    replaced(out / "ema.safetensors", lambda temp: save_file(weights, temp, metadata=metadata))


def load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged archive
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot resume from {path}: {cause}. Remove it to start anew") from None


def restore(path: Path, device: torch.device, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a checkpoint into network and optimizer and return it. Raises InputError when they do not fit."""
    state = load(path, device)
    try:
        net.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, ValueError, RuntimeError):
        raise InputError(
            f"cannot resume from {path}: it is of another network. Use the preset and --set values it was made with, "
            "or another --out"
        ) from None
    return state


# --- warm start ---------------------------------------------------------------------------------------------------


def warm_file(config: TrainConfig) -> Path:
    return WEIGHTS / "base.safetensors" if config.warm_start == "base" else Path(config.warm_start)


def warm_model(config: TrainConfig) -> ModelConfig:
    """What network the `warm_start` is of. Raises ModelError."""
    path = warm_file(config)
    try:
        with safe_open(path, "pt") as file:
            return ModelConfig(**ast.literal_eval((file.metadata() or {})["model"]))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"cannot start from {path}: not weights of mdenoise train ({error})") from None


def adopt(config: TrainConfig) -> TrainConfig:
    """`config` with the network of its `warm_start`; a preset need not repeat its widths, may ask for larger ones
    before the attention, but must not contradict."""
    if not config.warm_start or config.paper:
        return config
    path, found = warm_file(config), warm_model(config)
    wanted, default = asdict(config.model), asdict(ModelConfig())
    wider = all(w >= f for w, f in zip(config.model.widths, found.widths, strict=True))
    if wider and config.model.widths[2] == found.widths[2]:  # attention splits its width among the heads
        found = replace(found, widths=config.model.widths)
    may_differ = ("chroma", "attention_mask", "guide_channels", "leak")
    for name, value in asdict(found).items():
        if name not in may_differ and wanted[name] not in (default[name], value):
            raise UsageError(f"cannot start from {path}: its {name} is {value}, model.{name} is {wanted[name]}")
    found = replace(found, attention_mask=config.model.attention_mask, chroma=found.chroma or config.model.chroma)
    found = replace(found, guide_channels=max(found.guide_channels, config.model.guide_channels))
    found = replace(found, leak=config.model.leak or found.leak)
    return replace(config, model=found)


def warm_state(config: TrainConfig) -> dict[str, Tensor]:
    """The weights to start from, for the network that `adopt` chose."""
    state = load_file(warm_file(config))
    state = start_chroma(state) if config.model.chroma else state
    return widened(state, KernelNet(config.model).state_dict())


# --- log ----------------------------------------------------------------------------------------------------------


def read_log(path: Path, step: int) -> list[dict[str, str]]:
    """The rows up to `step`: a kill may have come between log and checkpoint."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{k: row.get(k) or "" for k in COLUMNS} for row in csv.DictReader(file)]
    return [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= step]


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    def write(temp: Path) -> None:
        with temp.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, columns)
            table.writeheader()
            table.writerows(rows)

    replaced(path, write)


def plot(rows: list[dict[str, str]], png: Path) -> None:
    """Loss and PSNR over steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def column(name: str) -> list[float]:
        return [float(row[name] or "nan") for row in rows]

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(column("step"), column("loss"))
    left.set(xlabel="step", ylabel="loss")
    for name in ("psnr_render", "psnr_photo", "psnr_noisy"):
        right.plot(column("step"), column(name), label=name[5:])
    right.set(xlabel="step", ylabel="PSNR, dB")
    right.legend()
    figure.savefig(png, dpi=110)
    plt.close(figure)
