"""The committed validation renders: how they are packed into a few megabytes, and how they are read.

A frame is an ordinary EXR in half float, `<name>.4.exr`, `<name>.16.exr` (color, albedo, normal, depth) and
`<name>.reference.exr` (color); `index.json` says what each is and how large the error of its reference is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.errors import InputError
from mdenoise.training.metrics import display_mse

DATA = Path("tests/data/renders")
FAR = 65504.0  # where a ray hits nothing: the largest half, as Blender's half files have it
FINAL_SPP, FINAL_CROP_PX = 64, 160  # from so many samples on a frame is final, and its middle is kept
# Mantissa bits that are kept, of 10. What is cut off is far below the noise; the data set's README has the effect
# measured. It halves the size, since noise does not compress but zeros do.
NOISY_BITS, REFERENCE_BITS, DEPTH_BITS = 5, 6, 6
FINAL_BITS = 7
ALBEDO_STEP, NORMAL_STEP = 1 / 256, 1 / 128
# Clean scenes that are also measured tent-filtered: as many as a renderer splatted, and others.
TENT = ("garden", "living_room", "breakfast", "workshop", "letters", "drapery", "snow")
TENT_VARIANCE = (0.25**2 + 0.5**2 + 0.25**2) ** 2  # what the filter leaves of the variance of independent noise


@dataclass(frozen=True)
class Case:
    """One noisy frame and its reference: f32, linear; color, albedo, normal, reference (H, W, 3), depth (H, W).

    `reference_mse` is the error that remains in the reference, in the display domain of `metrics`.
    scene   what frames have in common that are no independent facts.
    origin  the committed frame that this one was made from, and `degrade` what was done to its color and reference, if
            that is a linear filter; `around` (H, W) bool are the pixels around injected ones.
    """

    name: str
    suite: str
    renderer: str
    spp: int
    color: np.ndarray
    albedo: np.ndarray | None
    normal: np.ndarray | None
    depth: np.ndarray | None
    reference: np.ndarray
    reference_mse: float
    scene: str = ""
    origin: Case | None = None
    degrade: Callable[[np.ndarray], np.ndarray] | None = None
    around: np.ndarray | None = None
    hard: str = ""  # what makes the scene so, see `validation.Shot`


def load(data: Path, suite: str = "all", counts: Container[int] = range(2, FINAL_SPP)) -> Iterator[Case]:
    """The cases of a suite ("clean", "splat", "all") that have as many samples, in the order of the index.

    One sample is for the hard suite alone. Raises InputError.
    """
    for entry in read_index(data)["renders"]:
        for spp in (count for count in entry["spp"] if count in counts):
            case = load_case(data, entry, spp)
            if suite in (entry["suite"], "all"):
                yield case
            if entry["name"] in TENT and suite in ("splat", "all"):
                yield tent(case)


def read_index(data: Path) -> dict[str, Any]:
    try:
        return json.loads((data / "index.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the validation renders in {data}: {error}; name their folder with --data"
        ) from None


def find(data: Path, name: str, spp: int) -> Case:
    """One case by its name and samples; with `-tent` behind the name, filtered so. Raises InputError."""
    plain = name.removesuffix("-tent")
    for entry in read_index(data)["renders"]:
        if entry["name"] == plain and spp in entry["spp"]:
            case = load_case(data, entry, spp)
            return case if plain == name else tent(case)
    raise InputError(f"cannot find {plain} at {spp} spp in {data}; name the folder of the full set with --data")


def load_case(data: Path, entry: dict[str, Any], spp: int) -> Case:
    noisy = read(data / f"{entry['name']}.{spp}.exr")
    reference = middle(read(data / f"{entry['name']}.reference.exr")["color"], noisy["color"].shape[0])
    return Case(
        entry["name"],
        entry["suite"],
        entry["renderer"],
        spp,
        **noisy,
        reference=reference,
        reference_mse=entry["reference_mse"],
        scene=entry["scene"],
        hard=entry.get("hard", ""),
    )


def middle(plane: np.ndarray, side: int) -> np.ndarray:
    """The central square of `side` pixels of a square plane, or all of one that is not larger."""
    edge = max(0, plane.shape[0] - side) // 2
    return plane[edge : plane.shape[0] - edge, edge : plane.shape[1] - edge]


def tent(case: Case) -> Case:
    """The case as a renderer would have given it that splats with a 3-tap tent: color, AOVs and reference filtered."""
    planes = {name: soften(getattr(case, name)) for name in ("color", "albedo", "normal", "depth", "reference")}
    return replace(
        case,
        name=f"{case.name}-tent",
        suite="splat",
        reference_mse=case.reference_mse * TENT_VARIANCE,
        origin=case,
        degrade=soften,
        **planes,
    )


def soften(plane: np.ndarray) -> np.ndarray:
    """A plane (H, W) or (H, W, C) filtered with a 3-tap tent along both axes, the edge repeated."""
    for axis in (0, 1):
        p = np.moveaxis(plane, axis, 0)
        p = 0.5 * p + 0.25 * np.concatenate([p[:1], p[:-1]]) + 0.25 * np.concatenate([p[1:], p[-1:]])
        plane = np.moveaxis(p, 0, axis)
    return np.ascontiguousarray(plane)


# --- files --------------------------------------------------------------------------------------------------------

LETTERS = {
    "color": ("R", "G", "B"),
    "albedo": ("albedo.R", "albedo.G", "albedo.B"),
    "normal": ("normal.X", "normal.Y", "normal.Z"),
    "depth": ("depth.Z",),
}


def read(path: Path) -> dict[str, np.ndarray]:
    import OpenEXR

    try:
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
        planes = {
            name: np.stack([channels[letter].pixels for letter in letters], -1).astype(np.float32)
            for name, letters in LETTERS.items()
            if letters[0] in channels
        }
    except (RuntimeError, KeyError, OSError) as error:
        raise InputError(f"cannot read {path}: {error}; render it again with mdenoise.training.validation") from None
    return planes | ({"depth": planes["depth"][..., 0]} if "depth" in planes else {})


def write(path: Path, planes: dict[str, np.ndarray], bits: int) -> None:
    """Half float, ZIP, with as many bits as `pack` promises."""
    import OpenEXR

    kept = {
        "color": lambda x: keep_bits(x, bits),
        "albedo": lambda x: keep_steps(x, ALBEDO_STEP),
        "normal": lambda x: keep_steps(x, NORMAL_STEP),
        "depth": lambda x: keep_bits(x, DEPTH_BITS),
    }
    channels = {}
    for name, plane in planes.items():
        plane = kept[name](plane).reshape(*plane.shape[:2], -1)
        channels |= {letter: np.ascontiguousarray(plane[..., i]) for i, letter in enumerate(LETTERS[name])}
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, "comments": "CC0-1.0"}
    OpenEXR.File(header, channels).write(str(path))


def keep_bits(plane: np.ndarray, bits: int) -> np.ndarray:
    """To half float with `bits` of its 10 mantissa bits, rounded to nearest."""
    drop = 10 - bits
    whole = np.clip(plane, -FAR, FAR).astype(np.float16).view(np.uint16).astype(np.uint32)
    rounded = (whole + ((1 << drop) >> 1)) >> drop << drop
    # Rounding up must not carry the largest half into infinity.
    infinite = (rounded & 0x7FFF) >= 0x7C00
    return np.where(infinite, whole >> drop << drop, rounded).astype(np.uint16).view(np.float16)


def keep_steps(plane: np.ndarray, step: float) -> np.ndarray:
    return (np.rint(plane / step) * step).astype(np.float16)


def pack(raw: Path, data: Path, shots: tuple[Any, ...], crop_px: int) -> dict[str, Any]:
    """Write the rendered frames of `shots` (`validation.Shot`) into `data`, beside what it has of other shots and other
    samples. Splatted frames become their central square of `crop_px`, final ones of FINAL_CROP_PX, which keeps the set
    small. The error of a reference is that of the mean of two independent halves."""
    data.mkdir(parents=True, exist_ok=True)
    entries = {entry["name"]: entry for entry in read_index(data)["renders"]} if (data / "index.json").exists() else {}
    for shot in shots:
        side = crop_px if shot.suite == "splat" else shot.size_px
        halves = [middle(half(raw, shot, letter), side) for letter in "ab"]
        write(data / f"{shot.name}.reference.exr", {"color": (halves[0] + halves[1]) / 2}, REFERENCE_BITS)
        for spp in shot.noisy_spp:
            final = spp >= FINAL_SPP
            with np.load(raw / f"{shot.name}.{spp}.npz") as planes:
                cut = {name: middle(planes[name], min(side, FINAL_CROP_PX) if final else side) for name in LETTERS}
            write(data / f"{shot.name}.{spp}.exr", cut, FINAL_BITS if final else NOISY_BITS)
        known = entries.get(shot.name, {"spp": []})["spp"]
        entries[shot.name] = {
            "name": shot.name,
            "suite": shot.suite,
            "scene": shot.scene,
            "renderer": shot.renderer,
            "filter": shot.rfilter,
            "spp": sorted({*known, *shot.noisy_spp}),
            "reference_spp": 2 * sum(shot.half_spp),
            "reference_mse": float(f"{display_mse(*halves) / 4:.3e}"),
        } | ({"hard": shot.hard} if shot.hard else {})
    index = {"licence": "CC0-1.0", "renders": list(entries.values())}
    (data / "index.json").write_text(json.dumps(index, indent=1) + "\n", "utf-8")
    return index


def half(raw: Path, shot: Any, letter: str) -> np.ndarray:
    """One half of a reference: the mean of its runs, weighted by their samples."""
    total = sum(
        spp * np.load(raw / f"{shot.name}.{letter}{run or ''}.npz")["color"].astype(np.float64)
        for run, spp in enumerate(shot.half_spp)
    )
    return (total / sum(shot.half_spp)).astype(np.float32)
