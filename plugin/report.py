"""What `mdenoise info` says about a file: layers, roles and why, sizes, types, noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mdenoise import filter, guide, noise, prefilter
from mdenoise.adapters import adapter_for
from mdenoise.config import Options
from mdenoise.errors import InputError, UsageError
from mdenoise.frame import Planes

_TYPES = {"float16": "half", "float32": "float", "uint32": "uint"}


def describe_file(path: Path, options: Options) -> dict[str, Any]:
    """Facts of a file as plain values: those of its adapter and, for each image to denoise, `noise` and `exposure`.

    A file with nothing to denoise has an `error` that says why. Raises InputError for one that cannot be read.
    """
    adapter = adapter_for(path)
    frame = adapter.read(path)
    facts: dict[str, Any] = adapter.describe(frame, options)
    try:
        jobs = adapter.adapt(frame, options)
    except (InputError, UsageError) as error:
        return facts | {"error": str(error)}
    for image, job in zip(facts["images"], jobs, strict=True):
        image |= noise_of(job.planes)
    return facts


def noise_of(planes: Planes) -> dict[str, float]:
    """What is known of an image's noise.

    noise        standard deviation in the domain that the network sees, where mid grey is 0.5 and white 1, so that
                 numbers of HDR and encoded images compare; `exposure`: the factor on linear radiance that leads there.
    noise_correlation  of neighbouring pixels; 0 is independent.
    distrusted_px  pixels of the colour that are not finite: filled from around them.
    outlier_px   fireflies of renders: pixels whose pull on others is bounded.
    albedo_noisy  share of the albedo's pixels that are noisy, by a sample; only where there is one.
    Of photographs also what `--robustness auto` goes by.
    """
    distrusted = int(np.count_nonzero(~guide.trusted_px(planes.color)))
    if planes.encoding != "linear":
        found, _ = noise.measure_noise(planes.color)
        return {
            "noise": found.level,
            "exposure": 1.0,
            "noise_correlation": found.correlation[0],
            "noise_extent_px": found.extent_px,
            "impulse_share": found.impulse_share,
            "distrusted_px": distrusted,
        }
    exposure = guide.exposure(planes.color)
    sane = np.where(guide.trusted_px(planes.color)[..., None], planes.color, 0).astype(np.float32)
    exposed = np.clip(sane * np.float32(exposure), -1e30, 1e30)
    return {
        "noise": guide.exposed_noise_level(planes.color, exposure),
        "exposure": exposure,
        "noise_correlation": noise.render_correlation(guide.transfer(exposed)),
        "distrusted_px": distrusted,
        "outlier_px": int(np.count_nonzero(filter.outlier_weight(guide.brightness(exposed)) < 1)),
    } | ({} if planes.albedo is None else {"albedo_noisy": prefilter.noisy_share(planes.albedo)})


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts for a person."""
    yield str(facts["path"])
    for index, part in enumerate(facts["parts"]):
        name = f"part {index}" + (f" {part['name']}" if part["name"] else "")
        name += f", view {part['view']}" if part["view"] else ""
        x_min, y_min = part["data_window"][:2]
        window = f" at {x_min},{y_min}" if (x_min, y_min) != (0, 0) else ""
        yield f"  {name}: {part['width']}x{part['height']}{window}, {part['type']}, {part['compression']}"
        for layer in facts["layers"]:
            if layer["part"] == index:
                channels = [*layer["channels"], *([layer["alpha"]] if layer["alpha"] else [])]
                stored = dict.fromkeys(part["channels"][channel] for channel in channels)
                kinds = "/".join(_TYPES.get(kind, kind) for kind in stored)
                yield f"    {layer['name']}  {','.join(channel.rsplit('.', 1)[-1] for channel in channels)}  {kinds}"
    for image in facts["images"]:
        yield f"  {image['line']}"
        for role, reason in image["reasons"].items():
            yield f"    {role}: {image['roles'].get(role, '-')}, {reason}"
        yield f"    layers that add up to the colour: {image['additive']}"
        if "noise" in image:
            yield f"    noise {image['noise']:.3f} (deviation; mid grey is 0.5), exposure x{image['exposure']:.3g}"
        if "noise_extent_px" in image:
            reach = f"{image['noise_correlation']:.2f}, over {image['noise_extent_px']} px"
            yield f"    neighbours correlated by {reach}; {image['impulse_share']:.2%} impulses"
        elif "noise_correlation" in image:
            told = image["noise_correlation"]
            yield "    noise " + (
                f"correlated: {told:.2f} between neighbours (a pixel filter or a resize)" if told else "independent"
            )
        if "distrusted_px" in image:
            bounded = (
                f", {image['outlier_px']} px so bright that their pull is bounded" if "outlier_px" in image else ""
            )
            yield f"    {image['distrusted_px']} px not finite{bounded}"
        if image.get("albedo_noisy", 0) >= prefilter.NOISY_SHARE:
            yield f"    albedo noisy in {image['albedo_noisy']:.0%} of the pixels: steadied unless --no-prefilter"
    if "error" in facts:
        yield f"  {facts['error']}"
