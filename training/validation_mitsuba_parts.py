"""What the Mitsuba validation scenes are made of: materials, textures, shapes, CC0 meshes. Y is up, metres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

# A variant must be chosen before mi.ScalarTransform4f exists.
mi.set_variant("llvm_ad_rgb")
T = mi.ScalarTransform4f
Scene = dict[str, Any]


# --- materials and textures ---------------------------------------------------------------------------------------


def rgb(*value: float) -> Scene:
    return {"type": "rgb", "value": list(value)}


def matte(color: Any) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": color}}


def plastic(color: Any, alpha: float = 0.1) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "roughplastic", "diffuse_reflectance": color, "alpha": alpha}}


def painted(roughness: float = 0.4) -> Scene:
    """A coated surface in the mesh's own vertex colours (rough plastic cannot take them)."""
    return {
        "type": "twosided",
        "bsdf": {
            "type": "principled",
            "roughness": roughness,
            "specular": 0.5,
            "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
        },
    }


def metal(material: str, alpha: float = 0.15) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "roughconductor", "material": material, "alpha": alpha}}


def bumped(bsdf: Scene, height: np.ndarray, repeat: float, scale: float) -> Scene:
    return {
        "type": "twosided",
        "bsdf": {"type": "bumpmap", "scale": scale, "bsdf": bsdf["bsdf"], "height": image(height, repeat, raw=True)},
    }


def image(values: np.ndarray, repeat: float = 1.0, raw: bool = False) -> Scene:
    """A texture from an (H, W) or (H, W, 3) array; linear values, or display values with raw False."""
    data = np.ascontiguousarray(values, np.float32)
    return {
        "type": "bitmap",
        "bitmap": mi.Bitmap(data if data.ndim == 3 else data[..., None]),
        "raw": raw,
        "to_uv": T().scale([repeat, repeat, 1]),
    }


def fbm(seed: int, size: int = 256, beta: float = 1.8) -> np.ndarray:
    """Tileable cloud noise in [0, 1]: white noise shaped in the Fourier domain."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = 1
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / f ** (beta / 2)).real
    low, high = np.percentile(noise, [1, 99])
    return np.clip((noise - low) / (high - low), 0, 1)


def bricks(seed: int, rows: int, cols: int, joint: float, size: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """(tone per brick in [0, 1], height in [0, 1] with the joints at 0), both (size, size); rows are staggered."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[0:size, 0:size] / size
    row = np.floor(v * rows).astype(int)
    x = u * cols + 0.5 * (row % 2)
    tone = rng.random((rows, cols))[row, np.floor(x).astype(int) % cols]
    edge = np.minimum(np.minimum(x % 1, 1 - x % 1) * rows / cols, np.minimum(v * rows % 1, 1 - v * rows % 1))
    return tone, np.clip(edge / joint, 0, 1) * (0.8 + 0.2 * np.kron(fbm(seed, size // 2), np.ones((2, 2))))


def ramp(tone: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    """Display colours between two ends."""
    return np.asarray(low) + (np.asarray(high) - np.asarray(low)) * tone[..., None]


def planks(seed: int) -> np.ndarray:
    tone, height = bricks(seed, 8, 2, 0.03)
    grain = np.repeat(fbm(seed + 1, 512, 1.0)[:, ::16], 16, 1)
    return ramp(0.5 * tone + 0.5 * grain, (0.36, 0.22, 0.13), (0.72, 0.52, 0.34)) * (
        0.35 + 0.65 * height[..., None] ** 0.5
    )


def tiles(seed: int, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    v, u = np.mgrid[0:512, 0:512] / 64
    veins = np.abs(fbm(seed, 512, 2.4) - 0.5) < 0.03
    tone = np.where((np.floor(u) + np.floor(v)) % 2 > 0, 0.9, 0.1) + 0.25 * (fbm(seed + 1, 512) - 0.5) - 0.25 * veins
    joint = (np.minimum(u % 1, v % 1) < 0.04)[..., None]
    return np.where(joint, 0.3, np.clip(ramp(np.clip(tone, 0, 1), low, high), 0, 1))


# --- shapes -------------------------------------------------------------------------------------------------------


def box(center: tuple[float, ...], half: tuple[float, ...], bsdf: Scene, turn: float = 0.0) -> Scene:
    return {
        "type": "cube",
        "to_world": T().translate(list(center)).rotate([0, 1, 0], turn).scale(list(half)),
        "bsdf": bsdf,
    }


def ball(center: tuple[float, ...], radius: float, bsdf: Scene | None = None, light: Scene | None = None) -> Scene:
    shape = {"type": "sphere", "center": list(center), "radius": radius}
    return shape | ({"emitter": {"type": "area", "radiance": light}} if light else {"bsdf": bsdf})


def sheet(
    center: tuple[float, ...],
    toward: tuple[float, ...],
    half: tuple[float, float],
    bsdf: Scene | None = None,
    light: Scene | None = None,
) -> Scene:
    """A rectangle at `center` whose front looks at `toward`."""
    up = (
        [0, 0, 1] if abs(toward[1] - center[1]) > abs(toward[0] - center[0]) + abs(toward[2] - center[2]) else [0, 1, 0]
    )
    shape = {"type": "rectangle", "to_world": T().look_at(list(center), list(toward), up).scale([*half, 1])}
    return shape | ({"emitter": {"type": "area", "radiance": light}} if light else {"bsdf": bsdf})


def floor(half: float, bsdf: Scene) -> Scene:
    return {"type": "rectangle", "to_world": T().rotate([1, 0, 0], -90).scale([half, half, 1]), "bsdf": bsdf}


def eye(origin: tuple[float, ...], target: tuple[float, ...], fov: float) -> Scene:
    return {"type": "perspective", "fov": fov, "to_world": T().look_at(list(origin), list(target), [0, 1, 0])}


def sky(assets: Path, name: str, scale: float = 1.0, turn: float = 0.0) -> Scene:
    return {
        "type": "envmap",
        "filename": str(assets / "hdri" / f"{name}_1k.hdr"),
        "scale": scale,
        "to_world": T().rotate([0, 1, 0], turn),
    }


def model(
    assets: Path, name: str, at: tuple[float, ...], height: float, turn: float = 0.0, bsdf: Scene | None = None
) -> Any:
    """A mesh standing at `at`, scaled to `height`; with its own vertex colours unless a bsdf is given."""
    path = next((assets / "meshes").glob(f"{name}.*"))
    log = mi.logger().log_level()
    mi.set_log_level(mi.LogLevel.Error)  # colours stored as bytes are a warning; they are rescaled below
    loaded = {"type": path.suffix[1:], "filename": str(path), "bsdf": bsdf or painted()}
    bounds = mi.load_dict(loaded).bbox()
    place = T().translate(list(at)).rotate([0, 1, 0], turn).scale(height / (bounds.max[1] - bounds.min[1]))
    shape = mi.load_dict(loaded | {"to_world": place.translate([0, -bounds.min[1], 0])})
    if bsdf is None:
        params = mi.traverse(shape)
        params["vertex_color"] = (np.array(params["vertex_color"]) / 255) ** 2.2
        params.update()
    mi.set_log_level(log)
    return shape


def triangles(vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray, bsdf: Scene) -> Any:
    """A mesh from arrays: (N, 3) points, (M, 3) indices, (N, 3) linear colours."""
    props = mi.Properties()
    props["mesh_bsdf"] = mi.load_dict(bsdf)
    mesh = mi.Mesh("made", len(vertices), len(faces), props=props)
    mesh.add_attribute("vertex_color", 3, colors.ravel().astype(np.float32))
    params = mi.traverse(mesh)
    params["vertex_positions"] = vertices.ravel().astype(np.float32)
    params["faces"] = faces.ravel().astype(np.uint32)
    params.update()
    return mesh


def grass(seed: int, blades: int, half: float, height: float) -> Any:
    """Single-triangle blades on the ground, each of its own green."""
    rng = np.random.default_rng(seed)
    root = np.stack([rng.uniform(-half, half, blades), np.zeros(blades), rng.uniform(-half, half, blades)], 1)
    side = np.stack([np.cos(a := rng.uniform(0, 6.28, blades)), 0 * a, np.sin(a)], 1) * 0.012
    tip = root + rng.normal(0, 0.05, (blades, 3)) * [1, 0, 1] + height * rng.uniform(0.4, 1, (blades, 1)) * [0, 1, 0]
    green = ramp(rng.random(blades), (0.05, 0.12, 0.02), (0.25, 0.35, 0.08)).reshape(blades, 3)
    return triangles(
        np.stack([root - side, root + side, tip], 1).reshape(-1, 3),
        np.arange(3 * blades).reshape(-1, 3),
        np.repeat(green, 3, 0),
        matte({"type": "mesh_attribute", "name": "vertex_color"}),
    )


def clutter(seed: int, count: int, half: float, size: tuple[float, float]) -> Any:
    """Small boxes, turned at random, strewn over the ground: many edges, many albedos, contact shadows."""
    rng = np.random.default_rng(seed)
    corner = np.array([[x, y, z] for x in (-1, 1) for y in (0, 2) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    face = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    turn = rng.uniform(0, 6.28, count)
    spin = np.stack(
        [
            np.stack([np.cos(turn), 0 * turn, np.sin(turn)], 1),
            np.tile([0, 1, 0], (count, 1)),
            np.stack([-np.sin(turn), 0 * turn, np.cos(turn)], 1),
        ],
        1,
    )
    points = (corner * rng.uniform(*size, (count, 1, 3))) @ spin
    points += np.stack([rng.uniform(-half, half, count), np.zeros(count), rng.uniform(-half, half, count)], 1)[:, None]
    # Faces share no vertices, so that every box keeps flat normals.
    points, count_v = points[:, face.ravel()].reshape(-1, 3), count * 36
    return triangles(
        points, np.arange(count_v).reshape(-1, 3), np.repeat(rng.uniform(0.03, 0.85, (count, 3)), 36, 0), painted(0.3)
    )
