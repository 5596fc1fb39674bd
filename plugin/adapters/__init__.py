"""File formats: each adapter reads a Frame, finds what is to be denoised, and writes the result back."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from mdenoise.errors import InputError

# .cxr is Corona's name for an OpenEXR file, .mxr and .sxr mark multi-part and stereo ones.
ADAPTERS = {".exr": "exr", ".cxr": "exr", ".mxr": "exr", ".sxr": "exr"}
# Of what LibRaw opens, the names that cameras give; .raw is Leica's and Panasonic's, and anybody's heap of numbers.
RAW_SUFFIXES = """.dng .3fr .arw .cr2 .cr3 .crw .dcr .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf
.raw .rw2 .rwl .sr2 .srf .srw .x3f""".split()
ADAPTERS |= dict.fromkeys(RAW_SUFFIXES, "raw")
ADAPTERS |= dict.fromkeys(".png .jpg .jpeg .jpe .jfif .tif .tiff .webp .avif .heic .heif .hif".split(), "srgb")


def adapter_for(path: Path) -> ModuleType:
    """The adapter of a file name, by its extension in any case. Raises InputError."""
    name = ADAPTERS.get(Path(path).suffix.lower())
    if name is None:
        known = ", ".join(sorted(ADAPTERS))
        raise InputError(f"cannot denoise {path}: files of this kind are not supported (supported: {known})")
    return import_module(f"mdenoise.adapters.{name}")
