"""The Blender extension: its source is in extension/, and `python -m mdenoise.integrations.blender` packs it.

The zip is what `blender --command extension build` makes of the same folder, without needing Blender.
"""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

from mdenoise.errors import OutputError

SOURCE = Path(__file__).resolve().parent / "extension"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same source gives the same zip, byte for byte


def build(folder: Path) -> Path:
    """Write mdenoise-VERSION.zip into a folder and return its path; an older one of that name is replaced.

    Raises OutputError.
    """
    manifest = tomllib.loads((SOURCE / "blender_manifest.toml").read_text("utf-8"))
    target = Path(folder) / f"{manifest['id']}-{manifest['version']}.zip"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in sorted(SOURCE.iterdir()):
                if path.suffix in (".py", ".toml"):
                    entry = zipfile.ZipInfo(path.name, _EPOCH)
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    packed.writestr(entry, path.read_bytes())
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from None
    return target
