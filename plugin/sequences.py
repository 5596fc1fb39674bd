"""Names of frames: patterns such as `shot.####.exr`, frame numbers, and the `.denoised` suffix.

Ranges and patterns are read by fileseq, imported only when a pattern or range is at hand. Files are matched
here: fileseq globs, and a glob misreads folders and files whose names hold brackets or stars.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mdenoise.errors import InputError, UsageError

SUFFIX = ".denoised"

_TOKEN = re.compile(r"#+|@+|%0?\d*d|\$F\d*")
# Renderers write `shot_0101.exr`, cameras `IMG_0101.dng`: only in the first is the number surely a frame.
_DOT_FRAME = re.compile(r"(?P<stem>.*?)(?P<sep>\.)(?P<digits>-?[0-9]+)", re.DOTALL)
_EXR_FRAME = re.compile(r"(?P<stem>.*?)(?P<sep>[._-])(?P<digits>(?<=\.)-?[0-9]+|[0-9]{4,})", re.DOTALL)
_LAST_DIGITS = re.compile(r"(?P<digits>(?<=\.)-[0-9]+|[0-9]+)\Z")
_EXR = frozenset({".exr", ".cxr", ".sxr"})


@dataclass(frozen=True)
class Pattern:
    """A pattern taken apart: `folder/base` + the frame in at least `width` characters + `extension`."""

    folder: Path
    base: str
    width: int
    extension: str
    frames: tuple[int, ...] | None = None

    def at(self, frame: int) -> Path:
        """The file of one frame; a minus sign counts to the width, as in fileseq and printf."""
        return self.folder / f"{self.base}{frame:0{self.width}d}{self.extension}"

    def frame_of(self, name: str) -> int | None:
        """The frame number when `name` is a file of this sequence, padded as the pattern says."""
        digits = self._digits(name)
        return int(digits) if digits is not None and f"{int(digits):0{self.width}d}" == digits else None

    def _digits(self, name: str) -> str | None:
        if not (name.startswith(self.base) and name.endswith(self.extension)):
            return None
        digits = name[len(self.base) : len(name) - len(self.extension)]
        return digits if re.fullmatch(r"-?[0-9]+", digits) else None


def is_pattern(name: str) -> bool:
    """True when a file name holds a frame placeholder: `#`, `@`, `%04d` or `$F4`."""
    return _TOKEN.search(name) is not None


def parse(pattern: str | Path) -> Pattern:
    """Read a pattern. One `#` is four digits (as in oiiotool), several are as many digits as signs.

    Raises UsageError when it is not one, or holds more than one placeholder.
    """
    import fileseq

    path = Path(pattern)
    style = fileseq.PAD_STYLE_HASH1 if "##" in path.name else fileseq.PAD_STYLE_HASH4
    try:
        parsed = fileseq.FileSequence(path.name, pad_style=style)
        frame_set = parsed.frameSet()
    except (fileseq.FileSeqException, ValueError) as error:
        raise UsageError(f"cannot read pattern {path}: {_first_line(error)}") from None
    if not parsed.padding() or not _TOKEN.fullmatch(parsed.padding()) or is_pattern(parsed.extension()):
        raise UsageError(f"cannot read pattern {path}: use one placeholder, such as #### or %04d, in the file name")
    named = None if frame_set is None else _whole_numbers(frame_set, str(path))
    return Pattern(path.parent, parsed.basename(), parsed.zfill(), parsed.extension(), named)


def frame_range(text: str) -> tuple[int, ...]:
    """Frames of `1-100x2,120`, in the order given and each once. Raises UsageError when it cannot be read."""
    import fileseq

    try:
        frames = fileseq.FrameSet(text)
    except (fileseq.FileSeqException, ValueError) as error:
        raise UsageError(f"cannot read frames {text!r}: {_first_line(error)}. Write them like 1-100x2,120") from None
    if not len(frames):
        raise UsageError("cannot read frames '': write them like 1-100x2,120")
    return _whole_numbers(frames, text)


def expand(pattern: str | Path, frames: tuple[int, ...] | None = None) -> tuple[tuple[int, Path], ...]:
    """(frame, file) of a sequence, by frame. `frames`, or else the pattern's own range, names files that need not
    exist; a pattern without either means what lies on the disk. Raises InputError when that is nothing."""
    parsed = parse(pattern)
    wanted = frames if frames is not None else parsed.frames
    if wanted is not None:
        return tuple((frame, parsed.at(frame)) for frame in wanted)
    try:
        names = [entry.name for entry in parsed.folder.iterdir()]
    except OSError as error:
        raise InputError(f"cannot read {pattern}: folder {parsed.folder}: {error.strerror}") from None
    found = sorted((frame, name) for name in names if (frame := parsed.frame_of(name)) is not None)
    if not found:
        near = sorted(name for name in names if parsed._digits(name) is not None)
        hint = f", but {near[0]} does: is its padding meant?" if near else ""
        raise InputError(f"cannot read {pattern}: no such file, and no file matches it as a frame pattern{hint}")
    return tuple((frame, parsed.folder / name) for frame, name in found)


def frame_number(path: Path) -> int | None:
    """The number right before the extension (`shot.0101.exr`, `shot_0101.exr`, `frame12.exr`), else None."""
    found = _LAST_DIGITS.search(path.stem)
    return int(found["digits"]) if found else None


def denoised_name(path: Path, suffix: str = SUFFIX) -> Path:
    """Where the result goes when nobody says: `frame.denoised.exr`, `shot.denoised.0101.exr` (frame number last)."""
    rule = _EXR_FRAME if path.suffix.lower() in _EXR else _DOT_FRAME
    found = rule.fullmatch(path.stem)
    if found and found["stem"]:
        return path.with_name(f"{found['stem']}{suffix}{found['sep']}{found['digits']}{path.suffix}")
    if re.fullmatch(r"-?[0-9]+", path.stem) and path.suffix.lower() in _EXR:
        return path.with_name(
            f"{suffix.lstrip('.')}.{path.name}"
        )  # Blender's `0101.exr`; a leading dot would hide the file
    return path.with_name(f"{path.stem}{suffix}{path.suffix}")


def is_denoised_name(path: Path) -> bool:
    """True for names that `denoised_name` gives, so that a folder's own results are not denoised again."""
    found = _EXR_FRAME.fullmatch(path.stem)
    if found and found["stem"]:
        return found["stem"] == SUFFIX[1:] or found["stem"].endswith(SUFFIX)
    return path.stem.endswith(SUFFIX)


def _whole_numbers(frames: object, text: str) -> tuple[int, ...]:
    numbers = tuple(frames)  # type: ignore[arg-type]
    if any(number != int(number) for number in numbers):
        raise UsageError(f"cannot read frames of {text}: subframes such as 1.5 are not supported")
    return tuple(int(number) for number in numbers)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].removesuffix(": did not match") if str(error) else type(error).__name__
