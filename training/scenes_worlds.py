"""The training scenes: rooms, products, streets, foliage, caustics, nights. Y is up, units are metres."""

from __future__ import annotations

from functools import partial

import numpy as np

from mdenoise.training.scenes_materials import Palette, colored, glass, hue, matte, rgb, surface, texture, wall
from mdenoise.training.scenes_parts import Light, World, camera, fog, glowing, only, shelf, sky, sofa, table, tint
from mdenoise.training.scenes_shapes import ball, boxes, hair, leaves, panel, thing


def indoor(p: Palette) -> World:
    """A room by window or lamp: most of what is seen is indirect light on flat paint."""
    w, d, h = p.uniform(2.6, 5.5), p.uniform(3.2, 6.5), p.uniform(2.2, 3.0)
    t = 0.05
    back = ((0, h / 2, -d / 2 - t), (w / 2 + 0.1, h / 2, t), 0)
    front = ((0, h / 2, d / 2 + t), (w / 2 + 0.1, h / 2, t), 0)
    sides = [((s * (w / 2 + t), h / 2, 0), (t, h / 2, d / 2), 0) for s in (-1, 1)]
    if p.chance(0.4):  # a corner that hides a part of the room from its light
        sides.append(((p.uniform(-0.5, 0.5) * w, h / 2, -p.uniform(0, 0.3) * d), (p.uniform(0.2, 0.7), h / 2, 0.06), 0))
    accent = p.chance(0.6)
    things = [
        boxes([front, *sides] + ([] if accent else [back]), wall(p)),
        boxes([((0, -t, 0), (w / 2, t, d / 2), 0)], surface(p, 0.7, 2.0, clear=False)),
        boxes([((0, h + t, 0), (w / 2, t, d / 2), 0)], matte(rgb(*hue(p, 0.1, p.uniform(0.5, 0.85))))),
    ]
    if accent:
        things.append(boxes([back], wall(p, 0.35)))
    wood, second = [], []
    tops = []
    for _ in range(int(p.rng.integers(1, 4))):
        x, z = p.uniform(-0.38, 0.38) * w, p.uniform(-0.42, 0.05) * d
        kind = p.rng.random()
        if kind < 0.45:
            parts, top = table(p, x, z)
            wood += parts
            tops.append((x, top, z))
        elif kind < 0.7:
            boards, books = shelf(p, x, -d / 2 + 0.25, 0)
            wood += boards
            second += books
        else:
            second += sofa(p, x, z, p.pick((0, 0, 90, -90, 30)))
    for parts in (wood, second):
        if parts:
            things.append(boxes(parts, surface(p, 0.4, 0.6, clear=False)))
    places = tops + [(p.uniform(-0.35, 0.35) * w, 0.0, p.uniform(-0.4, 0.1) * d) for _ in range(2)]
    things += [thing(p, at, p.uniform(0.1, 0.28), surface(p)) for at in places[:4]]
    for _ in range(int(p.rng.integers(0, 3))):
        at = np.array([p.uniform(-0.4, 0.4) * w, p.uniform(1.2, h - 0.5), -d / 2 + 0.01])
        half = p.uniform(0.15, 0.5), p.uniform(0.15, 0.4)
        things.append(panel(at, at + np.array([0, 0, 1]), half, matte(texture(p, 1.0))))
    side = p.pick((-1, 1))
    y, z = p.uniform(1.2, 1.7), p.uniform(-0.35, 0.3) * d
    kind = p.rng.random()
    if kind < 0.45:
        at, to, half = (side * (w / 2 - 0.01), y, z), (0, y, z), (p.uniform(0.3, 0.8), p.uniform(0.35, 0.6))
    elif kind < 0.7:
        at, to, half = (p.uniform(-0.3, 0.3) * w, h - 0.01, z), (0, -9, z), (p.uniform(0.1, 0.35),) * 2
        to = (at[0], 0, at[2])
    else:  # aimed at the ceiling: indirect light alone
        at = (side * 0.4 * w, p.uniform(0.9, h - 0.9), z)
        to, half = (at[0], 9, at[2]), (p.uniform(0.15, 0.35),) * 2
    first = [glowing(lambda **k: panel(at, to, half, **k), tint(p, 8))]
    bulb, size = (
        (-side * p.uniform(0.1, 0.4) * w, p.uniform(0.6, h - 0.3), p.uniform(-0.4, 0.2) * d),
        p.uniform(0.05, 0.16),
    )
    lamp = glowing(lambda **k: ball(bulb, size, **k), tint(p, 20))
    eye = (p.uniform(-0.35, 0.35) * w, p.uniform(0.9, 1.8), d / 2 - 0.2)
    target = (p.uniform(-0.3, 0.3) * w, p.uniform(0.4, 1.3), p.uniform(-0.5, -0.1) * d)
    return World(camera(p, eye, target, p.uniform(38, 70)), things, (first, [lamp] if p.chance(0.4) else []))


def product(p: Palette) -> World:
    """A few things on a sweep between soft boxes."""
    back = p.uniform(-2.5, -1.2)
    things = [
        panel((0, 0, 0), (0, 9, 0), (6, 6), surface(p, 0.5, 0.15, clear=False)),
        panel((0, 3, back), (0, 3, 9), (6, 3), wall(p, 0.3, 0.3)),
    ]
    for _ in range(int(p.rng.integers(2, 7))):
        things.append(thing(p, (p.uniform(-0.8, 0.8), 0, p.uniform(-0.8, 0.5)), p.uniform(0.15, 0.42), surface(p)))
    groups: list[list[Light]] = []
    for strength in (10, 6):
        at = np.array([p.uniform(-3, 3), p.uniform(1.2, 3.2), p.uniform(-0.6, 2.5)])
        half = (p.uniform(0.15, 1.0), p.uniform(0.15, 1.0))
        groups.append([glowing(lambda at=at, half=half, **k: panel(at, (0, 0.3, 0), half, **k), tint(p, strength))])
    if p.chance(0.6):
        groups[0].append(only({"type": "constant", "radiance": rgb(*tint(p, p.uniform(0.03, 0.4)))}))
    eye = (p.uniform(-1.2, 1.2), p.uniform(0.4, 1.6), p.uniform(1.7, 3.0))
    cloud = fog(p, (0, 0.8, 0), (1.6, 0.79, 1.1)) if p.chance(0.08) else None
    return World(
        camera(p, eye, (0, p.uniform(0.15, 0.4), 0), p.uniform(26, 42)),
        things,
        (groups[0], groups[1] if p.chance(0.4) else []),
        cloud,
    )


def outdoor(p: Palette) -> World:
    """A street or a quarry under the sky; lamps at dusk."""
    things = [panel((0, 0, 0), (0, 9, 0), (40, 40), wall(p, 0.85, 0.05))]
    blocks = [
        (
            (p.uniform(-6, 6), (y := p.uniform(0.5, 3.0)), p.uniform(-9, -2)),
            (p.uniform(0.4, 1.6), y, p.uniform(0.4, 1.6)),
            p.uniform(0, 90),
        )
        for _ in range(int(p.rng.integers(2, 7)))
    ]
    half = len(blocks) // 2
    things += [boxes(part, wall(p, 0.7, 1.5)) for part in (blocks[:half], blocks[half:]) if part]
    for _ in range(int(p.rng.integers(2, 5))):
        things.append(thing(p, (p.uniform(-2, 2), 0, p.uniform(-2.5, 0.8)), p.uniform(0.2, 0.8), surface(p)))
    if p.chance(0.4):
        roots = np.stack([p.rng.uniform(-4, 4, 4000), np.zeros(4000), p.rng.uniform(-5, 2, 4000)], 1)
        things.append(leaves(p, roots, 0.18, 1.0, hue(p, 0.5, 0.1), hue(p, 0.6, 0.3) * [0.9, 1.2, 0.5], colored()))
    first = [only(sky(p, p.chance(0.6)))]
    at, size = (p.uniform(-2.5, 2.5), p.uniform(1.2, 2.8), p.uniform(-2, 1)), p.uniform(0.08, 0.3)
    second = [glowing(lambda **k: ball(at, size, **k), tint(p, 30))] if p.chance(0.35) else []
    eye = (p.uniform(-2.5, 2.5), p.uniform(0.6, 2.2), p.uniform(3.5, 5.5))
    cloud = fog(p, (0, 1.2, -2), (5, 1.19, 3)) if p.chance(0.08) else None
    return World(camera(p, eye, (0, p.uniform(0.5, 1.0), -1), p.uniform(34, 58)), things, (first, second), cloud)


def foliage(p: Palette) -> World:
    """Leaves, grass and fur close by: geometry finer than pixels."""
    things = [panel((0, 0, 0), (0, 9, 0), (12, 12), wall(p, 0.8, 0.1))]
    green = hue(p, 0.5, 0.12) * [0.7, 1.2, 0.4], hue(p, 0.5, 0.4) * [0.8, 1.2, 0.4]
    for _ in range(int(p.rng.integers(1, 4))):
        x, z, size = p.uniform(-1.3, 1.3), p.uniform(-1.5, 0.6), p.uniform(0.3, 0.8)
        n = int(p.rng.integers(500, 4000))
        ways = p.rng.normal(0, 1, (n, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        center = np.array([x, size * 1.1, z])
        if p.chance(0.4):
            things.append(ball(tuple(center), size * 0.8, matte(rgb(*hue(p, 0.4, 0.2)))))
            fur = matte(rgb(*hue(p, 0.5, p.uniform(0.08, 0.5))))
            things.append(hair(p, center + ways * size * 0.79, ways, size * p.uniform(0.2, 0.6), size * 0.006, fur))
        else:
            roots = center + ways * size * p.rng.uniform(0.2, 1, (n, 1)) ** 0.5
            things.append(leaves(p, roots, p.uniform(0.08, 0.3) * size * 2, 0.0, *green, colored()))
            trunk = ((x, size * 0.5, z), (0.04 * size, size * 0.6, 0.04 * size), p.uniform(0, 90))
            things.append(boxes([trunk], matte(rgb(*hue(p, 0.3, 0.12)))))
    if p.chance(0.7):
        n = int(p.rng.integers(3000, 14000))
        roots = np.stack([p.rng.uniform(-3, 3, n), np.zeros(n), p.rng.uniform(-4, 2.5, n)], 1)
        things.append(leaves(p, roots, p.uniform(0.08, 0.25), 1.0, *green, colored()))
    things.append(thing(p, (p.uniform(-0.8, 0.8), 0, p.uniform(0, 0.9)), p.uniform(0.15, 0.3), surface(p)))
    back = p.uniform(-4, -2.5)
    if p.chance(0.5):
        things.append(panel((0, 2, back), (0, 2, 9), (8, 2), wall(p, 0.6, 0.2)))
    second = {
        "type": "directional",
        "direction": [p.uniform(-1, 1), -1, p.uniform(-1, 1)],
        "irradiance": rgb(*tint(p, 3)),
    }
    eye = (p.uniform(-1.2, 1.2), p.uniform(0.4, 1.5), p.uniform(2.0, 3.2))
    lights = [only(sky(p, p.chance(0.4)))], [only(second)] if p.chance(0.5) else []
    return World(camera(p, eye, (0, p.uniform(0.3, 0.7), -0.2), p.uniform(30, 48)), things, lights, patience=2)


def caustics(p: Palette) -> World:
    """Glass and metal close to a lamp that is not too small for paths to find."""
    things = [
        panel((0, 0, 0), (0, 9, 0), (4, 4), wall(p, 0.3, 0.2)),
        panel((0, 2, -1.8), (0, 2, 9), (4, 2), wall(p, 0.3, 0.3)),
        panel((-2.2, 2, 0), (9, 2, 0), (4, 2), wall(p)),
    ]
    for i in range(int(p.rng.integers(2, 5))):
        bsdf = glass(p) if i == 0 or p.chance(0.4) else surface(p, 0.2)
        things.append(thing(p, (p.uniform(-1.1, 1.1), 0, p.uniform(-0.9, 0.7)), p.uniform(0.2, 0.45), bsdf))
    if p.chance(0.4):
        at = np.array([p.uniform(-0.8, 0.8), 0.6, p.uniform(0.2, 0.9)])
        things.append(panel(at, at + np.array([p.uniform(-1, 1), 0, 1]), (0.4, 0.5), glass(p, thin=True)))
    bulb, size = (p.uniform(-1.6, 1.6), p.uniform(1.3, 2.4), p.uniform(-0.8, 0.8)), p.uniform(0.12, 0.3)
    first = [glowing(lambda **k: ball(bulb, size, **k), tint(p, 12))]
    first.append(only({"type": "constant", "radiance": rgb(*tint(p, p.uniform(0.02, 0.25)))}))
    at, half = np.array([p.uniform(-1, 2), 3.0, p.uniform(-1, 2)]), (p.uniform(0.3, 1),) * 2
    second = [glowing(lambda **k: panel(at, (0, 0, 0), half, **k), tint(p, 6))] if p.chance(0.4) else []
    eye = (p.uniform(-0.6, 1.4), p.uniform(0.7, 1.8), p.uniform(2.6, 3.4))
    return World(camera(p, eye, (0, 0.35, -0.1), p.uniform(32, 48)), things, (first, second), patience=2)


def night(p: Palette) -> World:
    """Many small things between glowing ones that are in view."""
    n = int(p.rng.integers(60, 400))
    parts = [
        (
            (p.uniform(-3, 3), (y := p.uniform(0.03, 0.2)), p.uniform(-4, 1.5)),
            (p.uniform(0.03, 0.2), y, p.uniform(0.03, 0.2)),
            p.uniform(0, 90),
        )
        for _ in range(n)
    ]
    things = [panel((0, 0, 0), (0, 9, 0), (12, 12), surface(p, 0.5, 0.1, clear=False))]
    things += [boxes(parts[i::4], surface(p, 0.3, 0.3, clear=False)) for i in range(4)]
    for _ in range(2):
        things.append(thing(p, (p.uniform(-1.2, 1.2), 0, p.uniform(-1.5, 0.6)), p.uniform(0.15, 0.5), surface(p)))
    groups = []
    for _ in range(2):
        size = p.uniform(0.03, 0.12)
        bulbs = [
            ((p.uniform(-2, 2), p.uniform(0.3, 1.6), p.uniform(-2.5, 0.8)), (size,) * 3, p.uniform(0, 90))
            for _ in range(int(p.rng.integers(1, 6)))
        ]
        groups.append([glowing(partial(boxes, bulbs), hue(p, p.uniform(0, 0.9), 0.5) * 60)])
    groups[0].append(only({"type": "constant", "radiance": rgb(*tint(p, p.uniform(0.01, 0.1)))}))
    eye = (p.uniform(-1.5, 1.5), p.uniform(0.7, 2.4), p.uniform(2.2, 3.6))
    cloud = fog(p, (0, 0.9, -1), (3, 0.89, 1.8)) if p.chance(0.1) else None
    return World(
        camera(p, eye, (0, 0.3, -0.5), p.uniform(34, 56)),
        things,
        (groups[0], groups[1] if p.chance(0.4) else []),
        cloud,
    )
