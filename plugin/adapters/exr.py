"""The OpenEXR adapter: read, adapt, restore, write, and what `mdenoise info` tells about a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mdenoise.adapters import additive, exr_header
from mdenoise.adapters.aovs import find_roles
from mdenoise.adapters.exr_adapt import Job, Target, adapt
from mdenoise.adapters.exr_file import compression_of, read, write
from mdenoise.adapters.exr_restore import restore
from mdenoise.adapters.layers import label, named_layers
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Frame

__all__ = ["Job", "Target", "adapt", "describe", "provenance", "read", "restore", "write"]


def provenance(path: Path) -> dict[str, str]:
    """What mdenoise wrote into a result's header, by name; empty for other files. Reads the header only."""
    try:
        with Path(path).open("rb") as stream:
            parts = exr_header.parse(stream).parts
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from None
    return {
        name.removeprefix("mdenoise:"): attribute.data.decode("utf-8", "replace")
        for name, attribute in parts[0].items()
        if name.startswith("mdenoise:") and attribute.type == "string"
    }


def describe(frame: Frame, options: Options | None = None) -> dict[str, Any]:
    """Everything `mdenoise info` shows about a file, as plain JSON-able values; an `error` instead of roles."""
    report: dict[str, Any] = {
        "path": str(frame.path),
        "parts": [
            {
                "name": part.name,
                "view": part.view,
                "type": str(part.header.get("type", "")).rsplit(".", 1)[-1],
                "compression": compression_of(part),
                "width": part.window.width,
                "height": part.window.height,
                "data_window": [part.window.x_min, part.window.y_min, part.window.x_max, part.window.y_max],
                "channels": {name: str(plane.dtype) for name, plane in part.channels.items()},
            }
            for part in frame.parts
        ],
        "layers": [
            {
                "name": label(one.layer),
                "part": one.layer.part,
                "view": one.view,
                "kind": one.kind,
                "channels": list(one.layer.channels),
                "alpha": one.layer.alpha,
            }
            for one in named_layers(frame)
        ],
    }
    try:
        found = find_roles(frame, options or Options())
    except (InputError, UsageError) as error:
        return report | {"images": [], "error": str(error)}
    report["images"] = [
        {
            "line": roles.line(),
            "view": roles.view,
            "renderer": roles.renderer,
            "roles": {
                role: label(layer)
                for role in ("color", "source", "albedo", "normal", "depth", "variance")
                if (layer := getattr(roles, role)) is not None
            },
            "reasons": dict(roles.reasons),
            "additive": additive.describe_sets(*additive.find_sets(frame, roles)),
        }
        for roles in found
    ]
    return report
