"""Validation scenes for Mitsuba 3 that differ in how light travels: around corners, through glass and water.

As those of `validation_mitsuba`: made for measuring, never for training. Y is up, units are metres.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mdenoise.training.validation_mitsuba_parts import (
    Scene,
    T,
    ball,
    box,
    bricks,
    bumped,
    eye,
    fbm,
    floor,
    image,
    matte,
    metal,
    model,
    planks,
    plastic,
    ramp,
    rgb,
    sheet,
    sky,
    tiles,
)
from mdenoise.training.validation_mitsuba_shapes import GLASS, lathe, leaf, text, water

MIRROR = {"type": "conductor", "material": "Ag"}


def corridor(assets: Path) -> Scene:
    """A hall whose lamps all hide behind corners: no light reaches what is seen but by way of a wall."""
    two_tone = np.where(np.mgrid[0:64, 0:64][0][..., None] > 38, (0.83, 0.8, 0.72), (0.2, 0.42, 0.4))
    wall = matte(image(two_tone))
    chequer = plastic(image(tiles(61, (0.12, 0.1, 0.1), (0.8, 0.76, 0.68)), 3), 0.15)
    door = plastic(rgb(0.25, 0.11, 0.05), 0.2)
    return {
        "sensor": eye((0.35, 1.5, 3.9), (-0.2, 1.15, -2), 55),
        "floor": floor(6, chequer),
        "ceiling": sheet((0, 2.5, 0), (0, 0, 0), (6, 6), matte(rgb(0.8, 0.79, 0.75))),
        "right": sheet((1.1, 1.25, 0), (0, 1.25, 0), (6, 1.25), wall),
        "left1": box((-1.2, 1.25, 3.2), (0.1, 1.25, 2.0), wall),
        "left2": box((-1.2, 1.25, -3.6), (0.1, 1.25, 2.1), wall),
        "niche": sheet((-2.6, 1.25, 0), (0, 1.25, 0), (6, 1.25), matte(rgb(0.85, 0.72, 0.5))),
        "end": sheet((0, 1.25, -4.5), (0, 1.25, 0), (6, 1.25), wall),
        "start": sheet((0, 1.25, 5), (0, 1.25, 0), (6, 1.25), wall),
        "lamp1": sheet((-1.5, 1.3, 2.0), (-2.6, 1.3, 1.2), (0.5, 0.9), light=rgb(34, 26, 17)),
        "lamp2": sheet((-1.5, 1.3, -2.2), (-2.6, 1.3, -1.2), (0.5, 0.9), light=rgb(26, 33, 45)),
        "door1": box((1.06, 1.05, -1.0), (0.04, 1.05, 0.45), door),
        "door2": box((1.06, 1.05, 1.6), (0.04, 1.05, 0.45), door),
        "door3": box((-0.1, 1.05, -4.46), (0.45, 1.05, 0.04), door),
        "knob": ball((0.25, 1.0, -4.36), 0.05, metal("Cu", 0.15)),
        "crate": box((-0.75, 0.25, -1.9), (0.28, 0.25, 0.28), matte(image(planks(63), 1)), 25),
        "plant": model(assets, "plant", (0.7, 0, -2.9), 1.1, 60),
    }


def glassware(assets: Path) -> Scene:
    """Glasses, a carafe and a bowl on a table before a bright window: refraction and soft caustics."""
    bowl = [(0.01, 0), (0.28, 0), (0.28, 0.02), (0.04, 0.05), (0.035, 0.42), (0.2, 0.55), (0.27, 0.75), (0.24, 1.05)]
    stem = [*bowl, (0.225, 1.05), (0.255, 0.75), (0.185, 0.57), (0.001, 0.47)]
    carafe = [(0.01, 0), (0.3, 0), (0.33, 0.1), (0.3, 0.5), (0.12, 0.8), (0.1, 1.1), (0.15, 1.25)]
    carafe += [(0.13, 1.25), (0.08, 1.1), (0.1, 0.8), (0.28, 0.5), (0.3, 0.1), (0.001, 0.04)]
    tumbler = [(0.01, 0), (0.2, 0), (0.22, 0.5), (0.2, 0.5), (0.18, 0.06), (0.001, 0.06)]
    green = GLASS | {"specular_transmittance": rgb(0.45, 0.85, 0.6)}
    stripes = np.where((np.mgrid[0:128, 0:128][1] // 16 % 2 > 0)[..., None], (0.75, 0.73, 0.7), (0.5, 0.12, 0.1))
    return {
        "integrator": {"type": "path", "max_depth": 12},
        "sensor": eye((0.1, 1.15, 3.1), (0.05, 0.5, 0), 36),
        "room": {"type": "constant", "radiance": rgb(0.32, 0.3, 0.28)},
        "window": sheet((-1.8, 1.8, -2.2), (0, 0.4, 0), (1.3, 1.3), light=rgb(1.9, 2.0, 2.2)),
        "table": floor(4, plastic(image(planks(71), 2), 0.2)),
        "cloth": sheet((0.2, 0.004, 0.1), (0.2, 1, 0.1), (0.95, 0.7), matte(image(stripes))),
        "one": lathe(stem, (-0.55, 0, 0.1), GLASS),
        "two": lathe(stem, (0.75, 0, -0.35), GLASS),
        "carafe": lathe(carafe, (0.12, 0, -0.25), green),
        "tumbler": lathe(tumbler, (0.42, 0, 0.5), GLASS),
        "lemon": ball((-0.12, 0.13, 0.55), 0.13, plastic(rgb(0.75, 0.6, 0.06), 0.3)),
        "spoon": box((-0.6, 0.015, 0.75), (0.3, 0.012, 0.03), metal("Ag", 0.1), 20),
    }


def pool(assets: Path) -> Scene:
    """A tiled basin under rippled water: everything is seen, and lit, through its surface."""
    tone, height = bricks(81, 16, 16, 0.08)
    mosaic = matte(image(ramp(tone, (0.1, 0.42, 0.55), (0.55, 0.82, 0.85)) * (0.45 + 0.55 * height[..., None]), 2))
    deck = matte(image(tiles(82, (0.62, 0.52, 0.4), (0.82, 0.74, 0.62)), 3))
    return {
        "integrator": {"type": "path", "max_depth": 10},
        "sensor": eye((0.5, 2.0, 2.5), (0, -0.5, -0.15), 46),
        "sky": sky(assets, "lebombo", 0.9, 30),
        "panel": sheet((-1.6, 3.2, -1.0), (0, 0, 0), (1.6, 1.6), light=rgb(2.4, 2.2, 1.8)),
        "bottom": sheet((0, -0.9, 0), (0, 0, 0), (1.6, 1.6), mosaic),
        "back": sheet((0, -0.45, -1.6), (0, -0.45, 0), (1.6, 0.6), mosaic),
        "front": sheet((0, -0.45, 1.6), (0, -0.45, 0), (1.6, 0.6), mosaic),
        "left": sheet((-1.6, -0.45, 0), (0, -0.45, 0), (1.6, 0.6), mosaic),
        "right": sheet((1.6, -0.45, 0), (0, -0.45, 0), (1.6, 0.6), mosaic),
        "water": water(83, (1.6, 1.6), 0, 0.22),
        "deck1": box((0, 0.05, -2.6), (4, 0.1, 1.0), deck),
        "deck2": box((-2.6, 0.05, 0), (1.0, 0.1, 1.65), deck),
        "deck3": box((2.6, 0.05, 0), (1.0, 0.1, 1.65), deck),
        "deck4": box((0, 0.05, 2.6), (4, 0.1, 1.0), deck),
        "ball": ball((0.55, 0.12, -0.2), 0.26, plastic(rgb(0.8, 0.2, 0.06), 0.1)),
        "stone": ball((-0.5, -0.7, 0.3), 0.22, matte(rgb(0.6, 0.55, 0.5))),
        "ring": {
            "type": "cylinder",
            "p0": [-0.1, -0.89, -0.6],
            "p1": [-0.1, -0.6, -0.6],
            "radius": 0.3,
            "bsdf": plastic(rgb(0.75, 0.55, 0.05), 0.2),
        },
    }


def bathroom(assets: Path) -> Scene:
    """Small tiles, a mirror that shows the room again, chrome and porcelain, globes beside the mirror."""
    tone, height = bricks(111, 12, 12, 0.07)
    tile = plastic(
        image(ramp(tone, (0.62, 0.7, 0.7), (0.78, 0.82, 0.8)) * (0.5 + 0.5 * (height > 0.5)[..., None]), 2.5), 0.06
    )
    marble = plastic(image(ramp(np.abs(fbm(112, 512, 2.6) - 0.5) * 2, (0.3, 0.3, 0.33), (0.9, 0.88, 0.85))), 0.08)
    basin = [(0.001, 0), (0.2, 0.0), (0.42, 0.2), (0.46, 0.24), (0.42, 0.24), (0.36, 0.18), (0.15, 0.05), (0.001, 0.05)]
    chequer = plastic(image(tiles(113, (0.05, 0.05, 0.06), (0.82, 0.8, 0.76)), 3), 0.1)
    chrome = metal("Cr", 0.03)
    return {
        "sensor": eye((0.85, 1.5, 1.6), (-0.1, 1.12, -1.4), 55),
        "floor": floor(3, chequer),
        "ceiling": sheet((0, 2.5, 0), (0, 0, 0), (3, 3), matte(rgb(0.82, 0.81, 0.79))),
        "panel": sheet((0.2, 2.48, 0.4), (0.2, 0, 0.4), (0.75, 0.75), light=rgb(5.2, 5.5, 6)),
        "back": sheet((0, 1.25, -1.5), (0, 1.25, 0), (2.5, 1.25), tile),
        "left": sheet((-1.5, 1.25, 0), (0, 1.25, 0), (2.5, 1.25), tile),
        "right": sheet((1.6, 1.25, 0), (0, 1.25, 0), (2.5, 1.25), matte(rgb(0.75, 0.5, 0.4))),
        "front": sheet(
            (0, 1.25, 2.2), (0, 1.25, 0), (2.5, 1.25), matte(image(tiles(114, (0.1, 0.25, 0.2), (0.7, 0.7, 0.5)), 2))
        ),
        "mirror": sheet((0, 1.62, -1.48), (0, 1.62, 0), (0.62, 0.5), MIRROR),
        "globe1": ball((-0.78, 1.7, -1.34), 0.14, light=rgb(4.5, 3.8, 2.8)),
        "globe2": ball((0.78, 1.7, -1.34), 0.14, light=rgb(4.5, 3.8, 2.8)),
        "top": box((0, 0.82, -1.2), (0.95, 0.03, 0.3), marble),
        "cabinet": box((0, 0.45, -1.22), (0.9, 0.36, 0.27), plastic(rgb(0.12, 0.2, 0.24), 0.2)),
        "basin": lathe([(0.55 * r, h) for r, h in basin], (0, 0.85, -1.17), plastic(rgb(0.85, 0.84, 0.82), 0.05)),
        "tap": {"type": "cylinder", "p0": [0, 0.85, -1.43], "p1": [0, 1.14, -1.43], "radius": 0.02, "bsdf": chrome},
        "spout": {"type": "cylinder", "p0": [0, 1.12, -1.43], "p1": [0, 1.1, -1.25], "radius": 0.018, "bsdf": chrome},
        "soap": box((0.55, 0.87, -1.15), (0.08, 0.025, 0.05), plastic(rgb(0.7, 0.3, 0.35), 0.2), 20),
        "bottle": lathe(
            [(0.001, 0), (0.06, 0), (0.06, 0.2), (0.02, 0.25), (0.02, 0.3), (0.001, 0.3)],
            (-0.6, 0.85, -1.2),
            GLASS | {"specular_transmittance": rgb(0.9, 0.7, 0.3)},
        ),
        "towel": box(
            (-1.42, 1.2, -0.5), (0.03, 0.4, 0.28), bumped(matte(rgb(0.65, 0.15, 0.12)), fbm(115, 256, 0.8), 4, 0.02)
        ),
        "cow": model(assets, "spot", (0.3, 0, 1.4), 1.2, 200, matte(rgb(0.7, 0.6, 0.4))),
    }


def night_street(assets: Path) -> Scene:
    """A wet street between houses: lit windows, street lamps and signs of few pixels in the dark."""
    rng = np.random.default_rng(121)
    lit = (rng.random((9, 5, 1)) < 0.4) * rng.uniform(0.3, 1, (9, 5, 1)) * [3.0, 2.2, 1.2]
    window = np.zeros((9, 12, 5, 10, 3))
    window[:, 3:10, :, 2:8] = lit[:, None, :, None]
    facade = np.tile(window.reshape(108, 50, 3), (1, 2, 1))
    brick = matte(image(ramp(bricks(122, 40, 30, 0.1)[0], (0.2, 0.12, 0.1), (0.45, 0.3, 0.25)), 1))
    wet = bumped(
        plastic(image(ramp(fbm(123), (0.04, 0.04, 0.045), (0.12, 0.12, 0.12)), 4), 0.08), fbm(124, 256, 2.2), 6, 0.02
    )
    lamps = {
        f"lamp{i}": ball((x, 1.75, z), 0.07, light=rgb(38, 26, 12))
        for i, (x, z) in enumerate((x, z) for z in (1.2, -1.2, -3.6, -6) for x in (-1.15, 1.15))
    }
    posts = {
        f"post{i}": {
            "type": "cylinder",
            "p0": [x, 0, z],
            "p1": [x, 1.72, z],
            "radius": 0.025,
            "bsdf": plastic(rgb(0.03, 0.03, 0.03)),
        }
        for i, (x, z) in enumerate((x, z) for z in (1.2, -1.2, -3.6, -6) for x in (-1.15, 1.15))
    }
    glow = {"type": "area", "radiance": image(facade.astype(np.float32), 1, raw=True)}
    return (
        lamps
        | posts
        | {
            "sensor": eye((0.4, 1.0, 4.0), (-0.1, 1.05, -2), 50),
            "dusk": {"type": "constant", "radiance": rgb(0.012, 0.016, 0.035)},
            "road": floor(14, wet),
            "left": sheet((-1.8, 2.4, -3), (0, 2.4, -3), (6, 2.4), brick),
            "right": sheet((1.8, 2.4, -3), (0, 2.4, -3), (6, 2.4), brick),
            "panes1": {
                "type": "rectangle",
                "to_world": T().look_at([-1.78, 2.9, -3], [0, 2.9, -3], [0, 1, 0]).scale([5, 1.8, 1]),
                "emitter": glow,
            },
            "panes2": {
                "type": "rectangle",
                "to_world": T().look_at([1.78, 2.9, -3], [0, 2.9, -3], [0, 1, 0]).scale([5, 1.8, 1]),
                "emitter": glow,
            },
            "end": sheet((0, 2.4, -9.5), (0, 2.4, 0), (3, 2.4), brick),
            "sign": sheet((1.3, 1.35, -0.2), (1.25, 1.35, 4), (0.25, 0.1), light=rgb(0.6, 4.5, 6)),
            "car": model(assets, "suv", (-0.55, 0, 0.9), 0.62, 172),
            "car2": model(assets, "suv", (0.55, 0, -2.4), 0.62, 5),
            "cart": model(assets, "ferris-wheel", (0.0, 0, -7.5), 2.4, 10),
        }
    )


def letters(assets: Path) -> Scene:
    """Print, rules and hatching on a desk, down to below a pixel: what a denoiser must not take for noise."""
    paper = 0.82 - 0.74 * text(131, 44, 56)[..., None] * [1, 1, 0.95]
    cover = np.where(text(132, 10, 14, 8)[..., None] > 0, (0.85, 0.72, 0.2), (0.1, 0.16, 0.38))
    v, u = np.mgrid[0:512, 0:512] / 256 - 1
    star = np.where((np.arctan2(v, u) * 36 / np.pi).astype(int) % 2 > 0, 0.85, 0.06)
    hatch = np.where((np.mgrid[0:512, 0:512].sum(0) // 5) % 2 > 0, 0.8, 0.25)
    ticks = np.full((32, 512), 0.75)
    ticks[:12, ::8], ticks[:20, ::40], ticks[:12, 1::8], ticks[:20, 1::40] = 0.05, 0.05, 0.05, 0.05
    return {
        "sensor": eye((0.15, 1.5, 1.55), (0.02, 0, 0.05), 44),
        "sky": sky(assets, "lebombo", 0.35, 150),
        "lamp": sheet((-1.0, 1.5, -0.5), (0, 0, 0), (0.22, 0.22), light=rgb(34, 28, 19)),
        "desk": floor(3, plastic(image(planks(133), 2), 0.25)),
        "page": leaf((-0.42, 0.004, 0.12), (0.42, 0.55), 8, matte(image(paper))),
        "page2": leaf((0.5, 0.006, -0.32), (0.34, 0.42), -14, matte(image(paper[:, ::-1]))),
        "star": leaf((0.47, 0.01, 0.42), (0.27, 0.27), 5, matte(image(np.repeat(star[..., None], 3, 2)))),
        "hatch": leaf((-0.35, 0.008, -0.72), (0.5, 0.2), 2, matte(image(np.repeat(hatch[..., None], 3, 2)))),
        "rule": leaf((0.08, 0.03, 0.68), (0.55, 0.035), -3, plastic(image(ticks[..., None] * [1, 0.85, 0.5]), 0.2)),
        "book": box((0.98, 0.06, 0.1), (0.16, 0.06, 0.4), plastic(image(cover), 0.15), 12),
        "cup": model(assets, "expresso-cup", (-0.02, 0.006, -0.3), 0.26, 30),
        "pen": {
            "type": "cylinder",
            "p0": [-0.15, 0.03, 0.5],
            "p1": [0.05, 0.03, 0.05],
            "radius": 0.018,
            "bsdf": plastic(rgb(0.5, 0.03, 0.03), 0.1),
        },
    }


LIGHT = {f.__name__: f for f in (corridor, glassware, pool, bathroom, night_street, letters)}
