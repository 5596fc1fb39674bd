"""Small good files of every kind that is read: what mutations start from, and the controls among them."""

from __future__ import annotations

import io
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import OpenEXR

from .. import exr_files, phone_dng

EXR_COMPRESSIONS = ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")


def make(kind: str) -> dict[str, bytes]:
    """Name -> content of the good files of one kind, "exr", "raw" or "srgb"; the extension is the name's."""
    with tempfile.TemporaryDirectory() as folder:
        return {"exr": _exr, "raw": _raw, "srgb": _srgb}[kind](Path(folder))


def _exr(folder: Path) -> dict[str, bytes]:
    data = exr_files.scene(20, 24)
    plain = exr_files.rgb(data["beauty"], kind="f2") | exr_files.rgb(data["albedo"], "albedo", kind="f4")
    plain |= exr_files.rgb(data["normal"], "normal", "XYZ", kind="f2") | {"id": data["id"]}
    for name in EXR_COMPRESSIONS:
        method = getattr(OpenEXR, f"{name}_COMPRESSION")
        exr_files.write_exr(folder / f"{name.lower()}.exr", plain, compression=method)
        if name in ("NO", "ZIP", "PIZ", "DWAA"):
            exr_files.write_exr(folder / f"{name.lower()}-tiles.exr", plain, compression=method, tiles=(16, 8))
    exr_files.write_exr(folder / "window.exr", plain, dataWindow=(-5, 7, 18, 26), displayWindow=(0, 0, 99, 49))
    for name in ("cycles-5", "arnold", "mitsuba"):  # many parts; many layers and Cryptomatte; many types
        exr_files.write_case(exr_files.CASES[name], folder / f"{name}.exr", data=data)
    return _contents(folder)


def _raw(folder: Path) -> dict[str, bytes]:
    for pattern in phone_dng.PATTERNS:
        phone_dng.write(folder / f"{pattern.lower()}.dng", height=48, width=64, pattern=pattern)
    phone_dng.write(folder / "flat.dng", height=48, width=64, sub_ifd=False, deltas=True, gain_map=True, profile=False)
    phone_dng.write(folder / "linear.dng", height=48, width=64, linear=True)
    return _contents(folder)


def _srgb(folder: Path) -> dict[str, bytes]:
    import tifffile
    from PIL import Image

    rng = np.random.default_rng(5)
    ramp = np.linspace(30, 200, 40)[None, :, None] * np.ones((32, 1, 3))
    eight = (ramp + rng.normal(0, 12, ramp.shape)).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(eight)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    for name, more in {"a.png": {}, "a.jpg": {"exif": exif, "quality": 90}, "progressive.jpg": {"progressive": True},
                       "a.webp": {"exif": exif}, "lossless.webp": {"lossless": True}, "a.tif": {},
                       "lzw.tif": {"compression": "tiff_lzw"}}.items():  # fmt: skip
        picture.save(folder / name, **more)
    with suppress(OSError, KeyError):  # a Pillow without libavif
        picture.save(folder / "a.avif", exif=exif)
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.from_pillow(picture).save(folder / "a.heic", exif=exif.tobytes())
    picture.convert("L").save(folder / "grey.png")
    picture.convert("P").save(folder / "palette.png")
    picture.convert("RGBA").save(folder / "alpha.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    tifffile.imwrite(folder / "deep.tif", eight.astype(np.uint16) * 257, photometric="rgb", compression="zlib")
    tifffile.imwrite(folder / "float.tif", (eight / 255).astype(np.float32), photometric="rgb", tile=(16, 16))
    (folder / "deep.png").write_bytes(_deep_png(eight.astype(np.uint16) * 257))
    return _contents(folder)


def _deep_png(pixels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write."""
    import zlib

    from .mutations import png_chunk

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = b"".join(n.to_bytes(4, "big") for n in (width, height)) + bytes([16, 2, 0, 0, 0])
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(0, io.SEEK_END)
    file.write(png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b""))
    return file.getvalue()


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
