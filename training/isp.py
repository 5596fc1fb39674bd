"""A camera in small: an encoded photograph back to its sensor, noise there, and forward again to a file.

The way back (tone curve, gamma, colour matrix, white balance) is that of Brooks et al., "Unprocessing Images for
Learned Raw Denoising", CVPR 2019, as is the read noise. The reference keeps the demosaicing of the photograph: what
the noisy sensor develops to beyond what the clean one does is added, so that only noise is to be removed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from mdenoise.training.degrade import gaussian_taps, normal, padded, smooth

PHONE_SHOT = (2e-5, 1.2e-2)  # variance of the shot noise of a unit signal, from base to highest sensitivity


@dataclass(frozen=True)
class Camera:
    """`to_camera` (3, 3) turns linear sRGB into camera RGB, `gains` (3,) white-balance it; variance of the sensor's
    noise is `shot` * signal + `read`; `pattern` is the place of red in the 2x2 Bayer cell; `smoothing_px` is the
    radius of the camera's own noise reduction; `jpeg` a quality, or None for a lossless file."""

    to_camera: np.ndarray
    gains: np.ndarray
    shot: float
    read: float
    pattern: tuple[int, int] = (0, 0)
    directed: bool = False
    smoothing_px: float = 0.0
    jpeg: int | None = None
    subsampling: int = 0


def draw_camera(rng: np.random.Generator, shot: float | None = None) -> Camera:
    """A phone-like camera; its shot noise is drawn unless given."""
    if shot is None:
        shot = float(np.exp(rng.uniform(*np.log(PHONE_SHOT))))
    read = float(np.exp(2.18 * np.log(shot) + 1.2 + 0.26 * rng.standard_normal()))
    crosstalk = rng.uniform(0.03, 0.3, (3, 3)) * (1 - np.eye(3))
    to_camera = crosstalk + np.diag(1 - crosstalk.sum(axis=1))
    digital = 1.0 / max(0.4, rng.normal(0.8, 0.1))
    gains = digital * np.array([rng.uniform(1.9, 2.4), 1.0, rng.uniform(1.5, 1.9)])
    return Camera(
        to_camera.astype(np.float32),
        gains.astype(np.float32),
        shot,
        read,
        (int(rng.integers(2)), int(rng.integers(2))),
        bool(rng.random() < 0.4),
        float(rng.uniform(0.4, 1.2)) if rng.random() < 0.4 else 0.0,
        int(rng.integers(60, 99)) if rng.random() < 0.6 else None,
        int(rng.choice([0, 2])),
    )


def photograph(x: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The (H, W, 3) photograph x in [0, 1] as `camera` would have taken it; [0, 1], for cameras clip."""
    sensor = unprocess(x, camera)
    colors = bayer(x.shape[:2], camera.pattern)
    mosaic = np.einsum("hwc,hwc->hw", sensor, colors)
    variance = np.float32(camera.shot) * mosaic + np.float32(camera.read)
    noise = np.sqrt(variance) * normal(mosaic.shape, rng)
    if camera.directed:
        added = demosaic_directed(mosaic + noise, colors) - demosaic_directed(mosaic, colors)
    else:
        added = demosaic(noise, colors)  # linear: the clean part cancels
    if camera.smoothing_px:
        taps = gaussian_taps(camera.smoothing_px)
        added = smooth(padded(added, taps), taps)
    y = develop(sensor + added, camera)
    return y if camera.jpeg is None else jpeg(y, camera.jpeg, camera.subsampling)


def unprocess(x: np.ndarray, camera: Camera) -> np.ndarray:
    """Encoded sRGB in [0, 1] to camera RGB before white balance, linear."""
    curve = np.float32(0.5) - np.sin(np.arcsin(1 - 2 * np.clip(x, 0, 1)) * np.float32(1 / 3))
    linear = np.maximum(curve, np.float32(1e-8)) ** np.float32(2.2)
    return linear @ (camera.to_camera.T / camera.gains)


def develop(sensor: np.ndarray, camera: Camera) -> np.ndarray:
    """Inverse of `unprocess`: white balance, colour matrix, clip, gamma, tone curve."""
    linear = np.clip(sensor @ (camera.gains[:, None] * np.linalg.inv(camera.to_camera).T), 1e-8, 1)
    encoded = linear.astype(np.float32) ** np.float32(1 / 2.2)
    return encoded * encoded * (3 - 2 * encoded)


def bayer(size: tuple[int, int], pattern: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) of 0 and 1: which colour each photosite sees, red at `pattern` of every 2x2 cell, blue across."""
    row, col = pattern
    colors = np.zeros((*size, 3), np.float32)
    colors[row::2, col::2, 0] = 1
    colors[1 - row :: 2, 1 - col :: 2, 2] = 1
    colors[..., 1] = 1 - colors[..., 0] - colors[..., 2]
    return colors


def demosaic(mosaic: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of an (H, W) Bayer mosaic to (H, W, 3)."""
    tent = np.array([0.5, 1.0, 0.5], np.float32)
    sites = np.pad(mosaic[..., None] * colors, ((1, 1), (1, 1), (0, 0)), mode="reflect")  # reflection keeps the phase
    out = smooth(sites, tent)
    green = sites[..., 1]
    cross = green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:]
    out[..., 1] = green[1:-1, 1:-1] + cross * np.float32(0.25)
    return out


def demosaic_directed(mosaic: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Green along the smaller gradient with the Laplacian of the site's own colour (Hamilton and Adams, US 5629734),
    then bilinear interpolation of red - green and blue - green."""
    m = np.pad(mosaic, 2, mode="reflect")
    center, guesses, gradients = m[2:-2, 2:-2], [], []
    for near, far in (
        ((m[2:-2, 1:-3], m[2:-2, 3:-1]), (m[2:-2, :-4], m[2:-2, 4:])),
        ((m[1:-3, 2:-2], m[3:-1, 2:-2]), (m[:-4, 2:-2], m[4:, 2:-2])),
    ):
        bend = 2 * center - far[0] - far[1]
        guesses.append(np.float32(0.5) * (near[0] + near[1]) + np.float32(0.25) * bend)
        gradients.append(np.abs(near[0] - near[1]) + np.abs(bend))
    green = np.where(gradients[0] <= gradients[1], *guesses)
    green = np.where(colors[..., 1] > 0, mosaic, green)
    tent = np.array([0.5, 1.0, 0.5], np.float32)
    differences = (mosaic - green)[..., None] * colors[..., ::2]
    differences = smooth(np.pad(differences, ((1, 1), (1, 1), (0, 0)), mode="reflect"), tent)
    return np.stack([green + differences[..., 0], green, green + differences[..., 1]], axis=2)


def jpeg(x: np.ndarray, quality: int, subsampling: int = 0) -> np.ndarray:
    """x in [0, 1] through a JPEG file in memory; `subsampling` 0 is 4:4:4, 2 is 4:2:0."""
    from PIL import Image

    file = io.BytesIO()
    pixels = np.rint(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(file)).astype(np.float32) * np.float32(1 / 255)
