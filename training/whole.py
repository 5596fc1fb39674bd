"""Files that appear whole or not at all, so that a run that is killed leaves none to trip over."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mdenoise.errors import OutputError


def replaced(path: Path, write: Callable[[Path], None]) -> None:
    """`write(temp)`, then give the file its name: a kill leaves the old file or the new one. Raises OutputError."""
    temp = path.with_suffix(".tmp")
    try:
        write(temp)
        with temp.open("r+b") as file:
            os.fsync(file.fileno())
        temp.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """An .npz file. Raises OutputError."""

    def write(temp: Path) -> None:
        with temp.open("wb") as file:  # of a name, NumPy would make another
            (np.savez_compressed if compressed else np.savez)(file, **arrays)

    replaced(path, write)
