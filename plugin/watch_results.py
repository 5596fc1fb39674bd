"""What is watched, where its results go, and whether they are current."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError
from mdenoise.inputs import file_format
from mdenoise.isolation import SECONDS
from mdenoise.watch_scan import State


@dataclass(frozen=True)
class Watch:
    """One watched pair of folders.

    settle_s      how long a file must look the same before it is read; on file systems that keep whole seconds, 2 or
                  more.
    ready_suffix  a file is read only when its name with this suffix exists, too.
    since_ns      files older than this, in nanoseconds since 1970 by their own time, are left alone.
    done_dir, failed_dir   where sources go that are done or given up; None = they stay.
    lease_s       how long a claim that does not move is respected; must be longer than any hiccup of a share.
    tries         attempts at one version of a file; `retry_s` is the first pause between them.
    metrics       a text file for monitors, see watch_status.
    jobs          files at a time, each in a process of its own; None = as `batch.run`.
    memory_mib, timeout_s   limits of one file, see isolation.Worker.
    """

    folder: Path
    out: Path
    options: Options = field(default_factory=Options)
    settle_s: float = 3.0
    poll_s: float = 2.0
    patterns: tuple[str, ...] = ("*",)
    recursive: bool = False
    ready_suffix: str | None = None
    since_ns: int | None = None
    done_dir: Path | None = None
    failed_dir: Path | None = None
    lease_s: float = 60.0
    tries: int = 3
    retry_s: float = 5.0
    metrics: Path | None = None
    jobs: int | None = None
    memory_mib: int | None = None
    timeout_s: float = SECONDS


def result_name(watch: Watch, name: str) -> str:
    """What the result of a file is called, relative to OUT: the same, but for formats that are read and not written."""
    path = Path(name)
    rename = getattr(file_format(path), "result_suffix", None)
    suffix = path.suffix if rename is None else rename(watch.folder / name, watch.options)
    return name if suffix.lower() == path.suffix.lower() else str(path.with_suffix(suffix))


def result_of(watch: Watch, name: str) -> Path:
    """Where the result of a file goes."""
    return watch.out / result_name(watch, name)


def is_current(dst: Path, src: Path, state: State) -> bool:
    """Whether `dst` is our result of this very version of `src`, by the stamp in its header."""
    stamp = _stamp(dst)
    return stamp is not None and all(stamp.get(key) == value for key, value in origin(src, state).items())


def origin(src: Path, state: State) -> dict[str, str]:
    """What a result's stamp says about its source. The inode is left out: a restored or copied source is the same."""
    name = src.name.encode("utf-8", "replace").decode("utf-8")  # as a header stores a name that is not UTF-8
    return {"source": name, "source_size": str(state.size), "source_mtime_ns": str(state.mtime_ns)}


def in_the_way(watch: Watch, name: str) -> OutputError | None:
    """Why a result must not be written: what lies there is not ours, is another file's, or leads out of OUT."""
    dst = result_of(watch, name)
    inside = os.path.join(os.path.realpath(watch.out), *dst.parent.relative_to(watch.out).parts)  # noqa: PTH118
    if dst.is_symlink() or os.path.realpath(dst.parent) != inside:
        return OutputError(f"cannot write {dst}: there is a symbolic link, which may lead elsewhere. Remove it")
    if not os.path.lexists(dst):
        return None
    stamp, src = _stamp(dst), watch.folder / name
    if stamp is None:
        return OutputError(f"cannot write {dst}: it exists and mdenoise did not write it. Move it away")
    source = stamp.get("source", "")
    if source != origin(src, State(0, 0, 0))["source"] and os.path.lexists(src.with_name(source)):  # IMG.CR3, IMG.NEF
        return OutputError(f"cannot write {dst}: it is the result of {source}. Rename one of the two")
    return None


def _stamp(dst: Path) -> Mapping[str, str] | None:
    """The provenance of a result; None when there is no file, or one that mdenoise did not write."""
    if not os.path.lexists(dst):
        return None
    try:
        return file_format(dst).provenance(dst) or None
    except InputError:
        return None
