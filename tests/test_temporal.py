"""`--temporal`: neighbouring frames join where they show the same surface in the same light, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from mdenoise import engines, models, pipeline
from mdenoise.adapters import exr
from mdenoise.cli import main
from mdenoise.config import Options
from mdenoise.errors import InputError
from mdenoise.frame import Filtered, Planes
from mdenoise.motion import Motion, find_motion
from mdenoise.temporal import Still, Window, at, follow, join, neighbours
from mdenoise.training import animation

SIZE, PAN, BALL = (48, 64), (1.25, -0.5), (3.0, 0.5)  # pixels a frame, x right and y down, of wall and ball


def wall(x, y):
    """Albedo of a textured wall at world places, (..., 3) in [0.1, 0.9]."""
    waves = [np.sin(x / (3 + c) + c) * np.cos(y / (4 - c) + 2 * c) for c in range(3)]
    return (0.5 + 0.35 * np.stack(waves, -1)).astype(np.float32)


def scene(frame, light=1.0, noise=0.15, motion=True):
    """A frame of a camera that pans over a wall while a ball passes before it, and its noiseless colour."""
    rng = np.random.default_rng(frame)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    ball = (x - 12 - BALL[0] * frame) ** 2 + (y - 24 - BALL[1] * frame) ** 2 < 100
    albedo = np.where(ball[..., None], np.float32([0.7, 0.2, 0.1]), wall(x - PAN[0] * frame, y - PAN[1] * frame))
    normal = np.where(ball[..., None], np.float32([0, 0.6, 0.8]), np.float32([0, 0, 1]))
    depth = np.where(ball, 2.0, 5.0).astype(np.float32)
    clean = light * albedo
    color = (clean * rng.gamma(1 / noise**2, noise**2, (*SIZE, 1))).astype(np.float32)
    after = np.where(ball[..., None], np.float32(BALL), np.float32(PAN))
    planes = Planes(color, {"c": color}, albedo=albedo, normal=normal.astype(np.float32), depth=depth)
    still = Still(planes, Filtered({"c": color}), Motion(-after, after) if motion else None)
    return still, clean, ball


def error(image, clean, where=None):
    return float(np.sqrt(np.mean((image - clean)[... if where is None else where] ** 2)))


def test_a_mean_over_frames_is_as_good_as_their_number():
    frames = [scene(t) for t in range(5)]
    still, clean, _ = frames[2]
    stills = [f[0] for f in frames]
    layers, count = join(still, stills[1::-1], stills[3:])
    assert 3.5 < count <= 5
    assert error(layers["c"], clean) < 0.6 * error(still.planes.color, clean)
    one, fewer = join(still, stills[1:2], [])
    assert 1.5 < fewer < count and error(layers["c"], clean) < error(one["c"], clean) < error(still.planes.color, clean)


def test_what_was_hidden_takes_nothing():
    (before, _, ball_before), (still, _, ball) = scene(1), scene(2)
    ((_, place, known),) = follow(still, [before], "before")
    hidden = (at(ball_before.astype(np.float32), place) > 0.9) & ~ball  # wall here, ball there
    assert hidden.sum() > 20 and not known[hidden].any()  # the ways there do not lead back
    layers, _ = join(still, [before], [])
    assert np.array_equal(layers["c"][hidden], still.planes.color[hidden])
    assert known[~hidden & ~ball].mean() > 0.9


def test_without_return_vectors_the_surfaces_tell():
    (before, _, ball_before), (still, clean, ball) = scene(1), scene(2)
    one_way = [replace(s, motion=Motion(before=s.motion.before)) for s in (before, still)]
    ((_, place, known),) = follow(one_way[1], [one_way[0]], "before")
    hidden = (at(ball_before.astype(np.float32), place) > 0.99) & ~ball
    assert known[hidden].any()
    layers, _ = join(one_way[1], [one_way[0]], [])
    assert error(layers["c"], clean, hidden) < 1.1 * error(still.planes.color, clean, hidden)


def test_other_light_is_left_out():
    (bright, _, _), (still, clean, _) = scene(1, light=2.0), scene(2)
    layers, count = join(still, [bright], [])
    assert count < 1.1 and error(layers["c"], clean) < 1.05 * error(still.planes.color, clean)


def test_parts_that_add_up_still_do():
    frames = [scene(t)[0] for t in range(3)]
    parted = []
    for one in frames:
        key = one.planes.color * np.float32([0.7, 0.5, 0.3])
        layers = {"c": one.planes.color, "key": key, "fill": one.planes.color - key}
        parted.append(replace(one, result=Filtered(layers)))
    layers, _ = join(parted[1], parted[:1], parted[2:])
    assert np.allclose(layers["key"] + layers["fill"], layers["c"], rtol=1e-5, atol=1e-6)


def test_broken_values_do_not_spread():
    (before, _, _), (still, clean, _), (after, _, _) = scene(1), scene(2), scene(3)
    color = before.planes.color.copy()
    color[10, 10], color[20, 20] = np.nan, np.inf
    before = replace(before, planes=replace(before.planes, color=color))
    motion = np.where(np.eye(*SIZE, dtype=bool)[..., None], np.nan, still.motion.before)
    layers, _ = join(replace(still, motion=Motion(motion, still.motion.after)), [before], [after])
    assert np.isfinite(layers["c"]).all() and error(layers["c"], clean) < error(still.planes.color, clean)


def test_frames_of_another_size_or_without_motion_stay_apart():
    still, other = scene(2)[0], scene(1)[0]
    small = replace(other, result=Filtered({"c": np.zeros((4, 4, 3), np.float32)}))
    assert join(still, [small], [])[1] == 1.0
    assert join(replace(still, motion=None), [other], [])[1] == 1.0


# --- what renderers write -----------------------------------------------------------------------------------------


def write(path, still, **vectors):
    import OpenEXR

    c, p = {}, still.planes
    for name, plane, letters in (("Combined", p.color, "RGB"), ("Denoising Albedo", p.albedo, "RGB")):
        c |= {f"ViewLayer.{name}.{letter}": np.ascontiguousarray(plane[..., i]) for i, letter in enumerate(letters)}
    c |= {f"ViewLayer.Denoising Normal.{x}": np.ascontiguousarray(p.normal[..., i]) for i, x in enumerate("XYZ")}
    c |= {"ViewLayer.Depth.Z": p.depth} | {name.replace("_", "."): np.float32(v) for name, v in vectors.items()}
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    OpenEXR.File(header, {n: np.ascontiguousarray(v) for n, v in c.items()}).write(str(path))


def cycles(still):
    """As Cycles writes it: y upwards, to the frame before, and from the frame after."""
    (bx, by), (ax, ay) = (np.moveaxis(v, -1, 0) for v in (still.motion.before, still.motion.after))
    return {f"ViewLayer_Vector_{c}": v for c, v in zip("XYZW", (bx, -by, -ax, ay), strict=True)}


def motion_of(path):
    frame = exr.read(path)
    (job,) = exr.adapt(frame, Options())
    return find_motion(frame, job.roles.color)


def test_the_vectors_of_cycles(tmp_path):
    still = scene(2)[0]
    write(tmp_path / "f.exr", still, **cycles(still))
    found = motion_of(tmp_path / "f.exr")
    assert (
        found.sure and np.allclose(found.before, still.motion.before) and np.allclose(found.after, still.motion.after)
    )
    write(tmp_path / "none.exr", still)
    assert motion_of(tmp_path / "none.exr") is None


@pytest.mark.parametrize("names", [("motionvector_R", "motionvector_G"), ("forward_x", "forward_y")])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1)])
def test_signs_are_told_from_the_frames(tmp_path, names, signs):
    stills = []
    for t in (1, 2, 3):
        still = scene(t)[0]
        x, y = (still.motion.after[..., i] * signs[i] for i in (0, 1))
        write(tmp_path / f"f.{t:04d}.exr", still, **dict(zip(names, (x, y), strict=True)))
        stills.append(replace(still, motion=motion_of(tmp_path / f"f.{t:04d}.exr")))
    assert not stills[0].motion.sure and stills[0].motion.before is None
    made = {tmp_path / f"f.{t:04d}.exr": still for t, still in zip((1, 2, 3), stills, strict=True)}
    (result,), (note,) = Window().results(tmp_path / "f.0002.exr", 1, lambda path: [made[path]], 1.0)
    clean = scene(2)[1]
    assert note in ("mean over 1.8 frames", "mean over 1.9 frames")
    assert error(result.layers["c"], clean) < 0.85 * error(stills[1].planes.color, clean)


# --- a sequence goes by -------------------------------------------------------------------------------------------


def test_neighbours_end_at_a_gap(tmp_path):
    for name in ("a.0008.exr", "a.0009.exr", "a.0010.exr", "a.0012.exr", "still.exr"):
        (tmp_path / name).write_bytes(b"")
    names = lambda step: [p.name for p in neighbours(tmp_path / "a.0010.exr", step, 3)]  # noqa: E731
    assert names(-1) == ["a.0009.exr", "a.0008.exr"] and names(1) == []
    assert list(neighbours(tmp_path / "still.exr", 1, 3)) == []


def test_each_frame_is_filtered_once_and_memory_is_flat(tmp_path):
    made, held = [], []
    for t in range(9):
        (tmp_path / f"a.{t:04d}.exr").write_bytes(b"x")

    def make(path):
        made.append(path.name)
        return [scene(int(path.stem[-4:]))[0]]

    window = Window()
    for t in range(9):
        window.results(tmp_path / f"a.{t:04d}.exr", 2, make, 1.0)
        held.append(len(window))
    assert sorted(made) == [f"a.{t:04d}.exr" for t in range(9)]
    assert held == [3, 4, 5, 5, 5, 5, 5, 4, 3]


def test_a_neighbour_that_cannot_be_read_is_left_out(tmp_path):
    for t in (1, 2, 3):
        (tmp_path / f"a.{t:04d}.exr").write_bytes(b"x")

    def make(path):
        if path.stem.endswith("3"):
            raise InputError(f"cannot read {path.name}: it is damaged")
        return [scene(int(path.stem[-4:]))[0]]

    _, notes = Window().results(tmp_path / "a.0002.exr", 1, make, 1.0)
    assert notes[0] == "left out of the mean over frames: cannot read a.0003.exr: it is damaged"
    with pytest.raises(InputError):
        Window().results(tmp_path / "a.0003.exr", 1, make, 1.0)


def test_strength_blends_with_the_frame_itself(tmp_path):
    for t in (1, 2):
        (tmp_path / f"a.{t:04d}.exr").write_bytes(b"x")
    make = lambda path: [scene(int(path.stem[-4:]))[0]]  # noqa: E731
    whole, half = (Window().results(tmp_path / "a.0002.exr", 1, make, s)[0][0].layers["c"] for s in (1.0, 0.5))
    assert np.allclose(half, 0.5 * scene(2)[0].planes.color + 0.5 * whole, atol=1e-5)


def test_the_line_keeps_what_the_next_frame_needs(tmp_path):
    card = models.load_card("base")
    options = Options(temporal=1)
    engine, window = engines.open_engine(card, options), Window()
    for t in range(4):
        still = scene(t)[0]
        write(tmp_path / f"shot.{t:04d}.exr", still, **cycles(still))
    before = []
    for t in range(4):
        report = pipeline.denoise_file(
            tmp_path / f"shot.{t:04d}.exr", tmp_path / f"out.{t:04d}.exr", engine, card, options, window=window
        )
        assert any(note.startswith("mean over ") for note in report.notes)
        kept = {key[0].name: stills for key, stills in window._kept.items()}
        assert sorted(kept) == [f"shot.{n:04d}.exr" for n in range(max(0, t - 1), min(3, t + 1) + 1)]
        assert all(kept[name] is stills for name, stills in before if name in kept)  # not made again
        before = list(kept.items())


def test_the_command_joins_a_sequence(tmp_path):
    noise, clean = {}, {}
    for t in range(3):
        still, clean[t], _ = scene(t, noise=0.6)
        write(tmp_path / f"shot.{t:04d}.exr", still, **cycles(still))
    for name, flags in (("alone", []), ("joined", ["--temporal", "1"])):
        assert main([str(tmp_path / "shot.####.exr"), "-q", "-o", f"{tmp_path / name}/", *flags]) == 0
        done = [exr.read(tmp_path / name / f"shot.{t:04d}.exr").parts[0].channels for t in range(3)]
        color = [np.stack([d[f"ViewLayer.Combined.{c}"] for c in "RGB"], -1) for d in done]
        noise[name] = np.mean([error(color[t], clean[t]) for t in range(3)])
        assert np.array_equal(done[1]["ViewLayer.Vector.X"], cycles(scene(1)[0])["ViewLayer_Vector_X"])
    assert noise["joined"] < 0.9 * noise["alone"]


# --- how it is measured -------------------------------------------------------------------------------------------


def test_the_measure_knows_flicker_from_motion():
    pytest.importorskip("scipy")
    frames = [scene(t) for t in range(4)]
    vectors = []
    for still, _, _ in frames:
        (bx, by), (ax, ay) = (np.moveaxis(v, -1, 0) for v in (still.motion.before, still.motion.after))
        vectors.append(np.stack([bx, -by, -ax, ay], -1))
    clean = [f[1] for f in frames]
    noisy = [f[0].planes.color for f in frames]
    assert animation.scores(clean, clean, vectors) == ["100.00", "0.00", "0.00"]
    quality, flicker, hidden = map(float, animation.scores(noisy, clean, vectors))
    dark, steady, _ = map(float, animation.scores([0.8 * c for c in clean], clean, vectors))
    assert flicker > 5 > steady and hidden > 5 and dark > 15 and quality > 15
    better, calm, _ = map(float, animation.scores(animation.blended(noisy, vectors), clean, vectors))
    assert better > quality + 3 and calm < 0.6 * flicker
    _, seen = animation.ways(vectors, 2, 1)
    assert 0.02 < (~seen).mean() < 0.3
