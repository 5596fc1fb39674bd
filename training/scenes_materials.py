"""What the training scenes are painted with: textures from photographs, CC0 maps and arithmetic, and BSDFs.

Nothing here is shared with the validation scenes. `Palette` keeps to few kinds of BSDF a scene, because every further
kind is code that Mitsuba compiles anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

Described = dict[str, Any]
# Validation has meshes/ and hdri/ to itself, but for these; of textures/ it uses nothing.
TEXTURES = (
    *("Grass001_1K_Color", "Tiles036_1K_Color", "WoodFloor043_1K_Color"),
    *("Rock020_1K_Color_512", "Marble006_1K_Color_512"),
)
GLOSSY = ("principled", "roughplastic", "roughconductor", "conductor", "dielectric")
METALS = ("Au", "Ag", "Cu", "Al", "Cr", "W")
TEXELS = 256


@dataclass
class Palette:
    """The materials of one scene. `used` collects the names of the files that went into it."""

    rng: np.random.Generator
    photos: tuple[Path, ...]
    assets: Path
    kinds: tuple[str, ...] = ()
    bumps: bool = False
    used: list[str] = field(default_factory=list)

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def pick(self, among: tuple[Any, ...]) -> Any:
        return among[int(self.rng.integers(len(among)))]


def palette(rng: np.random.Generator, photos: tuple[Path, ...], assets: Path, kinds: int) -> Palette:
    """`kinds` of the glossy BSDFs beside the diffuse one."""
    chosen = tuple(rng.permutation(GLOSSY)[:kinds])
    return Palette(rng, photos, assets, chosen, bumps=bool(rng.random() < 0.3))


def rgb(*value: float) -> Described:
    return {"type": "rgb", "value": [float(v) for v in value]}


def hue(p: Palette, saturation: float, value: float) -> np.ndarray:
    """A linear colour: grey for saturation 0, never beyond 0.9."""
    tint = p.rng.dirichlet([1.2, 1.2, 1.2]) * 3
    return np.clip(value * (1 - saturation + saturation * tint), 0.02, 0.9)


def flat(p: Palette) -> np.ndarray:
    """Walls are pale more often than things are: half of all paint is nearly white or grey."""
    if p.chance(0.5):
        return hue(p, p.uniform(0, 0.25), p.uniform(0.35, 0.8))
    return hue(p, p.uniform(0.3, 0.95), p.uniform(0.08, 0.6))


# --- textures -----------------------------------------------------------------------------------------------------


def bitmap(p: Palette, values: np.ndarray, metres: float, raw: bool = False) -> Described:
    """(H, W, 3) or (H, W) values to a texture that repeats, mirrored, every `metres` of uv; display values unless
    `raw`."""
    data = np.ascontiguousarray(values if values.ndim == 3 else values[..., None], np.float32)
    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(data if raw else data**2.2),
        "raw": True,
        "wrap_mode": "mirror",
        "to_uv": mi.ScalarTransform4f().rotate([0, 0, 1], p.uniform(0, 360)).scale([1 / metres, 1 / metres, 1]),
    }


def read(p: Palette, path: Path) -> np.ndarray:
    """A square of the picture in display values, TEXELS wide, at half its resolution now and then."""
    from PIL import Image

    p.used.append(path.name)
    with Image.open(path) as opened:
        side = min(*opened.size, TEXELS * int(p.rng.integers(1, 3)))
        x, y = (int(p.rng.integers(0, n - side + 1)) for n in opened.size)
        part = opened.convert("RGB").crop((x, y, x + side, y + side)).resize((TEXELS, TEXELS), Image.Resampling.BOX)
    return np.asarray(part, np.float32) / 255


def photo(p: Palette) -> np.ndarray:
    return read(p, p.pick(p.photos)) if p.photos else cells(p)


def octaves(p: Palette, first: int, count: int) -> np.ndarray:
    """(TEXELS, TEXELS) noise in [0, 1]: random grids, each twice as fine and half as strong as the one before."""
    from PIL import Image

    total = np.zeros((TEXELS, TEXELS), np.float32)
    for k in range(count):
        grid = p.rng.random((first << k, first << k)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((TEXELS, TEXELS), Image.Resampling.BICUBIC)) / 2**k
    return (total - total.min()) / np.ptp(total)


def between(p: Palette, tone: np.ndarray) -> np.ndarray:
    """Tones in [0, 1] as display colours between two paints."""
    ends = flat(p) ** (1 / 2.2), flat(p) ** (1 / 2.2)
    return ends[0] + (ends[1] - ends[0]) * tone[..., None]


def checks(p: Palette) -> np.ndarray:
    y, x = np.mgrid[0:TEXELS, 0:TEXELS] // (TEXELS // int(p.rng.integers(2, 24)))
    return between(p, ((x + y) % 2).astype(np.float32))


def stripes(p: Palette) -> np.ndarray:
    """Even bands, or boards with grain of their own."""
    count = int(p.rng.integers(3, 40))
    band = np.arange(TEXELS) * count // TEXELS
    tone = p.rng.random(count)[band] if p.chance(0.6) else (band % 2).astype(float)
    grain = np.repeat(octaves(p, 32, 3)[:, :1], TEXELS, 1).T * p.uniform(0, 0.5)
    return between(p, np.clip(tone[:, None] * 0.7 + grain, 0, 1))


def cells(p: Palette) -> np.ndarray:
    """Cobbles and cracks: the distance to the nearest of random points."""
    points = p.rng.random((int(p.rng.integers(12, 60)), 2)) * TEXELS
    y, x = np.mgrid[0:TEXELS, 0:TEXELS]
    d = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    first, second = np.partition(d, 1, axis=-1)[..., :2].transpose(2, 0, 1)
    edge = np.clip((np.sqrt(second) - np.sqrt(first)) / p.uniform(2, 12), 0, 1)
    return between(p, edge * (0.4 + 0.6 * p.rng.random(len(points))[d.argmin(-1)]))


def clouded(p: Palette) -> np.ndarray:
    return between(p, octaves(p, int(p.rng.integers(2, 20)), 4))


def texture(p: Palette, metres: float = 1.0) -> Described:
    """Any of them, spread over about `metres`."""
    kind = p.rng.random()
    if kind < 0.45 and p.photos:
        values = photo(p)
    elif kind < 0.6:
        values = read(p, p.assets / "textures" / f"{p.pick(TEXTURES)}.jpg")
    else:
        values = p.pick((checks, stripes, cells, clouded))(p)
    return bitmap(p, values, metres * p.uniform(0.5, 1.6))


# --- materials ----------------------------------------------------------------------------------------------------


def paint(p: Palette, textured: float, metres: float = 1.0) -> Described:
    return texture(p, metres) if p.chance(textured) else rgb(*flat(p))


def matte(color: Described) -> Described:
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": color}}


def colored() -> Described:
    """In the vertex colours of a mesh."""
    return matte({"type": "mesh_attribute", "name": "vertex_color"})


def embossed(p: Palette, bsdf: Described, metres: float) -> Described:
    height = octaves(p, int(p.rng.integers(4, 40)), 3) if p.chance(0.6) else photo(p).mean(-1)
    inner = {
        "type": "bumpmap",
        "scale": p.uniform(0.01, 0.05) * metres,
        "bsdf": bsdf["bsdf"],
        "height": bitmap(p, height, metres, raw=True),
    }
    return {"type": "twosided", "bsdf": inner}


def wall(p: Palette, textured: float = 0.2, metres: float = 2.0) -> Described:
    """Diffuse, bumped in scenes that have bumps."""
    bsdf = matte(paint(p, textured, metres))
    return embossed(p, bsdf, metres / 2) if p.bumps and p.chance(0.5) else bsdf


def surface(p: Palette, textured: float = 0.4, metres: float = 1.0, clear: bool = True) -> Described:
    """Of a thing: diffuse or of one of the scene's glossy kinds; large surfaces are neither `clear` nor metal, which
    would turn all that they light into caustics."""
    kind = "diffuse" if p.chance(0.35) or not p.kinds else p.pick(p.kinds)
    kind = kind if clear or kind in ("principled", "roughplastic") else "diffuse"
    alpha = p.uniform(0.02, 0.5) ** 1.5 + 0.02
    if kind == "principled":
        bsdf = {
            "type": "principled",
            "base_color": paint(p, textured, metres),
            "roughness": p.uniform(0.1, 0.8),
            "metallic": p.uniform(0.7, 1) if clear and p.chance(0.25) else 0.0,
            "specular": 0.5,
        }
        return {"type": "twosided", "bsdf": bsdf}
    if kind == "roughplastic":
        bsdf = {"type": "roughplastic", "diffuse_reflectance": paint(p, textured, metres), "alpha": alpha}
        return {"type": "twosided", "bsdf": bsdf}
    if kind == "roughconductor":
        return {"type": "twosided", "bsdf": {"type": kind, "material": p.pick(METALS), "alpha": alpha}}
    if kind == "conductor":
        return {"type": "twosided", "bsdf": {"type": kind, "material": p.pick(METALS)}}
    if kind == "dielectric":
        return glass(p)
    bsdf = matte(paint(p, textured, metres))
    return embossed(p, bsdf, metres / 2) if p.bumps and p.chance(0.3) else bsdf


def glass(p: Palette, thin: bool = False) -> Described:
    tint = np.clip(hue(p, p.uniform(0, 0.4), 1.0), 0.4, 1.0) if p.chance(0.4) else np.ones(3)
    return {
        "type": "thindielectric" if thin else "dielectric",
        "int_ior": p.uniform(1.3, 1.8),
        "specular_transmittance": rgb(*tint),
    }
