"""What stands in the training scenes: meshes from arithmetic, curves. Y is up, units are metres."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.scenes_materials import Described, Palette

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
FACES = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
FACE_UV = np.array([(2, 1), (2, 1), (0, 2), (0, 2), (0, 1), (0, 1)])  # the axes that lie in each face


def transform() -> Any:
    return mi.ScalarTransform4f()


def placed(shape: str, bsdf: Described | None, to_world: Any, light: Described | None = None) -> Described:
    """A built-in shape; with `light` it glows instead."""
    described = {"type": shape, "to_world": to_world}
    return described | ({"emitter": {"type": "area", "radiance": light}} if light else {"bsdf": bsdf})


def ball(
    center: tuple[float, ...], radius: float, bsdf: Described | None = None, light: Described | None = None
) -> Any:
    return placed("sphere", bsdf, transform().translate(list(center)).scale(radius), light)


def panel(
    center: Any, toward: Any, half: tuple[float, float], bsdf: Described | None = None, light: Described | None = None
) -> Described:
    """A rectangle that faces `toward`; its uv runs from 0 to 1."""
    center, toward = np.asarray(center, float), np.asarray(toward, float)
    way = toward - center
    up = [0, 0, 1] if abs(way[1]) > 0.9 * np.linalg.norm(way) else [0, 1, 0]
    return placed("rectangle", bsdf, transform().look_at(center.tolist(), toward.tolist(), up).scale([*half, 1]), light)


def mesh(
    points: np.ndarray,
    faces: np.ndarray,
    bsdf: Described | None,
    uv: np.ndarray | None = None,
    colors: np.ndarray | None = None,
    smooth: bool = False,
    light: Described | None = None,
) -> Any:
    """(N, 3) points, (M, 3) indices, (N, 2) uv in metres, (N, 3) linear colours."""
    props = mi.Properties()
    if bsdf:
        props["bsdf"] = mi.load_dict(bsdf)
    if light:
        props["light"] = mi.load_dict({"type": "area", "radiance": light})
    props["face_normals"] = not smooth
    made = mi.Mesh("made", len(points), len(faces), props, smooth, uv is not None)
    if colors is not None:
        made.add_attribute("vertex_color", 3, np.ascontiguousarray(colors, np.float32).ravel())
    params = mi.traverse(made)
    params["vertex_positions"] = np.ascontiguousarray(points, np.float32).ravel()
    params["faces"] = np.ascontiguousarray(faces, np.uint32).ravel()
    if uv is not None:
        params["vertex_texcoords"] = np.ascontiguousarray(uv, np.float32).ravel()
    params.update()
    if smooth:
        made.recompute_vertex_normals()
    return made


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    return points @ np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])


Box = tuple[tuple[float, float, float], tuple[float, float, float], float]  # center, half sizes, turn in degrees


def boxes(parts: list[Box], bsdf: Described | None = None, light: Described | None = None) -> Any:
    """Many boxes as one mesh: Mitsuba's work before the first sample grows with the number of shapes."""
    points, uv = [], []
    for center, half, turn in parts:
        corner = CUBE * half
        points.append((turned(corner, turn) + center)[FACES].reshape(-1, 3))
        uv.append(np.stack([corner[face][:, axes] for face, axes in zip(FACES, FACE_UV, strict=True)]).reshape(-1, 2))
    first = 4 * np.arange(6 * len(parts))[:, None]
    faces = np.concatenate([first + np.array(half) for half in ((0, 1, 2), (0, 2, 3))])
    return mesh(np.concatenate(points), faces, bsdf, np.concatenate(uv), light=light)


def grid(points: np.ndarray, at: tuple[float, ...], bsdf: Described) -> Any:
    """A smooth mesh through (rows, columns, 3) points."""
    rows, columns, _ = points.shape
    i = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (x.ravel() for x in (i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    v, u = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    uv = np.stack([u.ravel(), v.ravel()], 1)
    return mesh(points.reshape(-1, 3) + np.asarray(at), faces, bsdf, uv, smooth=True)


def vase(p: Palette, at: tuple[float, ...], size: float, bsdf: Described) -> Any:
    """A profile turned about the vertical: bowls, bottles, lamps, columns."""
    knots = np.concatenate([[p.uniform(0.3, 0.9)], p.rng.uniform(0.2, 1.0, 4)])
    height = np.linspace(0, 1, 48)
    radius = np.interp(height, np.linspace(0, 1, 5), knots)
    radius = np.convolve(np.pad(radius, 5, "edge"), np.ones(11) / 11, "valid")
    y = np.concatenate([[0], height, [1]]) * p.uniform(1.2, 2.6) * size
    r = np.concatenate([[1e-3], radius, [1e-3]]) * size * 0.7
    a = np.linspace(0, 2 * np.pi, 65)
    shape = np.stack([r[:, None] * np.cos(a), np.broadcast_to(y[:, None], (50, 65)), r[:, None] * np.sin(a)], -1)
    return grid(shape, at, bsdf)


def pebble(p: Palette, at: tuple[float, ...], size: float, bsdf: Described) -> Any:
    """Between ball, pillow and crumpled rock."""
    v, u = np.mgrid[3.13:0.01:48j, 0 : 2 * np.pi : 96j]  # rows upwards, or the normals would point inwards
    power = p.uniform(0.3, 1.4), p.uniform(0.3, 1.4)

    def bent(x: np.ndarray, e: float) -> np.ndarray:
        return np.sign(x) * np.abs(x) ** e

    way = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], -1)
    waves = p.rng.normal(0, 1, (6, 3)) * 4
    bumps = 1 + p.uniform(0, 0.12) * np.sin(way @ waves.T + p.rng.uniform(0, 6, 6)).sum(-1, keepdims=True)
    ring = bent(np.sin(v), power[0])
    shape = np.stack(
        [ring * bent(np.cos(u), power[1]), bent(np.cos(v), power[0]), ring * bent(np.sin(u), power[1])], -1
    )
    shape = shape * bumps * size * p.rng.uniform(0.6, 1.1, 3)
    shape[..., 1] -= shape[..., 1].min()
    return grid(shape, at, bsdf)


def ring(p: Palette, at: tuple[float, ...], size: float, bsdf: Described) -> Any:
    """A torus, or a knot around one."""
    t, a = np.mgrid[0 : 2 * np.pi : 160j, 0 : 2 * np.pi : 20j]
    turns = p.pick((0, 0, 2, 3))

    def path(s: np.ndarray) -> np.ndarray:
        bulge = 1 + (0.35 * np.cos(turns * s) if turns else 0)
        turn = s * (2 if turns == 3 else 1)
        return np.stack([bulge * np.cos(turn), 0.4 * np.sin(turns * s), bulge * np.sin(turn)], -1)

    along = path(t + 1e-3) - path(t - 1e-3)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    side = np.cross(along, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    thick = p.uniform(0.08, 0.3)
    shape = path(t) + thick * (np.cos(a)[..., None] * side + np.sin(a)[..., None] * np.cross(side, along))
    tilt = np.radians(p.uniform(0, 90))
    shape = shape @ np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    shape = turned(shape, p.uniform(0, 360)) * size * 0.7
    shape[..., 1] -= shape[..., 1].min()
    return grid(shape, at, bsdf)


def thing(p: Palette, at: tuple[float, ...], size: float, bsdf: Described) -> Any:
    """Something of about `size` in radius that stands on `at`."""
    kind = p.rng.random()
    if kind < 0.2:
        return ball((at[0], at[1] + size * 0.8, at[2]), size * 0.8, bsdf)
    if kind < 0.35:
        half = p.rng.uniform(0.4, 0.9, 3) * size
        return boxes([((at[0], at[1] + half[1], at[2]), tuple(half), p.uniform(0, 90))], bsdf)
    return p.pick((vase, pebble, ring))(p, at, size, bsdf)


# --- leaves and hair ----------------------------------------------------------------------------------------------


def leaves(p: Palette, roots: np.ndarray, length: float, upright: float, low: Any, high: Any, bsdf: Described) -> Any:
    """One bent quad a root (N, 3): grass where `upright` is 1, foliage at 0. Colours lie between `low` and `high`."""
    n = len(roots)
    way = p.rng.normal(0, 1, (n, 3)) * (1 - 0.75 * upright) + np.array([0, 2.0 * upright, 0])
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    side = np.cross(way, p.rng.normal(0, 1, (n, 3)))
    side *= p.uniform(0.05, 0.35) * (1 - 0.7 * upright) * length / np.linalg.norm(side, axis=1, keepdims=True)
    tip = roots + way * length * p.rng.uniform(0.5, 1.2, (n, 1))
    points = np.stack([roots, (roots + tip) / 2 + side, tip, (roots + tip) / 2 - side], 1).reshape(-1, 3)
    first = 4 * np.arange(n)[:, None]
    faces = np.concatenate([first + np.array(half) for half in ((0, 1, 2), (0, 2, 3))])
    tone = p.rng.random((n, 1))
    colors = np.asarray(low) + (np.asarray(high) - np.asarray(low)) * tone
    return mesh(points, faces, bsdf, colors=np.repeat(colors, 4, 0))


def hair(p: Palette, roots: np.ndarray, ways: np.ndarray, length: float, thick: float, bsdf: Described) -> Any:
    """B-spline strands from `roots` (N, 3) along `ways`, bent by gravity and by chance."""
    bend = p.rng.normal(0, 0.25, (len(roots), 3)) - np.array([0, p.uniform(0, 0.8), 0])
    steps = np.linspace(0, 1, 5)[None, :, None]
    points = roots[:, None] + length * (ways[:, None] * steps + bend[:, None] * steps**2)
    radius = thick * np.array([1, 1, 0.9, 0.6, 0.2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "strands.txt"
        lines = (
            "\n".join(f"{x:.5f} {y:.5f} {z:.5f} {r:.6f}" for (x, y, z), r in zip(s, radius, strict=True))
            for s in points
        )
        path.write_text("\n\n".join(lines) + "\n", "utf-8")
        return mi.load_dict({"type": "bsplinecurve", "filename": str(path), "bsdf": bsdf})
