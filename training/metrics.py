"""How far an image is from its reference, as every table of the product measures it. Images are (H, W, 3), linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def display(image: np.ndarray) -> np.ndarray:
    """Linear radiance to the display domain [0, 1] in which renders are compared: clip, then power 1/2.2."""
    return np.clip(np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0).astype(np.float64) ** (1 / 2.2)


def decibels(mse: float) -> float:
    """PSNR of a mean squared error of values in [0, 1]; 100 dB stands for equality."""
    return float(-10.0 * np.log10(max(mse, 1e-10)))


def display_mse(image: np.ndarray, reference: np.ndarray) -> float:
    return float(np.mean((display(image) - display(reference)) ** 2))


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """dB, higher is better."""
    return decibels(display_mse(image, reference))


def photo_psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """PSNR of two uint8 images without their outermost pixels, as photographs are compared."""
    difference = image[1:-1, 1:-1].astype(np.float64) - reference[1:-1, 1:-1]
    return decibels(float(np.mean(difference**2)) / 255.0**2)


def relative_mse(image: np.ndarray, reference: np.ndarray, trim: float = 1e-3) -> float:
    """mean((x - r)^2 / (r^2 + 0.01)) without the worst 0.1 % of the pixels; lower is better."""
    image, reference = np.nan_to_num(image).astype(np.float64), reference.astype(np.float64)
    error = np.sort(((image - reference) ** 2 / (reference**2 + 1e-2)).mean(axis=-1), axis=None)
    return float(error[: error.size - int(np.ceil(error.size * trim))].mean())


def ldr_flip(image: np.ndarray, reference: np.ndarray) -> float:
    """Mean LDR-FLIP (Andersson et al. 2020) at 67 pixels per degree; lower is better."""
    import flip_evaluator

    shown = [display(x).astype(np.float32) for x in (reference, image)]
    return float(flip_evaluator.evaluate(*shown, "LDR", applyMagma=False)[1])


def ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity with the Gaussian window of Wang et al. 2004; higher is better."""
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            display(image),
            display(reference),
            data_range=1.0,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "psnr": psnr,
    "relmse": relative_mse,
    "flip": ldr_flip,
    "ssim": ssim,
}


def interval(values: Sequence[float], draws: int = 10_000, seed: int = 1) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean over images."""
    samples = np.asarray(values, np.float64)
    picked = np.random.default_rng(seed).integers(0, samples.size, (draws, samples.size))
    low, high = np.percentile(samples[picked].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
