"""Blender's compositor as a peer of `evaluate renders`: one process of a Python that has `bpy`, fed with frames."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from mdenoise.errors import EngineError
from mdenoise.training.oidn import guides
from mdenoise.training.renders import Case

BLENDER = "Blender's compositor"
SCRIPT = Path(__file__).with_name("blender_denoise.py")


@contextmanager
def method(python: Path) -> Iterator[Callable[[Case], np.ndarray]]:
    """Denoises cases with all auxiliary planes that they have, until the context ends. Raises EngineError."""
    try:
        process = subprocess.Popen([python, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise EngineError(f"cannot run Blender's compositor by {python}: {error.strerror}") from None

    def run(case: Case) -> np.ndarray:
        import OpenEXR

        with tempfile.TemporaryDirectory() as folder:
            for name, plane in {"color": case.color, **guides(case)}.items():
                channels = {c: np.ascontiguousarray(plane[..., i], np.float32) for i, c in enumerate("RGB")}
                OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(f"{folder}/{name}.exr")
            try:
                process.stdin.write(f"{folder}\n")
                process.stdin.flush()
                done = any(line == "denoised\n" for line in process.stdout)
            except OSError:
                done = False
            if not done:
                raise EngineError(f"cannot run Blender's compositor by {python}: it needs bpy 5.0 (pip install bpy)")
            return OpenEXR.File(f"{folder}/denoised.exr").channels()["RGB"].pixels

    try:
        yield run
    finally:
        with suppress(OSError):  # what a dead process did not read
            process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()
