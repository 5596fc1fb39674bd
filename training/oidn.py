"""Intel OIDN as the peer of `evaluate renders`: its qualities, and run on the phases of a grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdenoise.training.renders import Case
from mdenoise.training.tables import PEER


def methods() -> dict[str, Callable[[Case], np.ndarray]]:
    """OIDN's columns, or none where pyoidn is not installed. All but one take the auxiliary planes that there are."""
    try:
        import pyoidn
    except ImportError:
        return {}

    def run(color: np.ndarray, guides: dict[str, np.ndarray], quality: str, clean: bool = False) -> np.ndarray:
        return np.asarray(pyoidn.denoise(color, **guides, hdr=True, quality=quality, clean_aux=clean))

    def best(case: Case) -> np.ndarray:
        """As its manual says for the best quality: each plane denoised first, then trusted."""
        planes = guides(case)
        for name, plane in planes.items():
            planes[name] = prefiltered(name, plane)
        return run(case.color, planes, "high", clean=bool(planes))

    def phases(case: Case, period: int) -> np.ndarray:
        """Each phase of a grid by itself, where noise that a pixel filter spread is independent again."""
        out, planes = np.empty_like(case.color), guides(case)
        for at in np.ndindex(period, period):
            phase = np.s_[at[0] :: period, at[1] :: period]
            cut = {name: np.ascontiguousarray(plane[phase]) for name, plane in planes.items()}
            out[phase] = run(np.ascontiguousarray(case.color[phase]), cut, "balanced")
        return out

    return {
        "OIDN fast": lambda case: run(case.color, guides(case), "fast"),
        "OIDN colour": lambda case: run(case.color, {}, "balanced"),
        PEER: lambda case: run(case.color, guides(case), "balanced"),
        "OIDN best": best,
        "OIDN 2x2 phases": lambda case: phases(case, 2),
        "OIDN 3x3 phases": lambda case: phases(case, 3),
    }


def guides(case: Case) -> dict[str, np.ndarray]:
    return {name: plane for name in ("albedo", "normal") if (plane := getattr(case, name)) is not None}


def prefiltered(name: str, plane: np.ndarray) -> np.ndarray:
    """OIDN's own prefilter of an albedo or a normal plane (H, W, 3)."""
    from pyoidn import OIDN_DEVICE_TYPE_CPU, OIDN_FORMAT_FLOAT3, Device, Filter

    source, clean = np.ascontiguousarray(plane, np.float32), np.empty(plane.shape, np.float32)
    with Device(OIDN_DEVICE_TYPE_CPU) as device:  # neither is freed otherwise: 59 MiB a plane of 256x256
        device.commit()
        with Filter(device, "RT") as one:
            for role, array in ((name, source), ("output", clean)):
                one.set_image(role, array, OIDN_FORMAT_FLOAT3, plane.shape[1], plane.shape[0])
            one.commit()
            one.execute()
    return clean
