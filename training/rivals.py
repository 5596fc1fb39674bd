"""What mdenoise is compared with on photographs: classical denoisers, and cheap ways to make any denoiser sturdier.

All take and return (H, W, 3) uint8. The classical ones are those of scikit-image, OpenCV and the bm3d package; each is
told the true sigma where the noise is white and Gaussian, and the estimate of scikit-image elsewhere.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from mdenoise.errors import UsageError
from mdenoise.training import degrade

Run = Callable[[np.ndarray], np.ndarray]  # noisy -> denoised, uint8
Peer = Callable[[np.ndarray, float], np.ndarray]  # noisy float32 in [0, 1], sigma -> denoised

BLUR_PX = 1.6  # best fixed blur for Gaussian noise of sigma = 50 on the validation photographs


def to_uint8(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def gaussian_blur(noisy: np.ndarray, sigma_px: float = BLUR_PX) -> np.ndarray:
    taps = degrade.gaussian_taps(sigma_px)
    return to_uint8(degrade.smooth(degrade.padded(noisy * np.float32(1 / 255), taps), taps))


# --- classical denoisers ------------------------------------------------------------------------------------------


def peer_blur(noisy: np.ndarray, sigma: float) -> np.ndarray:
    taps = degrade.gaussian_taps(max(0.2, sigma * 255 / 25))
    return degrade.smooth(degrade.padded(noisy, taps), taps)


def peer_median(noisy: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.medianBlur(noisy, 3)


def peer_bilateral(noisy: np.ndarray, sigma: float) -> np.ndarray:
    import cv2

    return cv2.bilateralFilter(noisy, 7, 3 * sigma, 2.0)


def peer_nlm(noisy: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(
        noisy, h=0.8 * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6, channel_axis=-1
    )


def peer_wavelet(noisy: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.restoration import denoise_wavelet

    return denoise_wavelet(
        noisy, sigma=sigma, method="BayesShrink", mode="soft", convert2ycbcr=True, rescale_sigma=True, channel_axis=-1
    )


def peer_tv(noisy: np.ndarray, sigma: float) -> np.ndarray:
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(noisy, weight=1.6 * sigma, channel_axis=-1)


def peer_bm3d(noisy: np.ndarray, sigma: float) -> np.ndarray:
    import bm3d

    return bm3d.bm3d_rgb(noisy.astype(np.float64), sigma)


# Name, what it does, the modules it needs.
PEERS: dict[str, tuple[Peer, tuple[str, ...]]] = {
    "blur": (peer_blur, ()),
    "median": (peer_median, ("cv2",)),
    "bilateral": (peer_bilateral, ("cv2",)),
    "nlm": (peer_nlm, ("skimage",)),
    "wavelet": (peer_wavelet, ("skimage", "pywt")),
    "tv": (peer_tv, ("skimage",)),
    "bm3d": (peer_bm3d, ("bm3d",)),
}
PACKAGES = {"cv2": "opencv-python-headless", "skimage": "scikit-image", "pywt": "PyWavelets"}


def missing(peer: str) -> str:
    """One line when a library of `peer` is not installed, else nothing. Raises UsageError for an unknown peer."""
    if peer not in PEERS:
        raise UsageError(f"peer {peer!r} is not known: use {', '.join(PEERS)}")
    needed = dict.fromkeys((*PEERS[peer][1], "skimage", "pywt"))  # the last two for `estimated_sigma`
    modules = [name for name in needed if importlib.util.find_spec(name) is None]
    packages = " ".join(PACKAGES.get(name, name) for name in modules)
    return f"{peer} left out: {modules[0]} is not installed (pip install {packages})" if modules else ""


def estimated_sigma(noisy: np.ndarray) -> float:
    """Standard deviation of the noise of a uint8 image, on the scale [0, 1], as scikit-image estimates it."""
    from skimage.restoration import estimate_sigma

    return max(1e-3, float(np.mean(estimate_sigma(noisy * np.float32(1 / 255), channel_axis=-1))))


def run_peer(peer: str, noisy: np.ndarray, sigma: float) -> np.ndarray:
    """`noisy` uint8 denoised by a classical method that takes the noise to be `sigma` (on the scale [0, 1])."""
    return to_uint8(PEERS[peer][0](noisy * np.float32(1 / 255), sigma))


# --- cheap rivals of masks: four passes each of the same network ---------------------------------------------------


def mean(images: list[np.ndarray]) -> np.ndarray:
    return np.rint(np.mean(images, axis=0, dtype=np.float32)).astype(np.uint8)


def flips(run: Run, noisy: np.ndarray) -> np.ndarray:
    """Mean over four flips."""
    axes = ((), (0,), (1,), (0, 1))
    return mean([np.flip(run(np.ascontiguousarray(np.flip(noisy, flip))), flip) for flip in axes])


def preblur(run: Run, noisy: np.ndarray, sigma_px: float) -> np.ndarray:
    """A Gaussian blur, then four flips."""
    return flips(run, gaussian_blur(noisy, sigma_px))


def inject(run: Run, noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Mean over four passes, each with other Gaussian noise of sigma/255 added to the input."""
    x = noisy * np.float32(1 / 255)
    return mean([run(to_uint8(degrade.gaussian(x, sigma, np.random.default_rng(seed)))) for seed in range(4)])


def downscale(run: Run, noisy: np.ndarray) -> np.ndarray:
    """Means of 2x2 are denoised and enlarged again (bicubic); mean over the four places that the cells can have."""
    from PIL import Image

    height, width = noisy.shape[:2]
    results = []
    for dy in (0, 1):
        for dx in (0, 1):
            x = np.pad(noisy, ((dy, (height + dy) % 2), (dx, (width + dx) % 2), (0, 0)), mode="edge")
            cells = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, 3).mean(axis=(1, 3))
            small = run(np.rint(cells).astype(np.uint8))
            large = Image.fromarray(small).resize((x.shape[1], x.shape[0]), Image.Resampling.BICUBIC)
            results.append(np.asarray(large)[dy : dy + height, dx : dx + width])
    return mean(results)


RIVALS = {
    "flips": (flips, None),
    "preblur": (preblur, 0.7),
    "inject": (inject, 10.0),
    "downscale": (downscale, None),
}


def rival(spec: str, run: Run) -> Run:
    """`flips`, `preblur`, `inject`, `downscale`; with another strength as `preblur:0.5`. Raises UsageError."""
    name, _, strength = spec.partition(":")
    if name not in RIVALS:
        raise UsageError(f"rival {name!r} is not known: use {', '.join(RIVALS)}")
    function, default = RIVALS[name]
    if default is None:
        if strength:
            raise UsageError(f"rival {name} has no strength: write {name}")
        return lambda noisy: function(run, noisy)
    try:
        value = float(strength) if strength else default
    except ValueError:
        raise UsageError(f"rival {spec!r} cannot be used: write {name}:NUMBER") from None
    return lambda noisy: function(run, noisy, value)
