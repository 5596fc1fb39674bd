"""Which photographs of a collection may teach weights that ship."""

from __future__ import annotations

import csv
from pathlib import Path

from mdenoise.errors import InputError

PERMISSIVE_SETS = frozenset(
    (
        *("budgie", "clic2025", "popos", "elementary", "matheus", "worksuite", "oceanic", "tylor", "deepin"),
        *("gb82", "arc42", "trident", "signage", "gallium"),
    )
)


def is_permissive(row: dict[str, str]) -> bool:
    """CC0, public domain, Unsplash and Pexels photos of photos.csv: all that shipped weights may learn from."""
    if row["set"] == "own":  # prepared by the user, for weights of the user's
        return True
    if row["set"] == "umate":
        return any(key in row["source_file"] for key in ("-photos/", "hirsute", "impish"))
    return row["set"] in PERMISSIVE_SETS


def photo_files(folder: Path, split: str, permissive: bool = True) -> list[Path]:
    """The photographs of one split; `folder` holds photos.csv and photos/. Raises InputError."""
    index = folder / "photos.csv"
    if not index.is_file():
        raise InputError(f"cannot read training photos: {index}: not found. Name the folder with --photos")
    with index.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return [folder / "photos" / Path(row["file"]).name for row in rows if not permissive or is_permissive(row)]
