"""mdenoise in place of `mi.OptixDenoiser`, in every variant of Mitsuba 3 and without a GPU.

    from mdenoise.integrations.mitsuba import Denoiser

    mi.render(scene, spp=16)                                # an `aov` integrator with albedo:albedo,sh_normal:sh_normal
    noisy = scene.sensors()[0].film().bitmap()
    denoiser = Denoiser(noisy.size(), albedo=True, normals=True)
    clean = denoiser(noisy, albedo_ch="albedo", normals_ch="sh_normal")

or, with the guides added to whatever integrator the scene has:

    clean = render(scene, spp=16)                           # in place of mi.render(scene, spp=16)

The calls of `Denoiser` are those of `mi.OptixDenoiser`
(https://mitsuba.readthedocs.io/en/stable/src/api_reference.html#mitsuba.OptixDenoiser).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import mdenoise
from mdenoise.errors import InputError, UsageError

_ALBEDO, _NORMAL = "mdenoise_albedo", "mdenoise_normal"  # prefixes of AOVs, which must differ from the scene's own


def render(
    scene: Any,
    spp: int = 0,
    denoise: bool = True,
    *,
    sensor: Any = 0,
    integrator: Any = None,
    seed: int = 0,
    denoise_alpha: bool = False,
    **options: Any,
) -> Any:
    """`mi.render`, denoised: the integrator is wrapped so that it also renders albedo and normals.

    Args:
        scene, spp, sensor, integrator, seed: as in `mi.render`.
        denoise: False renders as `mi.render` does.
        denoise_alpha, options: as in `Denoiser`, which this makes anew in each call: make one yourself for many frames.

    Returns the tensor (H, W, C) of linear radiance that `mi.render` would, C being 1, 3 or 4, without derivatives.
    AOVs of the scene's own integrator stay in the film's bitmap. Warns of a film whose reconstruction filter spreads
    samples over neighbours: the noise is then correlated, and less of it can be removed.
    Raises what `Denoiser` raises.
    """
    import mitsuba as mi

    if not denoise:
        return mi.render(scene, sensor=sensor, integrator=integrator, seed=seed, spp=spp)
    film = (scene.sensors()[sensor] if isinstance(sensor, int) else sensor).film()
    if not film.rfilter().is_box_filter():
        name = str(film.rfilter()).partition("[")[0]
        warnings.warn(
            f"the film's {name} spreads samples over neighbouring pixels, which leaves noise that is harder to remove: "
            'give the film "rfilter": {"type": "box"}',
            stacklevel=2,
        )
    inner = scene.integrator() if integrator is None else integrator
    guided = mi.load_dict({"type": "aov", "aovs": f"{_ALBEDO}:albedo,{_NORMAL}:sh_normal", "inner": inner})
    mi.render(scene, sensor=sensor, integrator=guided, seed=seed, spp=spp)
    planes = {name: _linear(mi, bitmap) for name, bitmap in film.bitmap().split()}
    height, width = planes["<root>"].shape[:2]
    # Variants without colour render a grey albedo.
    guides = {name: np.repeat(planes[name], 3 // planes[name].shape[2], axis=2) for name in (_ALBEDO, _NORMAL)}
    denoiser = Denoiser((width, height), albedo=True, normals=True, denoise_alpha=denoise_alpha, **options)
    return mi.TensorXf(denoiser._denoise(planes["<root>"], guides[_ALBEDO], guides[_NORMAL], None, False))


class Denoiser:
    """A model loaded for images of one size; call it with bitmaps or tensors."""

    def __init__(
        self,
        input_size: Sequence[int],
        albedo: bool = False,
        normals: bool = False,
        temporal: bool = False,
        denoise_alpha: bool = False,
        **options: Any,
    ):
        """
        Args:
            input_size: width and height of the images.
            albedo, normals: whether calls will give these.
            temporal: not available: frames are denoised one by one.
            denoise_alpha: whether an alpha channel is denoised as well; else it is passed through.
            options: arguments of `mdenoise.Denoiser`, e.g. `quality="best"`.

        Raises UsageError, ModelError, EngineError.
        """
        if temporal:
            raise UsageError("temporal=True cannot be used: mdenoise denoises frame by frame. Leave it out")
        self.input_size = (int(input_size[0]), int(input_size[1]))
        self.albedo, self.normals, self.denoise_alpha = albedo, normals, denoise_alpha
        self._denoiser = mdenoise.Denoiser(**options)

    def __call__(self, noisy: Any, *args: Any, **kwargs: Any) -> Any:
        """Denoise one image; returns the kind of thing that `noisy` is, of the same size and channels.

        Bitmap form: (noisy, albedo_ch="", normals_ch="", to_sensor=None, flow_ch="", previous_denoised_ch="",
        noisy_ch="<root>"): names of channel groups of a multi-channel bitmap; answers an RGB or RGBA bitmap.
        Tensor form: (noisy, albedo=None, normals=None, to_sensor=None, flow=None, previous_denoised=None): tensors
        (H, W, 1, 3 or 4) of linear radiance; albedo in [0, 1]; normals in [-1, 1].
        `to_sensor` is a transform that takes the normals to the sensor's frame, or None.
        Raises UsageError for channels that are missing or were not announced, InputError for sizes that do not fit.
        """
        import mitsuba as mi

        if isinstance(noisy, mi.Bitmap):
            return self._bitmap(mi, noisy, *args, **kwargs)
        return self._tensor(noisy, *args, **kwargs)

    def _bitmap(
        self,
        mi: Any,
        noisy: Any,
        albedo_ch: str = "",
        normals_ch: str = "",
        to_sensor: Any = None,
        flow_ch: str = "",
        previous_denoised_ch: str = "",
        noisy_ch: str = "<root>",
    ) -> Any:
        groups = dict(noisy.split())

        def group(name: str) -> np.ndarray | None:
            if not name:
                return None
            if name not in groups:
                raise UsageError(f"channel {name!r} is not in the bitmap: it holds {', '.join(groups)}")
            return _linear(mi, groups[name])

        clean = self._denoise(
            group(noisy_ch), group(albedo_ch), group(normals_ch), to_sensor, bool(flow_ch or previous_denoised_ch)
        )
        source = groups[noisy_ch]
        result = mi.Bitmap(clean, source.pixel_format())
        result.set_premultiplied_alpha(source.premultiplied_alpha())
        return result

    def _tensor(
        self,
        noisy: Any,
        albedo: Any = None,
        normals: Any = None,
        to_sensor: Any = None,
        flow: Any = None,
        previous_denoised: Any = None,
    ) -> Any:
        temporal = _array(flow) is not None or _array(previous_denoised) is not None
        return type(noisy)(self._denoise(_array(noisy), _array(albedo), _array(normals), to_sensor, temporal))

    def _denoise(
        self,
        noisy: np.ndarray | None,
        albedo: np.ndarray | None,
        normals: np.ndarray | None,
        to_sensor: Any,
        temporal: bool,
    ) -> np.ndarray:
        if temporal:
            raise UsageError("flow and previous_denoised cannot be used: mdenoise denoises frame by frame")
        for name, plane, announced in (("albedo", albedo, self.albedo), ("normals", normals, self.normals)):
            if announced != (plane is not None):
                fix = f"give {name}" if announced else f"make the Denoiser with {name}=True"
                raise UsageError(f"{name} {'missing' if announced else 'not expected'}: {fix}")
        if noisy is None or noisy.ndim != 3 or noisy.shape[2] not in (1, 3, 4):
            raise InputError("cannot denoise: noisy must have 1, 3 or 4 channels, (height, width, channels)")
        if noisy.shape[1::-1] != self.input_size:
            raise InputError(
                f"cannot denoise {noisy.shape[1]}x{noisy.shape[0]}: this Denoiser is for "
                f"{self.input_size[0]}x{self.input_size[1]}"
            )
        if normals is not None and to_sensor is not None:
            normals = normals @ _rotation(to_sensor).T
        if noisy.shape[2] == 4 and not self.denoise_alpha:
            clean = self._denoiser(np.ascontiguousarray(noisy[..., :3]), albedo, normals)
            return np.concatenate([clean, noisy[..., 3:]], axis=2)
        return self._denoiser(noisy, albedo, normals)


def _array(tensor: Any) -> np.ndarray | None:
    """A tensor as (H, W, C) float32; None for one that is absent or empty, as OptixDenoiser has it."""
    if tensor is None:
        return None
    array = np.array(tensor, dtype=np.float32)
    return array if array.size else None


def _linear(mi: Any, bitmap: Any) -> np.ndarray:
    """A bitmap's pixels, (H, W, C) linear float32."""
    array = np.array(bitmap.convert(bitmap.pixel_format(), mi.Struct.Type.Float32, False))
    return array if array.ndim == 3 else array[..., None]


def _rotation(transform: Any) -> np.ndarray:
    """The 3x3 that a transform applies to normals: its inverse transposed, which for a rotation is itself."""
    matrix = np.array(transform.matrix, dtype=np.float64).reshape(4, 4)  # variants with llvm and cuda add an axis
    return np.linalg.inv(matrix[:3, :3]).T.astype(np.float32)
