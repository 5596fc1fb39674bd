"""What the user named as input, file by file: files, folders and frame patterns, with a reason for each refusal."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mdenoise import sequences
from mdenoise.errors import InputError, UsageError


@dataclass(frozen=True)
class Source:
    """One file to read. `frame` is its number when a pattern or its name gives one; `below` is its folder
    relative to the folder that was named as input."""

    path: Path
    frame: int | None = None
    below: Path = Path()


@dataclass(frozen=True)
class Inputs:
    """`sources` in the order named, each file once; `refused` inputs with their reason; `notes` for a reader."""

    sources: tuple[Source, ...]
    refused: tuple[tuple[Path, InputError], ...] = ()
    notes: tuple[str, ...] = ()


def find(
    inputs: Sequence[str | Path], *, frames: str | None = None, recursive: bool = False, leave_out: Path | None = None
) -> Inputs:
    """Resolve inputs; a file that exists wins over its reading as a pattern.

    frames     which frames of patterns and folders, as `1-100x2,120`.
    leave_out  a folder that is not searched, the output's, which may lie within an input.
    Raises UsageError for ranges and patterns that cannot be read.
    """
    wanted = sequences.frame_range(frames) if frames is not None else None
    sources: dict[Path, Source] = {}
    refused: list[tuple[Path, InputError]] = []
    notes: list[str] = []
    ranged = False
    for path in map(Path, inputs):
        literal = os.path.exists(path)  # noqa: PTH110 (Path.exists raises for folders that cannot be searched)
        found: Iterable[Source] = ()
        try:
            if literal and path.is_dir():
                ranged = True
                found = _in_folder(path, wanted, recursive, leave_out, notes)
            elif not literal and sequences.is_pattern(path.name):
                ranged = True
                found = [Source(file, frame) for frame, file in sequences.expand(path, wanted)]
            else:
                found = [Source(path, sequences.frame_number(path))]
        except InputError as error:
            refused.append((path, error))
        for source in found:
            error = _refusal(source.path)
            if error:
                refused.append((source.path, error))
            else:
                sources.setdefault(place(source.path), source)
    if wanted is not None and not ranged:
        raise UsageError("--frames needs a folder or a pattern such as shot.####.exr among the inputs")
    return Inputs(tuple(sources.values()), tuple(refused), tuple(notes))


def place(path: Path) -> Path:
    """One spelling for one directory entry: folders resolved, and the name kept even when it is a link."""
    return path.parent.resolve() / path.name


def file_format(path: Path) -> ModuleType | None:
    """The adapter that reads and writes this kind of file, None when the extension is not known."""
    from mdenoise.adapters import adapter_for

    try:
        return adapter_for(path)
    except InputError:
        return None


def _in_folder(
    folder: Path, frames: tuple[int, ...] | None, recursive: bool, leave_out: Path | None, notes: list[str]
) -> list[Source]:
    """Files with a known extension, sorted; hidden files, folders with hidden names and our own results stay out."""

    def fail(error: OSError) -> None:
        raise InputError(f"cannot read folder {error.filename}: {error.strerror}")

    barred = leave_out.resolve() if leave_out is not None else None
    found: list[Source] = []
    results = 0
    for parent, folders, names in os.walk(folder, onerror=fail):
        below = sorted(name for name in folders if recursive and not name.startswith("."))
        folders[:] = [name for name in below if Path(parent, name).resolve() != barred]
        for name in sorted(names):
            path = Path(parent, name)
            if name.startswith(".") or file_format(path) is None:
                continue
            frame = sequences.frame_number(path)
            if sequences.is_denoised_name(path):
                results += 1
            elif frames is None or frame in frames:
                found.append(Source(path, frame, Path(parent).relative_to(folder)))
    if results:
        notes.append(f"{folder}: results left out: {results}")
    if not found:
        hint = "" if recursive else " (--recursive takes the folders below it, too)"
        raise InputError(f"cannot read {folder}: the folder holds no file to denoise{hint}")
    return found


def _refusal(path: Path) -> InputError | None:
    from mdenoise.adapters import adapter_for

    try:
        mode = path.stat().st_mode
    except OSError as error:
        return InputError(f"cannot read {path}: {error.strerror}")
    if not stat.S_ISREG(mode):  # a pipe or a device would block, or never end
        return InputError(f"cannot read {path}: it is not a regular file")
    try:
        adapter_for(path)
    except InputError as error:
        return error
    return None
