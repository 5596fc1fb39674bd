"""`--max-memory` against what a process really takes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mdenoise
from mdenoise.errors import UsageError

ONE_CALL = """
import json, sys
import numpy as np
import mdenoise

def peak_mb():
    lines = open("/proc/self/status", encoding="ascii").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

height, width, limit = json.loads(sys.argv[1])
rng = np.random.default_rng(1)
planes = [rng.random((height, width, 3), np.float32).astype(np.float16) for _ in range(3)]
open("/proc/self/clear_refs", "w").write("5")  # from now on
result = mdenoise.Denoiser(max_memory_mb=limit, device="cpu")(*planes)
print(json.dumps(peak_mb() - sum(array.nbytes for array in (*planes, result)) / 2**20))
"""


def working_mb(height, width, limit_mb=None):
    """Peak memory of a process that denoises one frame, less the frame's planes."""
    arguments = [sys.executable, "-c", ONE_CALL, json.dumps([height, width, limit_mb])]
    return json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_a_process_keeps_to_its_limit():
    free, bound = working_mb(1080, 1920), working_mb(1080, 1920, 400)
    assert bound < 400 < free


def test_a_limit_that_cannot_be_kept_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"max memory 100 MB cannot be kept: .* take \d+ MB. Use \d+ or more$"):
        mdenoise.Denoiser(max_memory_mb=100)(np.ones((64, 64, 3), np.float32))
