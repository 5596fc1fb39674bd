"""Contact sheets: what every method made of a frame, side by side, with the place where ours is worst enlarged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdenoise.training.metrics import display

CROP_PX, LABEL_PX = 64, 14


def strip(images: dict[str, np.ndarray], judged: str, reference: np.ndarray, title: str) -> np.ndarray:
    """(h, w, 3) uint8: label, whole frame and enlarged crop of each of `images` (linear) and of the reference."""
    width = reference.shape[1]
    shown = {name: display(image) for name, image in images.items()} | {"reference": display(reference)}
    y, x = worst_place(np.abs(shown[judged] - shown["reference"]).mean(axis=-1))
    zoom = max(1, width // CROP_PX)
    columns = []
    for number, (name, image) in enumerate(shown.items()):
        crop = image[y : y + CROP_PX, x : x + CROP_PX].repeat(zoom, axis=0).repeat(zoom, axis=1)[:, :width]
        below = np.zeros((crop.shape[0], width, 3))
        below[:, : crop.shape[1]] = crop
        pixels = np.rint(255 * np.concatenate([image, below])).astype(np.uint8)
        columns.append(np.concatenate([label(f"{title}  {name}" if number == 0 else name, width), pixels]))
    return np.concatenate(columns, axis=1)


def worst_place(error: np.ndarray) -> tuple[int, int]:
    """Corner of the square of CROP_PX, on a grid of a quarter of that, with the largest mean error."""
    step = CROP_PX // 4
    rows = range(0, max(1, error.shape[0] - CROP_PX + 1), step)
    cols = range(0, max(1, error.shape[1] - CROP_PX + 1), step)
    return max(((y, x) for y in rows for x in cols), key=lambda at: error[at[0] :, at[1] :][:CROP_PX, :CROP_PX].mean())


def label(text: str, width: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    line = Image.new("RGB", (width, LABEL_PX))
    ImageDraw.Draw(line).text((2, 1), text, fill=(255, 255, 255))
    return np.asarray(line)


def write(path: Path, strips: list[np.ndarray]) -> None:
    import imageio.v3 as imageio

    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, np.concatenate(strips))
