"""Training scenes of hard light: nights of many lamps, stages under spots, rooms behind a pane with the sun in it."""

from __future__ import annotations

from functools import partial
from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.scenes_materials import (
    TEXELS,
    Described,
    Palette,
    colored,
    glass,
    hue,
    matte,
    octaves,
    photo,
    rgb,
    surface,
    texture,
    wall,
)
from mdenoise.training.scenes_parts import Light, World, camera, fog, glowing, only, sky, table, tint
from mdenoise.training.scenes_shapes import Box, ball, boxes, leaves, panel, thing, transform, vase


def shining(values: np.ndarray) -> Described:
    """(H, W, 3) linear radiance, upright and sharp, to fill the uv of a lamp."""
    bitmap = mi.Bitmap(np.ascontiguousarray(values, np.float32))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "filter_type": "nearest", "wrap_mode": "clamp"}


def wet(p: Palette) -> Described:
    """Dark ground with a sharp gloss, smooth or in ripples."""
    inner: Described = {
        "type": "roughplastic",
        "diffuse_reflectance": rgb(*hue(p, 0.2, p.uniform(0.02, 0.15))) if p.chance(0.4) else texture(p, 3.0),
        "alpha": p.uniform(0.02, 0.25),
    }
    if p.chance(0.6):
        height = octaves(p, int(p.rng.integers(8, 60)), 3)
        bitmap = mi.Bitmap(np.ascontiguousarray(height[..., None], np.float32))
        ripples = {"type": "bitmap", "bitmap": bitmap, "raw": True, "to_uv": transform().scale([4, 4, 1])}
        inner = {"type": "bumpmap", "scale": p.uniform(0.005, 0.06), "height": ripples, "bsdf": inner}
    return {"type": "twosided", "bsdf": inner}


def bulbs(p: Palette) -> list[Box]:
    """Places of lamps of one make: on posts, along a wire, on the ground or far away."""
    size, kind, turn = p.uniform(0.03, 0.1), int(p.rng.integers(4)), p.uniform(0, 90)
    count = int(p.rng.integers(3, 10))
    if kind == 0:  # posts on an arc
        height, a, radius = p.uniform(1.0, 3.0), p.uniform(0, 6.3), p.uniform(2, 6)
        turns = a + np.linspace(0, p.uniform(1, 5), count)
        at = [(radius * np.cos(t), height, radius * np.sin(t) - 2) for t in turns]
    elif kind == 1:  # a wire that sags
        ends = [(s * p.uniform(1, 4), p.uniform(1.4, 3), p.uniform(-5, 0.5)) for s in (-1, 1)]
        share = np.linspace(0, 1, count)[:, None]
        points = np.array(ends[0]) * (1 - share) + np.array(ends[1]) * share
        at = [tuple(x) for x in points - np.array([0, 1.6, 0]) * share * (1 - share)]
        size *= 0.7
    elif kind == 2:  # candles and garden lamps
        at = [(p.uniform(-3, 3), size, p.uniform(-4, 1)) for _ in range(count)]
    else:  # a shore
        at = [(p.uniform(-12, 12), p.uniform(0.2, 4), p.uniform(-14, -9)) for _ in range(3 * count)]
    return [(tuple(map(float, x)), (size,) * 3, turn) for x in at]


def lit_tower(p: Palette) -> Light:
    """A house of which some windows are lit."""
    rows, columns, cell = int(p.rng.integers(3, 12)), int(p.rng.integers(2, 9)), int(p.rng.integers(3, 7))
    lit = (p.rng.random((rows, columns, 1)) < p.uniform(0.05, 0.6)) * p.rng.uniform(0.2, 1, (rows, columns, 1))
    panes = np.zeros((rows, cell, columns, cell, 3))
    panes[:, 1:, :, 1:] = (lit * tint(p, p.uniform(1, 8)))[:, None, :, None]
    half = np.array([columns, rows]) * p.uniform(0.12, 0.3)
    at = np.array([p.uniform(-5, 5), half[1], p.uniform(-8, -3)])
    toward = at + np.array([-at[0] * p.uniform(0, 0.5), 0, 3])
    values = shining(panes.reshape(rows * cell, columns * cell, 3))
    return lambda on: panel(at, toward, tuple(half), light=values) if on else None


def lamps(p: Palette) -> World:
    """Night: small lamps in view, light that falls off into black, wet ground."""
    things = [panel((0, 0, 0), (0, 9, 0), (16, 16), wet(p))]
    groups: list[list[Light]] = [[], []]
    split = p.chance(0.15)
    for _ in range(int(p.rng.integers(1, 4))):
        group = groups[int(p.rng.integers(2)) if split else 0]
        kind = p.rng.random()
        if kind < 0.6:
            made = bulbs(p)
            group.append(glowing(partial(boxes, made), hue(p, p.uniform(0, 0.9), 0.5) * p.uniform(30, 200)))
            if made[0][0][1] > 0.9 and p.chance(0.6):
                posts = [((x, y / 2 - s[1], z), (0.02, y / 2 - s[1], 0.02), t) for (x, y, z), s, t in made]
                things.append(boxes(posts, matte(rgb(0.03, 0.03, 0.03))))
        elif kind < 0.85:
            group.append(lit_tower(p))
        else:  # a screen
            seen = shining(photo(p)[:96, :128] ** 2.2 * p.uniform(2, 12))
            at, half = np.array([p.uniform(-2.5, 2.5), p.uniform(0.6, 2), p.uniform(-4, -0.5)]), p.uniform(0.15, 0.6)
            screen = partial(panel, at, (at[0] * 0.5, at[1], 4), (half * 1.33, half))
            group.append(lambda on, screen=screen, seen=seen: screen(light=seen) if on else None)
    n = int(p.rng.integers(3, 30))
    crates = []
    for _ in range(n):
        half = p.rng.uniform(0.05, 0.5, 3)
        crates.append(((p.uniform(-4, 4), half[1], p.uniform(-6, 0)), tuple(half), p.uniform(0, 90)))
    things.append(boxes(crates, surface(p, 0.5, 1.0, clear=False)))
    for _ in range(int(p.rng.integers(1, 4))):
        things.append(thing(p, (p.uniform(-1.6, 1.6), 0, p.uniform(-2, 1)), p.uniform(0.15, 0.5), surface(p)))
    if p.chance(0.4):
        n = int(p.rng.integers(500, 3000))
        center = np.array([p.uniform(-2.5, 2.5), p.uniform(1, 1.8), p.uniform(-3, 0)])
        crown = center + p.rng.normal(0, 0.4, (n, 3))
        green = hue(p, 0.5, 0.12) * [0.7, 1.2, 0.4], hue(p, 0.5, 0.3) * [0.8, 1.2, 0.4]
        things.append(leaves(p, crown, p.uniform(0.08, 0.25), 0.0, *green, colored()))
    if p.chance(0.4):
        back = p.uniform(-7, -4)
        things.append(panel((0, 2, back), (0, 2, 9), (p.uniform(2, 9), p.uniform(1, 3)), wall(p, 0.6)))
    dusk = tint(p, np.exp(p.uniform(np.log(1e-3), np.log(4e-2)))) * [0.6, 0.8, 1.3]
    groups[0].append(only({"type": "constant", "radiance": rgb(*dusk)}))
    eye = (p.uniform(-1.8, 1.8), p.uniform(0.4, 2.4), p.uniform(2.2, 5))
    cloud = fog(p, (0, 1.2, -2.5), (5, 1.19, 4)) if p.chance(0.06) else None
    seen = camera(p, eye, (p.uniform(-0.5, 0.5), p.uniform(0.4, 1.1), -1.5), p.uniform(34, 60))
    return World(seen, things, (groups[0], groups[1]), cloud, patience=2)


def spot(p: Palette, at: np.ndarray, to: Any, strength: float) -> Light:
    """A spot, or a projector with a picture."""
    placed_at = {"to_world": transform().look_at(at.tolist(), list(to), [0.01, 0.02, 1])}
    if p.chance(0.25):
        values = photo(p) ** 2.2 if p.chance(0.6) else octaves(p, 6, 3)[..., None] ** 4 * tint(p, 3)
        picture = shining(values[:TEXELS, :TEXELS])
        beam = {"type": "projector", "irradiance": picture, "fov": p.uniform(15, 50), "scale": strength}
        return only(beam | placed_at)
    cutoff = p.uniform(8, 38)
    cone = {"cutoff_angle": cutoff, "beam_width": cutoff * p.uniform(0.3, 0.95)}
    return only({"type": "spot", "intensity": rgb(*tint(p, strength))} | cone | placed_at)


def stage(p: Palette) -> World:
    """Spots from above on plinths, little else: pools of light, hard shadows, the rest by way of the floor."""
    things = [panel((0, 0, 0), (0, 9, 0), (6, 6), wet(p) if p.chance(0.3) else surface(p, 0.5, 2.0, clear=False))]
    if p.chance(0.75):
        things.append(panel((0, 2, p.uniform(-3.5, -1.8)), (0, 2, 9), (6, 2.5), wall(p, 0.5)))
    if p.chance(0.5):
        things.append(panel((p.pick((-2.6, 2.6)), 2, 0), (0, 2, 0), (6, 2.5), wall(p, 0.3)))
    tops, plinths = [], []
    for _ in range(int(p.rng.integers(2, 6))):
        at, top = (p.uniform(-1.6, 1.6), p.uniform(-1.5, 0.9)), p.pick((0.0, p.uniform(0.2, 0.9)))
        if top:
            plinths.append(((at[0], top / 2, at[1]), (0.25, top / 2, 0.25), p.uniform(0, 90)))
        tops.append((at[0], top, at[1]))
    if plinths:
        things.append(boxes(plinths, wall(p, 0.3)))
    things += [thing(p, at, p.uniform(0.15, 0.4), surface(p)) for at in tops]
    groups: list[list[Light]] = [[], []]
    split = p.chance(0.45)
    for i in range(int(p.rng.integers(1, 6))):
        at = np.array([p.uniform(-3, 3), p.uniform(2.2, 4), p.uniform(-2, 3)])
        to = p.pick(tuple(tops)) if p.chance(0.7) else (p.uniform(-2, 2), p.uniform(0, 2), p.uniform(-3, 0.5))
        groups[i % 2 if split else 0].append(spot(p, at, to, p.uniform(4, 30)))
    fill = {"type": "constant", "radiance": rgb(*tint(p, np.exp(p.uniform(np.log(0.01), np.log(0.15)))))}
    groups[0].append(only(fill))
    eye = (p.uniform(-1.6, 1.6), p.uniform(0.8, 2.2), p.uniform(3, 4.4))
    haze = fog(p, (0, 1.5, -0.4), (4, 1.49, 2.6)) if p.chance(0.12) else None
    return World(camera(p, eye, (0, 0.6, -0.3), p.uniform(32, 56)), things, (groups[0], groups[1]), haze)


def sunroom(p: Palette) -> World:
    """A room with a glazed opening and the disc of the sun behind it, thin glass inside, too."""
    w, d, h, t = p.uniform(2.4, 4.5), p.uniform(3, 5), p.uniform(2.2, 2.8), 0.06
    side, z = p.pick((-1, 1)), p.uniform(-0.3, 0.1) * d
    low, top, wide = p.uniform(0.1, 0.9), h - p.uniform(0.1, 0.5), p.uniform(0.4, 0.9)
    x = side * (w / 2 + t)
    glazed = [  # the wall around the opening
        ((x, low / 2, 0), (t, low / 2, d / 2), 0),
        ((x, (top + h) / 2, 0), (t, (h - top) / 2, d / 2), 0),
        ((x, h / 2, (z - wide - d / 2) / 2), (t, h / 2, (z - wide + d / 2) / 2), 0),
        ((x, h / 2, (z + wide + d / 2) / 2), (t, h / 2, (d / 2 - z - wide) / 2), 0),
    ]
    bars = [((x, (low + top) / 2, z + u), (0.02, (top - low) / 2, 0.015), 0) for u in p.rng.uniform(-wide, wide, 2)]
    shell = [
        ((-x, h / 2, 0), (t, h / 2, d / 2), 0),
        ((0, h / 2, -d / 2 - t), (w / 2 + 0.1, h / 2, t), 0),
        ((0, h / 2, d / 2 + t), (w / 2 + 0.1, h / 2, t), 0),
    ]
    middle = (x, (low + top) / 2, z)
    half = (wide, (top - low) / 2)
    things = [
        boxes(shell + glazed, wall(p)),
        boxes([((0, -t, 0), (w / 2, t, d / 2), 0)], surface(p, 0.8, 1.5, clear=False)),
        boxes([((0, h + t, 0), (w / 2, t, d / 2), 0)], matte(rgb(*hue(p, 0.1, 0.75)))),
        boxes(bars, matte(rgb(*hue(p, 0.1, 0.5)))),
        panel(middle, (0, middle[1], z), half, glass(p, thin=True)),
    ]
    boards, height = table(p, p.uniform(-0.25, 0.25) * w, p.uniform(-0.3, 0.05) * d)
    (tx, _, tz), _, _ = boards[0]
    things.append(boxes(boards, surface(p, 0.6, 0.6, clear=False)))
    things.append(vase(p, (tx - 0.15, height, tz), p.uniform(0.08, 0.2), glass(p, thin=True)))
    things.append(thing(p, (tx + 0.2, height, tz), p.uniform(0.08, 0.18), surface(p)))
    things.append(thing(p, (p.uniform(-0.3, 0.3) * w, 0, p.uniform(-0.1, 0.15) * d), p.uniform(0.15, 0.3), surface(p)))
    if p.chance(0.4):  # leaves outside throw a shadow of many spots
        n = int(p.rng.integers(300, 1500))
        crown = np.array([side * (w / 2 + 1.5), 2.2, z]) + p.rng.normal(0, 0.5, (n, 3))
        things.append(leaves(p, crown, p.uniform(0.1, 0.3), 0.0, hue(p, 0.5, 0.1), hue(p, 0.5, 0.4), colored()))
    far, size = 50.0, 50 * float(np.tan(np.radians(p.uniform(0.15, 1.0))))
    way = np.array([side * p.uniform(0.8, 1.6), p.uniform(0.35, 1.1), p.uniform(-0.7, 0.7)])
    at = np.array(middle) + far * way / np.linalg.norm(way)
    sun = glowing(lambda **k: ball(tuple(at), size, **k), tint(p, 8) * (far / size) ** 2 / 3)
    first: list[Light] = [sun, only(sky(p, False))]
    bulb = (-side * 0.3 * w, p.uniform(0.8, h - 0.4), p.uniform(-0.4, 0.1) * d)
    lamp = [glowing(lambda **k: ball(bulb, 0.08, **k), tint(p, 30))]
    eye = (-side * p.uniform(0.0, 0.35) * w, p.uniform(1.0, 1.7), d / 2 - 0.2)
    target = (side * p.uniform(-0.1, 0.3) * w, p.uniform(0.4, 1.0), -0.25 * d)
    seen = camera(p, eye, target, p.uniform(45, 70))
    return World(seen, things, (first, lamp if p.chance(0.3) else []), panes=True)
