"""Train the masked denoiser.

    python -m mdenoise.training.train --preset base --photos DIR --out runs/base
    python -m mdenoise.training.train --preset base --photos DIR --out runs/base --resume
    python -m mdenoise.training.train --preset smoke --photos DIR --out /tmp/smoke --set minutes=1

The learning rate follows the larger of the two budgets used up, `steps` or `minutes`, so a run always ends annealed.
A checkpoint is written every `checkpoint_minutes`; `--resume` goes on from it, also after a kill.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mdenoise.errors import MDenoiseError, UsageError
from mdenoise.training import data as patches
from mdenoise.training.filter import apply_filter_torch
from mdenoise.training.loss import display_psnr, image_loss
from mdenoise.training.masking import MaskConfig, attention_masks, input_mask
from mdenoise.training.model import KernelNet, ModelConfig

HERE = Path(__file__).parent


@dataclass(frozen=True)
class TrainConfig:
    """One run; `model`, `masks` and `data` are tables of the preset."""

    steps: int = 100_000
    minutes: float = 0.0  # 0 = no time budget
    learning_rate: float = 1.5e-3
    warmup: int = 200
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 1
    bf16: bool = True
    warm_start: str = ""  # a .safetensors file, or "base" for the one that ships
    checkpoint_minutes: float = 3.0
    validation_batches: int = 6
    model: ModelConfig = field(default_factory=ModelConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    data: patches.DataConfig = field(default_factory=patches.DataConfig)


def load_preset(name: str, overrides: list[str]) -> TrainConfig:
    """A TOML preset by name or path, then `key=value` and `table.key=value` overrides; unknown keys are errors."""
    path = Path(name) if name.endswith(".toml") else HERE / "presets" / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"no preset {name!r}: {path} does not exist")
    values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    for override in overrides:
        key, _, text = override.partition("=")
        table, _, leaf = key.rpartition(".")
        try:
            value = tomllib.loads(f"x = {text}")["x"]
        except tomllib.TOMLDecodeError:
            value = text
        (values.setdefault(table, {}) if table else values)[leaf] = value
    config = TrainConfig()
    for key, value in values.items():
        if key not in {f.name for f in fields(TrainConfig)}:
            raise UsageError(f"preset {path}: unknown key {key!r}")
        if isinstance(value, dict):
            part = getattr(config, key)
            unknown = set(value) - {f.name for f in fields(part)}
            if unknown:
                raise UsageError(f"preset {path}: unknown key {key}.{sorted(unknown)[0]}")
            value = replace(part, **{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})
        config = replace(config, **{key: value})
    return config


class Stream(torch.utils.data.IterableDataset):
    """Batches from `data.stream`, one seed a worker."""

    def __init__(self, photos: list[torch.Tensor], config: patches.DataConfig, seed: int):
        self.photos, self.config, self.seed = photos, config, seed

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        return patches.stream(self.photos, self.config, self.seed * 1000 + (info.id if info else 0))


def forward(model: KernelNet, batch: patches.Batch, config: TrainConfig, masked: bool) -> torch.Tensor:
    """Denoised (B, 3, H, W) of one batch, with the training masks when `masked`."""
    b, _, h, w = batch.noisy.shape
    device = batch.noisy.device
    mask, confidence = batch.trusted, batch.confidence
    keep = None
    if masked:
        shown = input_mask(b, h, w, config.masks, device)
        mask, confidence = mask * shown, confidence * shown
        keep = attention_masks(config.model.blocks, b, h // 8, w // 8, config.masks, device)
    noisy = batch.noisy * batch.trusted
    guide = patches.make_guide(replace(batch, noisy=noisy), mask)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
        logits = model(guide.contiguous(memory_format=torch.channels_last), keep)
    d = torch.where(batch.demodulate > 0, patches.demodulation(batch.albedo), torch.ones_like(batch.albedo))
    output, _ = apply_filter_torch(noisy / d, confidence, logits)
    return output * d


def train(config: TrainConfig, photos_dir: Path, out: Path, resume: bool) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    photos = patches.load_photos(photos_dir, "train")
    held_out = patches.load_photos(photos_dir, "val")
    model = KernelNet(config.model).to(device, memory_format=torch.channels_last)
    if config.warm_start:
        file = HERE / "weights" / "base.safetensors" if config.warm_start == "base" else Path(config.warm_start)
        model.load_state_dict(load_file(file))
    ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    step, used_s = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if resume and checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema, step, used_s = state["ema"], state["step"], state["used_s"]
    seed = config.seed + step  # a resumed run draws fresh data
    workers = 1 if device.type == "cpu" else min(14, os.cpu_count() or 1)
    loader = torch.utils.data.DataLoader(
        Stream(photos, config.data, seed),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=device.type == "cuda",
    )
    validation = patches.stream(held_out or photos, replace(config.data, scene_reuse=1), 77)
    validation = [next(validation).to(device) for _ in range(config.validation_batches)]

    log_path = out / "log.csv"
    new_log = not (resume and log_path.is_file())
    started, last_save, running = time.monotonic() - used_s, time.monotonic(), math.nan
    with (
        log_path.open("w" if new_log else "a", newline="", encoding="utf-8") as log_file,
        Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeElapsedColumn()
        ) as bar,
    ):
        log = csv.writer(log_file)
        if new_log:
            log.writerow(["step", "seconds", "learning_rate", "loss", "psnr_render", "psnr_photo", "psnr_noisy"])
        job = bar.add_task("training", total=1.0)
        for batch in loader:
            used_s = time.monotonic() - started
            done = max(step / config.steps, used_s / (60 * config.minutes) if config.minutes else 0.0)
            rate = config.learning_rate * min(1.0, (step + 1) / config.warmup)
            rate *= 0.5 * (1 + math.cos(math.pi * min(done, 1.0))) + 0.002
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = batch.to(device)
            loss = image_loss(
                forward(model, batch, config, masked=True), batch.clean, batch.noisy, batch.linear, batch.inside
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            if not torch.isfinite(norm):  # one bad batch must not ruin hours
                continue
            optimizer.step()
            step += 1
            decay = min(config.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for key, value in model.state_dict().items():
                    ema[key].lerp_(value.to(ema[key].dtype), 1 - decay)
            if step % 20 == 0:
                value = loss.item()
                running = value if math.isnan(running) else 0.95 * running + 0.05 * value
                bar.update(job, completed=min(done, 1.0), description=f"step {step} loss {running:.4f}")
            finished = done >= 1.0
            if finished or time.monotonic() - last_save > 60 * config.checkpoint_minutes:
                scores = validate(config, ema, validation, device)
                log.writerow([step, round(used_s, 1), f"{rate:.3g}", f"{running:.5f}", *[f"{s:.3f}" for s in scores]])
                log_file.flush()
                save(
                    out,
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "ema": ema,
                        "step": step,
                        "used_s": used_s,
                    },
                    config,
                )
                plot(log_path, out / "log.png")
                last_save = time.monotonic()
            if finished:
                break


@torch.no_grad()
def validate(
    config: TrainConfig, ema: dict[str, torch.Tensor], batches: list[patches.Batch], device: torch.device
) -> tuple[float, float, float]:
    """Mean display PSNR of held-out patches: renders, photos, and the noisy renders beside."""
    model = KernelNet(config.model).to(device, memory_format=torch.channels_last)
    model.load_state_dict(ema)
    model.eval()
    scores: dict[str, list[float]] = {"render": [], "photo": [], "noisy": []}
    for batch in batches:
        output = forward(model, batch, config, masked=False)
        linear = bool(batch.linear.max() > 0)
        weight = batch.inside
        scores["render" if linear else "photo"] += display_psnr(
            output * weight, batch.clean * weight, batch.linear
        ).tolist()
        if linear:
            scores["noisy"] += display_psnr(batch.noisy * weight, batch.clean * weight, batch.linear).tolist()
    mean = [sum(v) / len(v) if v else math.nan for v in scores.values()]
    return mean[0], mean[1], mean[2]


def save(out: Path, state: dict[str, Any], config: TrainConfig) -> None:
    """Checkpoint and EMA weights, each replaced at once so that a kill leaves the old or the new file."""
    torch.save(state, out / "checkpoint.tmp")
    (out / "checkpoint.tmp").replace(out / "checkpoint.pt")
    metadata = {
        "model": repr(asdict(config.model)),
        "step": str(state["step"]),
        "minutes": f"{state['used_s'] / 60:.1f}",
    }
    save_file({k: v.contiguous() for k, v in state["ema"].items()}, out / "ema.tmp", metadata=metadata)
    (out / "ema.tmp").replace(out / "ema.safetensors")


def plot(log_path: Path, png: Path) -> None:
    """Loss and PSNR over steps from the CSV log."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with log_path.open(newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows])
    left.set(xlabel="step", ylabel="loss")
    for name in ("psnr_render", "psnr_photo", "psnr_noisy"):
        right.plot(steps, [row[name] for row in rows], label=name[5:])
    right.set(xlabel="step", ylabel="PSNR, dB")
    right.legend()
    figure.savefig(png, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="mdenoise train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base", help="name in training/presets or a TOML file")
    parser.add_argument("--photos", type=Path, required=True, help="folder with photos.csv and photos/")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights, log and plot")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a preset value, e.g. data.batch=4"
    )
    args = parser.parse_args(argv)
    train(load_preset(args.preset, args.set), args.photos, args.out, args.resume)


if __name__ == "__main__":
    try:
        main()
    except MDenoiseError as error:
        sys.exit(str(error))
