"""Job templates for farms: OpenJD's, and the job bundle that AWS Deadline Cloud takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from mdenoise.errors import OutputError, UsageError

TEMPLATE = Path(__file__).resolve().parent / "mdenoise.template.yaml"
_RANGE = re.compile(r"-?\d+(-(-?\d+)(:-?\d+)?)?(\s*,\s*-?\d+(-(-?\d+)(:-?\d+)?)?)*")


def template() -> str:
    """The OpenJD job template, YAML."""
    return TEMPLATE.read_text("utf-8")


def frame_range(text: str) -> str:
    """Frames as `mdenoise --frames` takes them, `1-100x2,120`, the way OpenJD has it, `1-100:2,120`.

    Raises UsageError for what OpenJD has no way to say.
    """
    found = text.replace("x", ":").strip()
    if not _RANGE.fullmatch(found):
        raise UsageError(f"cannot read frames {text!r}: write them like 1-100x2,120")
    return found


def parameters(pattern: Path, output: Path, frames: str, **more: object) -> dict[str, str]:
    """Values of the template's parameters; `more` by their own names, None leaves the default. Folders become absolute.

    Raises UsageError for frames that cannot be read and for results that would go to the folder of their frames.
    """
    source, target = pattern.absolute().parent, output.absolute()
    if source.resolve() == target.resolve():
        raise UsageError(f"cannot write results to {output}: the frames are there, and results keep their names")
    values = {"InputDir": source, "InputPattern": pattern.name, "OutputDir": target, "Frames": frame_range(frames)}
    return {name: str(value) for name, value in {**values, **more}.items() if value is not None}


def write_bundle(folder: Path, values: Mapping[str, str]) -> None:
    """Make `folder` a job bundle: the template and the values of its parameters. Raises OutputError."""
    given = {"parameterValues": [{"name": name, "value": value} for name, value in values.items()]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "template.yaml").write_text(template(), "utf-8")
        (folder / "parameter_values.json").write_text(json.dumps(given, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}") from None
