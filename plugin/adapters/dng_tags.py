"""What a DNG made from a source carries over: colour, crop, opcodes, Exif, GPS, XMP; levels and noise as numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mdenoise.adapters import dng_tiff as tiff
from mdenoise.adapters.dng_tiff import Field
from mdenoise.errors import InputError

# Tag numbers: TIFF 6.0, TIFF/EP, Exif 2.32, DNG 1.7.1.
MAKE, MODEL, ORIENTATION, SUB_IFDS, XMP, EXIF_IFD, GPS_IFD, INTEROP_IFD = 271, 272, 274, 330, 700, 34665, 34853, 40965
MAKER_NOTE, MAKER_NOTE_SAFETY = 37500, 50741
CFA_DIM, CFA_PATTERN, CFA_PLANE_COLOR, CFA_LAYOUT = 33421, 33422, 50710, 50711
DNG_VERSION, DNG_BACKWARD, UNIQUE_MODEL = 50706, 50707, 50708
BLACK_DIM, BLACK, BLACK_DELTA_H, BLACK_DELTA_V, WHITE = 50713, 50714, 50715, 50716, 50717
COLOR_MATRICES, ILLUMINANTS, D65 = (50721, 50722), (50778, 50779), 21
NEUTRAL, WHITE_XY, BASELINE_EXPOSURE = 50728, 50729, 50730
CROP_ORIGIN, CROP_SIZE, ACTIVE_AREA, MASKED_AREAS = 50719, 50720, 50829, 50830
REDUCTION_APPLIED, OPCODES_1, OPCODES_2, OPCODES_3, NOISE_PROFILE = 50935, 51008, 51009, 51022, 51041
CFA, LINEAR_RAW = 32803, 34892

# How pixels are laid out, digests and previews of the old ones, and offsets into the old file.
_LAYOUT = {*range(254, 260), 262, 263, 266, 273, *range(277, 282), 284, 317, 320, *range(322, 326), 338, 339, 347,
           400, *range(512, 522), *range(529, 533), 50712, *range(50966, 50976), 51111, 51112, 51114, 52547, 52550,
           52553, 52554, 52555}  # fmt: skip
_ORIGINAL_RAW, _EXTRA_PROFILES, _RAW_ID = 50828, 50933, 50781
_DROPPED = _LAYOUT | {SUB_IFDS, EXIF_IFD, GPS_IFD, DNG_VERSION, DNG_BACKWARD, _ORIGINAL_RAW, _EXTRA_PROFILES, _RAW_ID}
_HEAVY = {_ORIGINAL_RAW}  # never needed, and as large as a file
# What belongs to the raw picture where a source has one directory for everything.
RAW_TAGS = {CFA_DIM, CFA_PATTERN, CFA_PLANE_COLOR, CFA_LAYOUT, BLACK_DIM, BLACK, BLACK_DELTA_H, BLACK_DELTA_V, WHITE,
            50718, CROP_ORIGIN, CROP_SIZE, 50733, 50737, 50738, 50780, ACTIVE_AREA, MASKED_AREAS, REDUCTION_APPLIED,
            OPCODES_1, OPCODES_2, OPCODES_3, NOISE_PROFILE, 51125, 52525}  # fmt: skip
_LONGEST_PERIOD = 64  # px, of black levels
# Of other TIFF-like raw files (NEF, ARW, CR2, PEF) only what means the same everywhere.
_PLAIN = {270, MAKE, MODEL, ORIENTATION, 282, 283, 296, 305, 306, 315, XMP, 33432, 33723}
_SELF_CONTAINED = (b"Apple iOS\0",)  # maker notes whose offsets count from their own start


@dataclass(frozen=True)
class Levels:
    """Black and white of stored samples; (sample - black) / (white - black) is linear light in 0..1.

    black    (rows, cols, samples) float64, repeated over the active area from its top left.
    white    (samples,) float64.
    delta_h  (active width,), delta_v (active height,): added to black per column and per row; empty = 0.
    """

    black: np.ndarray
    white: np.ndarray
    delta_h: np.ndarray = field(default_factory=lambda: np.zeros(0))
    delta_v: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def scaled(self, factor: float) -> Levels:
        """The levels of samples that were multiplied by `factor`."""
        return Levels(*(factor * part for part in (self.black, self.white, self.delta_h, self.delta_v)))

    def black_plane(self, height: int, width: int) -> np.ndarray:
        """Black of every sample of the active area, (height, width, samples) float32."""
        rows, cols, samples = self.black.shape
        plane = np.empty((height, width, samples), np.float32)
        for y in range(rows):
            for x in range(cols):
                plane[y::rows, x::cols] = self.black[y, x]
        if self.delta_h.size:
            plane += self.delta_h.astype(np.float32)[None, :, None]
        if self.delta_v.size:
            plane += self.delta_v.astype(np.float32)[:, None, None]
        return plane


@dataclass(frozen=True)
class DngTags:
    """What `source_tags` found; all of it is written to a DNG again but for what the new pixels contradict.

    main, raw, exif, gps  fields by tag number: of the file, of the raw picture, and of the two metadata directories.
    kind   "cfa" or "linear" raw pictures of a DNG, "" for other files.
    size   (height, width) of the stored raw picture, masked borders included; None unless a DNG.
    bits   of a stored sample.
    maker_notes  there are some that only exiftool can carry over.
    lost   what cannot be carried over, in words.
    """

    path: Path
    main: dict[int, Field]
    raw: dict[int, Field]
    exif: dict[int, Field | dict[int, Field]]
    gps: dict[int, Field]
    version: tuple[int, ...] = (1, 4, 0, 0)
    kind: str = ""
    size: tuple[int, int] | None = None
    bits: int = 16
    maker_notes: bool = False
    lost: tuple[str, ...] = ()

    @property
    def active_area(self) -> tuple[int, int, int, int] | None:
        """(top, left, bottom, right) of the pixels that saw light; None unless a DNG."""
        if self.size is None:
            return None
        if ACTIVE_AREA not in self.raw:
            return 0, 0, *self.size
        top, left, bottom, right = (int(v) for v in self.raw[ACTIVE_AREA].values)
        return top, left, bottom, right

    @property
    def pattern(self) -> np.ndarray | None:
        """Colour (0 red, 1 green, 2 blue) of each sample of the mosaic's period, from the active area's top left."""
        if self.kind != "cfa" or CFA_PATTERN not in self.raw:
            return None
        rows, cols = (int(v) for v in self.raw[CFA_DIM].values) if CFA_DIM in self.raw else (2, 2)
        found = self.raw[CFA_PATTERN].values.reshape(rows, cols).astype(np.uint8)
        if not found.size or found.max() > 2:
            raise ValueError("its mosaic has other colours than red, green and blue")
        return found

    @cached_property
    def levels(self) -> Levels | None:
        """Black with its deltas, and white, as the DNG states them; None unless a DNG."""
        if not self.kind:
            return None
        samples = 3 if self.kind == "linear" else 1

        def numbers(tag: int, *default: float) -> np.ndarray:
            found = self.raw.get(tag)
            return np.array(default, np.float64) if found is None else found.values.astype(np.float64)

        rows, cols = (int(v) for v in numbers(BLACK_DIM, 1, 1))
        if not 0 < rows * cols <= _LONGEST_PERIOD**2:
            raise ValueError(f"its black level repeats every {rows}x{cols}")
        black = numbers(BLACK, 0.0)
        if black.size == 1:
            black = np.repeat(black, rows * cols * samples)
        white = np.resize(numbers(WHITE, 2.0**self.bits - 1), samples)
        found = Levels(black.reshape(rows, cols, samples), white, numbers(BLACK_DELTA_H), numbers(BLACK_DELTA_V))
        if not all(np.isfinite(part).all() for part in (black, white, found.delta_h, found.delta_v)):
            raise ValueError("its black or white level is not a number")
        if any(np.abs(part).max(initial=0) > white.max() for part in (black, found.delta_h, found.delta_v)):
            raise ValueError("its black level is beyond its white level")
        return found

    @property
    def noise_profile(self) -> tuple[tuple[float, float], ...]:
        """(S, O) of variance = S x + O with x in 0..1: one pair, or one per colour (R, G, B); empty = not stated."""
        found = self.raw.get(NOISE_PROFILE)
        if found is None or found.type != tiff.DOUBLE or found.count < 2:
            return ()
        return tuple((float(s), float(o)) for s, o in found.values[: found.count // 2 * 2].reshape(-1, 2))

    @property
    def reduction_applied(self) -> float:
        """Share of noise reduction that the source says it had, 0..1; 0 where it says nothing."""
        found = self.raw.get(REDUCTION_APPLIED)
        value = float(found.values[0]) if found is not None and found.count else 0.0
        return min(max(value, 0.0), 1.0) if np.isfinite(value) else 0.0

    @cached_property
    def xyz_to_camera(self) -> np.ndarray | None:
        """The colour matrix for the light nearest to daylight, (3, 3); None where there is none."""
        stated = [self.main[tag].values for tag in COLOR_MATRICES if tag in self.main]
        found = [matrix for matrix in stated if matrix.size == 9 and np.isfinite(matrix).all()]
        lights = [int(self.main[tag].values[0]) for tag in ILLUMINANTS if tag in self.main]
        if not found:
            return None
        return found[lights.index(D65) if D65 in lights[: len(found)] else -1].reshape(3, 3).astype(np.float64)

    @cached_property
    def neutral(self) -> np.ndarray | None:
        """What the camera records of a neutral surface, (3,), its largest value 1; None where nothing says it."""
        if NEUTRAL in self.main:
            found = self.main[NEUTRAL].values.astype(np.float64)
        elif WHITE_XY in self.main and self.xyz_to_camera is not None:
            x, y = self.main[WHITE_XY].values
            found = self.xyz_to_camera @ np.array([x, y, 1 - x - y])
        else:
            return None
        good = found.shape == (3,) and np.isfinite(found).all() and (found > 0).all()
        return found / found.max() if good else None


def source_tags(path: Path) -> DngTags:
    """Read what a DNG made from the raw file `path` carries over. Raises InputError.

    Full for DNG; of other TIFF-like raw files Exif, GPS, XMP and plain fields; of the rest nothing, where
    exiftool does it in `dng.write_cfa` and `dng.write_linear`. Colour of files other than DNG: `with_camera`.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            source = tiff.open_tiff(stream)
            if source is None:
                return DngTags(path, {}, {}, {}, {}, maker_notes=True)
            return _tags(path, source)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"cannot read {path}: {error}") from None


def with_camera(
    tags: DngTags, *, make: str, model: str, xyz_to_camera: np.ndarray, neutral: np.ndarray, orientation: int = 1
) -> DngTags:
    """`tags` of a source other than DNG with the camera's name and colour, which every DNG must have.

    xyz_to_camera (3, 3) for D65, as `rawpy.RawPy.rgb_xyz_matrix[:3]`; neutral (3,): 1 / white balance gains.
    What the source states itself stays.
    """
    given = {
        MAKE: tiff.text(make), MODEL: tiff.text(model), UNIQUE_MODEL: tiff.text(f"{make} {model}".strip()),
        ORIENTATION: tiff.field(tiff.SHORT, orientation),
        COLOR_MATRICES[0]: tiff.field(tiff.SRATIONAL, *np.asarray(xyz_to_camera, np.float64).ravel()),
        ILLUMINANTS[0]: tiff.field(tiff.SHORT, D65),
        NEUTRAL: tiff.field(tiff.RATIONAL, *(np.asarray(neutral, np.float64) / np.max(neutral))),
    }  # fmt: skip
    return replace(tags, main=given | tags.main)


def _tags(path: Path, source: tiff.Source) -> DngTags:
    directories = list(tiff.read_directories(source, _HEAVY))
    first = directories[0] if directories else {}
    lost = []
    try:
        exif, maker_notes = _exif(source, first)
    except ValueError:
        exif, maker_notes = {}, False
        lost.append("Exif (damaged)")
    try:
        gps = tiff.read_directory(source, int(first[GPS_IFD].values[0]))[0] if GPS_IFD in first else {}
    except ValueError:
        gps = {}
        lost.append("GPS (damaged)")
    if DNG_VERSION not in first:
        main = {tag: value for tag, value in first.items() if tag in _PLAIN}
        return DngTags(path, main, {}, exif, gps, maker_notes=maker_notes, lost=tuple(lost))
    raws = [one for one in directories if 262 in one and int(one[262].values[0]) in (CFA, LINEAR_RAW)]
    raw = next((one for one in raws if int(one[254].values[0] if 254 in one else 0) == 0), raws[0] if raws else None)
    if raw is None:
        raise ValueError("a DNG without a raw picture")
    if any(254 in one and int(one[254].values[0]) & 12 for one in directories):
        lost.append("masks and depth maps")
    if _EXTRA_PROFILES in first:
        lost.append("extra camera profiles")
    kept = {tag: value for tag, value in raw.items() if tag not in _DROPPED}
    main = {tag: value for tag, value in first.items() if tag not in _DROPPED}
    if raw is first:
        kept = {tag: value for tag, value in kept.items() if tag in RAW_TAGS}
    else:  # some writers state these for the whole file
        kept = {tag: main[tag] for tag in (NOISE_PROFILE, REDUCTION_APPLIED) if tag in main} | kept
    moved = RAW_TAGS if raw is first else {NOISE_PROFILE, REDUCTION_APPLIED}
    main = {tag: value for tag, value in main.items() if tag not in moved}
    try:
        size = int(raw[257].values[0]), int(raw[256].values[0])
        bits = int(raw[258].values[0]) if 258 in raw else 1
        version = tuple(int(v) for v in first[DNG_VERSION].values[:4])
        kind = "cfa" if int(raw[262].values[0]) == CFA else "linear"
        found = DngTags(path, main, kept, exif, gps, version, kind, size, bits, maker_notes, tuple(lost))
        _ = (
            found.levels,
            found.pattern,
            found.active_area,
            found.neutral,
            found.noise_profile,
        )  # read early: all or none
    except (KeyError, IndexError, ValueError, OverflowError) as error:
        raise ValueError(f"its raw picture is described wrongly ({error})") from None
    return found


def _exif(source: tiff.Source, first: dict[int, Field]) -> tuple[dict[int, Field | dict[int, Field]], bool]:
    """The Exif directory with its Interoperability one, and whether maker notes stay behind."""
    if EXIF_IFD not in first:
        return {}, False
    exif: dict[int, Field | dict[int, Field]] = {}
    exif.update(tiff.read_directory(source, int(first[EXIF_IFD].values[0]))[0])
    inner = exif.pop(INTEROP_IFD, None)
    if isinstance(inner, Field) and inner.count:
        exif[INTEROP_IFD] = tiff.read_directory(source, int(inner.values[0]))[0]
    note = exif.get(MAKER_NOTE)
    if not isinstance(note, Field):
        return exif, False
    safe = MAKER_NOTE_SAFETY in first and int(first[MAKER_NOTE_SAFETY].values[0]) == 1
    if safe or note.data.startswith(_SELF_CONTAINED):
        return exif, False
    del exif[MAKER_NOTE]
    return exif, True
