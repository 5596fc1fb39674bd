"""Arrays of any kind as the pipeline's planes, without a copy, and results back as the caller's kind."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Planes

TYPES = (np.float16, np.float32, np.uint8, np.uint16)


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor; torch is never imported for it, as nobody can hold one without."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def view(name: str, value: Any) -> np.ndarray:
    """`value` as NumPy sees it, of any type and shape: its own memory where it is an array, a copy of a list."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if is_tensor(value):
            if value.device.type != "cpu":
                raise InputError(
                    f"cannot read {name}: it is on {value.device}, this version reads the CPU's memory. "
                    f"Pass {name}.cpu()"
                )
            return value.detach().numpy()
        return np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)
    except InputError:
        raise
    except Exception as error:  # each library has its own
        why = " ".join(str(error).split())
        raise InputError(f"cannot read {name}: {type(value).__name__} is not an array on the CPU ({why})") from None


def read(name: str, value: Any, channels: tuple[int, ...] | None = None) -> np.ndarray:
    """An array (H, W) or (H, W, C) of a supported type; only float64 and a foreign byte order are copied."""
    array = view(name, value)
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    elif not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.type not in TYPES:
        raise InputError(f"cannot denoise {name} of type {array.dtype}: use float16, float32, uint8 or uint16")
    if array.ndim not in (2, 3) or 0 in array.shape:
        hint = f". It is a batch: pass {name}[0]" if array.ndim == 4 and array.shape[0] == 1 else ""
        raise InputError(f"cannot denoise {name} of shape {array.shape}: use (H, W) or (H, W, C){hint}")
    count = array.shape[2] if array.ndim == 3 else 1
    if channels is not None and count not in channels:
        known = " or ".join(filter(None, (", ".join(map(str, channels[:-1])), str(channels[-1]))))
        swap = "permute" if is_tensor(value) else "transpose"
        first = array.ndim == 3 and array.shape[0] in channels
        hint = f" (channels come last: pass {name}.{swap}(1, 2, 0))" if first else ""
        raise InputError(f"cannot denoise {name} with {count} channels, shape {array.shape}: use {known}{hint}")
    return array


def to_planes(
    image: np.ndarray, guides: Mapping[str, Any], layers: Mapping[str, Any], encoding: str, keep_alpha: bool
) -> Planes:
    """What the pipeline filters: layer "color" is `image` without its alpha, "alpha" that alpha unless it is kept, and
    "layer:NAME" each of `layers`. `guides` are albedo, normal, depth and variance, None where absent."""
    if encoding == "auto":
        encoding = "srgb" if image.dtype.kind == "u" else "linear"
    if encoding not in ("linear", "srgb"):
        raise UsageError(f"encoding {encoding!r} is not known: use auto, linear or srgb")
    if not isinstance(layers, Mapping):
        raise UsageError(f"layers of type {type(layers).__name__} cannot be used: pass a dict of name -> array")
    size = image.shape[:2]
    found = {name: guide(name, value, size) for name, value in guides.items()}
    flat = image.reshape(*size, -1)
    rgb = np.repeat(flat[..., :1], 3, axis=2) if flat.shape[2] == 1 else flat[..., :3]
    extra = {
        f"layer:{name}": _same_size(f"layer {name}", read(f"layer {name}", layer), size)
        for name, layer in layers.items()
    }
    alpha = {"alpha": flat[..., 3]} if flat.shape[2] == 4 and not keep_alpha else {}
    return Planes(
        color=rgb / np.float32(np.iinfo(image.dtype).max) if image.dtype.kind == "u" else rgb,
        layers={"color": flat[..., :3], **alpha, **extra},
        # All of them or none: parts of a grey image could not add up if only they were divided by the albedo.
        demodulated=frozenset({"color", *extra}) if flat.shape[2] >= 3 else frozenset(),
        encoding=encoding,
        **found,
    )


def to_image(done: Mapping[str, np.ndarray], image: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """The filtered layers of `to_planes` as one array of the shape and type of `image`, written to `out` if given."""
    if out is None:
        if image.ndim == 2 or image.shape[2] < 4:
            return done["color"].reshape(image.shape)
        out = np.empty_like(image)
    into = out if out.ndim == 3 else out[..., None]
    into[..., :3] = done["color"]
    if into.shape[2] == 4:
        into[..., 3] = done.get("alpha", image[..., 3])
    return out


def target(out: Any, color: np.ndarray) -> np.ndarray:
    """The memory of `out`, an array or tensor that takes a result in place of a new one; it must be like `color`."""
    if not (isinstance(out, np.ndarray) or is_tensor(out) or hasattr(out, "__dlpack__")):
        raise InputError(f"cannot write to out: a {type(out).__name__} is not an array. Pass NumPy, torch or DLPack")
    memory = view("out", out)
    if memory.shape != color.shape or memory.dtype != color.dtype:
        raise InputError(
            f"cannot write to out: it is {memory.dtype} {memory.shape}, color is {color.dtype} "
            f"{color.shape}. Pass one of color's type and shape"
        )
    if not memory.flags.writeable:
        raise InputError("cannot write to out: it is read-only. Pass an array that can be written to")
    if any(step == 0 and count > 1 for step, count in zip(memory.strides, memory.shape, strict=True)):
        raise InputError("cannot write to out: it is broadcast, its pixels share memory. Pass an array of its own")
    return memory


def like(source: Any, result: np.ndarray) -> Any:
    """`result` as the kind of array that `source` is, of the same type."""
    return wrap(source, result.astype(view("result", source).dtype, copy=False))


def wrap(source: Any, result: np.ndarray) -> Any:
    """`result` as the kind of array that `source` is: NumPy, torch, or any that follows the array API standard."""
    if isinstance(source, np.ndarray):
        return result
    if is_tensor(source):
        return sys.modules["torch"].from_numpy(np.ascontiguousarray(result))
    if hasattr(source, "__array_namespace__"):
        return source.__array_namespace__().asarray(result)
    return result


def guide(name: str, value: Any, size: tuple[int, int]) -> np.ndarray | None:
    """An auxiliary plane as the pipeline takes it: albedo and normal (H, W, 3), before and after (H, W, 2), depth and
    variance (H, W)."""
    if value is None:
        return None
    channels = {"albedo": 3, "normal": 3, "before": 2, "after": 2}.get(name, 1)
    array = _same_size(name, read(name, value, (channels,)), size)
    if array.dtype.kind == "u":
        if name != "albedo":
            raise InputError(f"cannot use {name} of type {array.dtype}: use float16 or float32")
        array = array / np.float32(np.iinfo(array.dtype).max)
    return array if channels > 1 else array.reshape(size)


def _same_size(name: str, array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if array.shape[:2] != size:
        turned = array.shape[1::-1] == size
        raise InputError(
            f"cannot use {name} of size {array.shape[1]}x{array.shape[0]}: color is {size[1]}x{size[0]}"
            + (" (width and height are swapped)" if turned else "")
        )
    return array
