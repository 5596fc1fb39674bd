"""Training scenes of fine detail: cloth and print of a texel a pixel under soft light, sharp reflections."""

from __future__ import annotations

from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.scenes_materials import (
    METALS,
    Described,
    Palette,
    between,
    flat,
    matte,
    octaves,
    photo,
    read,
    rgb,
    surface,
    texture,
    wall,
)
from mdenoise.training.scenes_parts import Light, World, camera, glowing, only, sky, tint
from mdenoise.training.scenes_shapes import boxes, grid, panel, thing, transform

FINE = 768  # texels of the fine textures
PICTURE = 144  # pixels across for which a texel is about a pixel


def spread(p: Palette, cells: np.ndarray) -> np.ndarray:
    """(FINE, FINE, ...) by repetition of a pattern."""
    times = -(-FINE // np.array(cells.shape[:2]))
    return np.tile(cells, (*times, *(1,) * (cells.ndim - 2)))[:FINE, :FINE]


def weave(p: Palette) -> tuple[np.ndarray, np.ndarray]:
    """Threads over and under each other: display colours (FINE, FINE, 3) and height."""
    period, shift = int(p.rng.integers(3, 12)), int(p.rng.integers(1, 4))
    y, x = np.mgrid[0:FINE, 0:FINE]
    over = ((x // period + shift * (y // period)) % (shift + 1) == 0).astype(float)
    round_x, round_y = np.sin(np.pi * (x % period + 0.5) / period), np.sin(np.pi * (y % period + 0.5) / period)
    height = np.where(over > 0, round_x, round_y)
    warp, weft = flat(p) ** (1 / 2.2), flat(p) ** (1 / 2.2)
    if p.chance(0.4):  # tartan
        bands = np.stack([flat(p) ** (1 / 2.2) for _ in range(4)])
        order = np.repeat(p.rng.integers(0, 4, FINE), int(p.rng.integers(4, 40)))[: FINE // period + 1]
        warp, weft = bands[order[x // period]], bands[order[y // period]]
    color = np.where(over[..., None] > 0, warp, weft) * (0.55 + 0.45 * height[..., None])
    return color * (1 - 0.3 * p.rng.random((FINE, FINE, 1))), height


def print_(p: Palette) -> tuple[np.ndarray, np.ndarray]:
    """Lines of small type, in boxes and columns, random letters."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (FINE, FINE), 255)
    draw = ImageDraw.Draw(page)
    y = 2
    while y < FINE:
        size = int(p.rng.integers(7, 14)) if p.chance(0.85) else int(p.rng.integers(16, 48))
        font = ImageFont.load_default(size)
        words = ("".join(chr(c) for c in p.rng.integers(97, 123, p.rng.integers(1, 10))) for _ in range(FINE // size))
        text = " ".join(words)
        draw.text((p.pick((2, 2, 20)), y), text.upper() if p.chance(0.2) else text, fill=0, font=font)
        y += int(size * p.uniform(1.0, 1.6))
    for _ in range(int(p.rng.integers(0, 12))):
        a, b = p.rng.integers(0, FINE, 2), p.rng.integers(4, 120, 2)
        draw.rectangle([*a.tolist(), *(a + b).tolist()], fill=p.pick((0, None)), outline=p.pick((0, 255)))
    tone = np.asarray(page, np.float32) / 255
    return between(p, tone) if p.chance(0.5) else 0.05 + 0.85 * tone[..., None] * np.ones(3), tone


def halftone(p: Palette) -> tuple[np.ndarray, np.ndarray]:
    """A picture in dots."""
    step, angle = p.uniform(3, 9), p.uniform(0, np.pi)
    y, x = np.mgrid[0:FINE, 0:FINE]
    u, v = (x * np.cos(angle) + y * np.sin(angle)) / step, (y * np.cos(angle) - x * np.sin(angle)) / step
    dots = 0.25 * (2 + np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v))
    seen = spread(p, np.repeat(np.repeat(photo(p).mean(-1), 3, 0), 3, 1))
    tone = (dots < seen).astype(np.float32)
    return between(p, tone), tone


def speckle(p: Palette) -> tuple[np.ndarray, np.ndarray]:
    """Terrazzo, sand, granite, felt: grains of one to a few texels."""
    from PIL import Image

    cell = int(p.rng.integers(1, 5))
    n = FINE // cell + 1
    grains = p.rng.random((n, n)).astype(np.float32) ** p.uniform(0.5, 4)
    way = Image.Resampling.NEAREST if p.chance(0.5) else Image.Resampling.BICUBIC
    tone = np.clip(np.asarray(Image.fromarray(grains).resize((FINE, FINE), way)), 0, 1)
    return between(p, tone), tone


def lines(p: Palette) -> tuple[np.ndarray, np.ndarray]:
    """Corduroy, gratings, grain of wood, contour maps."""
    field = np.repeat(np.repeat(octaves(p, int(p.rng.integers(2, 8)), 2), 3, 0), 3, 1) * p.uniform(0, 12)
    y, _ = np.mgrid[0:FINE, 0:FINE]
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (y / p.uniform(2.5, 10) + field))
    tone = (wave > 0.5).astype(np.float32) if p.chance(0.4) else wave
    return between(p, tone), tone


def pictured(p: Palette) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with all the detail that it has, and more."""
    seen = spread(p, photo(p) if p.chance(0.7) else read(p, p.assets / "textures" / "Grass001_1K_Color.jpg"))
    return seen * (1 - p.uniform(0, 0.5) * p.rng.random((FINE, FINE, 1))), seen.mean(-1)


PATTERNS = (weave, weave, print_, halftone, speckle, lines, pictured)


def fine(p: Palette, texel: float, unit: float) -> Described:
    """A BSDF with a texel of about `texel` metres where uv 1 is `unit` metres: diffuse or with gloss, flat or not."""
    color, height = p.pick(PATTERNS)(p)
    texel *= p.uniform(0.5, 1.8)
    turn = p.pick((0.0, p.uniform(0, 360)))
    scale = unit / (texel * FINE)

    def bitmap(values: np.ndarray) -> Described:
        data = np.ascontiguousarray(values if values.ndim == 3 else values[..., None], np.float32)
        described = {"type": "bitmap", "bitmap": mi.Bitmap(data), "raw": True}
        described["filter_type"] = "nearest" if sharp else "bilinear"
        return described | {"to_uv": transform().rotate([0, 0, 1], turn).scale([scale, scale, 1])}

    sharp = p.chance(0.4)
    paint = bitmap(np.clip(color, 0.01, 0.95) ** 2.2)
    kind = p.rng.random()
    if kind < 0.6:
        inner: Described = {"type": "diffuse", "reflectance": paint}
    elif kind < 0.8:
        inner = {"type": "roughplastic", "diffuse_reflectance": paint, "alpha": p.uniform(0.05, 0.4)}
    else:
        rough = bitmap(np.clip(0.2 + 0.6 * height, 0.05, 1))
        inner = {"type": "principled", "base_color": paint, "roughness": rough, "specular": 0.5}
    if p.chance(0.4):
        sharp = False  # a step has no slope
        bump = bitmap(height.astype(np.float32))
        inner = {"type": "bumpmap", "scale": p.uniform(0.2, 2) * texel, "height": bump, "bsdf": inner}
    return {"type": "twosided", "bsdf": inner}


def draped(p: Palette, at: Any, half: tuple[float, float], bsdf: Described) -> Any:
    """A cloth that hangs in folds."""
    v, u = np.mgrid[1:-1:48j, -1:1:64j]
    fold = sum(
        p.uniform(0.01, 0.08) * np.sin(p.uniform(1, 9) * u + p.uniform(0, 1.5) * v + p.uniform(0, 6)) for _ in range(3)
    )
    shape = np.stack([half[0] * u, half[1] * v, fold * (1.2 - v) * 0.7], -1)
    return grid(shape, tuple(at), bsdf)


def soft_light(p: Palette) -> tuple[list[Light], list[Light]]:
    at = np.array([p.uniform(-2.5, 2.5), p.uniform(1.8, 3), p.uniform(0.5, 3)])
    half = (p.uniform(0.4, 1.4), p.uniform(0.4, 1.4))
    soft = glowing(lambda **k: panel(at, (0, 0, -0.5), half, **k), tint(p, 5))
    around = only(sky(p, False)) if p.chance(0.5) else only({"type": "constant", "radiance": rgb(*tint(p, 0.4))})
    return ([soft, around], []) if p.chance(0.6) else ([around], [soft])


def textile(p: Palette) -> World:
    """Cloth, paper and stone whose pattern is about as fine as the pixels."""
    fov, distance = p.uniform(30, 50), p.uniform(1.2, 2.6)
    eye = np.array([p.uniform(-0.7, 0.7), p.uniform(0.4, 1.6), distance])
    texel = 2 * np.linalg.norm(eye - [0, 0.4, -0.3]) * np.tan(np.radians(fov / 2)) / PICTURE
    things = [panel((0, 0, 0), (0, 9, 0), (3, 3), fine(p, texel, 6.0))]
    if p.chance(0.7):
        things.append(panel((0, 1.5, -1.2), (0, 1.5, 9), (3, 1.5), fine(p, texel, 4.0) if p.chance(0.5) else wall(p)))
    for _ in range(int(p.rng.integers(1, 4))):
        kind, half = p.rng.random(), (p.uniform(0.2, 0.6), p.uniform(0.2, 0.6))
        at = np.array([p.uniform(-0.8, 0.8), half[1], p.uniform(-0.9, 0.2)])
        if kind < 0.4:
            things.append(draped(p, at, half, fine(p, texel, 2 * half[0])))
        elif kind < 0.7:
            toward = at + np.array([p.uniform(-0.6, 0.6), p.uniform(0, 0.6), 1])
            things.append(panel(at, toward, half, fine(p, texel, 2 * half[0])))
        else:
            size = p.rng.uniform(0.1, 0.35, 3)
            things.append(boxes([((at[0], size[1], at[2]), tuple(size), p.uniform(0, 90))], fine(p, texel, 1.0)))
    for _ in range(int(p.rng.integers(0, 3))):
        things.append(thing(p, (p.uniform(-0.7, 0.7), 0, p.uniform(-0.6, 0.4)), p.uniform(0.1, 0.25), surface(p, 0.5)))
    return World(camera(p, eye, (0, p.uniform(0.2, 0.6), -0.3), fov), things, soft_light(p))


def polished(p: Palette) -> Described:
    """Metal or rough glass that shows what is around it, brushed now and then."""
    kind = p.rng.random()
    if kind < 0.3:
        return {"type": "twosided", "bsdf": {"type": "conductor", "material": p.pick(METALS)}}
    alpha = float(np.exp(p.uniform(np.log(0.01), np.log(0.25))))
    if kind < 0.75:
        metal = {"type": "roughconductor", "material": p.pick(METALS), "alpha_u": alpha, "alpha_v": alpha}
        if p.chance(0.3):
            metal["alpha_v"] = min(0.5, alpha * p.uniform(3, 12))
        return {"type": "twosided", "bsdf": metal}
    return {"type": "roughdielectric", "alpha": alpha, "int_ior": p.uniform(1.3, 1.7)}


def gloss(p: Palette) -> World:
    """Polished things between patterned ones: detail that albedo and normal do not show."""
    fov, eye = p.uniform(32, 50), (p.uniform(-1, 1), p.uniform(0.6, 1.8), p.uniform(2.2, 3.4))
    texel = 2 * eye[2] * np.tan(np.radians(fov / 2)) / PICTURE
    ground = fine(p, 2 * texel, 8.0) if p.chance(0.6) else surface(p, 0.6, 1.0, clear=False)
    things = [panel((0, 0, 0), (0, 9, 0), (4, 4), ground)]
    if p.chance(0.6):
        things.append(panel((0, 2, -2), (0, 2, 9), (4, 2), wall(p, 0.7)))
    if p.chance(0.4):  # a mirror
        at = np.array([p.uniform(-1.2, 1.2), 0.7, -1.5])
        silver = {"type": "roughconductor", "material": "Ag", "alpha": p.uniform(0.005, 0.05)}
        things.append(panel(at, (0, 0.7, 3), (0.6, 0.7), {"type": "twosided", "bsdf": silver}))
    for _ in range(int(p.rng.integers(3, 6))):
        at = (p.uniform(-1.1, 1.1), 0, p.uniform(-1.1, 0.7))
        things.append(thing(p, at, p.uniform(0.15, 0.45), polished(p)))
    for _ in range(int(p.rng.integers(1, 4))):
        at = (p.uniform(-1.3, 1.3), 0, p.uniform(-1.3, 1.2))
        things.append(thing(p, at, p.uniform(0.1, 0.3), matte(texture(p, 0.5))))
    return World(camera(p, eye, (0, 0.35, -0.2), fov), things, soft_light(p))
