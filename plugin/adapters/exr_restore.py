"""Filtered planes back into their Frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mdenoise.adapters import aov_values
from mdenoise.adapters.exr_adapt import Job, Target, would_change
from mdenoise.errors import EngineError
from mdenoise.frame import Filtered, Frame

_HALF_MAX = 65504.0
UNCERTAINTY = "mdenoise.uncertainty.Y"


def restore(frame: Frame, jobs: Sequence[Job], results: Sequence[Filtered], provenance: Mapping[str, str]) -> Frame:
    """The frame with the filtered planes in place, each in its channel's own type, and with a provenance stamp.

    Where there is an uncertainty it becomes a channel `mdenoise.uncertainty.Y` beside the colour. `provenance` becomes
    string attributes `mdenoise:<name>` of the first part and of every changed one. Parts whose compression would
    change untouched channels are set to ZIP.
    """
    planes: dict[tuple[int, str], np.ndarray] = {}
    for job, filtered in zip(jobs, results, strict=True):
        _restore_job(frame, job, filtered, planes)
    touched = frozenset().union(*(job.touched for job in jobs))
    stamp = {
        f"mdenoise:{name.removeprefix('mdenoise:')}": value.encode("utf-8", "replace").decode("utf-8")
        for name, value in provenance.items()
    }
    added = _uncertainties(frame, jobs, results)
    parts = []
    for index, part in enumerate(frame.parts):
        channels = {name: planes.get((index, name), plane) for name, plane in part.channels.items()}
        channels |= added.get(index, {})
        header = dict(part.header)
        if would_change(index, part, touched):
            import OpenEXR

            header["compression"] = OpenEXR.ZIP_COMPRESSION
        if index == 0 or any(number == index for number, _ in planes):
            header |= stamp
        parts.append(replace(part, header=header, channels=channels))
    return replace(frame, parts=tuple(parts))


def _uncertainties(
    frame: Frame,
    jobs: Sequence[Job],
    results: Sequence[Filtered],
) -> dict[int, dict[str, np.ndarray]]:
    """The uncertainty of each job as one more channel beside its colour, by part; one of an earlier run is replaced."""
    added: dict[int, dict[str, np.ndarray]] = {}
    for job, filtered in zip(jobs, results, strict=True):
        if filtered.uncertainty is None:
            continue
        color = job.roles.color
        part, new = frame.parts[color.part], added.setdefault(color.part, {})
        several = sum(other.roles.color.part == color.part for other in jobs) > 1  # the views of one part
        name = f"{job.roles.view}.{UNCERTAINTY}" if several and job.roles.view else UNCERTAINTY
        kind = part.channels[color.channels[0]].dtype
        limit = _HALF_MAX if kind == np.float16 else np.finfo(np.float32).max
        new[name] = np.minimum(filtered.uncertainty, limit).astype(kind)
    return added


def _restore_job(frame: Frame, job: Job, filtered: Filtered, planes: dict[tuple[int, str], np.ndarray]) -> None:
    results = {name: filtered.layers[name] for name in job.targets if name in filtered.layers}
    spilt: np.ndarray | None = None
    for name, target in job.targets.items():
        if target.surface is not None and name in results:
            results[name], rest = _divided(frame, target, results[name], job.planes.layers[name])
            spilt = rest if spilt is None else spilt + rest
    if spilt is not None and spilt.any():
        _hold(job, results, spilt)
    for name, result in results.items():
        _place(frame, job.targets[name], result, planes)


def _divided(frame: Frame, target: Target, result: np.ndarray, product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A filtered product as light again, and what of it falls where the untouched surface is black.

    Where one channel of a surface is black its light is the mean of the others', as in Cycles itself.
    """
    part = frame.parts[target.part]
    surface = aov_values.placed(frame, target.surface, part.window).astype(np.float32)
    light = np.stack([part.channels[name] for name in target.channels], axis=-1)
    holds = np.isfinite(surface) & (np.abs(surface) > 1e-4)
    divided = np.where(holds, result / np.where(holds, surface, 1), 0)
    count = holds.sum(axis=-1, keepdims=True)
    mean = divided.sum(axis=-1, keepdims=True) / np.maximum(count, 1)
    out = np.where(holds, divided, np.where(count > 0, mean, light.astype(np.float32)))
    # Unchanged products (strength 0) keep the exact light that they came from.
    same = result == product
    carried = np.where(np.isfinite(surface), surface * out, 0)  # next to nothing, but a sum is a sum
    return np.where(same, light, out), np.where(holds | same, 0, result - carried)


def _hold(job: Job, results: dict[str, np.ndarray], spilt: np.ndarray) -> None:
    """Keep the sum where the filter carried light over an edge onto a black surface, or onto none.

    There the background takes it where one is seen, emission elsewhere; the beauty is not changed, since other sets
    (light groups) sum to it as well. A file that has neither layer gives it up in the beauty.
    """
    rest = spilt
    for name in (name for name in job.holders if name in results):
        seen = (job.planes.layers[name] != 0).any(axis=-1, keepdims=True) | (name == job.holders[-1])
        results[name] = results[name].astype(np.float32) + np.where(seen, rest, 0)
        rest = np.where(seen, 0, rest)
    if rest.any():
        results[job.beauty] = results[job.beauty].astype(np.float32) - rest


def _place(frame: Frame, target: Target, result: np.ndarray, planes: dict[tuple[int, str], np.ndarray]) -> None:
    for index, name in enumerate(target.channels):
        plane = result if result.ndim == 2 else result[..., index]
        planes[target.part, name] = _stored(plane, frame.parts[target.part].channels[name], name, frame)


def _stored(plane: np.ndarray, original: np.ndarray, name: str, frame: Frame) -> np.ndarray:
    """A result in the type of the file. Half floats end at 65504: brighter values would become infinite."""
    if plane.shape != original.shape:
        raise EngineError(f"cannot write {name} of {frame.path}: the result is {plane.shape}, not {original.shape}")
    if original.dtype == np.float16 and plane.dtype != np.float16:
        plane = np.clip(plane, -_HALF_MAX, _HALF_MAX)  # NaN passes, and is judged below
    stored = np.ascontiguousarray(plane, dtype=original.dtype)
    broken = ~np.isfinite(stored)
    # What came in not finite and was left alone (strength 0, a layer left out of the group) may stay so.
    if broken.any() and np.isfinite(original[broken]).any():
        raise EngineError(f"cannot write {name} of {frame.path}: the filter returned values that are not finite")
    return stored
