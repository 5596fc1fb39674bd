"""Render training scenes: `python -m mdenoise.training.scenes --count 300 --out DIR --assets DIR --photos DIR`.

Scene k of seed S is one file, DIR/S-k.npz, and is always the same scene; those that are there are kept, so a run that
was stopped goes on where it was. `--photos` is the folder that training takes its photographs from, `--assets` holds
CC0 textures/, of which validation uses others. `train --renders DIR` learns from the files.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from mdenoise.errors import InputError, MDenoiseError, OutputError, UsageError
from mdenoise.training.terms import photo_files
from mdenoise.training.whole import save_arrays

NAMES = (  # of scenes_kinds.KINDS, which needs a variant of Mitsuba to be imported
    *("indoor", "product", "outdoor", "foliage", "caustics", "night"),
    *("lamps", "stage", "moving", "textile", "gloss", "lens", "sunroom"),
)
VARIANTS = ("llvm_ad_rgb", "cuda_ad_rgb", "scalar_rgb")
SCENES_PER_PROCESS = 50  # Mitsuba keeps what it compiled: a fresh process now and then gives the memory back
log = logging.getLogger("mdenoise.scenes")


def start(variant: str, threads: int) -> None:
    """Once in every process, before a module that needs the variant is imported."""
    import drjit
    import mitsuba

    mitsuba.set_variant(variant)
    mitsuba.set_log_level(mitsuba.LogLevel.Error)
    drjit.set_thread_count(threads)


def write_scene(path: Path, seed: int, photos: tuple[Path, ...], args: argparse.Namespace) -> int:
    """Bytes of the file, which appears whole or not at all."""
    from mdenoise.training import scenes_render

    names = tuple(args.kinds or scenes_render.KINDS)
    arrays = scenes_render.render(seed, photos, args.assets, names, args.size, args.reference_spp)
    save_arrays(path, arrays, compressed=True)
    return path.stat().st_size


def seed_of(seed: int, index: int) -> int:
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def render_scenes(args: argparse.Namespace) -> None:
    """Raises InputError, OutputError."""
    photos = tuple(photo_files(args.photos, "train"))
    if not (args.assets / "textures").is_dir():
        raise InputError(f"cannot use assets {args.assets}: no textures/ in it; name the folder with --assets")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {args.out}: {error.strerror}; choose another --out") from None
    wanted = [(args.out / f"{args.seed}-{i:05d}.npz", seed_of(args.seed, i)) for i in range(args.count)]
    missing = [job for job in wanted if not job[0].exists()]
    log.info("%d scenes wanted, %d there", len(wanted), len(wanted) - len(missing))
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else len(os.sched_getaffinity(0))
    workers = args.workers or (1 if args.variant == "cuda_ad_rgb" else cores)
    threads = max(1, cores // workers)
    began, done, size = time.monotonic(), 0, 0
    # Not `max_tasks_per_child`: with it, the pool of Python 3.11 comes to a halt once a process has done its share.
    share = workers * SCENES_PER_PROCESS
    for first in range(0, len(missing), share):
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start, (args.variant, threads)) as pool:
            jobs = {
                pool.submit(write_scene, path, seed, photos, args): path
                for path, seed in missing[first : first + share]
            }
            try:
                for job in as_completed(jobs):
                    size, done = size + job.result(), done + 1
                    rate = (time.monotonic() - began) / done
                    text = "%s: %d of %d, %.1f s and %.2f MB a scene, %.0f min left"
                    left = (len(missing) - done) * rate / 60
                    log.info(text, jobs[job].name, done, len(missing), rate, size / done / 1e6, left)
            except BrokenProcessPool:
                raise OutputError(
                    f"cannot go on rendering to {args.out}: a process of Mitsuba died, of too little memory or of an "
                    "LLVM that it cannot use; try --workers 1 or --variant scalar_rgb. What is rendered is kept"
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m mdenoise.training.scenes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--assets", type=Path, required=True, metavar="DIR", help="folder with textures/")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="folder with photos.csv and photos/")
    parser.add_argument("--size", type=int, default=192, help="pixels along each side (default: 192)")
    parser.add_argument(
        "--reference-spp",
        type=int,
        default=256,
        help="the most samples of a reference; easy scenes take fewer, dark and tangled ones twice as many",
    )
    parser.add_argument("--kinds", nargs="+", choices=NAMES, help="those to choose from (default: all)")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core, or one for a GPU)")
    parser.add_argument("--variant", choices=VARIANTS, default=VARIANTS[0])
    args = parser.parse_args(arguments)
    if min(args.count, args.size) < 1:
        raise UsageError("nothing to render: --count and --size must be at least 1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    render_scenes(args)


if __name__ == "__main__":
    try:
        main()
    except MDenoiseError as error:
        print(f"mdenoise.training.scenes: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
