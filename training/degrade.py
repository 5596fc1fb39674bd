"""What noise does to one photograph: every model of the suite as a function of a clean image and its strength.

Images are (H, W, 3) float32, encoded, in [0, 1]; results are neither clipped nor rounded. `rng` is a NumPy generator.
`noise.py` names these models and draws their strengths; `isp.py` holds the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOX3 = np.full(3, 1 / 3, np.float32)
BOX2 = np.full(2, 1 / 2, np.float32)


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def smooth(field: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Separable convolution of (H + k - 1, W + k - 1, C) by k taps, without borders: (H, W, C)."""
    for axis in (0, 1):
        length = field.shape[axis] - taps.size + 1
        parts = [field[i : i + length] if axis == 0 else field[:, i : i + length] for i in range(taps.size)]
        total = parts[0] * taps[0]
        for part, tap in zip(parts[1:], taps[1:], strict=True):
            total += part * tap
        field = total
    return field


def padded(image: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """`image` with mirrored borders, so that `smooth` returns its size."""
    before = (taps.size - 1) // 2
    return np.pad(image, [(before, taps.size - 1 - before)] * 2 + [(0, 0)], mode="symmetric")


def gaussian_taps(sigma_px: float) -> np.ndarray:
    reach = max(1, int(np.ceil(3 * sigma_px)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    return (taps / taps.sum()).astype(np.float32)


def field(shape: tuple[int, ...], taps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White normal noise of variance 1 filtered by `taps` along both axes; stationary up to the border."""
    height, width, channels = shape
    return smooth(normal((height + taps.size - 1, width + taps.size - 1, channels), rng), taps)


def unit(taps: np.ndarray) -> np.ndarray:
    """`taps` scaled so that `field` keeps variance 1."""
    return taps / np.sqrt(np.sum(taps**2))


def gaussian(x: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Independent per element, standard deviation sigma/255."""
    return x + np.float32(sigma / 255) * normal(x.shape, rng)


def poisson(x: np.ndarray, alpha: float, rng: np.random.Generator, peak: float | None = None) -> np.ndarray:
    """alpha times the shot noise of an 8-bit image: with q = x in 8 bits and V = 2^ceil(log2 of how many values q
    takes), y = x + alpha * (Poisson(V q)/V - q) (masked image training, CVPR 2023; V as in scikit-image).
    `peak` stands for V where x is a crop, which may hold few values."""
    steps = np.rint(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8)
    if peak is None:
        peak = 2.0 ** np.ceil(np.log2(np.count_nonzero(np.bincount(steps.ravel(), minlength=256))))
    q = steps * np.float32(1 / 255)
    return x + np.float32(alpha) * ((rng.poisson(q * np.float32(peak)) / np.float32(peak)).astype(np.float32) - q)


def photons(x: np.ndarray, peak: float, read: float, rng: np.random.Generator) -> np.ndarray:
    """Poisson noise of `peak` photons at white and Gaussian read noise of standard deviation `read`."""
    return rng.poisson(x * np.float32(peak)).astype(np.float32) / np.float32(peak) + np.float32(read) * normal(
        x.shape, rng
    )


def speckle(x: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """y = x + n x, n uniform with mean zero and `variance`, per element: Matlab's imnoise."""
    half = np.float32(np.sqrt(3 * variance))
    return x + x * (rng.random(x.shape, dtype=np.float32) * (2 * half) - half)


def salt_and_pepper(x: np.ndarray, density: float, rng: np.random.Generator, per_pixel: bool = False) -> np.ndarray:
    """A share `density` of the elements (or of the pixels) becomes 0 or 1, as likely: Matlab's imnoise."""
    u = rng.random((*x.shape[:2], 1) if per_pixel else x.shape, dtype=np.float32)
    y = np.where(u < np.float32(density / 2), np.float32(0), x)
    return np.where(u >= np.float32(1 - density / 2), np.float32(1), y)


def impulses(x: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """A share `density` of the pixels takes a random colour: dead, hot and stuck photosites."""
    hit = rng.random((*x.shape[:2], 1), dtype=np.float32) < np.float32(density)
    return np.where(hit, rng.random(x.shape, dtype=np.float32), x)


def laplacian(x: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Independent double-exponential noise of standard deviation sigma/255."""
    return x + rng.laplace(0.0, sigma / 255 / np.sqrt(2), x.shape).astype(np.float32)


def correlated(x: np.ndarray, sigma: float, rng: np.random.Generator, taps: np.ndarray = BOX3) -> np.ndarray:
    """Gaussian noise of sigma/255, then filtered by `taps` along both axes: by default the mean of 3x3."""
    return x + np.float32(sigma / 255) * field(x.shape, taps, rng)


def chromatic(
    x: np.ndarray, luma: float, chroma: float, luma_px: float, chroma_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Fine grey noise over coarse coloured blotches, as camera JPEGs show it; strengths are of 255, radii of pixels."""
    shape = (*x.shape[:2], 1)
    grey = np.float32(luma / 255) * field(shape, unit(gaussian_taps(luma_px)), rng)
    color = np.float32(chroma / 255) * field(x.shape, unit(gaussian_taps(chroma_px)), rng)
    return x + grey + color - color.mean(axis=2, keepdims=True)


def film_grain(
    x: np.ndarray, amplitude: float, rng: np.random.Generator, radius_px: float = 0.8, color_share: float = 0.3
) -> np.ndarray:
    """Grain correlated over `radius_px`, strongest in mid tones, a quarter of that in black and white; `color_share`
    of its variance is drawn per channel."""
    taps = unit(gaussian_taps(radius_px))
    grain = np.float32(np.sqrt(1 - color_share)) * field((*x.shape[:2], 1), taps, rng)
    grain = grain + np.float32(np.sqrt(color_share)) * field(x.shape, taps, rng)
    grey = x.mean(axis=2, keepdims=True)
    return x + np.float32(amplitude) * (np.float32(0.25) + 3 * grey * (1 - grey)) * grain


def monte_carlo(
    x: np.ndarray, spp: float, rng: np.random.Generator, shape: float = 0.5, hit: float = 0.5, color_share: float = 0.2
) -> np.ndarray:
    """The mean of `spp` heavy-tailed samples a pixel in linear light, encoded again: a sample arrives with probability
    `hit` and then has a gamma magnitude of shape `shape`. Mean zero before encoding; may exceed 1."""
    expected = max(spp * hit, 0.05)

    def draw(size: tuple[int, ...]) -> np.ndarray:
        count = rng.poisson(expected, size).astype(np.float32)
        return rng.standard_gamma(count * np.float32(shape)).astype(np.float32) / np.float32(shape * expected)

    gain = np.float32(1 - color_share) * draw((*x.shape[:2], 1))
    if color_share:
        gain = gain + np.float32(color_share) * draw(x.shape)
    return x * gain ** np.float32(1 / 2.2)  # (x^2.2 gain)^(1/2.2)


def resampled(
    x: np.ndarray, sigma: float, rng: np.random.Generator, scale: float = 0.6, kernel: str = "bicubic"
) -> np.ndarray:
    """Gaussian noise of sigma/255 drawn on a grid `scale` times as large and resized with the image to its size. The
    reference is taken to be resized alike, so that only the noise is: coarse for scale < 1, fine and weak above."""
    from PIL import Image

    height, width = x.shape[:2]
    small = normal((3, max(8, round(height * scale)), max(8, round(width * scale))), rng) * np.float32(sigma / 255)
    how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}.get(
        kernel, Image.Resampling.LANCZOS
    )
    planes = [np.asarray(Image.fromarray(plane).resize((width, height), how)) for plane in small]
    return x + np.stack(planes, axis=2)


@dataclass(frozen=True)
class Mixture:
    """Strengths of the parts of a mixture: sigma of 255, alpha, variance, density; 0 leaves a part out."""

    sigma: float
    alpha: float
    variance: float
    density: float
    correlated_sigma: float = 0.0
    peak: float | None = None  # of the Poisson part


def mixture(x: np.ndarray, parts: Mixture, rng: np.random.Generator) -> np.ndarray:
    """Gaussian, Poisson and speckle noise, each drawn from the clean image, are summed; salt and pepper come last."""
    y = gaussian(x, parts.sigma, rng)
    if parts.alpha:
        y += poisson(x, parts.alpha, rng, parts.peak) - x
    if parts.variance:
        y += speckle(x, parts.variance, rng) - x
    if parts.correlated_sigma:
        y += correlated(x, parts.correlated_sigma, rng) - x
    return salt_and_pepper(y, parts.density, rng) if parts.density else y
