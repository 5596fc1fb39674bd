"""Render the validation suites again: `python -m mdenoise.training.validation --out DIR --assets DIR`.

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

from mdenoise.training.whole import save_arrays

SPLAT_CROP_PX, SMALL_PX = 128, 160
NOISY_SPP = (4, 16)
log = logging.getLogger("mdenoise.validation")


@dataclass(frozen=True)
class Shot:
    """One scene with one pixel filter. `half_spp` are the runs that each half of the reference is made of: what the
    scene needs for an error below a tenth of OIDN's; a run appended later keeps those rendered before.

    hard  what of the light or the camera makes it so, by kind and before any denoiser was run: paths that are found
          rarely, or pixels that no one surface's albedo and normal describe. Such scenes have a frame of 1 sample, too.
    """

    scene: str
    renderer: str
    half_spp: tuple[int, ...]
    rfilter: str = "box"
    noisy_spp: tuple[int, ...] = NOISY_SPP
    size_px: int = 256
    hard: str = ""

    @property
    def name(self) -> str:
        return self.scene if self.rfilter in ("box", "blackman_harris") else f"{self.scene}-{self.rfilter}"

    @property
    def suite(self) -> str:
        return "clean" if self.rfilter in ("box", "blackman_harris") else "splat"


def small(scene: str, renderer: str, half_spp: tuple[int, ...], hard: str = "") -> Shot:
    rfilter = "box" if renderer == "mitsuba" else "blackman_harris"
    return Shot(scene, renderer, half_spp, rfilter, (*((1,) if hard else ()), *NOISY_SPP), SMALL_PX, hard)


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
    small("letters", "mitsuba", (256,)),
    small("bathroom", "mitsuba", (128, 320)),
    small("night_street", "mitsuba", (128,), hard="emitters of few pixels"),
    small("glassware", "mitsuba", (256,), hard="refraction"),
    small("pool", "mitsuba", (128, 320), hard="caustics"),
    small("corridor", "mitsuba", (128, 832), hard="indirect light alone"),
)
CYCLES = (
    Shot("living_room", "cycles", (512,), "blackman_harris"),
    Shot("product", "cycles", (512,), "blackman_harris"),
    Shot("meadow", "cycles", (512,), "blackman_harris"),
    Shot("gallery", "cycles", (512,), "blackman_harris"),
    Shot("workshop", "cycles", (512,), "blackman_harris"),
    Shot("breakfast", "cycles", (512,), "blackman_harris"),
    small("loft", "cycles", (128, 256)),
    small("drapery", "cycles", (128, 128)),
    small("snow", "cycles", (128,)),
    small("candles", "cycles", (128, 256), hard="light below the surface"),
    small("macro", "cycles", (128, 256), hard="depth of field"),
    small("shutter", "cycles", (128, 192), hard="motion blur"),
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
                planes = validation_mitsuba.render(shot.scene, assets, spp, seed, shot.rfilter, shot.size_px)
                save(path, planes if spp in shot.noisy_spp else {"color": planes["color"]})


def save(path: Path, planes: dict[str, np.ndarray]) -> None:
    save_arrays(path, planes)
    log.info("%s", path.name)


def render_cycles(shots: tuple[Shot, ...], raw: Path, assets: Path, blender_python: Path) -> None:
    script = Path(__file__).with_name("validation_cycles.py")
    for shot in shots:
        wanted = [(spp, seed, path) for spp, seed, path in jobs(shot, raw) if not path.exists()]
        left = [f"{spp}:{seed}:{path.with_suffix('.exr')}" for spp, seed, path in wanted if not made(path)]
        if left:
            command = [blender_python, script, "--scene", shot.scene, "--size", str(shot.size_px), "--assets", assets]
            subprocess.run([*command, *left], check=True, stdout=subprocess.DEVNULL)
        for spp, _, path in wanted:
            planes = read_cycles(path.with_suffix(".exr"))
            save(path, planes if spp in shot.noisy_spp else {"color": planes["color"]})
            path.with_suffix(".exr").unlink()


def made(path: Path) -> bool:
    """Whether a frame waits that a stopped run has left; the script publishes only whole files."""
    return path.with_suffix(".exr").exists()


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
    parser = argparse.ArgumentParser(prog="python -m mdenoise.training.validation", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the rendered frames")
    parser.add_argument("--assets", type=Path, required=True, help="folder with meshes/ and hdri/ (CC0)")
    parser.add_argument(
        "--blender-python", type=Path, help="a Python with bpy; without it the Cycles scenes are left out"
    )
    parser.add_argument("--skip-mitsuba", action="store_true")
    parser.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="only these")
    parser.add_argument(
        "--spp", type=int, nargs="+", help="samples of the noisy frames (default: 4 16, and 1 of hard scenes)"
    )
    parser.add_argument(
        "--pack", type=Path, metavar="DATA", help="also write what was rendered into the compact data set here"
    )
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    raw = args.out / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    shots = [shot for shot in MITSUBA + CYCLES if not args.scenes or shot.scene in args.scenes]
    if args.spp:
        shots = [replace(shot, noisy_spp=tuple(args.spp)) for shot in shots]
    mitsuba = () if args.skip_mitsuba else tuple(shot for shot in shots if shot.renderer == "mitsuba")
    cycles = tuple(shot for shot in shots if shot.renderer == "cycles") if args.blender_python else ()
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
