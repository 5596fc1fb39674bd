"""Which photographs of a collection may teach weights that ship."""

from __future__ import annotations

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
