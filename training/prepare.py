r"""Your own images, made ready for training.

    python -m mdenoise.training.prepare photos PHOTOS --out data/photos
    python -m mdenoise.training.prepare pairs "renders/{scene}.{spp}.exr" --reference "renders/{scene}.ref.exr" --out data/pairs
    python -m mdenoise.training.prepare pairs noisy/ --reference clean/ --out data/pairs
    python -m mdenoise.training.prepare pairs first/ --second second/ --out data/pairs
    python -m mdenoise.training.prepare pairs "renders/{scene}.seed{run}.exr" --out data/pairs

A pattern names a scene with {scene}; {spp} and other names in braces may differ within a scene. {run} numbers renders
or shots of one scene that differ in their noise alone. A folder means every file in it, matched by name.
"""  # noqa: E501

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mdenoise.errors import InputError, OutputError, UsageError
from mdenoise.training import entry
from mdenoise.training.checkpoint import write_csv

PHOTO_COLUMNS = ("file", "set", "source_file", "source_size", "scale", "crop_x", "crop_y", "split")
MIN_PX = 256  # training takes crops of twice a patch as textures of synthetic scenes
CROP_PX = 512
CALM_PX = 1024  # photographs are averaged down to about this height: what noise they have goes, detail stays
TWIN = 1.5  # mean difference of 16x16 thumbnails, of 255: more than another JPEG quality makes
BLURRY = 1.2  # root mean square of the Laplacian, of 255, over the sharpest tenth of the photograph


def hold_out(names: Iterable[str], share: float, chosen: tuple[str, ...] = ()) -> set[str]:
    """The names that are for validation: those `chosen`, or a share of them, at least one of two or more; drawn by
    name, so that a scene that was held out tends to stay so when others are added.

    Raises UsageError for a name that is not among them, or when all are held out.
    """
    names = sorted(set(names))
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise UsageError(f"--held-out {unknown[0]!r} is not there: choose from {', '.join(names)}")
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, round(share * len(names))) if share > 0 and len(names) > 1 else 0
    held = set(chosen) or set(by_hash[:count])
    if held == set(names):
        raise UsageError("everything is held out for validation: nothing is left to train on")
    return held


def open_target(out: Path, index: str, folder: str, overwrite: bool) -> None:
    """Make `out`/`folder`; what an earlier call wrote is refused, or removed. Raises OutputError."""
    if (out / index).exists() and not overwrite:
        raise OutputError(f"cannot write {out / index}: it exists already (use --overwrite to replace it)")
    try:
        (out / index).unlink(missing_ok=True)
        (out / folder).mkdir(parents=True, exist_ok=True)
        if overwrite:
            for old in (out / folder).iterdir():
                old.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {out / folder}: {error.strerror or error}") from None


# --- photographs --------------------------------------------------------------------------------------------------


def read_photo(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, upright. Raises InputError for what Pillow cannot read."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):  # 16 bits of grey; convert() would clip them
                grey = np.asarray(upright, np.float64)
                grey = np.rint(grey * (255 / max(65535.0 if upright.mode != "F" else 1.0, grey.max())))
                return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path.name}: cannot be read ({str(error).splitlines()[0] if str(error) else error!r})"
        ) from None


def shrunk(photo: np.ndarray) -> tuple[np.ndarray, int]:
    """The photograph averaged over n x n pixels, n as large as CALM_PX on its shorter side allows, and n."""
    n = max(1, min(photo.shape[:2]) // CALM_PX)
    height, width = (side // n * n for side in photo.shape[:2])
    if n == 1:
        return photo, 1
    blocks = photo[:height, :width].reshape(height // n, n, width // n, n, 3)
    return np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8), n


def sharpness(photo: np.ndarray) -> np.ndarray:
    """Root mean square of the Laplacian of the grey image, per block of 32 x 32; 1 = white."""
    grey = photo.mean(axis=2, dtype=np.float32) / 255
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    rows, cols = (side // 32 for side in laplacian.shape)
    blocks = laplacian[: rows * 32, : cols * 32].reshape(rows, 32, cols, 32)
    return np.sqrt((blocks**2).mean(axis=(1, 3)))


def sharpest_tenth(photo: np.ndarray) -> float:
    """Root mean square of the Laplacian where the photograph is in focus; 1 = white."""
    blocks = np.sort(sharpness(photo), axis=None)
    return float(np.sqrt((blocks[-max(1, blocks.size // 10) :] ** 2).mean()))


def best_crops(photo: np.ndarray, side: int, count: int) -> list[tuple[int, int]]:
    """(y, x) of the `count` sharpest crops of a grid that covers the photograph evenly."""

    def starts(length: int) -> np.ndarray:
        return np.linspace(0, length - side, max(1, length // side)).astype(int)

    places = [(y, x) for y in starts(photo.shape[0]) for x in starts(photo.shape[1])]
    scores = [float(sharpness(photo[y : y + side, x : x + side]).mean()) for y, x in places]
    return [places[i] for i in np.argsort(scores)[::-1][:count]]


def photos(folder: Path, out: Path, share: float, per_photo: int, overwrite: bool) -> list[str]:
    """Write photos.csv and photos/; returns what was refused, one line each. Raises InputError when nothing is left."""
    from PIL import Image

    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    if not folder.is_dir():
        raise InputError(f"cannot read photographs: {folder} is not a folder")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in known and out not in p.parents)
    open_target(out, "photos.csv", "photos", overwrite)
    refused, rows = [], []
    seen: dict[str, np.ndarray] = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            photo = read_photo(path)
            size = f"{photo.shape[1]}x{photo.shape[0]}"
            photo, scale = shrunk(photo)
            if min(photo.shape[:2]) < MIN_PX:
                raise InputError(f"{name}: too small ({size}, at least {MIN_PX} on both sides)")
            detail = 255 * sharpest_tenth(photo)
            if detail < BLURRY:
                raise InputError(f"{name}: blurry or flat (Laplacian {detail:.1f} of 255, at least {BLURRY})")
            thumb = np.asarray(Image.fromarray(photo).convert("L").resize((16, 16), Image.Resampling.BOX), np.float32)
            if twins := [other for other, x in seen.items() if np.abs(x - thumb).mean() < TWIN]:
                raise InputError(f"{name}: the same picture as {twins[0]}")  # it could land in both splits
            seen[name] = thumb
        except InputError as error:
            refused.append(str(error))
            continue
        side = min(CROP_PX, *photo.shape[:2])
        for i, (y, x) in enumerate(best_crops(photo, side, per_photo)):
            file = f"{len(seen) - 1:05d}_{i}.png"
            Image.fromarray(photo[y : y + side, x : x + side]).save(out / "photos" / file)
            values = (file, "own", name, size, f"{1 / scale:.3f}", x, y, "train")
            rows.append(dict(zip(PHOTO_COLUMNS, values, strict=True)))
    if not rows:
        raise InputError(f"no photograph in {folder} can be used: {refused[0] if refused else 'it holds none'}")
    held = hold_out((row["source_file"] for row in rows), share)
    rows = [row | {"split": "val" if row["source_file"] in held else "train"} for row in rows]
    write_csv(out / "photos.csv", PHOTO_COLUMNS, rows)
    return refused


# --- command ------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="mdenoise prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("photos", help="a folder of clean photographs, any format that Pillow reads")
    one.add_argument("folder", type=Path)
    one.add_argument(
        "--crops", type=int, default=6, metavar="N", help="at most so many of a photo (default: %(default)s)"
    )
    two = commands.add_parser("pairs", help="noisy images with references, or with other noisy ones of the same scenes")
    two.add_argument("noisy", help="pattern with {scene}, or folder: EXR, or photographs")
    two.add_argument("--reference", metavar="PATTERN", help="the clean images")
    two.add_argument("--second", metavar="PATTERN", help="other noisy images of the same scenes, drawn independently")
    two.add_argument("--crop", type=int, default=256, metavar="PX", help="side of a stored crop (default: %(default)s)")
    two.add_argument(
        "--crops", type=int, default=64, metavar="N", help="at most so many of an image (default: %(default)s)"
    )
    two.add_argument("--held-out", default="", metavar="SCENE,...", help="scenes for validation (default: drawn)")
    for role in ("color", "albedo", "normal", "depth", "variance"):
        two.add_argument(f"--{role}", metavar="LAYER", help=f"the {role} layer of the noisy EXR, if it is not found")
    for command in (one, two):
        command.add_argument("--out", type=Path, required=True, help="folder to write")
        command.add_argument(
            "--val", type=float, default=0.1, metavar="SHARE", help="for validation (default: %(default)s)"
        )
        command.add_argument("--overwrite", action="store_true", help="replace what an earlier call wrote there")
    args = parser.parse_args(argv)
    if not 0 <= args.val < 1:
        raise UsageError(f"--val {args.val} is no share: choose from 0 up to 0.9")
    if args.command == "photos":
        refused = photos(args.folder, args.out, args.val, args.crops, args.overwrite)
        index, what = args.out / "photos.csv", "crops"
    else:
        from mdenoise.training import pairing

        refused = pairing.prepare(args)
        index, what = args.out / "pairs.csv", "pairs"
    for line in refused:
        print(f"left out: {line}")
    with index.open(newline="", encoding="utf-8") as file:
        splits = [row["split"] for row in csv.DictReader(file)]
    print(f"{index}: {splits.count('train')} {what} to train on, {splits.count('val')} for validation")
    return 0


if __name__ == "__main__":
    entry.run(main, "mdenoise prepare", "train")
