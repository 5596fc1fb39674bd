"""Render the validation suites again: `python -m mdenoise.training.scenes --suite validation --out DIR --assets DIR`.

Every frame is one file under DIR/raw and is kept, so a render that was stopped goes on where it was. `--pack DATA`
then writes the compact data set that `evaluate` reads. Mitsuba runs in this process; the Cycles scenes run in the
Python that `--blender-python` names, because Blender's `bpy` wants one of its own.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

SIZE = 256
SPLAT_CROP_PX = 128
NOISY_SPP = (4, 16)
log = logging.getLogger("mdenoise.scenes")


@dataclass(frozen=True)
class Shot:
    """One scene with one pixel filter. `half_spp` are the runs that each half of the reference is made of: what the
    scene needs for an error below a tenth of OIDN's; a run appended later keeps those rendered before."""

    scene: str
    renderer: str
    half_spp: tuple[int, ...]
    rfilter: str = "box"
    noisy_spp: tuple[int, ...] = NOISY_SPP

    @property
    def name(self) -> str:
        return self.scene if self.rfilter in ("box", "blackman_harris") else f"{self.scene}-{self.rfilter}"

    @property
    def suite(self) -> str:
        return "clean" if self.rfilter in ("box", "blackman_harris") else "splat"


MITSUBA = (
    Shot("cornell", "mitsuba", (1024,)),
    Shot("toys", "mitsuba", (768,)),
    Shot("brick_corner", "mitsuba", (768,)),
    Shot("materials", "mitsuba", (1024,)),
    Shot("night_fair", "mitsuba", (768,)),
    Shot("garden", "mitsuba", (640,)),
    Shot("window_room", "mitsuba", (1024,)),
    Shot("cornell", "mitsuba", (512,), "gaussian"),
    Shot("toys", "mitsuba", (512,), "gaussian"),
    Shot("materials", "mitsuba", (512,), "mitchell"),
    Shot("night_fair", "mitsuba", (512,), "mitchell"),
)
CYCLES = (
    Shot("living_room", "cycles", (512,), "blackman_harris"),
    Shot("product", "cycles", (512,), "blackman_harris"),
    Shot("meadow", "cycles", (512,), "blackman_harris"),
    Shot("gallery", "cycles", (512,), "blackman_harris"),
    Shot("workshop", "cycles", (512,), "blackman_harris"),
    Shot("breakfast", "cycles", (512,), "blackman_harris"),
)


def jobs(shot: Shot, raw: Path) -> list[tuple[int, int, Path]]:
    """(spp, seed, file) of every frame of a shot, the noisy ones first; a and b are the halves of the reference."""
    # Seeds of the two frames that are committed, then any that the reference does not use.
    seeds = {spp: 1 + i for i, spp in enumerate(NOISY_SPP)}
    frames = [(spp, seeds.get(spp, 1000 + spp), raw / f"{shot.name}.{spp}.npz") for spp in shot.noisy_spp]
    for run, spp in enumerate(shot.half_spp):
        frames += [(spp, 3 + 10 * run + i, raw / f"{shot.name}.{half}{run or ''}.npz") for i, half in enumerate("ab")]
    return frames


def render_mitsuba(shots: tuple[Shot, ...], raw: Path, assets: Path) -> None:
    from mdenoise.training import validation_mitsuba

    for shot in shots:
        for spp, seed, path in jobs(shot, raw):
            if not path.exists():
                planes = validation_mitsuba.render(shot.scene, assets, spp, seed, shot.rfilter, SIZE)
                save(path, planes if spp in shot.noisy_spp else {"color": planes["color"]})


def save(path: Path, planes: dict[str, np.ndarray]) -> None:
    """Appears whole or not at all, so that a stopped render leaves no half file to resume from."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **planes)
    part.replace(path)
    log.info("%s", path.name)


def render_cycles(shots: tuple[Shot, ...], raw: Path, assets: Path, blender_python: Path) -> None:
    script = Path(__file__).with_name("validation_cycles.py")
    for shot in shots:
        for spp, seed, path in jobs(shot, raw):
            if path.exists():
                continue
            exr = path.with_suffix(".exr")
            subprocess.run(
                [
                    blender_python,
                    script,
                    "--scene",
                    shot.scene,
                    "--size",
                    str(SIZE),
                    "--assets",
                    assets,
                    f"{spp}:{seed}:{exr}",
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            planes = read_cycles(exr)
            save(path, planes if spp in shot.noisy_spp else {"color": planes["color"]})
            exr.unlink()


def read_cycles(path: Path) -> dict[str, np.ndarray]:
    """The planes of a multilayer file of `validation_cycles`, named as `validation_mitsuba.render` names them."""
    import OpenEXR

    channels = {}
    for part in OpenEXR.File(str(path), separate_channels=True).parts:
        channels |= {name.split(".", 1)[1]: channel.pixels for name, channel in part.channels.items()}
    planes = {
        name: np.stack([channels[f"{layer}.{c}"] for c in letters], -1)
        for name, layer, letters in (
            ("color", "Combined", "RGB"),
            ("albedo", "Denoising Albedo", "RGB"),
            ("normal", "Denoising Normal", "XYZ"),
        )
    }
    return planes | {"depth": channels["Depth.Z"]}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m mdenoise.training.scenes", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=["validation"], default="validation")
    parser.add_argument("--out", type=Path, required=True, help="folder of the rendered frames")
    parser.add_argument("--assets", type=Path, required=True, help="folder with meshes/ and hdri/ (CC0)")
    parser.add_argument(
        "--blender-python", type=Path, help="a Python with bpy; without it the Cycles scenes are left out"
    )
    parser.add_argument("--skip-mitsuba", action="store_true")
    parser.add_argument(
        "--spp", type=int, nargs="+", default=NOISY_SPP, help="samples of the noisy frames (default: 4 16)"
    )
    parser.add_argument(
        "--pack", type=Path, metavar="DATA", help="also write the compact data set here, of the renderers that ran"
    )
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    raw = args.out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    mitsuba = () if args.skip_mitsuba else tuple(replace(shot, noisy_spp=tuple(args.spp)) for shot in MITSUBA)
    cycles = tuple(replace(shot, noisy_spp=tuple(args.spp)) for shot in CYCLES) if args.blender_python else ()
    if mitsuba:
        render_mitsuba(mitsuba, raw, args.assets)
    if cycles:
        render_cycles(cycles, raw, args.assets, args.blender_python)
    if args.pack:
        from mdenoise.training import renders

        renders.pack(raw, args.pack, mitsuba + cycles, SPLAT_CROP_PX)
        log.info("packed into %s: %.1f MB", args.pack, sum(f.stat().st_size for f in args.pack.iterdir()) / 1e6)


if __name__ == "__main__":
    main()
