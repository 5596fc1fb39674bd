"""OpenEXR files as Frames, and back: whatever is not changed on the way keeps every bit."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mdenoise import atomic
from mdenoise.adapters import exr_header
from mdenoise.adapters.layers import group_layers
from mdenoise.adapters.library_lines import library_messages
from mdenoise.errors import InputError, OutputError
from mdenoise.frame import Frame, Part

_NUMPY_TYPES = (np.uint32, np.float16, np.float32)


def read(path: Path) -> Frame:
    """Read all parts and channels of an OpenEXR file, each in its own type.

    Single-part and multi-part, scan lines and tiles, any compression and data window. `frame.metadata["attributes"]`
    holds the exact bytes of every attribute. Raises InputError, one line, for what is missing, damaged, or cannot
    be carried through bit for bit (deep data, mip-map levels, subsampled chroma).
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            header = exr_header.parse(stream)
            exr_header.check(header, stream)
            decoded, disguised = _decode(stream, header)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from None
    parts = []
    for index, (part, attributes) in enumerate(zip(decoded, header.parts, strict=True)):
        window = exr_header.window(attributes)
        planes = {name: channel.pixels for name, channel in part.channels.items()}
        part.channels.clear()  # or it would hold every plane once more
        for channel in exr_header.channels(attributes):
            plane = planes.get(channel.name)
            shape, kind = (window.height, window.width), _NUMPY_TYPES[channel.pixel_type]
            if plane is None or plane.shape != shape or plane.dtype != kind:
                raise InputError(f"cannot read {path}: channel {channel.name} of part {index} could not be decoded")
        values = dict(part.header) | disguised[index]
        view = values.get("view", "")
        parts.append(Part(str(values.get("name", "")), values, planes, window, view if isinstance(view, str) else ""))
    layers = group_layers(tuple(parts))
    for layer in layers:
        _join(parts[layer.part].channels, layer.channels)
    return Frame(path, tuple(parts), layers, {"attributes": header.parts})


def _join(planes: dict[str, np.ndarray], names: Sequence[str]) -> None:
    """Put the planes of a layer one after another in memory: together they are an array (see `aov_values.placed`) and
    each is what the writer takes, so that nothing is held twice."""
    if len(names) > 1 and len({planes[name].dtype for name in names}) == 1:
        block = np.empty((len(names), *planes[names[0]].shape), planes[names[0]].dtype)
        for joined, name in zip(block, names, strict=True):
            joined[:] = planes[name]
            planes[name] = joined  # and what the library decoded is freed


def _decode(stream: BinaryIO, header: exr_header.Header) -> tuple[list[Any], list[dict[str, Any]]]:
    """The binding's parts, and for each part the attributes to take from elsewhere. Raises ValueError."""
    import OpenEXR

    disguised: list[dict[str, Any]] = [{} for _ in header.parts]
    with library_messages(_LIBRARY_LINE) as messages:
        try:
            stream.seek(0)
            parts = OpenEXR.File(stream, separate_channels=True).parts
        except (RuntimeError, ValueError, TypeError, ZeroDivisionError, MemoryError):
            # Perhaps only an attribute is at fault, and not the pixels: try again with those out of the way.
            stream.seek(0)
            copy, attributes = exr_header.tamed(header, stream.read())
            disguised = [
                {name: OpenEXR.OpaqueAttribute(attribute.data, attribute.type) for name, attribute in part.items()}
                for part in attributes
            ]
            try:
                parts = OpenEXR.File(io.BytesIO(copy), separate_channels=True).parts
            except UnicodeDecodeError:
                raise ValueError("its channel names are not UTF-8") from None
            except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
                raise ValueError(f"it is damaged ({_one_line(str(error))})") from None
            except MemoryError:
                raise ValueError("it does not fit into memory") from None
    if len(parts) != len(header.parts):  # the binding leaves out, without an error, what it cannot decode
        try:  # or has no memory for
            np.empty(_decoded_bytes(header), np.uint8)
        except MemoryError:
            raise ValueError("it does not fit into memory") from None
        reason = f" ({_one_line(messages[0])})" if messages else ""
        raise ValueError(
            f"it is damaged: {len(header.parts) - len(parts)} of {len(header.parts)} parts could not be decoded{reason}"
        )
    return parts, disguised


def _decoded_bytes(header: exr_header.Header) -> int:
    total = 0
    for attributes in header.parts:
        window = exr_header.window(attributes)
        kinds = (np.dtype(_NUMPY_TYPES[c.pixel_type]).itemsize for c in exr_header.channels(attributes))
        total += window.height * window.width * sum(kinds)
    return total


def write(frame: Frame, path: Path, *, overwrite: bool = False) -> None:
    """Write all parts of `frame` to `path`, whole or not at all. Raises OutputError.

    Types, names, order, windows, tiles and compression are those of each part's header; attributes come back with
    the bytes that they were read with.
    """
    import OpenEXR

    source = frame.metadata.get("attributes", ())
    parts = [_binding_part(part, source[index] if source else {}) for index, part in enumerate(frame.parts)]

    def fill(temp: Path) -> None:
        # A Python stream, not a name: the library keeps silent when the last bytes do not fit on the disk.
        with temp.open("r+b") as stream, library_messages(_LIBRARY_LINE):
            try:
                OpenEXR.File(parts).write(stream)
            except (RuntimeError, ValueError, TypeError) as error:
                raise OutputError(f"cannot write {path}: {_one_line(str(error))}") from None
            stream.flush()
            lost = exr_header.put_back(stream, source) if source else []
        if lost:
            raise OutputError(f"cannot write {path}: attributes {', '.join(lost)} would be lost")

    atomic.publish(Path(path), fill, overwrite=overwrite)


def _binding_part(part: Part, source: Mapping[str, exr_header.Attribute]) -> Any:
    import OpenEXR

    header = {name: value for name, value in part.header.items() if name not in ("channels", "chunkCount")}
    if "chunkCount" in part.header and part.header["compression"] == _source_compression(source):
        header["chunkCount"] = part.header["chunkCount"]  # else the library counts anew
    for name, value in header.items():
        if isinstance(value, list) and not value:  # the binding cannot tell the type of an empty vector
            header[name] = OpenEXR.OpaqueAttribute(b"", source[name].type)
    linear = {channel.name: bool(channel.pLinear) for channel in part.header.get("channels", ())}
    channels = {
        name: OpenEXR.Channel(name, np.ascontiguousarray(plane), 1, 1, linear.get(name, False))
        for name, plane in part.channels.items()
    }
    return OpenEXR.Part(header, channels)


def _source_compression(source: Mapping[str, exr_header.Attribute]) -> Any:
    import OpenEXR

    return OpenEXR.Compression(source["compression"].data[0]) if source else None


def compression_of(part: Part) -> str:
    """The part's compression by its usual name: "ZIP", "DWAA", "NO", ..."""
    return str(part.header["compression"]).rsplit(".", 1)[-1].removesuffix("_COMPRESSION")


def lossy_channels(part: Part, names: Iterable[str]) -> tuple[str, ...]:
    """Which of these channels the part's compression would change when they are written again.

    DWA loses in channels whose last element is R, G, B, Y, RY or BY, B44 in half channels, PXR24 in float ones
    (https://openexr.com/en/latest/TechnicalIntroduction.html#data-compression, and measured).
    """
    method = compression_of(part)
    kinds = {name: part.channels[name].dtype for name in names}
    if method in ("DWAA", "DWAB"):
        return tuple(
            name
            for name, kind in kinds.items()
            if kind != np.uint32 and name.rsplit(".", 1)[-1].upper() in ("R", "G", "B", "Y", "RY", "BY")
        )
    lossy = {"B44": np.float16, "B44A": np.float16, "PXR24": np.float32}.get(method)
    return tuple(name for name, kind in kinds.items() if lossy is not None and kind == lossy)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("<python_buffer>", "the file")).strip().rstrip(".")[:200]


_LIBRARY_LINE = re.compile(rb"\(EXR_ERR_|^Warning: Exception raised reading")
