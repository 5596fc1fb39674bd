"""The whole fuzz run, hours of it: damaged EXR, raw and picture files through the command line.

    python tests/fuzz/run.py --exr 20000 --raw-srgb 5000 --fresh 500 --seed 1 --json out.json
    python tests/fuzz/run.py --seed 1 --make exr:123 bad.exr      # one of its files again

Exits 1 when anything was found: see `Tally.findings` in batches.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import batches, seeds
from tests.fuzz.mutations import mutate

AT_ONCE = 200  # files of one batch, of which one in CONTROL_EVERY is good
CONTROL_EVERY = 20
ALONE = 1_000_000  # numbers of files that get a process of their own begin here


def damaged(kind: str, numbers: range, seed: int, good: dict[str, bytes]) -> dict[str, bytes]:
    """Name -> content: damaged files, with good ones among them."""
    files = {}
    for number in numbers:
        name, content = mutate(good, kind, seed, number)
        files[f"{kind}-{number:07d}{Path(name).suffix}"] = content
        if number % CONTROL_EVERY == 0:
            name = sorted(good)[number // CONTROL_EVERY % len(good)]
            files[f"{batches.CONTROL}{number:07d}-{name}"] = good[name]
    return files


def plan(arguments: argparse.Namespace) -> Iterator[tuple[str, range]]:
    counts = {
        "exr": arguments.exr,
        "raw": arguments.raw_srgb // 2,
        "srgb": arguments.raw_srgb - arguments.raw_srgb // 2,
    }
    for kind, count in counts.items():
        for start in range(0, count, AT_ONCE):
            yield kind, range(start, min(start + AT_ONCE, count))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exr", type=int, default=20000)
    parser.add_argument("--raw-srgb", type=int, default=5000)
    parser.add_argument("--fresh", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for files that something was found with")
    parser.add_argument("--make", nargs=2, metavar=("KIND:NUMBER", "FILE"))
    arguments = parser.parse_args()
    if arguments.make:
        kind, number = arguments.make[0].split(":")
        Path(arguments.make[1]).write_bytes(mutate(seeds.make(kind), kind, arguments.seed, int(number))[1])
        return 0
    tallies: dict[str, batches.Tally] = {}
    good: dict[str, dict[str, bytes]] = {}
    for kind, numbers in plan(arguments):
        good.setdefault(kind, seeds.make(kind))
        files = damaged(kind, numbers, arguments.seed, good[kind])
        with tempfile.TemporaryDirectory() as folder:
            batches.run_batch(files, Path(folder), tallies.setdefault(kind, batches.Tally()), jobs=arguments.jobs)
        report(arguments, tallies, files)
        print(time.strftime("%H:%M:%S"), kind, numbers.stop, Counter(f[0] for f in tallies[kind].findings), flush=True)
    kinds = [kind for kind in ("exr", "raw", "srgb") if kind in good]
    alone = tallies.setdefault("alone", batches.Tally()) if arguments.fresh and kinds else None
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.fresh if alone else 0):
            kind = kinds[number % len(kinds)]
            files = damaged(kind, range(ALONE + number, ALONE + number + 1), arguments.seed, good[kind])
            for name, content in files.items():
                if not name.startswith(batches.CONTROL):
                    batches.run_alone(name, content, Path(folder), alone)
            report(arguments, tallies, files)
    print(json.dumps({name: asdict(tally) for name, tally in tallies.items()}, indent=1))
    return int(any(tally.findings for tally in tallies.values()))


def report(arguments: argparse.Namespace, tallies: dict[str, batches.Tally], files: dict[str, bytes]) -> None:
    """Write the state of things, and the files behind new findings."""
    if arguments.json:
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(json.dumps({name: asdict(tally) for name, tally in tallies.items()}, indent=1))
        shutil.move(temporary, arguments.json)
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        for name in {name for tally in tallies.values() for _, name, _ in tally.findings} & files.keys():
            (arguments.keep / name).write_bytes(files[name])


if __name__ == "__main__":
    sys.exit(main())
