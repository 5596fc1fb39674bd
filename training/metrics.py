"""How far an image is from its reference, as every table of the product measures it. Images are (H, W, 3), linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

FLOAT_LIMIT = 1e4  # what HDR-FLIP is given for a pixel that is infinite
TEXTURE_BAND = (2 / 255, 20 / 255)  # deviation of the reference's detail: weaker is its own noise, stronger an edge


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


def exposed_psnr(image: np.ndarray, reference: np.ndarray, stops: float) -> float:
    """PSNR of both after an exposure by `stops`: what a grade that opens the shadows, or saves the lights, shows."""
    gain = np.float32(2.0**stops)
    return psnr(image * gain, reference * gain)


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


def hdr_flip(image: np.ndarray, reference: np.ndarray) -> float:
    """Mean HDR-FLIP (Andersson et al. 2021), the worst over the exposures that suit the reference; lower is better."""
    import flip_evaluator

    planes = [
        np.clip(np.nan_to_num(x, posinf=FLOAT_LIMIT), 0, FLOAT_LIMIT).astype(np.float32) for x in (reference, image)
    ]
    return float(flip_evaluator.evaluate(*planes, "HDR", applyMagma=False)[1])


def texture(image: np.ndarray, reference: np.ndarray) -> float:
    """How much of the reference's fine texture is in the image: 1 all of it, 0 none, above 1 exaggerated.

    The slope of the image's detail (what a mean of 5x5 takes away, in the display domain) on the reference's, where
    that is texture: neither flat nor an edge. Noise that is independent of the reference does not move it. NaN where
    the reference has no texture.
    """
    want, have = detail(display(reference)), detail(display(image))
    strength = np.sqrt(box5(want**2)).mean(axis=-1)
    here = (strength > TEXTURE_BAND[0]) & (strength < TEXTURE_BAND[1])
    if np.count_nonzero(here) < 64:
        return float("nan")
    return float((want[here] * have[here]).sum() / (want[here] ** 2).sum())


def detail(shown: np.ndarray) -> np.ndarray:
    return shown - box5(shown)


def box5(planes: np.ndarray) -> np.ndarray:
    """Mean of 5x5 of (H, W, C), the edge repeated."""
    for axis in (0, 1):
        p = np.moveaxis(planes, axis, 0)
        p = np.concatenate([p[:1]] * 2 + [p] + [p[-1:]] * 2)
        planes = np.moveaxis(sum(p[i : i + planes.shape[axis]] for i in range(5)) / 5, 0, axis)
    return planes


def near_error(image: np.ndarray, reference: np.ndarray, around: np.ndarray) -> float:
    """99.9th percentile of the error in the display domain, mean of the channels, inside (H, W) `around`."""
    return float(np.percentile(np.abs(display(image) - display(reference)).mean(axis=-1)[around], 99.9))


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
    "psnr-2": lambda image, reference: exposed_psnr(image, reference, -2.0),
    "psnr+2": lambda image, reference: exposed_psnr(image, reference, 2.0),
    "relmse": relative_mse,
    "relmse_all": lambda image, reference: relative_mse(image, reference, 0.0),
    "flip": ldr_flip,
    "hdrflip": hdr_flip,
    "ssim": ssim,
    "texture": texture,
}


def interval(
    values: Sequence[float], draws: int = 10_000, seed: int = 1, groups: Sequence[str] | None = None
) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean over images; `groups` names the scene of each, and scenes are drawn whole:
    two frames of one scene are not two independent facts."""
    samples = np.asarray(values, np.float64)
    _, group = np.unique(np.arange(samples.size) if groups is None else np.asarray(groups), return_inverse=True)
    totals, counts = np.bincount(group, samples), np.bincount(group)
    picked = np.random.default_rng(seed).integers(0, totals.size, (draws, totals.size))
    low, high = np.percentile(totals[picked].sum(axis=1) / counts[picked].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)
