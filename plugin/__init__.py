"""mdenoise: a masked denoiser for renders.

>>> import mdenoise
>>> clean = mdenoise.denoise(color, albedo=albedo, normal=normal)  # (H, W, 3) scene-linear float32

Names are loaded on first use, so that importing the package costs nothing in a host or a command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mdenoise.config import Options
    from mdenoise.errors import (
        Cancelled,
        EngineError,
        InputError,
        MDenoiseError,
        ModelError,
        OutputError,
        UsageError,
    )
    from mdenoise.hooks import Denoised, Denoiser, denoise

_HOME = {
    "denoise": "mdenoise.hooks",
    "Denoiser": "mdenoise.hooks",
    "Denoised": "mdenoise.hooks",
    "Options": "mdenoise.config",
    "MDenoiseError": "mdenoise.errors",
    "UsageError": "mdenoise.errors",
    "InputError": "mdenoise.errors",
    "OutputError": "mdenoise.errors",
    "ModelError": "mdenoise.errors",
    "EngineError": "mdenoise.errors",
    "Cancelled": "mdenoise.errors",
}

__all__ = [
    "Cancelled",
    "Denoised",
    "Denoiser",
    "EngineError",
    "InputError",
    "MDenoiseError",
    "ModelError",
    "Options",
    "OutputError",
    "UsageError",
    "__version__",
    "denoise",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'mdenoise' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
