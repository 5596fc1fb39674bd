"""CPU seconds of `mdenoise frame.exr` from process start to exit: cold (no compiled-model cache) and warm.

    python tests/benchmarks/start_time.py [FRAME]          # the bundled render by default

Import, model load, read, denoise and write are all included. Exits 1 beyond 3 s cold or 1.5 s warm.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COLD_S, WARM_S, RUNS = 3.0, 1.5, 5


def run(frame: Path, out: Path, cache: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "mdenoise", "-q", "--overwrite", str(frame), "-o", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    default = Path(__file__).parents[2] / "docs" / "demo" / "frame.exr"
    frame = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    cold, warm = [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(run(frame, Path(folder) / "out.exr", Path(folder)))
            warm.append(run(frame, Path(folder) / "out.exr", Path(folder)))
    cold_s, warm_s = statistics.median(cold), statistics.median(warm)
    print(f"{frame.name}: {cold_s:.2f} CPU s cold, {warm_s:.2f} CPU s warm (median of {RUNS})")
    return int(cold_s > COLD_S or warm_s > WARM_S)


if __name__ == "__main__":
    sys.exit(main())
