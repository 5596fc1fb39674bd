"""Validation scenes for Mitsuba 3: made for measuring, never for training. Y is up, units are metres.

A scene is a function from the folder of CC0 meshes and HDRIs to a Mitsuba dictionary without sensor film and
integrator; `render` adds those. Everything else is made here: textures, grass, bricks, clutter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mitsuba as mi
import numpy as np

# A variant must be chosen before mi.ScalarTransform4f exists, hence at import and not in `render`.
mi.set_variant("llvm_ad_rgb")
T = mi.ScalarTransform4f
Scene = dict[str, Any]
DEPTH = 6
PASS_SPP = 64  # a wavefront of 256 x 256 x 64 samples keeps Mitsuba's memory below 2 GB


def render(name: str, assets: Path, spp: int, seed: int, rfilter: str = "box", size: int = 256) -> dict[str, np.ndarray]:
    """One frame: color, albedo, normal (world space, [-1, 1]) as (size, size, 3), depth (size, size); f32, linear."""
    described = SCENES[name](assets)
    described["sensor"] |= {
        "film": {"type": "hdrfilm", "width": size, "height": size, "component_format": "float32",
                 "pixel_format": "rgb", "rfilter": {"type": rfilter}},
        # Few samples as a host draws them; many, for references, stratified: the same mean with less variance.
        "sampler": {"type": "independent" if spp < PASS_SPP else "multijitter", "sample_count": min(spp, PASS_SPP)},
    }
    described["integrator"] = {"type": "aov", "aovs": "albedo:albedo,normal:sh_normal,depth:depth",
                               "img": {"type": "path", "max_depth": DEPTH}}
    scene = mi.load_dict({"type": "scene"} | described)
    passes = max(1, spp // PASS_SPP)
    total = sum(np.array(mi.render(scene, spp=min(spp, PASS_SPP), seed=1000 * seed + i)).astype(np.float64)
                for i in range(passes)) / passes
    total = total.astype(np.float32)  # channels: R G B, albedo, normal, depth
    return {"color": total[..., :3], "albedo": total[..., 3:6], "normal": total[..., 6:9], "depth": total[..., 9]}


# --- materials and textures ---------------------------------------------------------------------------------------

def rgb(*value: float) -> Scene:
    return {"type": "rgb", "value": list(value)}


def matte(color: Any) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": color}}


def plastic(color: Any, alpha: float = 0.1) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "roughplastic", "diffuse_reflectance": color, "alpha": alpha}}


def painted(roughness: float = 0.4) -> Scene:
    """A coated surface in the mesh's own vertex colours (rough plastic cannot take them)."""
    return {"type": "twosided", "bsdf": {"type": "principled", "roughness": roughness, "specular": 0.5,
                                         "base_color": {"type": "mesh_attribute", "name": "vertex_color"}}}


def metal(material: str, alpha: float = 0.15) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "roughconductor", "material": material, "alpha": alpha}}


def bumped(bsdf: Scene, height: np.ndarray, repeat: float, scale: float) -> Scene:
    return {"type": "twosided", "bsdf": {"type": "bumpmap", "scale": scale, "bsdf": bsdf["bsdf"],
                                         "height": image(height, repeat, raw=True)}}


def image(values: np.ndarray, repeat: float = 1.0, raw: bool = False) -> Scene:
    """A texture from an (H, W) or (H, W, 3) array; linear values, or display values with raw False."""
    data = np.ascontiguousarray(values, np.float32)
    return {"type": "bitmap", "bitmap": mi.Bitmap(data if data.ndim == 3 else data[..., None]), "raw": raw,
            "to_uv": T().scale([repeat, repeat, 1])}


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
    return ramp(0.5 * tone + 0.5 * grain, (0.36, 0.22, 0.13), (0.72, 0.52, 0.34)) * (0.35 + 0.65 * height[..., None] ** 0.5)


def tiles(seed: int, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    v, u = np.mgrid[0:512, 0:512] / 64
    veins = np.abs(fbm(seed, 512, 2.4) - 0.5) < 0.03
    tone = np.where((np.floor(u) + np.floor(v)) % 2 > 0, 0.9, 0.1) + 0.25 * (fbm(seed + 1, 512) - 0.5) - 0.25 * veins
    joint = (np.minimum(u % 1, v % 1) < 0.04)[..., None]
    return np.where(joint, 0.3, np.clip(ramp(np.clip(tone, 0, 1), low, high), 0, 1))


# --- shapes -------------------------------------------------------------------------------------------------------

def box(center: tuple[float, ...], half: tuple[float, ...], bsdf: Scene, turn: float = 0.0) -> Scene:
    return {"type": "cube", "to_world": T().translate(list(center)).rotate([0, 1, 0], turn).scale(list(half)), "bsdf": bsdf}


def ball(center: tuple[float, ...], radius: float, bsdf: Scene | None = None, light: Scene | None = None) -> Scene:
    shape = {"type": "sphere", "center": list(center), "radius": radius}
    return shape | ({"emitter": {"type": "area", "radiance": light}} if light else {"bsdf": bsdf})


def sheet(center: tuple[float, ...], toward: tuple[float, ...], half: tuple[float, float], bsdf: Scene | None = None,
          light: Scene | None = None) -> Scene:
    """A rectangle at `center` whose front looks at `toward`."""
    up = [0, 0, 1] if abs(toward[1] - center[1]) > abs(toward[0] - center[0]) + abs(toward[2] - center[2]) else [0, 1, 0]
    shape = {"type": "rectangle", "to_world": T().look_at(list(center), list(toward), up).scale([*half, 1])}
    return shape | ({"emitter": {"type": "area", "radiance": light}} if light else {"bsdf": bsdf})


def floor(half: float, bsdf: Scene) -> Scene:
    return {"type": "rectangle", "to_world": T().rotate([1, 0, 0], -90).scale([half, half, 1]), "bsdf": bsdf}


def eye(origin: tuple[float, ...], target: tuple[float, ...], fov: float, aperture: float = 0.0) -> Scene:
    lens = {"type": "thinlens", "aperture_radius": aperture,
            "focus_distance": float(np.linalg.norm(np.subtract(target, origin)))} if aperture else {"type": "perspective"}
    return lens | {"fov": fov, "to_world": T().look_at(list(origin), list(target), [0, 1, 0])}


def sky(assets: Path, name: str, scale: float = 1.0, turn: float = 0.0) -> Scene:
    return {"type": "envmap", "filename": str(assets / "hdri" / f"{name}_1k.hdr"), "scale": scale,
            "to_world": T().rotate([0, 1, 0], turn)}


def model(assets: Path, name: str, at: tuple[float, ...], height: float, turn: float = 0.0, bsdf: Scene | None = None) -> Any:
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
    return triangles(np.stack([root - side, root + side, tip], 1).reshape(-1, 3), np.arange(3 * blades).reshape(-1, 3),
                     np.repeat(green, 3, 0), matte({"type": "mesh_attribute", "name": "vertex_color"}))


def clutter(seed: int, count: int, half: float, size: tuple[float, float]) -> Any:
    """Small boxes, turned at random, strewn over the ground: many edges, many albedos, contact shadows."""
    rng = np.random.default_rng(seed)
    corner = np.array([[x, y, z] for x in (-1, 1) for y in (0, 2) for z in (-1, 1)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    face = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    turn = rng.uniform(0, 6.28, count)
    spin = np.stack([np.stack([np.cos(turn), 0 * turn, np.sin(turn)], 1), np.tile([0, 1, 0], (count, 1)),
                     np.stack([-np.sin(turn), 0 * turn, np.cos(turn)], 1)], 1)
    points = (corner * rng.uniform(*size, (count, 1, 3))) @ spin
    points += np.stack([rng.uniform(-half, half, count), np.zeros(count), rng.uniform(-half, half, count)], 1)[:, None]
    # Faces share no vertices, so that every box keeps flat normals.
    points, count_v = points[:, face.ravel()].reshape(-1, 3), count * 36
    return triangles(points, np.arange(count_v).reshape(-1, 3), np.repeat(rng.uniform(0.03, 0.85, (count, 3)), 36, 0),
                     painted(0.3))


def backdrop(color: tuple[float, ...]) -> Any:
    """A photographer's sweep: floor, quarter round, wall."""
    t = np.linspace(0, np.pi / 2, 24)
    profile = np.concatenate([[[0, 3.0]], np.stack([1 - np.cos(t), -1 - np.sin(t)], 1), [[4.0, -2.0]]])
    n = len(profile)
    points = np.concatenate([np.insert(profile, 0, x, 1) for x in (-4.0, 4.0)])
    a = np.arange(n - 1)
    return triangles(points, np.concatenate([np.stack([a, a + n, a + 1], 1), np.stack([a + 1, a + n, a + n + 1], 1)]),
                     np.tile(color, (2 * n, 1)), matte({"type": "mesh_attribute", "name": "vertex_color"}))


# --- scenes -------------------------------------------------------------------------------------------------------

def cornell(assets: Path) -> Scene:
    """Closed box, one ceiling lamp in view, colour bleeding."""
    white = matte(rgb(0.72, 0.70, 0.66))
    return {
        "sensor": eye((0, 1, 3.4), (0, 0.98, 0), 40),
        "floor": floor(1, white), "back": sheet((0, 1, -1), (0, 1, 0), (1, 1), white), "ceiling": sheet((0, 2, 0), (0, 0, 0), (1, 1), white),
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
        "floor": floor(3, plastic(image(planks(5), 2), 0.25)), "ceiling": sheet((0, 2.6, 0), (0, 0, 0), (3, 3), matte(rgb(0.8, 0.8, 0.78))),
        "back": sheet((0, 1.3, -2), (0, 1.3, 0), (3, 1.3), wall), "right": sheet((2, 1.3, 0), (0, 1.3, 0), (3, 1.3), wall),
        "front": sheet((0, 1.3, 3), (0, 1.3, 0), (3, 1.3), wall), "left": sheet((-2, 1.3, 0), (0, 1.3, 0), (3, 1.3), matte(rgb(0.35, 0.45, 0.5))),
        "window": sheet((-1.97, 1.5, 0.2), (0, 1.5, 0.2), (0.6, 0.75), light=rgb(9, 10.5, 13)),
        "bar1": box((-1.95, 1.5, 0.2), (0.03, 0.75, 0.025), matte(rgb(0.03, 0.03, 0.03))),
        "bar2": box((-1.95, 1.5, 0.2), (0.03, 0.025, 0.6), matte(rgb(0.03, 0.03, 0.03))),
        "rug": {"type": "disk", "to_world": T().translate([-0.4, 0.004, -0.2]).rotate([1, 0, 0], -90).scale(0.95),
                "bsdf": matte(image(ramp(bricks(9, 24, 24, 0.2)[0], (0.35, 0.08, 0.08), (0.75, 0.55, 0.35))))},
        "shelf": model(assets, "library-large", (-0.5, 0, -1.2), 1.25, 0, plastic(rgb(0.22, 0.11, 0.06), 0.2)),
        "plant": model(assets, "plant", (0.95, 0, -1.35), 1.15, 40),
        "picture": sheet((0.9, 1.75, -1.97), (0.9, 1.75, 0), (0.4, 0.3), matte(image(tiles(8, (0.1, 0.2, 0.4), (0.95, 0.7, 0.3))))),
    }


def studio_cup(assets: Path) -> Scene:
    """Product shot: cups on a sweep, studio HDRI, soft shadows."""
    return {
        "sensor": eye((0.1, 1.05, 2.7), (0, 0.2, 0), 36), "sky": sky(assets, "studio_small_03", 0.32, 140), "sweep": backdrop((0.55, 0.57, 0.6)),
        "cup": model(assets, "expresso-cup", (-0.2, 0, 0.1), 0.5, 30),
        "glazed": model(assets, "expresso-cup", (0.55, 0, -0.35), 0.42, 120, plastic(rgb(0.65, 0.13, 0.06), 0.05)),
        "gold": ball((0.25, 0.12, 0.55), 0.12, metal("Au", 0.12)),
        "box": box((-0.75, 0.22, -0.35), (0.2, 0.22, 0.2), matte(image(tiles(21, (0.12, 0.14, 0.18), (0.85, 0.82, 0.75)))), 25),
    }


def materials(assets: Path) -> Scene:
    """Metal, plastic and glass on tiles under a soft box."""
    glass = {"type": "dielectric", "int_ior": 1.5}
    return {
        "sensor": eye((0, 1.5, 3.9), (0, 0.4, 0), 40), "sky": sky(assets, "lebombo", 0.8, 60),
        "floor": floor(6, plastic(image(tiles(33, (0.10, 0.11, 0.12), (0.78, 0.74, 0.66)), 6), 0.12)),
        "softbox": sheet((-2.5, 3.0, 1.5), (0, 0.3, 0), (0.9, 0.9), light=rgb(7, 6.5, 6)),
        "a": ball((-1.1, 0.42, -0.2), 0.42, metal("Cu", 0.2)), "b": ball((0, 0.5, -0.6), 0.5, glass), "c": ball((1.15, 0.42, -0.2), 0.42, plastic(rgb(0.05, 0.2, 0.6), 0.05)),
        "d": ball((-0.5, 0.24, 0.55), 0.24, plastic(rgb(0.6, 0.45, 0.05), 0.4)), "e": ball((0.45, 0.26, 0.6), 0.26, metal("Al", 0.05)),
        "f": model(assets, "spot", (1.75, 0, -1.3), 0.9, 150, metal("Au", 0.3)),
        "g": box((-1.9, 0.4, -1.3), (0.35, 0.4, 0.35), {"type": "roughdielectric", "alpha": 0.1, "int_ior": 1.4}, 30),
    }


def garden(assets: Path) -> Scene:
    """Noon sun and sky, grass and leaves: fine geometry, hard shadows."""
    return {
        "sensor": eye((1.6, 1.0, 3.6), (-0.1, 0.75, -0.5), 42),
        "sky": {"type": "sunsky", "sun_direction": [0.5, 0.75, 0.45], "turbidity": 4.0, "sky_scale": 6.0, "sun_scale": 4.0, "sun_aperture": 2.0,
                "to_world": T().rotate([1, 0, 0], -90)},
        "floor": floor(30, matte(image(ramp(fbm(12), (0.28, 0.22, 0.14), (0.42, 0.42, 0.2)), 20))), "grass": grass(4, 60000, 4.0, 0.16),
        "tree": model(assets, "low-poly-tree", (-1.2, 0, -1.4), 2.3, 10), "tree2": model(assets, "low-poly-tree", (1.5, 0, -3.0), 2.8, 130),
        "plant": model(assets, "plant", (0.75, 0, -0.3), 1.0, 70), "cow": model(assets, "spot", (-0.35, 0.02, 0.6), 0.75, 150, plastic(rgb(0.6, 0.5, 0.42), 0.3)),
        "wall": box((0, 0.6, -6), (8, 1.4, 0.3), matte(image(ramp(bricks(2, 6, 40, 0.1)[0] * bricks(2, 6, 40, 0.1)[1], (0.45, 0.4, 0.36), (0.72, 0.45, 0.36))))),
    }


def toys(assets: Path) -> Scene:
    """Hundreds of small boxes between three coloured glowing globes."""
    return {
        "sensor": eye((0, 2.4, 3.0), (0, 0.1, 0), 44), "floor": floor(8, matte(rgb(0.45, 0.44, 0.42))), "toys": clutter(7, 700, 2.6, (0.03, 0.11)),
        "fill": {"type": "constant", "radiance": rgb(0.10, 0.12, 0.16)},
        "warm": ball((-0.9, 0.6, 0.1), 0.22, light=rgb(11, 6, 2.2)), "cool": ball((1.0, 0.5, -0.5), 0.18, light=rgb(2, 5, 12)),
        "rose": ball((0.35, 0.4, 0.9), 0.12, light=rgb(12, 2.5, 5)),
    }


def depth_of_field(assets: Path) -> Scene:
    """A row of cups going out of focus, thin lens, outdoor HDRI."""
    cups = {f"cup{i}": model(assets, "expresso-cup", (-1.0 + 0.55 * i, 0, 0.9 - 0.75 * i), 0.42, 47 * i,
                             None if i % 2 else plastic(rgb(*color), 0.08))
            for i, color in enumerate([(0.7, 0.2, 0.1), 0, (0.1, 0.4, 0.45), 0, (0.75, 0.6, 0.15), 0])}
    return cups | {
        "sensor": eye((-1.3, 0.75, 3.2), (-0.45, 0.2, 0.15), 36, 0.07), "sky": sky(assets, "lebombo", 0.5, 300),
        "table": floor(5, plastic(image(planks(15), 4), 0.2)), "jar": ball((0.35, 0.2, 0.9), 0.2, plastic(rgb(0.06, 0.06, 0.07), 0.1)),
    }


def brick_corner(assets: Path) -> Scene:
    """Bump-mapped bricks and paving under a grazing lamp, marble block, metal figure."""
    tone, height = bricks(41, 14, 7, 0.12)
    wall = bumped(matte(image(ramp(tone * height, (0.33, 0.30, 0.28), (0.62, 0.26, 0.17)), 1)), height, 1, 0.04)
    paving = bumped(plastic(image(ramp(bricks(42, 10, 10, 0.1)[0], (0.25, 0.25, 0.27), (0.5, 0.48, 0.45)), 2), 0.25), bricks(42, 10, 10, 0.1)[1], 2, 0.03)
    return {
        "sensor": eye((1.5, 1.25, 2.7), (-0.15, 0.75, -0.5), 45), "floor": floor(4, paving),
        "back": sheet((0, 1.5, -1.4), (0, 1.5, 0), (3, 1.5), wall), "left": sheet((-1.6, 1.5, 0), (0, 1.5, 0), (3, 1.5), wall),
        "fill": {"type": "constant", "radiance": rgb(0.16, 0.19, 0.26)},
        "lamp": sheet((0.7, 2.4, -1.1), (0.1, 0.4, -0.9), (0.18, 0.18), light=rgb(55, 36, 18)),
        "block": box((-0.3, 0.3, -0.5), (0.38, 0.3, 0.38), plastic(image(ramp(np.abs(fbm(6, 256, 2.6) - 0.5) * 2, (0.35, 0.36, 0.4), (0.92, 0.9, 0.86))), 0.1), 35),
        "figure": model(assets, "spot", (-0.3, 0.6, -0.5), 0.8, 165, metal("Cu", 0.25)), "plant": model(assets, "plant", (0.75, 0, -0.75), 0.8, 10),
    }


def night_fair(assets: Path) -> Scene:
    """Evening: dim HDRI, a wheel with lit bulbs, a car: emitters of few pixels in view."""
    turns = np.arange(12) * np.pi / 6
    bulbs = {f"bulb{i}": ball((-0.5 + 0.97 * np.cos(a), 1.28 + 0.97 * np.sin(a), -1.0), 0.06, light=rgb(*color))
             for i, a in enumerate(turns) for color in [[(16, 9, 3), (14, 3, 4), (4, 8, 15)][i % 3]]}
    return bulbs | {
        "sensor": eye((1.1, 0.9, 3.6), (0.05, 0.85, 0), 44), "sky": sky(assets, "dikhololo_night", 0.9, 0),
        "floor": floor(12, plastic(image(ramp(fbm(60), (0.16, 0.16, 0.17), (0.34, 0.33, 0.32)), 10), 0.15)),
        "wheel": model(assets, "ferris-wheel", (-0.5, 0, -1.3), 2.3, 0), "car": model(assets, "suv", (0.75, 0, 0.3), 0.62, 125),
        "booth": box((1.9, 0.5, -1.2), (0.5, 0.5, 0.4), matte(image(ramp((np.mgrid[0:64, 0:64][1] // 8 % 2).astype(float), (0.7, 0.12, 0.1), (0.85, 0.83, 0.78)))), 15),
        "sign": sheet((1.85, 1.2, -0.85), (1.4, 1.1, 3), (0.4, 0.13), light=rgb(7, 4.5, 1.5)),
    }


SCENES: dict[str, Callable[[Path], Scene]] = {f.__name__: f for f in (
    cornell, window_room, studio_cup, materials, garden, toys, depth_of_field, brick_corner, night_fair)}
