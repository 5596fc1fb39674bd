"""A picture as another format can hold it, and what it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mdenoise.adapters import srgb_items, srgb_jpeg, srgb_jpeg_parts, srgb_png, srgb_tiff, srgb_tiff_file, srgb_webp
from mdenoise.adapters.srgb_photo import Photo

_BITS = {"png": (8, 16), "jpeg": (8,), "tiff": (8, 16), "webp": (8,), "avif": (8, 10, 12), "heic": (8, 10, 12)}
_MODELS = {"jpeg": ("grey", "RGB", "CMYK"), "tiff": ("grey", "RGB", "CMYK")}
_COLOR_CHUNKS = {b"cICP", b"gAMA", b"cHRM", b"mDCV", b"cLLI"}
_TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
_IPTC = (33723, 34377)
_DESCRIBED = "its description of colours (it has no profile)"


def fit(photo: Photo, kind: str) -> tuple[Photo, tuple[str, ...]]:
    """`photo` as a file of `kind` holds it, and what is lost, for the user. Raises ValueError where that would be the
    picture itself."""
    name = kind.upper()
    if photo.model not in _MODELS.get(kind, ("grey", "RGB")):
        raise ValueError(f"{name} holds no {photo.model} colours: convert it to RGB first, or write TIFF or JPEG")
    floats = photo.color.dtype.kind == "f"
    if floats and kind != "tiff":
        raise ValueError(f"{name} holds no linear float values, and a tone curve would be a guess: write TIFF")
    notes = [f"not carried over to {name}: {', '.join(lost)}"] if (lost := losses(photo)) else []
    if photo.kind == "tiff":
        photo = replace(photo, exif=srgb_tiff.exif_of(photo.data))
    if not floats:
        bits = next((one for one in _BITS[kind] if one >= photo.bits), _BITS[kind][-1])
        if bits < photo.bits:
            notes.append(f"{photo.bits} bits a channel become {bits}: {name} holds no more")
        photo = _scaled(photo, bits)
    if kind == "jpeg":
        if photo.alpha is not None:
            photo = replace(photo, alpha=None)
            notes.append("its alpha is left out: JPEG holds none")
        for what, key in (("exif", srgb_jpeg.EXIF), ("xmp", srgb_jpeg.XMP)):
            value = getattr(photo, what)
            if value and not srgb_jpeg.fits(key, value):
                photo = replace(photo, **{what: None})
                notes.append(f"its {what.upper() if what == 'xmp' else 'Exif'} is left out: too large for JPEG")
                if what == "exif" and (turn := srgb_tiff_file.orientation(value)) != 1:
                    photo = replace(photo, exif=srgb_tiff_file.turned(None, turn))
    return photo, tuple(notes)


def losses(photo: Photo) -> list[str]:
    """What of the source no other format takes."""
    if photo.kind == "png":
        kinds = {kind for kind, payload in srgb_png.chunks(photo.data) if not payload.startswith(b"XML:com.adobe.xmp")}
        lost = ["text"] * bool(kinds & _TEXT_CHUNKS)
        return lost + [_DESCRIBED] * bool(kinds & _COLOR_CHUNKS and not photo.icc)
    if photo.kind == "jpeg":
        found, end = srgb_jpeg_parts.segments(photo.data)
        extra = photo.layout[1]
        lost = ["its gain map"] * extra.gain_map + ["a comment"] * any(one.marker == 0xFE for one in found)
        lost += ["IPTC"] * any(one.marker == 0xED for one in found)
        lost += ["extended XMP"] * any(one.payload.startswith(b"http://ns.adobe.com/xmp/ext") for one in found)
        return lost + ["what its maker put after the picture"] * (len(photo.data) > end + 16 and not extra.gain_map)
    if photo.kind == "tiff":
        tags = srgb_tiff_file.first_directory(photo.data).entries
        lost = ["IPTC"] * any(tag in tags for tag in _IPTC)
        channels = (1 if photo.color.ndim == 2 else photo.color.shape[2]) + (photo.alpha is not None)
        return lost + ["further channels"] * (photo.layout.pixels.shape[2] > channels)
    if photo.kind == "webp":
        known = (b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L", b"EXIF", b"XMP ", srgb_webp.STAMP)
        return ["unknown chunks"] * any(kind not in known for kind, _ in srgb_webp.chunks(photo.data))
    found = photo.layout[0]
    nclx = any(
        name == b"colr" and payload[:4] == b"nclx" and payload[4:8] not in (b"\0\2\0\2", b"\0\1\0\x0d")
        for name, payload in found.of(found.primary)
    )
    lost = ["its gain map"] * bool(srgb_items.gain_maps(found))
    return lost + [_DESCRIBED] * (nclx and not photo.icc)


def _scaled(photo: Photo, bits: int) -> Photo:
    white = float(2**bits - 1)
    kind = np.uint8 if bits == 8 else np.uint16
    if white == photo.white and kind == photo.color.dtype:
        return photo

    def scale(plane: np.ndarray | None) -> np.ndarray | None:
        return None if plane is None else np.rint(plane * np.float64(white / photo.white)).astype(kind)

    return replace(photo, color=scale(photo.color), alpha=scale(photo.alpha), white=white)
