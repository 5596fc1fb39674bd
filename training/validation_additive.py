"""Render what `evaluate additive` measures: `python -m mdenoise.training.validation_additive --out DIR --assets DIR`.

NAME.4.exr are float32, as the renderers made them; NAME.reference.exr have the lights alone, in half float.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise.training.renders import FINAL_BITS, keep_bits, middle

SIDE_PX, RENDERED_PX = 128, 160
CYCLES, MITSUBA = "product", "brick_corner"
GROUPS = {"lamp": ("lamp",), "fill": ("fill",)}  # of MITSUBA: its emitters by name
SPP, REFERENCE_SPP = 4, 512


def mitsuba_planes(assets: Path, spp: int, seed: int) -> dict[str, np.ndarray]:
    """The planes of `validation_mitsuba.render` and light_NAME of every group, whose sum the colour is."""
    from mdenoise.training import validation_mitsuba

    planes: dict[str, np.ndarray] = {}
    for number, (group, emitters) in enumerate(GROUPS.items()):
        lit = validation_mitsuba.render(MITSUBA, assets, spp, seed + number, size=SIDE_PX, emitters=emitters)
        planes |= {f"light_{group}": lit["color"], **({} if planes else lit)}
    return planes | {"color": sum(planes[f"light_{group}"] for group in GROUPS)}


def write_groups(path: Path, planes: dict[str, np.ndarray], half: bool) -> None:
    import OpenEXR

    channels = {}
    for name, plane in planes.items():
        letters = {"normal": "XYZ", "depth": "Z"}.get(name, "RGB")
        for i, letter in enumerate(letters):
            one = np.ascontiguousarray(plane[..., i] if plane.ndim == 3 else plane, np.float32)
            channels[letter if name == "color" else f"{name}.{letter}"] = keep_bits(one, FINAL_BITS) if half else one
    OpenEXR.File(header("mitsuba"), channels).write(str(path))


def cut(source: Path, target: Path, half: bool) -> None:
    """The middle of a multilayer file of Cycles, part by part; as half float without what only guides a denoiser."""
    import OpenEXR

    parts = []
    for part in OpenEXR.File(str(source), separate_channels=True).parts:
        name = part.header["name"]
        if half and (name.split(".")[-1].startswith("Denoising") or name.endswith("Depth")):
            continue
        planes = {c: np.ascontiguousarray(middle(p.pixels, SIDE_PX)) for c, p in part.channels.items()}
        planes = {c: keep_bits(p, FINAL_BITS) for c, p in planes.items()} if half else planes
        parts.append(OpenEXR.Part(header("cycles") | {"name": name}, planes))
    OpenEXR.File(parts).write(str(target))


def header(renderer: str) -> dict[str, Any]:
    import OpenEXR

    software = "Blender 5.0.1" if renderer == "cycles" else "Mitsuba 3.9.1"
    how = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    return how | {"comments": "CC0-1.0", "Software": software}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m mdenoise.training.validation_additive", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--assets", type=Path, required=True, help="folder with meshes/ and hdri/ (CC0)")
    parser.add_argument("--blender-python", type=Path, help="a Python with bpy; without it Cycles is left out")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    for spp, seed, tag in ((SPP, 1, "4"), (REFERENCE_SPP, 1001, "reference")):
        half = tag == "reference"
        planes = mitsuba_planes(args.assets, spp, seed)
        kept = {name: p for name, p in planes.items() if not half or name == "color" or name.startswith("light_")}
        write_groups(args.out / f"{MITSUBA}.{tag}.exr", kept, half)
        if args.blender_python:
            with tempfile.TemporaryDirectory() as folder:
                frame = Path(folder) / "frame.exr"
                script = [args.blender_python, Path(__file__).with_name("validation_cycles.py"), "--lights"]
                script += ["--scene", CYCLES, "--size", str(RENDERED_PX), "--assets", args.assets]
                subprocess.run([*script, f"{spp}:{seed}:{frame}"], check=True, stdout=subprocess.DEVNULL)
                cut(frame, args.out / f"{CYCLES}.{tag}.exr", half)


if __name__ == "__main__":
    main()
