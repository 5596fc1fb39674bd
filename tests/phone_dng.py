"""Synthetic phone DNGs with known truth: no public one with pixels and a NoiseProfile is at hand.

Laid out as Android's DngCreator does (one directory for all, or a preview with the raw picture below it), noise drawn
by the NoiseProfile that the file states. As a command: python tests/phone_dng.py OUT.dng [HEIGHT WIDTH].
"""

from __future__ import annotations

import io
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mdenoise.adapters import dng_tiff as tiff
from mdenoise.adapters.dng_tags import Levels

PATTERNS = {name: np.array(["RGB".index(c) for c in name]).reshape(2, 2) for name in ("RGGB", "BGGR", "GRBG", "GBRG")}
NEUTRAL = (0.5, 1.0, 0.625)
# A phone sensor's XYZ to camera under A and D65.
MATRIX_A = (1.2, -0.52, -0.18, -0.45, 1.5, 0.05, -0.05, 0.2, 0.6)
MATRIX_D65 = (0.95, -0.38, -0.11, -0.42, 1.25, 0.17, -0.08, 0.26, 0.55)
FORWARD = (0.6, 0.25, 0.11, 0.25, 0.75, 0.0, 0.02, 0.03, 0.78)
XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""
APPLE_NOTE = b"Apple iOS\0\0\x01MM\0\x01\0\x01\0\x09\0\0\0\x01\0\0\0\x2a\0\0\0\0"


@dataclass(frozen=True)
class Phone:
    """What was written: `clean` is the light of each photosite (black 0, white 1) without noise, (H, W) float32."""

    path: Path
    clean: np.ndarray
    samples: np.ndarray
    pattern: np.ndarray
    levels: Levels
    shot: tuple[float, ...]
    read: tuple[float, ...]
    active_area: tuple[int, int, int, int]


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) float32 in 0..1: slopes, discs with sharp edges, texture, a clipped light, in sRGB's primaries."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:height, :width] / max(height, width)).astype(np.float32)
    picture = np.stack([0.05 + 0.4 * x, 0.08 + 0.3 * y, 0.35 - 0.25 * x * y], axis=2)
    for _ in range(12):
        place, radius = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.18)
        picture[np.hypot(y - place[0] * height / max(height, width), x - place[1]) < radius] = rng.uniform(0.02, 0.8, 3)
    picture *= (1 + 0.15 * np.sin(90 * x) * np.cos(70 * y))[..., None]
    picture[np.hypot(y - 0.1, x - 0.1) < 0.04] = 1.5
    return picture.astype(np.float32)


def write(
    path: Path,
    *,
    height: int = 96,
    width: int = 128,
    pattern: str = "RGGB",
    bits: int = 10,
    shot: float = 2e-3,
    read: float = 1e-5,
    seed: int = 0,
    picture: np.ndarray | None = None,
    profile: bool = True,
    deltas: bool = False,
    margin: tuple[int, int] = (0, 0),
    gain_map: bool = False,
    bad_pixels: tuple[tuple[int, int], ...] = (),
    orientation: int = 6,
    sub_ifd: bool = True,
    maker_note: bytes = APPLE_NOTE,
    linear: bool = False,
) -> Phone:
    """Write a phone DNG of `picture` (H, W, 3) linear RGB in 0..1, or of `scene`.

    Stored in `bits`, black at 1/16 of white; at 0 if linear.

    Photon noise of variance shot * x + read, per colour in the ratio 0.9 : 1 : 1.1; profile=False leaves the tag out.
    margin      (rows above, columns left) of masked photosites beside the active area.
    deltas      black levels differ by column and by row.
    gain_map    OpcodeList2 with one lens-shading map for each photosite of the period; bad_pixels in OpcodeList1.
    sub_ifd     False: one directory for everything, no preview. With it the preview is bright and steep, as a phone's.
    linear      three samples a pixel (LinearRaw) in place of a mosaic; no margin, deltas or opcodes then.
    """
    rng = np.random.default_rng(seed)
    light = scene(height, width, seed) if picture is None else picture
    height, width = light.shape[:2]
    light = (light * np.float32(NEUTRAL)).astype(np.float32)
    colors = PATTERNS[pattern]
    shots, reads = (tuple(value * share for share in (0.9, 1.0, 1.1)) for value in (shot, read))
    white, black = 2**bits - 1, 0 if linear else 2**bits // 16
    top, left = margin
    if linear:
        clean, which = light, np.arange(3)
    else:
        which = np.tile(colors, (height // 2 + 1, width // 2 + 1))[:height, :width]
        clean = np.take_along_axis(light, which[..., None], axis=2)[..., 0]
    rng_h, rng_v = rng.integers(-6, 7, width) / 4, rng.integers(-6, 7, height) / 4
    levels = Levels(
        np.array([[[black] * 3]] if linear else [[[black], [black + 1]], [[black + 2], [black - 1]]], np.float64),
        np.full(3 if linear else 1, float(white)),
        *((rng_h, rng_v) if deltas else ()),
    )
    base = levels.black_plane(height, width)
    base = base if linear else base[..., 0]
    noisy = rng.normal(0, 1, clean.shape).astype(np.float32)
    noisy *= np.sqrt(np.float32(shots)[which] * clean + np.float32(reads)[which])
    noisy += clean
    stored = np.rint(base + noisy * (white - base)).clip(0, white).astype(np.uint16)
    samples = np.empty((height + top, width + left, *stored.shape[2:]), np.uint16)
    if top or left:  # masked photosites, which LibRaw takes for the true black
        rows, columns = np.arange(-top, height) % 2, np.arange(-left, width) % 2
        samples[:] = levels.black[rows[:, None], columns, 0] + rng.integers(-1, 2, samples.shape)
    samples[top:, left:] = stored
    area = (top, left, height + top, width + left)
    raw = _raw_fields(samples, colors, levels, area, deltas, linear)
    if profile:
        raw[51041] = tiff.field(tiff.DOUBLE, *np.ravel(list(zip(shots, reads, strict=True))))
    if gain_map:
        raw[51009] = tiff.Field(tiff.UNDEFINED, shading(height, width))
    if bad_pixels:
        raw[51008] = tiff.Field(tiff.UNDEFINED, _bad_list(bad_pixels))
    main = _main_fields(orientation, maker_note)
    if sub_ifd:
        main |= _preview_fields(light / np.float32(NEUTRAL)) | {330: raw}
    else:
        main |= raw
    with Path(path).open("wb+") as stream:
        tiff.write(stream, main)
    return Phone(Path(path), clean, samples, colors, levels, shots, reads, area)


def shading(height: int, width: int, strength: float = 0.8) -> bytes:
    """OpcodeList2 of four GainMaps as phones write them: 1 in the middle, 1 + strength in the corners."""
    down, across = 13, 17
    y, x = np.meshgrid(np.linspace(-1, 1, down), np.linspace(-1, 1, across), indexing="ij")
    codes = b""
    for phase in range(4):
        gains = 1 + (strength + 0.05 * phase) * (x**2 + y**2) / 2
        body = struct.pack(">10I", phase // 2, phase % 2, height, width, 0, 1, 2, 2, down, across)
        body += struct.pack(">4dI", 1 / (down - 1), 1 / (across - 1), 0, 0, 1) + gains.astype(">f4").tobytes()
        codes += struct.pack(">4I", 9, 0x01030000, 0, len(body)) + body
    return struct.pack(">I", 4) + codes


def _bad_list(points: tuple[tuple[int, int], ...]) -> bytes:
    body = struct.pack(">3I", 0, len(points), 0) + np.array(points, ">u4").tobytes()
    return struct.pack(">I", 1) + struct.pack(">4I", 5, 0x01030000, 0, len(body)) + body


def _raw_fields(samples, colors, levels, area, deltas, linear):
    height, width = samples.shape[:2]
    rows, cols, count = levels.black.shape
    pixels = tiff.Strips(memoryview(samples.astype("<u2")).cast("B"), samples.nbytes)
    fields = {
        254: tiff.field(tiff.LONG, 0), 256: tiff.field(tiff.LONG, width), 257: tiff.field(tiff.LONG, height),
        258: tiff.field(tiff.SHORT, *[16] * count), 259: tiff.field(tiff.SHORT, 1), 273: pixels,
        277: tiff.field(tiff.SHORT, count), 278: tiff.field(tiff.LONG, height),
        279: tiff.field(tiff.LONG, samples.nbytes), 284: tiff.field(tiff.SHORT, 1),
        50713: tiff.field(tiff.SHORT, rows, cols), 50714: tiff.field(tiff.SHORT, *levels.black.ravel()),
        50717: tiff.field(tiff.SHORT, *levels.white), 50829: tiff.field(tiff.LONG, *area),
        50719: tiff.field(tiff.LONG, 0, 0), 50720: tiff.field(tiff.LONG, area[3] - area[1], area[2] - area[0]),
    }  # fmt: skip
    if linear:
        return fields | {262: tiff.field(tiff.SHORT, 34892)}
    if deltas:
        fields[50715] = tiff.field(tiff.SRATIONAL, *levels.delta_h)
        fields[50716] = tiff.field(tiff.SRATIONAL, *levels.delta_v)
    if area[0] and area[1]:
        fields[50830] = tiff.field(tiff.LONG, 0, 0, area[0], width, area[0], 0, height, area[1])
    return fields | {
        262: tiff.field(tiff.SHORT, 32803), 33421: tiff.field(tiff.SHORT, 2, 2),
        33422: tiff.field(tiff.BYTE, *colors.ravel()), 50710: tiff.field(tiff.BYTE, 0, 1, 2),
        50711: tiff.field(tiff.SHORT, 1),
    }  # fmt: skip


def _main_fields(orientation, maker_note):
    exif = {
        33434: tiff.field(tiff.RATIONAL, 1 / 125), 33437: tiff.field(tiff.RATIONAL, 1.8),
        34855: tiff.field(tiff.SHORT, 800), 36864: tiff.Field(tiff.UNDEFINED, b"0232"),
        36867: tiff.text("2026:03:01 18:30:00"), 36868: tiff.text("2026:03:01 18:30:00"),
        37386: tiff.field(tiff.RATIONAL, 4.25), 42036: tiff.text("Phone back camera 4.25mm f/1.8"),
        40965: {1: tiff.text("R98"), 2: tiff.Field(tiff.UNDEFINED, b"0100")},
    }  # fmt: skip
    if maker_note:
        exif[37500] = tiff.Field(tiff.UNDEFINED, maker_note)
    gps = {
        0: tiff.field(tiff.BYTE, 2, 3, 0, 0), 1: tiff.text("N"), 2: tiff.field(tiff.RATIONAL, 50, 5, 15.5),
        3: tiff.text("E"), 4: tiff.field(tiff.RATIONAL, 14, 25, 30.25), 5: tiff.field(tiff.BYTE, 0),
        6: tiff.field(tiff.RATIONAL, 235.5),
    }  # fmt: skip
    return {
        271: tiff.text("Maker"), 272: tiff.text("Phone 1"), 274: tiff.field(tiff.SHORT, orientation),
        282: tiff.field(tiff.RATIONAL, 72), 283: tiff.field(tiff.RATIONAL, 72), 296: tiff.field(tiff.SHORT, 2),
        305: tiff.text("PhoneOS 1.0"), 306: tiff.text("2026:03:01 18:30:00"), 700: tiff.Field(tiff.BYTE, XMP),
        33432: tiff.text("A. Photographer"), 34665: exif, 34853: gps,
        50706: tiff.field(tiff.BYTE, 1, 4, 0, 0), 50707: tiff.field(tiff.BYTE, 1, 4, 0, 0),
        50708: tiff.text("Maker Phone 1"), 50721: tiff.field(tiff.SRATIONAL, *MATRIX_A),
        50722: tiff.field(tiff.SRATIONAL, *MATRIX_D65), 50727: tiff.field(tiff.RATIONAL, 1, 1, 1),
        50728: tiff.field(tiff.RATIONAL, *NEUTRAL), 50730: tiff.field(tiff.SRATIONAL, 0.25),
        50778: tiff.field(tiff.SHORT, 17), 50779: tiff.field(tiff.SHORT, 21),
        50964: tiff.field(tiff.SRATIONAL, *FORWARD), 50965: tiff.field(tiff.SRATIONAL, *FORWARD),
    }  # fmt: skip


def _preview_fields(picture):
    from PIL import Image

    step = max(1, max(picture.shape) // 640)
    toned = np.sin(np.pi / 2 * picture[::step, ::step].clip(0, 1) ** 0.4) ** 1.5
    height, width = toned.shape[:2]
    stream = io.BytesIO()
    Image.fromarray(np.rint(255 * toned).astype(np.uint8)).save(stream, "JPEG", quality=95, subsampling=2)
    jpeg = stream.getvalue()
    return {
        254: tiff.field(tiff.LONG, 1), 256: tiff.field(tiff.LONG, width), 257: tiff.field(tiff.LONG, height),
        258: tiff.field(tiff.SHORT, 8, 8, 8), 259: tiff.field(tiff.SHORT, 7), 262: tiff.field(tiff.SHORT, 6),
        273: tiff.Strips(jpeg, len(jpeg)), 277: tiff.field(tiff.SHORT, 3), 278: tiff.field(tiff.LONG, height),
        279: tiff.field(tiff.LONG, len(jpeg)), 284: tiff.field(tiff.SHORT, 1), 530: tiff.field(tiff.SHORT, 2, 2),
    }  # fmt: skip


if __name__ == "__main__":
    size = dict(zip(("height", "width"), map(int, sys.argv[2:4]), strict=False))
    write(Path(sys.argv[1]), **size)
