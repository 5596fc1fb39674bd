"""Small OpenEXR files with the channel names and layouts of every renderer, and the means to look at files exactly."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR

HEIGHT, WIDTH = 40, 48


def scene(height: int = HEIGHT, width: int = WIDTH, seed: int = 7) -> dict[str, np.ndarray]:
    """A G-buffer and its light, float32: noisy light on flat albedos, a background, a mirror-like spot.

    beauty = albedo * (direct + indirect) + gloss_color * gloss + emission, exactly in float64.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    region = (x // 12 + 2 * (y // 10)).astype(int) % 5
    albedo = np.array([(0.8, 0.1, 0.1), (0.2, 0.7, 0.3), (0.1, 0.2, 0.9), (0, 0, 0), (0.5, 0.5, 0.5)], np.float32)[
        region
    ]
    background = y < 4
    albedo[background] = 0
    slope = (region - 2)[..., None] * np.array([0.3, 0.2, 0], np.float32) + np.array([0, 0, 1], np.float32)
    normal = (slope / np.linalg.norm(slope, axis=-1, keepdims=True)).astype(np.float32)
    normal[background] = 0

    def light(level: float) -> np.ndarray:
        noise = rng.gamma(2.0, level / 2.0, (height, width, 1)) * rng.uniform(0.8, 1.2, (1, 1, 3))
        return np.where(background[..., None], 0, noise).astype(np.float32)

    data = {
        "albedo": albedo,
        "normal": normal,
        "direct": light(1.5),
        "indirect": light(0.4),
        "gloss": light(0.6),
        "emission": light(0.05),
        "key": light(1),
        "fill": light(0.3),
        "rim": light(0.2),
    }
    data["gloss_color"] = np.where(background[..., None], 0, np.float32([0.04, 0.04, 0.04])).astype(np.float32)
    data["lit_direct"] = albedo * data["direct"]
    data["lit_indirect"] = albedo * data["indirect"]
    data["specular"] = data["gloss_color"] * data["gloss"]
    data["diffuse"] = data["lit_direct"] + data["lit_indirect"]
    data["beauty"] = data["diffuse"] + data["specular"] + data["emission"]
    data["groups"] = data["key"] + data["fill"] + data["rim"]
    data["denoised"] = data["albedo"] * 1.9 + 0.05
    data["encoded"] = normal / 2 + 0.5
    data["dim_diffuse"] = data["diffuse"] / data["diffuse"].max()
    data["depth"] = np.where(background, 1e10, 3 + 0.1 * x + 0.2 * y).astype(np.float32)
    data["clipped_depth"] = np.minimum(data["depth"], 60000)
    data["position"] = np.stack([x, y, data["clipped_depth"]], -1)
    data["motion"] = rng.normal(size=(height, width, 3)).astype(np.float32)
    data["variance"] = np.square(data["beauty"]) / 4
    data["alpha"] = np.where(background, 0.25, 1).astype(np.float32)
    # Hashes as floats: any change of a bit is a change of the object.
    data["crypto"] = rng.integers(1, 0x7F000000, (height, width, 4), dtype=np.uint32).view(np.float32)
    data["id"] = rng.integers(0, 2**32, (height, width), dtype=np.uint32)
    return data


@dataclass(frozen=True)
class Case:
    """A file as a renderer writes it. `layers` are (part, prefix, components, data of `scene`, type)."""

    layers: Sequence[tuple[int, str, str, str, str]]
    roles: Mapping[str, str | None]
    header: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[str] = ("",)
    renderer: str = ""
    additive: frozenset[str] = frozenset()


def _aovs(part: int, *rows: tuple[str, str, str], kind: str = "f2") -> list[tuple[int, str, str, str, str]]:
    return [(part, name, components, data, kind) for name, components, data in rows]


def _roles(
    color: str,
    albedo: str | None = None,
    normal: str | None = None,
    depth: str | None = None,
    variance: str | None = None,
    **more: str,
) -> dict[str, str | None]:
    return {
        "color": color,
        "source": color,
        "albedo": albedo,
        "normal": normal,
        "depth": depth,
        "variance": variance,
    } | more


_CRYPTO = [(0, "crypto_object00", "RGBA", "crypto", "f4"), (0, "crypto_object01", "RGBA", "crypto", "f4")]
_VL = "ViewLayer"
_CYCLES_LIGHT = [
    ("DiffDir", "RGB", "direct"),
    ("DiffInd", "RGB", "indirect"),
    ("DiffCol", "RGB", "albedo"),
    ("GlossDir", "RGB", "gloss"),
    ("GlossCol", "RGB", "gloss_color"),
    ("Emit", "RGB", "emission"),
]
_CYCLES_5 = {
    "DiffDir": "Diffuse Direct",
    "DiffInd": "Diffuse Indirect",
    "DiffCol": "Diffuse Color",
    "GlossDir": "Glossy Direct",
    "GlossCol": "Glossy Color",
    "Emit": "Emission",
}
_CYCLES_5_PASSES = [
    ("Combined", "RGBA", "beauty", "f2"),
    ("Depth", "Z", "depth", "f4"),
    ("Normal", "XYZ", "normal", "f4"),
    ("Vector", "XYZW", "motion", "f4"),
    *((_CYCLES_5[name], c, data, "f2") for name, c, data in _CYCLES_LIGHT),
    ("Denoising Normal", "XYZ", "normal", "f4"),
    ("Denoising Albedo", "RGB", "albedo", "f2"),
    ("Denoising Depth", "Z", "depth", "f4"),
    ("CryptoObject00", "rgba", "crypto", "f4"),
]

CASES: dict[str, Case] = {
    "cycles-4": Case(
        [
            *_aovs(
                0,
                *(
                    (f"{_VL}.{n}", c, d)
                    for n, c, d in [
                        ("Combined", "RGBA", "beauty"),
                        ("Depth", "Z", "depth"),
                        ("Normal", "XYZ", "normal"),
                        ("Denoising Albedo", "RGB", "albedo"),
                        ("Denoising Normal", "XYZ", "normal"),
                        ("Denoising Depth", "Z", "depth"),
                        ("Vector", "XYZW", "motion"),
                        *_CYCLES_LIGHT,
                    ]
                ),
                kind="f4",
            ),
            (0, f"{_VL}.CryptoObject00", "rgba", "crypto", "f4"),
            (0, f"{_VL}.IndexOB", "X", "id", "f4"),
        ],
        _roles(f"{_VL}.Combined", f"{_VL}.Denoising Albedo", f"{_VL}.Denoising Normal", f"{_VL}.Denoising Depth"),
        {"BlenderMultiChannel": "Blender V2.55.1 and newer"},
        renderer="Cycles",
        additive=frozenset(f"{_VL}.{n}" for n in ("DiffDir", "DiffInd", "GlossDir", "Emit")),
    ),
    "cycles-5": Case(
        [(i, f"{_VL}.{n}", c, d, k) for i, (n, c, d, k) in enumerate(_CYCLES_5_PASSES)],
        _roles(f"{_VL}.Combined", f"{_VL}.Denoising Albedo", f"{_VL}.Denoising Normal", f"{_VL}.Denoising Depth"),
        {"BlenderMultiChannel": "Blender V2.55.1 and newer", "Software": "Blender 5.0.1"},
        parts=[f"{_VL}.{n}" for n, *_ in _CYCLES_5_PASSES],
        renderer="Cycles",
        additive=frozenset(f"{_VL}.{_CYCLES_5[n]}" for n in ("DiffDir", "DiffInd", "GlossDir", "Emit")),
    ),
    "cycles-noisy": Case(
        _aovs(
            0,
            *(
                (f"View Layer.{n}", c, d)
                for n, c, d in [
                    ("Combined", "RGBA", "denoised"),
                    ("Noisy Image", "RGB", "beauty"),
                    ("DiffCol", "RGB", "albedo"),
                    ("Normal", "XYZ", "normal"),
                    ("Debug Sample Count", "X", "depth"),
                ]
            ),
        ),
        _roles("View Layer.Combined", "View Layer.DiffCol", "View Layer.Normal", source="View Layer.Noisy Image"),
        renderer="Cycles",
    ),
    "cycles-groups": Case(
        _aovs(
            0,
            *(
                (f"{_VL}.{n}", c, d)
                for n, c, d in [
                    ("Combined", "RGBA", "groups"),
                    ("Combined_Key", "RGB", "key"),
                    ("Combined_Fill", "RGB", "fill"),
                    ("Combined_Rim", "RGB", "rim"),
                    ("AO", "RGB", "gloss"),
                ]
            ),
            kind="f4",
        ),
        _roles(f"{_VL}.Combined"),
        {"BlenderMultiChannel": "x"},
        renderer="Cycles",
        additive=frozenset(f"{_VL}.Combined_{n}" for n in ("Key", "Fill", "Rim")),
    ),
    "mitsuba": Case(
        _aovs(
            0,
            ("", "RGB", "beauty"),
            ("albedo", "RGB", "albedo"),
            ("sh_normal", "XYZ", "normal"),
            ("geo_normal", "XYZ", "normal"),
            ("depth", "T", "clipped_depth"),
            ("position", "XYZ", "position"),
            ("uv", "UV", "motion"),
            ("shape_index", "I", "clipped_depth"),
            ("img", "RGBA", "beauty"),
        ),
        _roles("", "albedo", "sh_normal", "depth"),
        {"generatedBy": "Mitsuba version 3.9.1"},
        renderer="Mitsuba",
    ),
    "mitsuba-own-names": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("alb", "RGB", "albedo"),
            ("nn", "XYZ", "normal"),
            ("dd", "T", "clipped_depth"),
            ("integrator", "RGBA", "beauty"),
            ("m2_beauty", "XYZ", "position"),
        ),
        _roles("", "alb", "nn", "dd"),
        {"generatedBy": "Mitsuba version 3.5.0"},
        renderer="Mitsuba",
    ),
    "arnold": Case(
        [
            *_aovs(
                0,
                ("", "RGBA", "beauty"),
                ("N", "XYZ", "normal"),
                ("P", "XYZ", "position"),
                ("diffuse", "RGB", "dim_diffuse"),
                ("direct", "RGB", "lit_direct"),
                ("specular", "RGB", "specular"),
                ("denoise_albedo", "RGB", "albedo"),
                ("specular_albedo", "RGB", "gloss_color"),
                ("variance", "RGB", "variance"),
                ("motionvector", "RGB", "motion"),
            ),
            (0, "", "Z", "depth", "f4"),
            *_CRYPTO,
        ],
        _roles("", "denoise_albedo", "N", "Z", "variance"),
        {"arnold/version": "7.2"},
        renderer="Arnold",
    ),
    "arnold-lit": Case(
        _aovs(0, ("", "RGBA", "beauty"), ("N", "RGB", "normal"), ("diffuse", "RGB", "dim_diffuse")),
        _roles("", None, "N"),
        {"arnold/version": "7.2"},
        renderer="Arnold",
    ),
    "arnold-groups": Case(
        _aovs(
            0,
            ("RGBA", "RGBA", "groups"),
            ("RGBA_key", "RGBA", "key"),
            ("RGBA_fill", "RGBA", "fill"),
            ("RGBA_rim", "RGBA", "rim"),
        ),
        _roles("RGBA"),
        additive=frozenset({"RGBA_key", "RGBA_fill", "RGBA_rim"}),
    ),
    "vray-max": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("VRayDiffuseFilter", "RGB", "albedo"),
            ("VRayBumpNormals", "RGB", "normal"),
            ("VRayNormals", "RGB", "normal"),
            ("VRayZDepth", "RGB", "clipped_depth"),
            ("VRayVelocity", "RGB", "motion"),
            ("VRayReflectionFilter", "RGB", "gloss_color"),
            ("effectsResult", "RGB", "denoised"),
        ),
        _roles("", "VRayDiffuseFilter", "VRayBumpNormals", "VRayZDepth"),
        {"vrayInfo/camera": "cam"},
        renderer="V-Ray",
    ),
    "vray-maya": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("diffuse", "RGB", "albedo"),
            ("normals", "XYZ", "normal"),
            ("lighting", "RGB", "lit_direct"),
            ("GI", "RGB", "lit_indirect"),
            ("specular", "RGB", "specular"),
            ("selfIllum", "RGB", "emission"),
            ("velocity", "XYZ", "motion"),
            ("zDepth", "Z", "clipped_depth"),
            kind="f4",
        ),
        _roles("", "diffuse", "normals", "zDepth"),
        {"vrayInfo/camera": "cam"},
        renderer="V-Ray",
        additive=frozenset({"lighting", "GI", "specular", "selfIllum"}),
    ),
    "vray-lit": Case(
        _aovs(0, ("", "RGBA", "beauty"), ("diffuse", "RGB", "dim_diffuse"), ("normals", "XYZ", "encoded")),
        _roles("", None, "normals"),
        {"vrayInfo/camera": "cam"},
        renderer="V-Ray",
    ),
    "renderman": Case(
        _aovs(
            0,
            ("Ci", "rgb", "beauty"),
            ("albedo", "rgb", "albedo"),
            ("albedo_var", "rgb", "variance"),
            ("albedo_mse", "rgb", "variance"),
            ("normal", "xyz", "normal"),
            ("normal_var", "xyz", "variance"),
            ("diffuse", "rgb", "dim_diffuse"),
            ("diffuse_mse", "rgb", "variance"),
            ("specular", "rgb", "specular"),
            ("forward", "xyz", "motion"),
            ("mse", "rgb", "variance"),
            ("", "zfiltered", "clipped_depth"),
            ("", "a", "alpha"),
            ("", "sampleCount", "depth"),
            kind="f4",
        ),
        _roles("Ci", "albedo", "normal", "zfiltered", "mse"),
        {"rmn_version": "26"},
        renderer="RenderMan",
    ),
    "karma": Case(
        [
            (0, "C", "RGBA", "beauty", "f2"),
            (1, "albedo", "RGB", "albedo", "f2"),
            (2, "N", "xyz", "normal", "f2"),
            (3, "", "Pz", "depth", "f4"),
            (4, "motionvector", "xyz", "motion", "f2"),
            (5, "diffuse", "RGB", "dim_diffuse", "f2"),
        ],
        _roles("C", "albedo", "N", "Pz"),
        {"husk:version": "20.5"},
        parts=["C", "albedo", "N", "Pz", "motionvector", "diffuse"],
        renderer="Karma",
    ),
    "karma-part-names": Case(
        [
            (0, "", "RGBA", "beauty", "f2"),
            (1, "", "RGB", "albedo", "f2"),
            (2, "", "XYZ", "normal", "f2"),
            (3, "", "Z", "depth", "f4"),
            (4, "", "RGB", "dim_diffuse", "f2"),
            (5, "", "RGB", "specular", "f2"),
        ],
        _roles("beauty", "basecolor", "hitN", "hitPz"),
        parts=["beauty", "basecolor", "hitN", "hitPz", "diffuse", "specular"],
    ),
    "mantra": Case(
        _aovs(
            0,
            ("C", "RGBA", "beauty"),
            ("basecolor", "RGB", "albedo"),
            ("N", "XYZ", "normal"),
            ("", "Pz", "depth"),
            ("direct_comp", "RGB", "lit_direct"),
            kind="f4",
        ),
        _roles("C", "basecolor", "N", "Pz"),
        {"Software": "Mantra 19.5"},
        renderer="Mantra",
    ),
    "redshift": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("DiffuseFilter", ("red", "green", "blue"), "albedo"),
            ("BumpNormals", "RGB", "normal"),
            ("N", "RGB", "normal"),
            ("ReflectionsFilter", "RGB", "gloss_color"),
            ("Depth", "Z", "clipped_depth"),
            ("MotionVectors", "RGB", "motion"),
            ("Reflections", "RGB", "specular"),
        ),
        _roles("", "DiffuseFilter", "BumpNormals", "Depth"),
        {"rs/version": "3.5"},
        renderer="Redshift",
    ),
    "redshift-parts": Case(
        [
            (0, "", "RGBA", "denoised", "f2"),
            (1, "", "RGB", "beauty", "f2"),
            (2, "", "RGB", "albedo", "f2"),
            (3, "", "RGB", "normal", "f2"),
            (4, "", "Z", "depth", "f4"),
        ],
        _roles("Main", "DiffuseFilter", "Normals", "Depth", source="Beauty_Noisy"),
        parts=["Main", "Beauty_Noisy", "DiffuseFilter", "Normals", "Depth"],
    ),
    "octane": Case(
        _aovs(
            0,
            ("Beauty", "RGBA", "beauty"),
            ("Denoised beauty", "RGBA", "denoised"),
            ("Denoise albedo", "RGB", "albedo"),
            ("Denoise normal", "RGB", "normal"),
            ("Shading normal", "RGB", "normal"),
            ("Z-depth", "RGB", "clipped_depth"),
            ("Motion vector", "RGB", "motion"),
            ("Diffuse filter", "RGB", "albedo"),
        ),
        _roles("Beauty", "Denoise albedo", "Denoise normal", "Z-depth"),
        {"Software": "Octane Render"},
        renderer="Octane",
    ),
    "pbrt-4": Case(
        _aovs(
            0,
            ("", "RGB", "beauty"),
            ("Albedo", "RGB", "albedo"),
            ("Ns", "XYZ", "normal"),
            ("N", "XYZ", "normal"),
            ("P", "XYZ", "position"),
            ("Variance", "RGB", "variance"),
            ("RelativeVariance", "RGB", "variance"),
            ("", "u", "alpha"),
            ("", "v", "alpha"),
            ("", "dzdx", "alpha"),
            kind="f4",
        ),
        _roles("", "Albedo", "Ns", "P", "Variance"),
        {"Software": "pbrt-v4"},
        renderer="pbrt",
    ),
    "pbrt-4-before-2023": Case(
        _aovs(
            0,
            ("", "RGB", "beauty"),
            ("Albedo", "RGB", "albedo"),
            ("", ("Nsx", "Nsy", "Nsz"), "normal"),
            ("", ("Nx", "Ny", "Nz"), "normal"),
            ("", ("Px", "Py", "Pz"), "position"),
            kind="f4",
        ),
        _roles("", "Albedo", "Ns", "P"),
        {"Software": "pbrt-v4"},
        renderer="pbrt",
    ),
    "luxcore-blender": Case(
        _aovs(
            0,
            ("RenderLayer.Combined", "RGBA", "beauty"),
            ("RenderLayer.ALBEDO", "RGB", "albedo"),
            ("RenderLayer.AVG_SHADING_NORMAL", "XYZ", "normal"),
            ("RenderLayer.DEPTH", "Z", "depth"),
            ("RenderLayer.NOISE", "X", "alpha"),
            kind="f4",
        ),
        _roles("RenderLayer.Combined", "RenderLayer.ALBEDO", "RenderLayer.AVG_SHADING_NORMAL", "RenderLayer.DEPTH"),
        renderer="LuxCore",
    ),
    "corona": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("VisibleDiffuse", "RGB", "albedo"),
            ("VisibleNormals", "RGB", "encoded"),
            ("ZDepth", "RGB", "clipped_depth"),
            ("Velocity", "RGB", "motion"),
        ),
        _roles("", "VisibleDiffuse", "VisibleNormals", "ZDepth"),
        renderer="Corona",
    ),
    "moonray": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("denoise_albedo", "RGB", "albedo"),
            ("denoise_normal", "XYZ", "normal"),
            ("depth", "Z", "depth"),
            ("motionvec", "XY", "motion"),
            kind="f4",
        ),
        _roles("", "denoise_albedo", "denoise_normal", "depth"),
    ),
    "appleseed": Case(
        _aovs(
            0,
            ("", "RGBA", "beauty"),
            ("diffuse", "RGB", "albedo"),
            ("normal", "RGB", "encoded"),
            ("depth", "Z", "clipped_depth"),
        ),
        _roles("", "diffuse", "normal", "depth"),
    ),
    "plain-lit": Case(
        _aovs(0, ("", "RGBA", "beauty"), ("diffuse", "RGB", "diffuse"), ("normal", "XYZ", "normal")),
        _roles("", None, "normal"),
    ),
    "plain-noisy": Case(
        _aovs(0, ("", "RGBA", "beauty"), ("diffuse", "RGB", "dim_diffuse"), ("normal", "XYZ", "normal")),
        _roles("", None, "normal"),
    ),
    "povray": Case(_aovs(0, ("", "RGB", "beauty")), _roles("")),
}


def channels_of(case: Case, data: Mapping[str, np.ndarray], part: int, one_kind: str | None) -> dict[str, np.ndarray]:
    """Channel name -> plane of one part of a case, in the case's own types or all floating ones in `one_kind`."""
    channels: dict[str, np.ndarray] = {}
    for index, prefix, components, name, kind in case.layers:
        if index != part:
            continue
        plane = data[name]
        kind = kind if one_kind is None or name in ("id", "crypto") else one_kind
        whole = isinstance(components, str) and plane.ndim == 2 and len(components) > 1
        for k, component in enumerate([components] if whole or components in ("zfiltered", "Pz") else components):
            last = component.lower() in ("a", "alpha", "w") and plane.ndim == 3 and plane.shape[2] == 3
            values = data["alpha"] if last else plane if plane.ndim == 2 else plane[..., min(k, plane.shape[2] - 1)]
            channels[f"{prefix}.{component}" if prefix else component] = (
                np.minimum(values, 65504).astype(kind) if kind == "f2" else values.astype(kind)
            )
    return channels


def write_case(
    case: Case,
    path: Path,
    *,
    data: Mapping[str, np.ndarray] | None = None,
    kind: str | None = None,
    compression: Any = OpenEXR.ZIP_COMPRESSION,
) -> Path:
    """Write a case to `path`; `kind` "f2" or "f4" gives all its floating channels one type."""
    data = data or scene()
    parts = []
    for index, name in enumerate(case.parts):
        planes = channels_of(case, data, index, kind)
        header = {"compression": compression, "type": OpenEXR.scanlineimage} | (dict(case.header) if index == 0 else {})
        parts.append(OpenEXR.Part(header | ({"name": name} if len(case.parts) > 1 else {}), planes))
    OpenEXR.File(parts).write(str(path))
    return path


def write_exr(path: Path, channels: Mapping[str, np.ndarray], **header: Any) -> Path:
    """A single-part file; header entries such as compression, tiles, dataWindow=(x0, y0, x1, y1)."""
    return write_parts(path, [(dict(header), channels)])


def write_parts(path: Path, parts: Sequence[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]) -> Path:
    built = []
    for header, channels in parts:
        values = {
            "compression": OpenEXR.ZIP_COMPRESSION,
            "type": OpenEXR.tiledimage if "tiles" in header else OpenEXR.scanlineimage,
        } | dict(header)
        for name in ("dataWindow", "displayWindow"):
            if name in values:
                x0, y0, x1, y1 = values[name]
                values[name] = (np.array([x0, y0], np.int32), np.array([x1, y1], np.int32))
        if "tiles" in values:
            tiles = OpenEXR.TileDescription()
            tiles.xSize, tiles.ySize = values["tiles"]
            values["tiles"] = tiles
        built.append(OpenEXR.Part(values, dict(channels)))
    OpenEXR.File(built).write(str(path))
    return path


def rgb(plane: np.ndarray, prefix: str = "", components: str = "RGB", kind: str = "f4") -> dict[str, np.ndarray]:
    """The last axis of `plane` as channels `prefix.R`, ..."""
    dot = f"{prefix}." if prefix else ""
    return {f"{dot}{c}": np.ascontiguousarray(plane[..., k]).astype(kind) for k, c in enumerate(components)}


# --- files as bytes -------------------------------------------------------------------------------------------------


def raw_header(data: bytes) -> tuple[list[dict[str, tuple[str, bytes, int]]], int]:
    """For each part name -> (type, bytes, offset), and where the block tables begin; independent of the product."""
    multipart, position, parts = bool(struct.unpack_from("<I", data, 4)[0] & 0x1000), 8, []
    while True:
        attributes = {}
        while data[position]:
            name, kind = data[position : position + 1024].split(b"\0", 2)[:2]
            start = position + len(name) + len(kind) + 6
            size = struct.unpack_from("<i", data, start - 4)[0]
            attributes[name.decode("latin-1")] = (kind.decode(), data[start : start + size], start)
            position = start + size
        parts.append(attributes)
        position += 1
        if not multipart or not data[position]:
            return parts, position + multipart


def with_attribute(data: bytes, name: str, kind: str, value: bytes) -> bytes:
    """A single-part scan line file with one attribute more in its header."""
    (part,), table = raw_header(data)
    entry = name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    y0, y1 = struct.unpack("<4i", part["dataWindow"][1])[1::2]
    blocks = -(-(y1 - y0 + 1) // {0: 1, 1: 1, 2: 1, 3: 16}[part["compression"][1][0]])
    offsets = struct.unpack_from(f"<{blocks}Q", data, table)
    moved = struct.pack(f"<{blocks}Q", *(offset + len(entry) for offset in offsets))
    return data[: table - 1] + entry + b"\0" + moved + data[table + 8 * blocks :]


def patched(data: bytes, name: str, value: bytes, part: int = 0, at: int = 0) -> bytes:
    """A file with bytes of one attribute overwritten, nothing moved."""
    start = raw_header(data)[0][part][name][2] + at
    return data[:start] + value + data[start + len(value) :]


# What may differ between a file and its untouched copy: written by the library itself, or announced.
COMPUTED = {"chunkCount", "compression", "type", "channels"}


def differences(source: Path, result: Path, touched: frozenset[tuple[int, str]] = frozenset()) -> list[str]:
    """Everything in which two files differ beyond the channels in `touched` and our own stamp; [] when nothing."""
    found = []
    before, after = raw_header(source.read_bytes())[0], raw_header(result.read_bytes())[0]
    if len(before) != len(after):
        return [f"{len(before)} parts became {len(after)}"]
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        names = {n for n in new if not n.startswith("mdenoise:")} - COMPUTED
        if set(old) - COMPUTED != names:
            found.append(f"part {index}: attributes {sorted(names ^ (set(old) - COMPUTED))}")
        found += [f"part {index}: attribute {n}" for n in names & set(old) if old[n][:2] != new[n][:2]]
        if old["channels"][:2] != new["channels"][:2]:
            found.append(f"part {index}: channel list")
    first = OpenEXR.File(str(source), separate_channels=True).parts
    second = OpenEXR.File(str(result), separate_channels=True).parts
    for index, (old, new) in enumerate(zip(first, second, strict=True)):
        if old.type() != new.type():
            found.append(f"part {index}: {old.type()} became {new.type()}")
        for name, channel in old.channels.items():
            other = new.channels[name].pixels
            same = channel.pixels.dtype == other.dtype and channel.pixels.shape == other.shape
            if not same or ((index, name) not in touched and channel.pixels.tobytes() != other.tobytes()):
                found.append(f"part {index}: pixels of {name}")
    return found
