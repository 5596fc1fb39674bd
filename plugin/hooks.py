"""Host API: arrays in, arrays out, for renderers and scripts that hold their pixels in memory.

clean = mdenoise.denoise(color, albedo, normal)

with mdenoise.Denoiser() as denoiser:  # the model is loaded once
    for frame in frames:
        denoiser(frame.color, frame.albedo, frame.normal, out=frame.color)
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mdenoise import arrays, engines, models, pipeline, temporal
from mdenoise.config import Options
from mdenoise.errors import UsageError
from mdenoise.filter import usable_cpus
from mdenoise.frame import Filtered, Planes
from mdenoise.joining import Still
from mdenoise.motion import Motion
from mdenoise.turns import Turns

# While one call infers, others build guides and filter: on 2 cores two at once finish 16 % sooner than one by one, and
# four no sooner than two. Each keeps the answers of its own last tiles, 142 bytes a pixel.
AT_ONCE = 4
_GUIDES = ("albedo", "normal", "depth", "variance")
_OF_A_FRAME = {"color", *_GUIDES, "layers", "encoding", "before", "after"}
_IN_CALL = {"layers", "color", "albedo", "normal", "depth", "variance", "uncertainty"}


@dataclass(frozen=True)
class Denoised:
    """Result of a call with `layers` or `uncertainty`: `color` and every layer, each of the kind, type and shape that
    it came in; `uncertainty` (H, W) float32, the standard deviation of the denoised colour in the unit of `color`
    (steps of 1/255 for uint8), or None when it was not asked for."""

    color: Any
    layers: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Any = None


class Denoiser:
    """A loaded model: make it once and call it from any number of threads, several of which are served at once.

    >>> import numpy as np
    >>> image = np.random.default_rng(1).gamma(1.0, 0.5, (48, 64, 3)).astype(np.float32)
    >>> with Denoiser(quality="fast") as denoiser:
    ...     later = denoiser.submit(image)
    ...     clean = denoiser(image, out=np.empty_like(image))
    ...     bool((later.result() == clean).all())
    True
    """

    def __init__(
        self,
        model: str = "base",
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
        quality: str = "balanced",
        **options: Any,
    ):
        """`options` are further fields of `mdenoise.Options`, e.g. `tile_px`; its `max_memory_mb` bounds each of the
        calls that run at once. Raises UsageError, ModelError, EngineError."""
        misplaced = sorted(_IN_CALL & set(options))
        if misplaced:
            name = misplaced[0]
            why = "is asked for" if name == "uncertainty" else "names a layer of a file; arrays are given"
            raise UsageError(f"cannot make a Denoiser: {name} {why} in the call")
        try:
            self.options = Options(
                model=model, device=device, engine=engine, precision=precision, quality=quality, **options
            )
        except TypeError as error:
            raise UsageError(f"cannot make a Denoiser: {str(error).removeprefix('Options.__init__() ')}") from None
        self.card = models.load_card(model)
        self._engine: engines.Engine | None = engines.open_engine(self.card, self.options)
        self._turns = Turns(self._engine, min(AT_ONCE, usable_cpus()))

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
        uncertainty: bool = False,
        out: Any = None,
        progress: Callable[[float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Any:
        """Denoise one image.

        Args:
            color: (H, W, C), C = 1, 3 or 4 (alpha last), or (H, W); float16/32 scene-linear radiance of any scale, or
                uint8/16 encoded sRGB. NumPy, torch on the CPU, or anything with DLPack or `__array__`; any strides,
                read-only too. It is not copied, and float64 is computed in float32.
            albedo: (H, W, 3) in [0, 1], linear. normal: (H, W, 3) in [-1, 1], 0 where there is no surface.
            layers: more linear planes (H, W) or (H, W, C) to filter by the same weights; parts that add up to
                `color` still add up afterwards.
            depth: (H, W) distance, any unit. variance: (H, W) of the mean luminance.
            encoding: "linear", "srgb", or "auto": integers are sRGB, floats linear.
            strength: 0..1, blend of `color` (0) and the filtered image (1).
            uncertainty: measure it, too, which takes longer.
            out: array or tensor of color's type and shape that takes the result, `color` itself if you like. It is
                written at the end, so a call that fails leaves it as it was.
            progress: called with the share done, in (0, 1], after each tile, from the calling thread.
            cancel: asked before each tile; once it answers True, the call raises Cancelled.

        Returns the denoised image as the kind, type and shape of `color` (or `out`), or a `Denoised` when `layers` or
        `uncertainty` is given. Raises InputError for arrays that do not fit, UsageError, EngineError, Cancelled.
        """
        memory = None if out is None else arrays.target(out, arrays.view("color", color))
        guides = {"albedo": albedo, "normal": normal, "depth": depth, "variance": variance}
        image, planes = self._read(color, guides, layers, encoding)
        options = self.options if strength is None else replace(self.options, strength=strength)
        if uncertainty:
            options = replace(options, uncertainty=True)
        with self._turns.take(cancel) as engine:
            done = pipeline.denoise_planes(planes, engine, self.card, options, progress=progress, cancel=cancel)
        result = arrays.to_image(done.layers, image, memory)
        return _answer(color, layers, arrays.like(color, result) if out is None else out, done)

    def sequence(
        self, frames: Iterable[Mapping[str, Any]], reach: int = 2, *, strength: float | None = None
    ) -> Iterator[Any]:
        """Denoise a moving picture: each frame is joined with at most `reach` to either side where they show the same
        surface in the same light, which takes away flicker.

        Each of `frames` names arguments of a call (color; albedo, normal, depth, variance, layers, encoding) and
        `before`, `after` or both: (H, W, 2) pixels, x to the right and y downwards, from where a pixel is to where its
        surface was one frame before and will be one frame after. Frames without stay by themselves.

        Yields what a call returns, in order. `reach` frames are taken ahead, and 2 `reach` + 1 held. Raises as a call.
        """
        options = self.options if strength is None else replace(self.options, strength=strength)
        read: deque[tuple[Any, Any, np.ndarray]] = deque()

        def still(frame: Mapping[str, Any]) -> Still:
            unknown = sorted(frame.keys() - _OF_A_FRAME)
            if unknown or "color" not in frame:
                raise UsageError(f"cannot denoise a frame with {unknown[0]!r}" if unknown else "a frame has no color")
            color, layers = frame["color"], frame.get("layers")
            image, planes = self._read(
                color, {name: frame.get(name) for name in _GUIDES}, layers, frame.get("encoding")
            )
            ways = {way: arrays.guide(way, frame.get(way), image.shape[:2]) for way in ("before", "after")}
            with self._turns.take(None) as engine:
                done = pipeline.denoise_planes(planes, engine, self.card, replace(options, strength=1.0))
            read.append((color, layers, image))
            return Still(planes, done, Motion(**ways) if any(w is not None for w in ways.values()) else None)

        for done in temporal.stream(map(still, frames), reach, options.strength):
            color, layers, image = read.popleft()
            yield _answer(color, layers, arrays.like(color, arrays.to_image(done.layers, image, None)), done)

    def _read(
        self, color: Any, guides: Mapping[str, Any], layers: Any, encoding: str | None
    ) -> tuple[np.ndarray, Planes]:
        image = arrays.read("color", color, (1, 3, 4))
        encoding = self.options.encoding if encoding is None else encoding
        layers = {} if layers is None else layers
        return image, arrays.to_planes(image, guides, layers, encoding, self.options.alpha == "keep")

    def submit(self, color: Any, albedo: Any = None, normal: Any = None, **call: Any) -> Future[Any]:
        """The same call on another thread; the future answers what it returns or raises. Leave the arrays alone until
        then. Raises UsageError when this Denoiser is closed."""
        return self._turns.submit(self, color, albedo, normal, **call)

    def warmup(self, height: int = 1080, width: int = 1920) -> None:
        """Compile the model for images of this size, so that the first call takes no longer than the next."""
        self(np.zeros((height, width, 3), np.float32))

    def close(self) -> None:
        """Free the model, after the calls that run or were submitted have ended; later ones raise UsageError."""
        self._turns.close()
        self._engine = None

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer(color: Any, layers: Mapping[str, Any] | None, result: Any, done: Filtered) -> Any:
    if layers is None and done.uncertainty is None:
        return result
    return Denoised(
        result,
        {name: arrays.like(layer, done.layers[f"layer:{name}"]) for name, layer in (layers or {}).items()},
        None if done.uncertainty is None else arrays.wrap(color, done.uncertainty),
    )


def denoise(
    color: Any,
    albedo: Any = None,
    normal: Any = None,
    *,
    layers: Mapping[str, Any] | None = None,
    encoding: str = "auto",
    strength: float = 1.0,
    quality: str = "balanced",
    uncertainty: bool = False,
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
    return _defaults[quality](
        color, albedo, normal, layers=layers, encoding=encoding, strength=strength, uncertainty=uncertainty
    )


_defaults: dict[str, Denoiser] = {}
_default_lock = threading.Lock()
