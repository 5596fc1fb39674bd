"""Several processes and one, killed runs and whole ones: the same training."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from mdenoise.errors import InputError, UsageError  # noqa: E402
from mdenoise.training import checkpoint, data, distributed  # noqa: E402
from mdenoise.training.config import load_preset  # noqa: E402
from mdenoise.training.model import KernelNet, ModelConfig, widened  # noqa: E402

TINY = {
    "model.widths": "[16, 16, 32]",
    "data.batch": "4",
    "data.patch_px": "64",
    "data.photo_patch_px": "[64]",
    "data.scene_pool": "2",
    "data.photo_share": "0.5",
    "validation_batches": "8",
    "minutes": "0",
    "warmup": "10",
    "optimizer": "adamw",
    "ema": "0.95",
    "learning_rate": "3e-3",
    "checkpoint_minutes": "1000",
}
# One batch in two halves against the whole of it; only process 0 speaks.
EXACT = """
import sys, torch
from mdenoise.training import data, distributed
from mdenoise.training.config import load_preset
from mdenoise.training.objective import batch_loss, build

config = load_preset("smoke", sys.argv[1:])
photos = [torch.randint(0, 256, (3, 160, 160), generator=torch.Generator().manual_seed(i)).byte() for i in range(2)]

def gradients(net): return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

with distributed.join() as group:
    for share in (0.0, 1.0):
        whole = next(data.stream(photos, data.DataConfig(**{**vars(config.data), "photo_share": share}), 5))
        count = whole.noisy.shape[0] // group.size
        half = slice(group.rank * count, (group.rank + 1) * count)
        part = data.Batch(**{k: v[half] for k, v in vars(whole).items()})
        found = []
        for mean in (group.mean, torch.mean):
            torch.manual_seed(3)
            net = build(config)
            model = group.wrap(net, False)  # its reducer must outlive the backward pass
            batch_loss(model, part, config, mean).backward()
            found.append(gradients(net))
        torch.manual_seed(3)
        net = build(config)
        batch_loss(net, whole, config).backward()
        wanted = gradients(net)
        if group.rank == 0:
            error = [float((g - wanted).abs().max() / wanted.abs().max()) for g in found]
            print("EXACT", share, *error, flush=True)
"""


def photo_folder(folder: Path) -> Path:
    from PIL import Image

    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(1)
    lines = ["file,set,source_file,split"]
    for i in range(6):
        y, x = np.mgrid[0:256, 0:256] / 256
        image = np.stack([np.sin(x * (5 + i * c) + y * 9) * 0.4 + 0.5 for c in range(3)], -1)
        image = np.clip(image + 0.1 * rng.random((256, 256, 3)), 0, 1)
        Image.fromarray((image * 255).astype(np.uint8)).save(folder / "photos" / f"{i}.png")
        lines.append(f"{i}.png,own,{i}.png,{'val' if i == 5 else 'train'}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"))


def settings(**changes: str) -> list[str]:
    values = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    return [f"{key}={value}" for key, value in values.items()]


def command(photos: Path, out: Path, processes: int = 1, **changes: str) -> list[str]:
    launch = [sys.executable, "-m", "mdenoise.training.train"]
    if processes > 1:
        torchrun = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        launch = [sys.executable, "-m", *torchrun, "-m", "mdenoise.training.train"]
    values = [x for s in settings(**changes) for x in ("--set", s)]
    return [*launch, "--preset", "smoke", "--photos", str(photos), "--out", str(out), "--resume", *values]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments, **changes: str) -> None:
    done = subprocess.run(command(*arguments, **changes), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def score(out: Path) -> float:
    """Mean of both held-out PSNRs at the end, in dB."""
    last = rows(out)[-1]
    return (float(last["psnr_render"]) + float(last["psnr_photo"])) / 2


def test_two_processes_have_the_gradient_of_one_with_both_batches(tmp_path):
    (tmp_path / "exact.py").write_text(EXACT)
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", str(tmp_path / "exact.py")]
    masks_off = {"masks__input_share": "0.0", "masks__attention_share": "0.0", "bf16": "false"}
    arguments = [*settings(**masks_off), "photo_loss=l1"]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, *arguments], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("EXACT")]
    assert len(found) == 2
    for _, _, together, apart in found:
        assert float(together) < 1e-4
        assert float(apart) > 1e-3  # each half weighed by its own mean is another loss


def test_the_batch_is_divided_and_seeds_differ():
    group = distributed.Group(torch.device("cpu"), 0, 4)
    assert group.share(data.DataConfig(batch=8)).batch == 2
    with pytest.raises(UsageError, match=r"data\.batch=6 cannot be divided among 4 processes"):
        group.share(data.DataConfig(batch=6))
    seeds = {distributed.seed_of(1, step, rank, 0) for step in range(50) for rank in range(8)}
    assert len(seeds) == 400
    assert distributed.seed_of(1, 2, 3) == distributed.seed_of(1, 2, 3)


def test_a_checkpoint_of_another_network_or_a_damaged_one_is_refused(photos, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 not a checkpoint")
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    with pytest.raises(InputError, match=r"cannot resume from .*checkpoint\.pt: .*Remove it"):
        checkpoint.restore(tmp_path / "checkpoint.pt", torch.device("cpu"), net, optimizer)
    other = torch.nn.Linear(3, 2)
    torch.save({"model": other.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="another network"):
        checkpoint.restore(tmp_path / "checkpoint.pt", torch.device("cpu"), net, optimizer)


def test_a_log_of_before_is_read_up_to_the_checkpoint(tmp_path):
    old = "step,seconds,learning_rate,loss,psnr_render,psnr_photo,psnr_noisy\n"
    (tmp_path / "log.csv").write_text(old + "5,1,0.1,0.2,30,nan,20\n9,2,0.1,0.2,31,nan,20\n12,3,0.1\n")
    found = checkpoint.read_log(tmp_path / "log.csv", 9)
    assert [row["step"] for row in found] == ["5", "9"] and found[0]["patches_per_s"] == ""
    checkpoint.write_csv(tmp_path / "log.csv", checkpoint.COLUMNS, found)
    checkpoint.plot(found, tmp_path / "log.png")
    assert checkpoint.read_log(tmp_path / "log.csv", 99) == found


def test_warm_start_takes_the_network_of_the_weights():
    config = checkpoint.adopt(load_preset("finetune", []))
    assert set(checkpoint.warm_state(config)) >= {"stem.weight", "head0.bias"}
    with pytest.raises(UsageError, match=r"its widths is .*model\.widths is"):
        checkpoint.adopt(load_preset("finetune", ["model.widths=[8, 8, 8]"]))
    with pytest.raises(UsageError, match=r"its widths is .*model\.widths is"):
        checkpoint.adopt(load_preset("finetune", ["model.widths=[96, 96, 256]"]))
    with pytest.raises(Exception, match=r"cannot start from nothing\.safetensors"):
        checkpoint.adopt(load_preset("finetune", ["warm_start=nothing.safetensors"]))


def test_a_wider_network_starts_with_the_output_of_the_narrower_one():
    narrow = KernelNet(ModelConfig(widths=(16, 32, 64), blocks=2))
    wide = KernelNet(ModelConfig(widths=(24, 48, 64), blocks=2))
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict()))
    guide = torch.rand(1, 17, 64, 64)
    with torch.no_grad():
        for got, expected in zip(wide(guide), narrow(guide), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)  # other sums; a wrong weight costs 1e-2
    assert wide.enc0[0].a.weight[20].abs().sum() > 0  # what is new can learn


@pytest.fixture(scope="module")
def whole_runs(photos, tmp_path_factory):
    """Final scores of two seeds, one process, not interrupted; and the score before training."""
    out = tmp_path_factory.mktemp("whole")
    run(photos, out / "start", steps="2")
    for seed in ("1", "2"):
        run(photos, out / seed, steps="240", seed=seed)
    return score(out / "start"), [score(out / seed) for seed in ("1", "2")]


def agrees(out: Path, start: float, wholes: list[float]) -> None:
    """Within the spread of two seeds, and far from where training began."""
    tolerance = 0.4 + 2 * abs(wholes[0] - wholes[1])
    assert min(wholes) - start > 2 * tolerance  # else any run would agree
    assert abs(score(out) - np.mean(wholes)) < tolerance, (score(out), wholes)


@pytest.mark.slow
def test_two_processes_train_like_one_and_resume_as_another_number(photos, tmp_path, whole_runs):
    run(photos, tmp_path / "two", 2, steps="240")
    agrees(tmp_path / "two", *whole_runs)
    assert float(rows(tmp_path / "two")[-1]["patches_per_s"]) > 0
    run(photos, tmp_path / "changed", 2, steps="80")
    run(photos, tmp_path / "changed", 1, steps="160")
    run(photos, tmp_path / "changed", 2, steps="240")
    assert [int(row["step"]) // 80 for row in rows(tmp_path / "changed")] == [1, 2, 3]
    agrees(tmp_path / "changed", *whole_runs)


@pytest.mark.slow
def test_runs_killed_while_training_and_while_saving_end_like_whole_ones(photos, tmp_path, whole_runs):
    saving = killed = 0
    for attempt in range(12):
        # Saves after every step, so that a kill has something to hit; the schedule is that of the whole runs.
        often = command(photos, tmp_path, steps="240", checkpoint_minutes="0", validation_batches="1")
        child = subprocess.Popen(often, env=ENVIRONMENT, start_new_session=True, stdout=subprocess.DEVNULL)
        temp, before = tmp_path / "checkpoint.tmp", mtime(tmp_path / "checkpoint.pt")
        deadline = time.monotonic() + 120
        while mtime(tmp_path / "checkpoint.pt") == before and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        while attempt % 3 and not temp.exists() and child.poll() is None:
            pass  # two of three are hit while a checkpoint is being written
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            killed += 1
        child.wait()
        saving += temp.exists()
        step = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]  # whole, whatever was hit
        if step > 180 or (saving >= 2 and killed >= 4):
            break
    assert killed >= 2 and saving >= 1
    run(photos, tmp_path, steps="240")
    steps = [int(row["step"]) for row in rows(tmp_path)]
    assert steps == sorted(set(steps)) and steps[-1] >= 240
    agrees(tmp_path, *whole_runs)


def mtime(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0
