"""Filtered planes back into their Frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mdenoise.adapters import aov_values
from mdenoise.adapters.additive import TAIL
from mdenoise.adapters.exr_adapt import Job, Target, would_change
from mdenoise.errors import EngineError
from mdenoise.frame import Filtered, Frame

_HALF_MAX = 65504.0
# Share of the beauty that the layers of a set must carry to be scaled to it: without, and with layers that hold rests.
_LEAST = (1e-4, 0.5)
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
    for names in job.sums:
        if results.keys() >= {job.beauty, *names}:
            _add_up(frame, job, names, results)
    for name, result in results.items():
        _place(frame, job.targets[name], result, planes)


def _add_up(frame: Frame, job: Job, names: Sequence[str], results: dict[str, np.ndarray]) -> None:
    """Scale the layers of a set at each pixel until they sum to the beauty's result, where they did before."""
    noisy, beauty = (layers[job.beauty].astype(np.float32) for layers in (job.planes.layers, results))
    before, total = np.zeros_like(beauty), np.zeros_like(beauty)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for name in names:
            surface = _surface(frame, job.targets[name])
            before += job.planes.layers[name] * surface
            total += results[name] * surface
        scale = np.abs(noisy).mean(where=np.isfinite(noisy)) if np.isfinite(noisy).any() else 0
        # What is not finite is filled: not apart.
        apart = np.abs(before - noisy) > TAIL * (np.abs(noisy) + 1e-3 * scale)
        lit = (total * beauty > _LEAST[any(name in job.holders for name in names)] * beauty**2) | (beauty == 0)
        # As close as the input's sum is close enough: then layers that no filter changed are not changed here, either.
        close = np.abs(total - beauty) <= np.abs(before - noisy).clip(max=TAIL * np.abs(beauty))
        factor = np.where(lit & ~apart & ~close & (total != 0), beauty / total, 1)
    for name in names:
        results[name] = results[name] * factor
    rest = np.where(lit | apart, 0, beauty - total)
    if rest.any():
        _hold(job, results, rest)


def _surface(frame: Frame, target: Target) -> np.ndarray:
    """The colour that multiplies a light, 0 where it is not finite; 1 for what is summed as it is."""
    if target.surface is None:
        return np.ones((), np.float32)
    surface = aov_values.placed(frame, target.surface, frame.parts[target.part].window).astype(np.float32)
    return np.where(np.isfinite(surface), surface, 0)


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
    for y in range(0, len(stored), aov_values.ROWS):
        rows = stored[y : y + aov_values.ROWS]
        # Of halves the bits tell: NumPy is slow to look at them.
        broken = (rows.view(np.uint16) & 0x7C00) == 0x7C00 if rows.dtype == np.float16 else ~np.isfinite(rows)
        # What came in not finite and was left alone (strength 0, a layer left out of the group) may stay so.
        if broken.any() and np.isfinite(original[y : y + aov_values.ROWS][broken]).any():
            raise EngineError(f"cannot write {name} of {frame.path}: the filter returned values that are not finite")
    return stored
