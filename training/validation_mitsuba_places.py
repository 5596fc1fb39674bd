"""Validation scenes for Mitsuba: rooms, things and places in light that paths find soon. Y is up, units are metres."""

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
    clutter,
    eye,
    fbm,
    floor,
    grass,
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


def cornell(assets: Path) -> Scene:
    """Closed box, one ceiling lamp in view, colour bleeding."""
    white = matte(rgb(0.72, 0.70, 0.66))
    return {
        "sensor": eye((0, 1, 3.4), (0, 0.98, 0), 40),
        "floor": floor(1, white),
        "back": sheet((0, 1, -1), (0, 1, 0), (1, 1), white),
        "ceiling": sheet((0, 2, 0), (0, 0, 0), (1, 1), white),
        "left": sheet((-1, 1, 0), (0, 1, 0), (1, 1), matte(rgb(0.60, 0.06, 0.05))),
        "right": sheet((1, 1, 0), (0, 1, 0), (1, 1), matte(rgb(0.10, 0.38, 0.09))),
        "lamp": sheet((0, 1.99, 0), (0, 0, 0), (0.35, 0.3), light=rgb(14, 11, 7.5)),
        "tall": box((-0.42, 0.55, -0.4), (0.28, 0.55, 0.28), plastic(rgb(0.2, 0.25, 0.5), 0.08), 20),
        "cow": model(assets, "spot", (0.38, 0, 0.2), 0.95, 205, matte(rgb(0.75, 0.72, 0.62))),
    }


def window_room(assets: Path) -> Scene:
    """A room lit through one window: mostly indirect light, wooden floor, book shelf."""
    wall = bumped(matte(rgb(0.70, 0.66, 0.60)), fbm(3), 6, 0.01)
    return {
        "sensor": eye((1.7, 1.35, 2.6), (-0.35, 0.85, -1.0), 52),
        "floor": floor(3, plastic(image(planks(5), 2), 0.25)),
        "ceiling": sheet((0, 2.6, 0), (0, 0, 0), (3, 3), matte(rgb(0.8, 0.8, 0.78))),
        "back": sheet((0, 1.3, -2), (0, 1.3, 0), (3, 1.3), wall),
        "right": sheet((2, 1.3, 0), (0, 1.3, 0), (3, 1.3), wall),
        "front": sheet((0, 1.3, 3), (0, 1.3, 0), (3, 1.3), wall),
        "left": sheet((-2, 1.3, 0), (0, 1.3, 0), (3, 1.3), matte(rgb(0.35, 0.45, 0.5))),
        "window": sheet((-1.97, 1.5, 0.2), (0, 1.5, 0.2), (0.6, 0.75), light=rgb(9, 10.5, 13)),
        "bar1": box((-1.95, 1.5, 0.2), (0.03, 0.75, 0.025), matte(rgb(0.03, 0.03, 0.03))),
        "bar2": box((-1.95, 1.5, 0.2), (0.03, 0.025, 0.6), matte(rgb(0.03, 0.03, 0.03))),
        "rug": {
            "type": "disk",
            "to_world": T().translate([-0.4, 0.004, -0.2]).rotate([1, 0, 0], -90).scale(0.95),
            "bsdf": matte(image(ramp(bricks(9, 24, 24, 0.2)[0], (0.35, 0.08, 0.08), (0.75, 0.55, 0.35)))),
        },
        "shelf": model(assets, "library-large", (-0.5, 0, -1.2), 1.25, 0, plastic(rgb(0.22, 0.11, 0.06), 0.2)),
        "plant": model(assets, "plant", (0.95, 0, -1.35), 1.15, 40),
        "picture": sheet(
            (0.9, 1.75, -1.97), (0.9, 1.75, 0), (0.4, 0.3), matte(image(tiles(8, (0.1, 0.2, 0.4), (0.95, 0.7, 0.3))))
        ),
    }


def materials(assets: Path) -> Scene:
    """Metal, plastic and glass on tiles under a soft box."""
    glass = {"type": "dielectric", "int_ior": 1.5}
    return {
        "sensor": eye((0, 1.5, 3.9), (0, 0.4, 0), 40),
        "sky": sky(assets, "lebombo", 0.8, 60),
        "floor": floor(6, plastic(image(tiles(33, (0.10, 0.11, 0.12), (0.78, 0.74, 0.66)), 6), 0.12)),
        "softbox": sheet((-2.5, 3.0, 1.5), (0, 0.3, 0), (0.9, 0.9), light=rgb(7, 6.5, 6)),
        "a": ball((-1.1, 0.42, -0.2), 0.42, metal("Cu", 0.2)),
        "b": ball((0, 0.5, -0.6), 0.5, glass),
        "c": ball((1.15, 0.42, -0.2), 0.42, plastic(rgb(0.05, 0.2, 0.6), 0.05)),
        "d": ball((-0.5, 0.24, 0.55), 0.24, plastic(rgb(0.6, 0.45, 0.05), 0.4)),
        "e": ball((0.45, 0.26, 0.6), 0.26, metal("Al", 0.05)),
        "f": model(assets, "spot", (1.75, 0, -1.3), 0.9, 150, metal("Au", 0.3)),
        "g": box((-1.9, 0.4, -1.3), (0.35, 0.4, 0.35), {"type": "roughdielectric", "alpha": 0.1, "int_ior": 1.4}, 30),
    }


def garden(assets: Path) -> Scene:
    """Noon sun and sky, grass and leaves: fine geometry, hard shadows."""
    return {
        "sensor": eye((1.6, 1.0, 3.6), (-0.1, 0.75, -0.5), 42),
        "sky": {
            "type": "sunsky",
            "sun_direction": [0.5, 0.75, 0.45],
            "turbidity": 4.0,
            "sky_scale": 6.0,
            "sun_scale": 4.0,
            "sun_aperture": 2.0,
            "to_world": T().rotate([1, 0, 0], -90),
        },
        "floor": floor(30, matte(image(ramp(fbm(12), (0.28, 0.22, 0.14), (0.42, 0.42, 0.2)), 20))),
        "grass": grass(4, 60000, 4.0, 0.16),
        "tree": model(assets, "low-poly-tree", (-1.2, 0, -1.4), 2.3, 10),
        "tree2": model(assets, "low-poly-tree", (1.5, 0, -3.0), 2.8, 130),
        "plant": model(assets, "plant", (0.75, 0, -0.3), 1.0, 70),
        "cow": model(assets, "spot", (-0.35, 0.02, 0.6), 0.75, 150, plastic(rgb(0.6, 0.5, 0.42), 0.3)),
        "wall": box(
            (0, 0.6, -6),
            (8, 1.4, 0.3),
            matte(
                image(ramp(bricks(2, 6, 40, 0.1)[0] * bricks(2, 6, 40, 0.1)[1], (0.45, 0.4, 0.36), (0.72, 0.45, 0.36)))
            ),
        ),
    }


def toys(assets: Path) -> Scene:
    """Hundreds of small boxes between three coloured glowing globes."""
    return {
        "sensor": eye((0, 2.4, 3.0), (0, 0.1, 0), 44),
        "floor": floor(8, matte(rgb(0.45, 0.44, 0.42))),
        "toys": clutter(7, 700, 2.6, (0.03, 0.11)),
        "fill": {"type": "constant", "radiance": rgb(0.10, 0.12, 0.16)},
        "warm": ball((-0.9, 0.6, 0.1), 0.22, light=rgb(11, 6, 2.2)),
        "cool": ball((1.0, 0.5, -0.5), 0.18, light=rgb(2, 5, 12)),
        "rose": ball((0.35, 0.4, 0.9), 0.12, light=rgb(12, 2.5, 5)),
    }


def brick_corner(assets: Path) -> Scene:
    """Bump-mapped bricks and paving under a grazing lamp, marble block, metal figure."""
    tone, height = bricks(41, 14, 7, 0.12)
    wall = bumped(matte(image(ramp(tone * height, (0.33, 0.30, 0.28), (0.62, 0.26, 0.17)), 1)), height, 1, 0.04)
    paving = bumped(
        plastic(image(ramp(bricks(42, 10, 10, 0.1)[0], (0.25, 0.25, 0.27), (0.5, 0.48, 0.45)), 2), 0.25),
        bricks(42, 10, 10, 0.1)[1],
        2,
        0.03,
    )
    return {
        "sensor": eye((1.5, 1.25, 2.7), (-0.15, 0.75, -0.5), 45),
        "floor": floor(4, paving),
        "back": sheet((0, 1.5, -1.4), (0, 1.5, 0), (3, 1.5), wall),
        "left": sheet((-1.6, 1.5, 0), (0, 1.5, 0), (3, 1.5), wall),
        "fill": {"type": "constant", "radiance": rgb(0.16, 0.19, 0.26)},
        "lamp": sheet((0.7, 2.4, -1.1), (0.1, 0.4, -0.9), (0.18, 0.18), light=rgb(55, 36, 18)),
        "block": box(
            (-0.3, 0.3, -0.5),
            (0.38, 0.3, 0.38),
            plastic(image(ramp(np.abs(fbm(6, 256, 2.6) - 0.5) * 2, (0.35, 0.36, 0.4), (0.92, 0.9, 0.86))), 0.1),
            35,
        ),
        "figure": model(assets, "spot", (-0.3, 0.6, -0.5), 0.8, 165, metal("Cu", 0.25)),
        "plant": model(assets, "plant", (0.75, 0, -0.75), 0.8, 10),
    }


def night_fair(assets: Path) -> Scene:
    """Evening: dim HDRI, a wheel with lit bulbs, a car: emitters of few pixels in view."""
    turns = np.arange(12) * np.pi / 6
    bulbs = {
        f"bulb{i}": ball((-0.5 + 0.97 * np.cos(a), 1.28 + 0.97 * np.sin(a), -1.0), 0.06, light=rgb(*color))
        for i, a in enumerate(turns)
        for color in [[(16, 9, 3), (14, 3, 4), (4, 8, 15)][i % 3]]
    }
    return bulbs | {
        "sensor": eye((1.1, 0.9, 3.6), (0.05, 0.85, 0), 44),
        "sky": sky(assets, "dikhololo_night", 0.9, 0),
        "floor": floor(12, plastic(image(ramp(fbm(60), (0.16, 0.16, 0.17), (0.34, 0.33, 0.32)), 10), 0.15)),
        "wheel": model(assets, "ferris-wheel", (-0.5, 0, -1.3), 2.3, 0),
        "car": model(assets, "suv", (0.75, 0, 0.3), 0.62, 125),
        "booth": box(
            (1.9, 0.5, -1.2),
            (0.5, 0.5, 0.4),
            matte(image(ramp((np.mgrid[0:64, 0:64][1] // 8 % 2).astype(float), (0.7, 0.12, 0.1), (0.85, 0.83, 0.78)))),
            15,
        ),
        "sign": sheet((1.85, 1.2, -0.85), (1.4, 1.1, 3), (0.4, 0.13), light=rgb(7, 4.5, 1.5)),
    }


PLACES = {f.__name__: f for f in (cornell, window_room, materials, garden, toys, brick_corner, night_fair)}
