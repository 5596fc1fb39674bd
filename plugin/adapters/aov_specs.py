"""Layers and files as a user names them: LAYER or FILE[:LAYER], with frame patterns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from mdenoise import sequences
from mdenoise.adapters.layers import Named, label, plain
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Frame

_FILE = re.compile(r"(.+?\.(?:exr|cxr|sxr|mxr))(?::(.+))?", re.IGNORECASE | re.DOTALL)


def split_file(spec: str, frame: Frame, named: Sequence[Named]) -> tuple[Path | None, str | None]:
    """`FILE[:LAYER]` as (path, layer), with #### and %04d set to the frame number of `frame`; (None, _) for a LAYER."""
    match = _FILE.fullmatch(spec)
    if match is None or any(spec == one.layer.name for one in named):
        return None, spec
    return expand_frame(match[1], frame.path), match[2]


def expand_frame(pattern: str, source: Path) -> Path:
    """A file name, or a frame pattern (`alb.####.exr`) with the frame number that the name of `source` ends in."""
    path = Path(pattern)
    if path.exists() or not sequences.is_pattern(path.name):
        return path
    number = sequences.frame_number(source)
    if number is None:
        raise InputError(f"cannot expand {pattern}: {source.name} has no frame number")
    return sequences.parse(pattern).at(number)


def resolve(spec: str, named: Sequence[Named], role: str, frame: Frame, color: Named | None = None) -> Named:
    """The layer that a user means: its whole name, or its last element, in any case. Raises UsageError."""

    def spellings(one: Named) -> list[str]:
        part = frame.parts[one.layer.part].name
        view = f"{one.view}.{one.layer.name}" if one.view else ""
        return [one.layer.name, label(one.layer), view, part if one.root else "", *one.layer.channels[:1]]

    tests = (
        lambda one: spec == one.layer.name,
        lambda one: spec in spellings(one),
        lambda one: plain(spec) in [plain(name) for name in spellings(one) if name],
        lambda one: plain(spec) == one.key,
    )
    for test in tests:
        hits = [one for one in named if test(one)]
        if hits:
            return min(hits, key=lambda one: color is not None and (one.view, one.scope) != (color.view, color.scope))
    known = list(dict.fromkeys(label(one.layer) for one in named))
    near = difflib.get_close_matches(spec, known, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"layers: {', '.join(known)}"
    what = "layer" if role == "layers" else f"{role} layer"
    raise UsageError(f"{what} {spec!r} is not in {frame.path}: {hint}")
