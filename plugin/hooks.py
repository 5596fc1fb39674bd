"""Host API: arrays in, arrays out, for renderers and scripts that hold their pixels in memory.

    clean = mdenoise.denoise(color, albedo, normal)

    with mdenoise.Denoiser() as denoiser:  # the model is loaded once
        for frame in frames:
            clean = denoiser(frame.color, frame.albedo, frame.normal)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mdenoise import engines, models, pipeline
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Planes

TYPES = (np.float16, np.float32, np.uint8, np.uint16)


@dataclass(frozen=True)
class Denoised:
    """Result of a call with `layers`: `color` and every layer, each of the kind and type that it came in."""

    color: Any
    layers: Mapping[str, Any] = field(default_factory=dict)


class Denoiser:
    """A loaded model; make it once and call it many times, from any thread (calls are serialised)."""

    def __init__(
        self,
        model: str = "base",
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
        quality: str = "balanced",
        **options: Any,
    ):
        """`options` are further fields of `mdenoise.Options`, e.g. `tile_px`. Raises ModelError, EngineError."""
        layer_names = sorted({"layers", "color", "albedo", "normal", "depth", "variance"} & set(options))
        if layer_names:
            name = layer_names[0]
            raise UsageError(f"cannot make a Denoiser: {name} names a layer of a file; arrays go into the call")
        try:
            self.options = Options(
                model=model, device=device, engine=engine, precision=precision, quality=quality, **options
            )
        except TypeError as error:
            raise UsageError(f"cannot make a Denoiser: {str(error).removeprefix('Options.__init__() ')}") from None
        self.card = models.load_card(model)
        self._engine: engines.Engine | None = engines.open_engine(self.card, self.options)
        self._lock = threading.Lock()

    def __call__(
        self,
        color: Any,
        albedo: Any = None,
        normal: Any = None,
        *,
        layers: Mapping[str, Any] | None = None,
        depth: Any = None,
        variance: Any = None,
        encoding: str | None = None,
        strength: float | None = None,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Any:
        """Denoise one image.

        Args:
            color: (H, W, C), C = 1, 3 or 4 (alpha last), or (H, W); float16/32 scene-linear radiance of any scale, or
                uint8/16 encoded sRGB. NumPy, torch on the CPU, or anything with DLPack or `__array__`.
            albedo: (H, W, 3) in [0, 1], linear. normal: (H, W, 3) in [-1, 1], 0 where there is no surface.
            layers: more linear planes (H, W) or (H, W, C) to filter by the same weights; parts that add up to
                `color` still add up afterwards.
            depth: (H, W) distance, any unit. variance: (H, W) of the mean luminance.
            encoding: "linear", "srgb", or "auto": integers are sRGB, floats linear.

        Returns the denoised image as the kind, type and shape of `color`, or a `Denoised` when `layers` is given.
        Raises InputError for shapes and types that do not fit, Cancelled when `cancel` answered True.
        """
        if self._engine is None:
            raise UsageError("this Denoiser is closed: make a new one")
        image = to_numpy("color", color, (1, 3, 4))
        height, width = image.shape[:2]
        encoding = self.options.encoding if encoding is None else encoding
        if encoding == "auto":
            encoding = "srgb" if image.dtype.kind == "u" else "linear"
        if encoding not in ("linear", "srgb"):
            raise UsageError(f"encoding {encoding!r} is not known: use auto, linear or srgb")
        guides = {
            name: None if value is None else same_size(name, to_numpy(name, value, channels), height, width)
            for name, value, channels in (
                ("albedo", albedo, (3,)),
                ("normal", normal, (3,)),
                ("depth", depth, (1,)),
                ("variance", variance, (1,)),
            )
        }
        if guides["albedo"] is not None and guides["albedo"].dtype.kind == "u":
            guides["albedo"] = guides["albedo"] / np.float32(np.iinfo(guides["albedo"].dtype).max)
        for name in ("normal", "depth", "variance"):
            if guides[name] is not None and guides[name].dtype.kind == "u":
                raise InputError(f"cannot use {name} of type {guides[name].dtype}: use float16 or float32")
        for name in ("depth", "variance"):
            if guides[name] is not None:
                guides[name] = guides[name].reshape(height, width)
        flat = image.reshape(height, width, -1)
        rgb = np.repeat(flat[..., :1], 3, axis=2) if flat.shape[2] == 1 else flat[..., :3]
        extra = {
            f"layer:{name}": same_size(name, to_numpy(name, value, None), height, width)
            for name, value in (layers or {}).items()
        }
        scale = np.float32(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else np.float32(1)
        keeps_alpha = flat.shape[2] == 4 and self.options.alpha == "keep"
        alpha = {"alpha": flat[..., 3]} if flat.shape[2] == 4 and not keeps_alpha else {}
        planes = Planes(
            color=rgb if scale == 1 else rgb / scale,
            layers={"color": flat[..., :3], **alpha, **extra},
            # All of them or none: parts of a grey image could not add up if only they were divided by the albedo.
            demodulated=frozenset({"color", *extra}) if flat.shape[2] >= 3 else frozenset(),
            encoding=encoding,
            **guides,
        )
        options = self.options if strength is None else replace(self.options, strength=strength)
        with self._lock:
            done = pipeline.denoise_planes(
                planes, self._engine, self.card, options, progress=progress, cancel=cancel
            ).layers
        result = done["color"]
        if flat.shape[2] == 4:
            opacity = flat[..., 3] if keeps_alpha else done["alpha"]
            result = np.concatenate([result, opacity[..., None]], axis=2)
        result = like(color, result.reshape(image.shape))
        if layers is None:
            return result
        return Denoised(result, {name: like(value, done[f"layer:{name}"]) for name, value in layers.items()})

    def close(self) -> None:
        """Free the model; a closed Denoiser cannot be called."""
        self._engine = None

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def denoise(
    color: Any,
    albedo: Any = None,
    normal: Any = None,
    *,
    layers: Mapping[str, Any] | None = None,
    encoding: str = "auto",
    strength: float = 1.0,
    quality: str = "balanced",
) -> Any:
    """Denoise one image with the default model, which stays loaded for the next call. See `Denoiser.__call__`.

    >>> import numpy as np
    >>> noisy = np.random.default_rng(1).gamma(1.0, 0.5, (48, 64, 3)).astype(np.float32)
    >>> clean = denoise(noisy)
    >>> clean.shape, clean.dtype.name, bool(clean.std() < 0.5 * noisy.std())
    ((48, 64, 3), 'float32', True)
    """
    with _default_lock:
        if quality not in _defaults:
            _defaults[quality] = Denoiser(quality=quality)
    return _defaults[quality](color, albedo, normal, layers=layers, encoding=encoding, strength=strength)


_defaults: dict[str, Denoiser] = {}
_default_lock = threading.Lock()


def to_numpy(name: str, value: Any, channels: tuple[int, ...] | None) -> np.ndarray:
    """An array of a supported type and 2 or 3 dimensions, without a copy where the source allows it."""
    try:
        array = (
            value
            if isinstance(value, np.ndarray)
            else np.from_dlpack(value)
            if hasattr(value, "__dlpack__")
            else np.asarray(value)
        )
    except Exception as error:
        raise InputError(f"cannot read {name}: {type(value).__name__} is not an array on the CPU ({error})") from None
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.type not in TYPES:
        raise InputError(f"cannot denoise {name} of type {array.dtype}: use float16, float32, uint8 or uint16")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"cannot denoise {name} of shape {array.shape}: use (H, W) or (H, W, C)")
    count = array.shape[2] if array.ndim == 3 else 1
    if channels is not None and count not in channels:
        hint = " (channels come last: transpose it)" if array.ndim == 3 and array.shape[0] in channels else ""
        raise InputError(f"cannot denoise {name} with {count} channels: use {' or '.join(map(str, channels))}{hint}")
    return array


def same_size(name: str, array: np.ndarray, height: int, width: int) -> np.ndarray:
    if array.shape[:2] != (height, width):
        raise InputError(f"cannot use {name} of size {array.shape[1]}x{array.shape[0]}: color is {width}x{height}")
    return array


def like(source: Any, result: np.ndarray) -> Any:
    """`result` as the kind of array that `source` is."""
    if isinstance(source, np.ndarray):
        return result.astype(source.dtype, copy=False)
    if type(source).__module__.partition(".")[0] == "torch":
        return source.new_tensor(result)  # of its type and device, without importing torch here
    return result
