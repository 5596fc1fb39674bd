"""What one training run is: the values of a preset in training/presets, and overrides from the command line."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from mdenoise.errors import UsageError
from mdenoise.training.data import DataConfig
from mdenoise.training.masking import MaskConfig
from mdenoise.training.model import ModelConfig
from mdenoise.training.paper import PaperConfig

PRESETS = Path(__file__).with_name("presets")
LOSSES = ("image", "noise2noise")
OPTIMIZERS = ("muon", "adamw")
KINDS = ("multiscale", "l1", "ssim")  # of the image loss


@dataclass(frozen=True)
class TrainConfig:
    """One run; `model`, `masks`, `data` and `paper` are tables of the preset.

    `data.batch` is the batch of one step of the run as a whole: several processes share it.
    """

    steps: int = 100_000
    minutes: float = 0.0  # 0 = no time budget
    optimizer: str = "muon"  # or "adamw"
    learning_rate: float = 1.5e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 1
    bf16: bool = True
    compile: bool = False  # torch.compile of the network and the filter: minutes at the start, for long runs on a GPU
    workers: int = 0  # processes that make data, for each one that trains; 0 = one on a CPU, up to 14 beside a GPU
    warm_start: str = ""  # a .safetensors file, or "base" for the one that ships
    checkpoint_minutes: float = 3.0
    validation_batches: int = 6
    photo_loss: str = "l1"  # or "multiscale", as for renders; photographs are judged by PSNR, and have no fireflies
    render_loss: str = "multiscale"  # or "l1" or "ssim"
    loss: str = "image"  # or "noise2noise", where the targets of the pairs are noisy, too
    pair_share: float = 1.0  # of the batches, when --pairs and --photos are both given
    model: ModelConfig = field(default_factory=ModelConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    data: DataConfig = field(default_factory=DataConfig)
    paper: PaperConfig | None = None  # the paper's network instead of `model` and `masks`


def load_preset(name: str, overrides: list[str]) -> TrainConfig:
    """A TOML preset by name or path, then `key=value` and `table.key=value` overrides.

    Raises UsageError, in one line, for a preset or a key that does not exist and for a value of another type.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"no preset {name!r}: {path} does not exist")
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read preset {path}: {error}") from None
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override!r}: write KEY=VALUE, for example data.batch=4")
        table, _, leaf = key.rpartition(".")
        try:
            value = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            value = text
        part = values.setdefault(table, {}) if table else values
        if not isinstance(part, dict):
            raise UsageError(f"--set {override!r}: {table} is not a table")
        part[leaf] = value
    config = checked(TrainConfig(), values, path)
    if config.optimizer not in OPTIMIZERS:
        raise UsageError(f"preset {path}: optimizer is {config.optimizer!r}: choose {' or '.join(OPTIMIZERS)}")
    for name in ("photo_loss", "render_loss"):
        if getattr(config, name) not in KINDS:
            raise UsageError(f"preset {path}: {name} is {getattr(config, name)!r}: choose {', '.join(KINDS)}")
    if config.loss not in LOSSES:
        raise UsageError(f"preset {path}: loss is {config.loss!r}: choose {' or '.join(LOSSES)}")
    if config.paper and (config.loss != "image" or config.data.photo_share < 1):
        raise UsageError(f"preset {path}: the paper's network takes photographs alone: set data.photo_share=1")
    return config


def checked(part: Any, values: dict[str, Any], path: Path, table: str = "") -> Any:
    """`part` with `values` put in; tables go down into the parts that they name."""
    known = {f.name for f in fields(part)}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{table}{key}"
        if key not in known:
            raise UsageError(f"preset {path}: unknown key {name if table else repr(name)}")
        default = getattr(part, key)
        if key == "paper" and default is None:
            default = PaperConfig()
        if isinstance(value, dict) and is_dataclass(default):
            changes[key] = checked(default, value, path, f"{name}.")
            continue
        value = tuple(value) if isinstance(value, list) else value
        fits = isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))
        if not fits or isinstance(value, bool) != isinstance(default, bool):
            raise UsageError(f"preset {path}: {name} is {value!r}, where a {type(default).__name__} belongs")
        changes[key] = value
    return replace(part, **changes)
