"""Motion vectors as renderers store them, to offsets in pixels from a frame to the ones beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mdenoise.adapters.layers import plain
from mdenoise.frame import Frame, Layer

# Last element of the name -> which way it leads. One frame's way in pixels, as compositors take it.
AFTER = ("forward", "motionfore", "motionforward", "motionvector", "motionvectors", "motionvec", "motion", "mvec")
BEFORE = ("backward", "motionback", "motionbackward")
_FIRST, _SECOND = ("x", "r", "u", "red"), ("y", "g", "v", "green")


@dataclass(frozen=True)
class Motion:
    """Where each pixel was one frame before and will be one frame after, less where it is: (H, W, 2) float32 pixels, x
    to the right, y downwards; None where the renderer does not tell. `sure` when the vectors' signs and unit are."""

    before: np.ndarray | None = None
    after: np.ndarray | None = None
    sure: bool = True

    def scaled(self, factors: Mapping[str, tuple[float, float]]) -> Motion:
        """`before` and `after` times what `factors` has for them."""
        planes = {way: getattr(self, way) for way in ("before", "after")}
        return Motion(
            **{
                way: plane if plane is None or way not in factors else plane * np.array(factors[way], np.float32)
                for way, plane in planes.items()
            }
        )


def find_motion(frame: Frame, color: Layer) -> Motion | None:
    """The motion vectors beside a colour layer, of its view layer where there are several; None when there are none.

    Cycles' Vector holds, in pixels with y upwards, the way to the frame before (X, Y) and the way from the frame after
    (Z, W): checked with frames that it rendered. Others are read as pixels with y upwards and left to be told from
    the frames (`joining.narrow`): RenderMan's forward and backward, Arnold's motionvector, which spans its shutter
    and not the frame, MoonRay's motionvec, which is 1 from the middle to the border.
    """
    size = frame.parts[color.part].window
    scope = color.name.rpartition(".")[0]
    found: dict[str, np.ndarray] = {}
    for part in frame.parts:
        if part.window != size:
            continue
        groups: dict[str, dict[str, str]] = {}
        for channel in part.channels:
            name, _, letter = channel.rpartition(".")
            groups.setdefault(name or part.name, {})[letter.lower()] = channel
        # The view layer of the colour comes last: what it has replaces what another has.
        for name in sorted(groups, key=lambda name: name.rpartition(".")[0] == scope):
            letters, key = groups[name], plain(name.rpartition(".")[2])
            if key == "vector" and letters.keys() >= set("xyzw"):
                x, y, z, w = (part.channels[letters[one]].astype(np.float32) for one in "xyzw")
                return_way = {"before": np.stack([x, -y], -1), "after": np.stack([-z, w], -1)}
                found = {"sure": np.array(True), **return_way}
            elif key in (*AFTER, *BEFORE) and "sure" not in found:
                pair = [next((letters[one] for one in names if one in letters), None) for names in (_FIRST, _SECOND)]
                if None not in pair:
                    x, y = (part.channels[one].astype(np.float32) for one in pair)
                    found["after" if key in AFTER else "before"] = np.stack([x, -y], -1)
    if not found:
        return None
    return Motion(found.get("before"), found.get("after"), "sure" in found)
