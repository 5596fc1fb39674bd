"""A denoised raw file as a picture for the eye: demosaiced, white balanced, in sRGB; neither toned nor sharpened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mdenoise import atomic
from mdenoise.adapters import dng_linear, dng_preview, dng_tags
from mdenoise.adapters import dng_tiff as tiff
from mdenoise.adapters.raw_file import RawFile
from mdenoise.errors import EngineError, InputError, OutputError

_KINDS = {".tif": "tiff", ".tiff": "tiff", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".exr": "exr"}
_BAND_ROWS = 256
# What Exif says of a picture outside its own directory: who, with what, when, and which side is up.
_EXIF_MAIN = (270, dng_tags.MAKE, dng_tags.MODEL, dng_tags.ORIENTATION, 305, 306, 315, 33432)


def linear_rgb(raw: RawFile) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """(h, w, 3) uint16 camera RGB, how a mosaic became it ("" where it was none), and what was lost, in words."""
    if raw.pattern is None:
        return raw.samples, "", ()
    return dng_linear.demosaic(raw.samples, raw.pattern, raw.levels, raw.tags, raw.area)


def write(raw: RawFile, stamp: Mapping[str, str], dst: Path, *, overwrite: bool) -> tuple[str, ...]:
    """Write a raw file as 16 bit TIFF or PNG, JPEG (quality 95), or EXR (half, linear), by the extension of `dst`.

    Returns what is not carried over. Raises OutputError.
    """
    dst = Path(dst)
    kind = _KINDS.get(dst.suffix.lower())
    if kind is None:
        raise OutputError(f"cannot write {dst}: raw files become .dng, .tif, .png, .jpg or .exr")
    rgb, _, lost = linear_rgb(raw)
    rgb = _cropped(rgb, raw.tags)
    if kind == "exr":
        _write_exr(_turned(_linear(rgb, raw), raw), stamp, dst, overwrite)
        return (*lost, "Exif and XMP")
    from mdenoise.adapters import srgb_jpeg, srgb_photo, srgb_png, srgb_tiff

    white, type_ = (255, np.uint8) if kind == "jpeg" else (65535, np.uint16)
    color = np.empty(rgb.shape, type_)
    for y in range(0, rgb.shape[0], _BAND_ROWS):
        band = dng_preview.encoded(dng_preview.developed(_unit(rgb[y : y + _BAND_ROWS]), raw.tags))
        color[y : y + _BAND_ROWS] = np.rint(band * white)
    xmp = raw.tags.main[dng_tags.XMP].data if dng_tags.XMP in raw.tags.main else None
    photo = srgb_photo.Photo(raw.path, kind, b"", color, float(white), exif=_exif(raw.tags), xmp=xmp)
    make = {"tiff": srgb_tiff.make, "png": srgb_png.make, "jpeg": srgb_jpeg.make}[kind]
    try:
        data = make(photo, srgb_photo.stamp_text(stamp))
    except InputError as error:  # a library is missing
        raise EngineError(str(error)) from None
    atomic.publish(dst, lambda temp: temp.write_bytes(data) and None, overwrite=overwrite)
    return lost


def _unit(rgb: np.ndarray) -> np.ndarray:
    return rgb * np.float32(1 / 65535)


def _linear(rgb: np.ndarray, raw: RawFile) -> np.ndarray:
    out = np.empty(rgb.shape, np.float16)
    for y in range(0, rgb.shape[0], _BAND_ROWS):
        out[y : y + _BAND_ROWS] = dng_preview.developed(_unit(rgb[y : y + _BAND_ROWS]), raw.tags)
    return out


def _cropped(rgb: np.ndarray, tags: dng_tags.DngTags) -> np.ndarray:
    """The part that the file says is to be shown: DefaultCropOrigin and DefaultCropSize, column first."""
    if not {dng_tags.CROP_ORIGIN, dng_tags.CROP_SIZE} <= tags.raw.keys():
        return rgb
    x, y = (round(float(value)) for value in tags.raw[dng_tags.CROP_ORIGIN].values)
    width, height = (round(float(value)) for value in tags.raw[dng_tags.CROP_SIZE].values)
    inside = 0 <= x < x + width <= rgb.shape[1] and 0 <= y < y + height <= rgb.shape[0]
    return rgb[y : y + height, x : x + width] if inside else rgb


def _turned(picture: np.ndarray, raw: RawFile) -> np.ndarray:
    """Upright, for a format that knows no orientation (Exif 2.32, tag 274)."""
    found = raw.tags.main.get(dng_tags.ORIENTATION)
    turn = int(found.values[0]) if found is not None and found.count else 1
    if turn in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        picture = picture[::-1]
    return picture[:, ::-1] if turn in (2, 3, 6, 7) else picture


def _exif(tags: dng_tags.DngTags) -> bytes:
    """The Exif of the source as a TIFF structure of its own."""
    import io

    fields: dict = {number: tags.main[number] for number in _EXIF_MAIN if number in tags.main}
    if tags.exif:
        fields[dng_tags.EXIF_IFD] = tags.exif
    if tags.gps:
        fields[dng_tags.GPS_IFD] = tags.gps
    stream = io.BytesIO()
    tiff.write(stream, fields)
    return stream.getvalue()


def _write_exr(picture: np.ndarray, stamp: Mapping[str, str], dst: Path, overwrite: bool) -> None:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    header |= {f"mdenoise:{name}": value for name, value in stamp.items()}
    channels = {name: np.ascontiguousarray(picture[..., i]) for i, name in enumerate("RGB")}

    def fill(temp: Path) -> None:
        with OpenEXR.File(header, channels) as file:
            file.write(str(temp))

    atomic.publish(dst, fill, overwrite=overwrite)
