"""The preview of a DNG, rendered from the new samples in the tones of the source's preview.

Galleries show it, and RawTherapee takes its tone curve from it: a flat one would change how the file develops.
"""

from __future__ import annotations

import io

import numpy as np

from mdenoise.adapters.dng_tags import BASELINE_EXPOSURE, DngTags, Levels
from mdenoise.adapters.library_lines import library_messages

SIDE_PX = 1024  # of the longer side, at most
REFERENCE_PX = 256  # of the source's preview, for its tones
TONES = 33
# XYZ of sRGB's primaries, white (1, 1, 1) at D65 (IEC 61966-2-1).
_SRGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                         [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip


def from_mosaic(
    samples: np.ndarray, pattern: np.ndarray, levels: Levels, tags: DngTags, area: tuple[int, int, int, int]
) -> np.ndarray:
    """(h, w, 3) uint8 sRGB of the active `area` of a mosaic: the mean of each colour over blocks of whole periods."""
    top, left, bottom, right = area
    rows, cols = pattern.shape
    height, width = bottom - top, right - left
    times = max(1, -(-max(height // rows, width // cols) // SIDE_PX))
    down, across = max(1, height // (rows * times)), max(1, width // (cols * times))
    sums = np.zeros((down, across, 3), np.float32)
    counts = np.zeros(3)
    black = np.resize(levels.black[..., 0], pattern.shape)
    for y in range(rows):
        for x in range(cols):
            plane = samples[top + y : bottom : rows, left + x : right : cols]
            plane = plane[: down * times, : across * times]
            color = pattern[y, x]
            sums[..., color] += _block_means(plane, down, across) - black[y, x]
            counts[color] += 1
    if levels.delta_h.size or levels.delta_v.size:
        sums -= np.float32(levels.delta_h.mean() if levels.delta_h.size else 0)
    return _like_source(_render(sums / counts.clip(1) / (levels.white[0] - black.mean()), tags), tags)


def from_linear(samples: np.ndarray, tags: DngTags) -> np.ndarray:
    """(h, w, 3) uint8 sRGB of (H, W, 3) uint16 camera RGB, black 0 and white 65535."""
    height, width = samples.shape[:2]
    times = max(1, -(-max(height, width) // SIDE_PX))
    down, across = max(1, height // times), max(1, width // times)
    small = [_block_means(samples[: down * times, : across * times, c], down, across) for c in range(3)]
    return _like_source(_render(np.stack(small, axis=2) / 65535, tags), tags)


def jpeg(preview: np.ndarray) -> bytes:
    """(h, w, 3) uint8 as JPEG, 4:2:0."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(preview).save(stream, "JPEG", quality=90, subsampling=2)
    return stream.getvalue()


def _block_means(plane: np.ndarray, down: int, across: int) -> np.ndarray:
    times_y, times_x = plane.shape[0] // down, plane.shape[1] // across
    return plane.reshape(down, times_y, across, times_x).mean(axis=(1, 3), dtype=np.float32)


def _render(linear: np.ndarray, tags: DngTags) -> np.ndarray:
    return np.rint(255 * encoded(developed(linear, tags))).astype(np.uint8)


def developed(linear: np.ndarray, tags: DngTags) -> np.ndarray:
    """Camera RGB in 0..1 as a plain raw converter shows it: white balanced, clipped at white, no tone curve; linear
    sRGB, where colours that it does not hold lie outside 0..1."""
    if tags.neutral is not None:
        linear = linear / (tags.neutral / tags.neutral.max()).astype(np.float32)
    linear = linear.clip(0, 1)
    if tags.xyz_to_camera is not None:
        camera = tags.xyz_to_camera @ _SRGB_TO_XYZ
        whites = camera.sum(axis=1, keepdims=True)
        if (np.abs(whites) > 1e-6).all():  # white stays white after the balance
            linear = linear @ np.linalg.pinv(camera / whites).T.astype(np.float32)
    exposure = float(tags.main[BASELINE_EXPOSURE].values[0]) if BASELINE_EXPOSURE in tags.main else 0.0
    return linear * np.float32(2.0 ** (exposure if abs(exposure) < 10 else 0.0))  # NaN fails the comparison


def encoded(linear: np.ndarray) -> np.ndarray:
    """The curve of sRGB, in 0..1."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _like_source(preview: np.ndarray, tags: DngTags) -> np.ndarray:
    """`preview` with a curve for each colour that gives it the tones of the source's own preview, where it has one."""
    reference = _source_preview(tags)
    if reference is None:
        return preview
    parts = np.linspace(0, 1, TONES)
    matched = np.empty_like(preview)
    for color in range(3):
        ours, theirs = (np.quantile(picture[..., color], parts) for picture in (preview, reference))
        known = np.concatenate([[True], np.diff(ours) > 0])
        curve = np.interp(np.arange(256), ours[known], theirs[known])
        matched[..., color] = np.rint(curve).astype(np.uint8)[preview[..., color]]
    return matched


def _source_preview(tags: DngTags) -> np.ndarray | None:
    """The preview inside the source, (h, w, 3) uint8, small; None where LibRaw finds none."""
    try:
        import rawpy
        from PIL import Image

        with library_messages(), rawpy.imread(str(tags.path)) as raw:
            found = raw.extract_thumb()
    except (ImportError, rawpy.LibRawError):
        return None
    try:
        bitmap = found.format == rawpy.ThumbFormat.BITMAP
        picture = Image.fromarray(found.data) if bitmap else Image.open(io.BytesIO(found.data))
        picture.draft("RGB", (REFERENCE_PX, REFERENCE_PX))
        picture.thumbnail((REFERENCE_PX, REFERENCE_PX))  # means of many pixels: without the noise
        return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
