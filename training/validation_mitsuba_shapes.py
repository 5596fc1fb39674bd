"""Shapes for `validation_mitsuba_light`: turned glass, water, print. Y is up, units are metres."""

from __future__ import annotations

from typing import Any

import mitsuba as mi
import numpy as np

from mdenoise.training.validation_mitsuba_parts import Scene, T, fbm

GLASS = {"type": "dielectric", "int_ior": 1.5}


def lathe(profile: list[tuple[float, float]], at: tuple[float, ...], bsdf: Scene, around: int = 96) -> Any:
    """What a profile of (radius, height) makes when it is turned about the vertical through `at`; smooth."""
    turn = np.arange(around) * 2 * np.pi / around
    radius, height = np.array(profile).T
    points = np.stack(
        [
            at[0] + radius[:, None] * np.cos(turn),
            at[1] + np.repeat(height[:, None], around, 1),
            at[2] + radius[:, None] * np.sin(turn),
        ],
        -1,
    )
    i, j = np.mgrid[0 : len(profile) - 1, 0:around]
    corner = [a * around + b % around for a, b in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
    return surface(points.reshape(-1, 3), np.concatenate([triangle(corner, 0, 1, 2), triangle(corner, 0, 2, 3)]), bsdf)


def water(seed: int, half: tuple[float, float], level: float, wave: float, cells: int = 160) -> Any:
    """A rippled surface that closes a basin from above."""
    height = level + wave * (np.kron(fbm(seed, 32, 5.0), np.ones((1, 1))) - 0.5)
    grid = np.linspace(0, 31, cells)
    rows = np.array([np.interp(grid, np.arange(32), line) for line in height])
    smooth = np.array([np.interp(grid, np.arange(32), line) for line in rows.T]).T
    for _ in range(12):
        smooth = (smooth + np.roll(smooth, 1, 0) + np.roll(smooth, 1, 1) + np.roll(smooth, (1, 1), (0, 1))) / 4
    x, z = np.meshgrid(np.linspace(-half[0], half[0], cells), np.linspace(-half[1], half[1], cells))
    i, j = np.mgrid[0 : cells - 1, 0 : cells - 1]
    corner = [a * cells + b for a, b in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
    faces = np.concatenate([triangle(corner, 0, 1, 2), triangle(corner, 0, 2, 3)])
    return surface(np.stack([x, smooth, z], -1).reshape(-1, 3), faces, GLASS | {"int_ior": 1.33})


def triangle(corner: list[np.ndarray], *of: int) -> np.ndarray:
    return np.stack([corner[k].ravel() for k in of], -1)


def surface(points: np.ndarray, faces: np.ndarray, bsdf: Scene) -> Any:
    """A smooth mesh of (N, 3) points and (M, 3) indices."""
    props = mi.Properties()
    props["mesh_bsdf"] = mi.load_dict(bsdf)
    mesh = mi.Mesh("made", len(points), len(faces), has_vertex_normals=True, props=props)
    params = mi.traverse(mesh)
    params["vertex_positions"] = points.ravel().astype(np.float32)
    params["faces"] = faces.ravel().astype(np.uint32)
    params.update()
    return mesh


def text(seed: int, lines: int, letters: int, pixel: int = 3) -> np.ndarray:
    """A page of letters that nobody can read: (H, W) ink in [0, 1]."""
    rng = np.random.default_rng(seed)
    glyphs = (rng.random((40, 7, 3)) < 0.55)[:, :, [0, 1, 2, 1, 0]]
    page = np.zeros((lines, 11, letters, 7))
    written = rng.integers(0, 40, (lines, letters))
    shown = (rng.random((lines, letters)) > 0.16) & (np.arange(letters) < rng.uniform(0.7, 1, (lines, 1)) * letters)
    page[:, 2:9, :, 1:6] = (glyphs[written] * shown[..., None, None]).transpose(0, 2, 1, 3)
    return np.kron(np.pad(page.reshape(lines * 11, letters * 7), 12), np.ones((pixel, pixel)))


def leaf(center: tuple[float, ...], half: tuple[float, float], turn: float, bsdf: Scene) -> Scene:
    """A sheet that lies on the ground."""
    place = T().translate(list(center)).rotate([0, 1, 0], turn).rotate([1, 0, 0], -90).scale([*half, 1])
    return {"type": "rectangle", "to_world": place, "bsdf": bsdf}
