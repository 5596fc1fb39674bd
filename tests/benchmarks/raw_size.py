"""What a phone's raw file costs: `mdenoise photo.dng` as a whole, CPU seconds of all threads, wall seconds, peak MiB.

    python tests/benchmarks/raw_size.py [--megapixels 12 48] [--runs 3]

The file is synthetic (tests/phone_dng.py: 12 bits, shot noise 4e-3). Beside it OpenCV's non-local means of the four
planes of the 12 megapixels, for which opencv-python-headless is needed.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import phone_dng
from run import usage_of

SIZES = {12: (3024, 4032), 48: (6048, 8064)}
SCENE_PX = 1008  # the frame repeats it: 48 megapixels of scene would take longer to draw than to denoise
NLM = """
import sys
import numpy as np, cv2
from mdenoise.adapters import raw_file, raw_planes
from mdenoise.training.raw_evaluate import nlm, stabilised, unstabilised
frame = raw_file.read(sys.argv[1])
planes = raw_planes.take(frame, *raw_planes.lattices(frame.pattern))
for k in range(4):
    unstabilised(nlm(stabilised(planes[..., k], 4e-3, 2e-5), 0.85), 4e-3, 2e-5)
"""


def write(path: Path, megapixels: int) -> None:
    rows, cols = (size // SCENE_PX + 1 for size in SIZES[megapixels])
    height, width = SIZES[megapixels]
    picture = phone_dng.np.tile(phone_dng.scene(SCENE_PX, SCENE_PX, seed=1), (rows, cols, 1))[:height, :width]
    phone_dng.write(path, picture=picture, bits=12, shot=4e-3, read=2e-5)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=int, nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print("| raw file | CPU seconds | wall seconds | peak MiB |\n|---|---:|---:|---:|")
    for megapixels in arguments.megapixels:
        with tempfile.TemporaryDirectory() as folder:
            source, result = Path(folder, "photo.dng"), Path(folder, "out.dng")
            # Linux counts the memory of whoever starts a process as that process's: the frame is drawn elsewhere.
            writer = multiprocessing.get_context("spawn").Process(target=write, args=(source, megapixels))
            writer.start()
            writer.join()
            commands = {"mdenoise": ["-m", "mdenoise", "-q", "--overwrite", str(source), "-o", str(result)]}
            if megapixels == 12 and importlib.util.find_spec("cv2"):
                commands["OpenCV NLM"] = ["-c", NLM, str(source)]
            for name, command in commands.items():
                runs = [usage_of(command) for _ in range(arguments.runs)]
                cpu, wall = (statistics.median(run[key] for run in runs) for key in ("cpu", "wall"))
                peak = max(run["rss"] for run in runs)
                print(f"| {megapixels} MP, {name} | {cpu:.1f} | {wall:.1f} | {peak:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
