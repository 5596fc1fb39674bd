"""Train the masked denoiser.

    python -m mdenoise.training.train --preset base --photos DIR --out runs/base
    python -m mdenoise.training.train --preset base --photos DIR --out runs/base --resume
    python -m mdenoise.training.train --preset finetune --pairs DIR --out runs/ours
    torchrun --nproc_per_node=8 -m mdenoise.training.train --preset base --photos DIR --out runs/base

Folders come from `python -m mdenoise.training.prepare`. The learning rate follows the larger of the two budgets used
up, `steps` or `minutes`, so a run always ends annealed. A checkpoint is written every `checkpoint_minutes`; `--resume`
goes on from it, also after a kill, also on another number of processes. GPUs are used where there are any.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mdenoise.errors import InputError, MDenoiseError, UsageError
from mdenoise.training import checkpoint, distributed, pairs, rendered
from mdenoise.training import data as patches
from mdenoise.training.config import TrainConfig, load_preset
from mdenoise.training.dormant import dormant, redraw
from mdenoise.training.filter import apply_filter_torch
from mdenoise.training.objective import Judge, batch_loss, build, forward
from mdenoise.training.optimizer import make_optimizer
from mdenoise.training.photo_patches import load_photos

__all__ = ["TrainConfig", "forward", "load_preset", "main", "train"]

HERE = Path(__file__).parent


class Stream(torch.utils.data.IterableDataset):
    """Batches of one process; every worker draws its own, and after a resume others than before."""

    def __init__(
        self,
        photos: list[torch.Tensor],
        crops: list[pairs.Crops],
        renders: list[rendered.Rendered],
        config: TrainConfig,
        seed: tuple[int, ...],
    ):
        self.photos, self.crops, self.renders, self.config, self.seed = photos, crops, renders, config, seed

    def __iter__(self) -> Iterator[patches.Batch]:
        info = torch.utils.data.get_worker_info()
        if info:
            torch.set_num_threads(1)
        seed = distributed.seed_of(*self.seed, info.id if info else 0)
        return batches(self.photos, self.crops, self.renders, self.config, seed)


def batches(
    photos: list[torch.Tensor],
    crops: list[pairs.Crops],
    renders: list[rendered.Rendered],
    config: TrainConfig,
    seed: int,
) -> Iterator[patches.Batch]:
    """Endless batches: photographs, synthetic scenes and renders, pairs, or both as `pair_share` says."""
    if not crops:
        yield from patches.stream(photos, config.data, seed, renders)
    own = pairs.stream(crops, config.data, distributed.seed_of(seed, 1))
    if not photos:
        yield from own
    made, rng = patches.stream(photos, config.data, seed, renders), torch.Generator().manual_seed(seed)
    while True:
        yield next(own if torch.rand(1, generator=rng) < config.pair_share else made)


def keep_freed_memory() -> None:
    """Have glibc reuse the large buffers that every step frees: mapping them anew cost a quarter of a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library has its own ways
        return
    top_pad, trim_threshold, mmap_max = -2, -1, -4  # malloc.h
    for parameter, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**27)):
        mallopt(parameter, value)


def load_data(
    config: TrainConfig, photos_dir: Path | None, pairs_dir: Path | None, split: str
) -> tuple[list[torch.Tensor], list[pairs.Crops]]:
    """Photographs and crops of pairs of one split. Raises InputError for what is missing or does not fit."""
    photos = load_photos(photos_dir, split) if photos_dir else []
    crops = pairs.load(pairs_dir, split) if pairs_dir else []
    if split == "train" and not photos and photos_dir:
        raise InputError(f"cannot train on {photos_dir}: photos.csv lists no photo of split train that may be used")
    if any(c.noisy_target for c in crops) and config.loss != "noise2noise":
        raise UsageError(
            f"the pairs in {pairs_dir} have noisy targets: use --preset noise2noise, or set loss=noise2noise"
        )
    return photos, crops


def train(
    config: TrainConfig,
    photos_dir: Path | None,
    out: Path,
    resume: bool,
    pairs_dir: Path | None = None,
    renders_dir: Path | None = None,
) -> None:
    """One run, in every process of it. Raises InputError, UsageError, ModelError, OutputError."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    keep_freed_memory()
    with distributed.join() as group:
        device, leads = group.device, group.rank == 0
        config = checkpoint.adopt(config)
        photos, crops = load_data(config, photos_dir, pairs_dir, "train")
        renders = rendered.load(renders_dir, "train") if renders_dir else []
        torch.manual_seed(config.seed)
        torch.set_float32_matmul_precision("high" if device.type == "cuda" else "highest")
        net = build(config).to(device, memory_format=torch.channels_last)
        optimizer = make_optimizer(net, config.optimizer, config.learning_rate, config.weight_decay)
        step, used_s, ema, rows = 0, 0.0, None, []
        out.mkdir(parents=True, exist_ok=True)
        if resume and (out / "checkpoint.pt").is_file():
            state = checkpoint.restore(out / "checkpoint.pt", device, net, optimizer)
            ema, step, used_s = state["ema"], state["step"], state["used_s"]
            rows = checkpoint.read_log(out / "log.csv", step)
        elif config.warm_start:
            net.load_state_dict(checkpoint.warm_state(config))
        torch.manual_seed(distributed.seed_of(config.seed, step, group.rank))

        share = replace(config, data=group.share(config.data))
        cores = max(1, (os.cpu_count() or 1) // group.local_size - 1)
        loader = torch.utils.data.DataLoader(
            Stream(photos, crops, renders, share, (config.seed, step, group.rank)),
            batch_size=None,
            num_workers=config.workers or (1 if device.type == "cpu" else min(14, cores)),
            prefetch_factor=4,
            pin_memory=device.type == "cuda",
        )
        judge = None
        if leads:
            fixed = replace(config, data=replace(config.data, scene_reuse=1))
            held_photos, held_crops = load_data(config, photos_dir, pairs_dir, "val")
            held_renders = rendered.load(renders_dir, "val") if renders_dir else []
            held = batches(held_photos or photos, held_crops or crops, held_renders or renders, fixed, 77)
            judge = Judge(net, [next(held).to(device) for _ in range(config.validation_batches)], config)
            if config.warm_start and not config.paper and not step and not checkpoint.warm_model(config).leak:
                count = redraw(net, dormant(net, lambda: [forward(net, x, config, False) for x in judge.batches]))
                print(f"{count} units of {config.warm_start} were dormant and start anew")
        ema = ema or {k: v.detach().clone() for k, v in net.state_dict().items()}
        averaged, current = zip(
            *((ema[k], v) for k, v in net.state_dict().items() if v.is_floating_point()), strict=True
        )
        filter_layers = apply_filter_torch
        if config.compile:
            net.compile()
            filter_layers = torch.compile(apply_filter_torch)
        chroma_rests = config.model.chroma and (config.data.photo_share < 1 or bool(crops))
        model = group.wrap(net, optional_parts=chroma_rests and not config.paper)

        started, last_save = time.monotonic() - used_s, time.monotonic()
        tally, pixels = torch.zeros(2, device=device), 0  # sum and number of losses; pixels, since the last row
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, disable=not leads) as bar:
            job = bar.add_task("training", total=1.0)
            for batch in loader:
                used_s = time.monotonic() - started
                if config.minutes:
                    used_s = group.agree(used_s)
                done = max(step / config.steps, used_s / (60 * config.minutes) if config.minutes else 0.0)
                rate = config.learning_rate * min(1.0, (step + 1) / config.warmup)
                rate *= 0.5 * (1 + math.cos(math.pi * min(done, 1.0))) + 0.002
                for parameters in optimizer.param_groups:
                    parameters["lr"] = rate
                batch = batch.to(device)
                loss = batch_loss(model, batch, config, group.mean, filter_layers)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip)
                if not torch.isfinite(norm):  # one bad batch must not ruin hours
                    continue
                optimizer.step()
                step += 1
                with torch.no_grad():
                    torch._foreach_lerp_(averaged, current, 1 - min(config.ema, (1 + step) / (10 + step)))
                tally += torch.stack([loss.detach(), torch.ones_like(loss)])
                pixels += batch.noisy.shape[0] * batch.noisy.shape[2] * batch.noisy.shape[3] * group.size
                if leads and step % 20 == 0:
                    speed = pixels / config.data.patch_px**2 / (time.monotonic() - last_save)
                    text = f"step {step} loss {tally[0] / tally[1]:.4f} {speed:.0f} patches/s"
                    bar.update(job, completed=min(done, 1.0), description=text)
                if leads and (done >= 1.0 or time.monotonic() - last_save > 60 * config.checkpoint_minutes):
                    speed = pixels / config.data.patch_px**2 / (time.monotonic() - last_save)
                    scores = judge.score(ema)
                    values = (step, f"{used_s:.1f}", f"{rate:.3g}", f"{tally[0] / tally[1]:.5f}")
                    values += (*(f"{score:.3f}" for score in scores), f"{speed:.1f}")
                    rows.append(dict(zip(checkpoint.COLUMNS, map(str, values), strict=True)))
                    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema}
                    checkpoint.save(out, {**state, "step": step, "used_s": used_s}, config)
                    checkpoint.write_csv(out / "log.csv", checkpoint.COLUMNS, rows)
                    checkpoint.plot(rows, out / "log.png")
                    bar.console.print(", ".join(f"{k} {v}" for k, v in rows[-1].items() if v != "nan"), soft_wrap=True)
                    last_save, pixels = time.monotonic(), 0
                    tally.zero_()
                if done >= 1.0:
                    break


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="mdenoise train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base", help="name in training/presets or a TOML file")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="folder with photos.csv and photos/")
    parser.add_argument("--pairs", type=Path, metavar="DIR", help="folder with pairs.csv and crops/")
    parser.add_argument("--renders", type=Path, metavar="DIR", help="folder with renders of mdenoise.training.scenes")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights, log and plot")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a preset value, e.g. data.batch=4"
    )
    args = parser.parse_args(argv)
    if not args.photos and not args.pairs:
        raise UsageError("nothing to train on: name a folder with --photos or --pairs")
    train(load_preset(args.preset, args.set), args.photos, args.out, args.resume, args.pairs, args.renders)


if __name__ == "__main__":
    try:
        main()
    except MDenoiseError as error:
        print(f"mdenoise train: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
