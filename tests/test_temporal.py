"""`--temporal`: neighbouring frames join where they show the same surface in the same light, and nowhere else."""

import gc
from dataclasses import replace

import numpy as np
import pytest

import mdenoise
from mdenoise import engines, models, pipeline
from mdenoise.adapters import exr
from mdenoise.cli import main
from mdenoise.config import Options
from mdenoise.errors import InputError, MDenoiseError
from mdenoise.frame import Filtered, Frame, Planes
from mdenoise.joining import Still, follow, join
from mdenoise.motion import Motion, find_motion
from mdenoise.temporal import Shot, Window, neighbours
from mdenoise.training import animation
from mdenoise.warp import at

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


# Channels, and what a renderer writes there of (H, W, 2) pixels to the frames before and after, x right and y down.
CONVENTIONS = {
    "Arnold, whole frame": (("motionvector_R", "motionvector_G"), lambda before, after: after),
    "Arnold, y up, shutter of half a frame": (("motionvector_R", "motionvector_G"), lambda b, a: a * (0.5, -0.5)),
    "turned": (("motionvector_X", "motionvector_Y"), lambda before, after: -after),
    "RenderMan": (("forward_x", "forward_y", "backward_x", "backward_y"), lambda b, a: np.dstack([a, b])),
    "RenderMan, y up": (("motionFore_r", "motionFore_g", "motionBack_r", "motionBack_g"),
                        lambda b, a: np.dstack([a, b]) * (1, -1, 1, -1)),
    "velocity in both": (("forward_x", "forward_y", "backward_x", "backward_y"), lambda b, a: np.dstack([a, -b])),
    "only backward": (("backward_x", "backward_y"), lambda before, after: before),
    "MoonRay, -1 to 1 over the picture": (("motionvec_R", "motionvec_G"),
                                          lambda b, a: a * (2 / SIZE[1], -2 / SIZE[0])),
    "0 to 1 over the picture": (("motionvector_R", "motionvector_G"), lambda b, a: a / (SIZE[1], SIZE[0])),
}  # fmt: skip


@pytest.mark.parametrize("name", CONVENTIONS)
def test_what_vectors_mean_is_told_from_the_frames(tmp_path, name):
    channels, written = CONVENTIONS[name]
    made = {}
    for t in (1, 2, 3):
        still, path = scene(t)[0], tmp_path / f"f.{t:04d}.exr"
        vectors = written(still.motion.before, still.motion.after)
        write(path, still, **{c: vectors[..., i] for i, c in enumerate(channels)})
        made[path] = Shot((replace(still, motion=motion_of(path)),), path)
        assert not made[path].stills[0].motion.sure
    source, (result,), (note,) = Window().results(tmp_path / "f.0002.exr", 1, made.__getitem__, 1.0)
    assert source == tmp_path / "f.0002.exr"
    told = float(note.removeprefix("mean over ").removesuffix(" frames"))
    assert told > 0.97 * join(scene(2)[0], [scene(1)[0]], [scene(3)[0]])[1]  # with vectors as they are
    _, clean, ball = scene(2)
    noisy = made[source].stills[0].planes.color
    assert error(result.layers["c"], clean) < 0.75 * error(noisy, clean)
    hidden = known_hidden(ball)
    assert error(result.layers["c"], clean, hidden) < 1.05 * error(noisy, clean, hidden)


def known_hidden(ball):
    """Wall that the frame before hid behind the ball."""
    (before, _, ball_before), (still, _, _) = scene(1), scene(2)
    ((_, place, _),) = follow(still, [before], "before")
    return (at(ball_before.astype(np.float32), place) > 0.9) & ~ball


def test_where_nothing_moves_the_meaning_of_vectors_stays_open(tmp_path):
    made = {}
    for t in range(5):
        moves = 0 if t < 2 else t - 1  # two frames at rest, then as `scene`
        still, path = scene(moves)[0], tmp_path / f"f.{t:04d}.exr"
        after = still.motion.after * (0.5 if t else 0)  # as Arnold's: half a frame's
        made[path] = Shot((replace(still, motion=Motion(after=after, sure=False)),), path)
        path.write_bytes(b"")
    window = Window()
    first = window.results(tmp_path / "f.0000.exr", 1, made.__getitem__, 1.0)
    assert len(window._ways["after"]) > 4 and first[2] == ("mean over 2.0 frames",)
    for t in (2, 3):
        window.results(tmp_path / f"f.{t:04d}.exr", 1, made.__getitem__, 1.0)
    assert window._ways["after"] == [(2.0, 2.0)]


# --- a sequence goes by -------------------------------------------------------------------------------------------


def test_neighbours_end_at_a_gap(tmp_path):
    for name in ("a.0008.exr", "a.0009.exr", "a.0010.exr", "a.0012.exr", "still.exr"):
        (tmp_path / name).write_bytes(b"")
    names = lambda step: [p.name for p in neighbours(tmp_path / "a.0010.exr", step, 3)]  # noqa: E731
    assert names(-1) == ["a.0009.exr", "a.0008.exr"] and names(1) == []
    assert list(neighbours(tmp_path / "still.exr", 1, 3)) == []


def shot_of(path):
    return Shot((scene(int(path.stem[-4:]))[0],), path)


def test_each_frame_is_filtered_once_and_memory_is_flat(tmp_path):
    made, held = [], []
    for t in range(9):
        (tmp_path / f"a.{t:04d}.exr").write_bytes(b"x")

    def make(path):
        made.append(path.name)
        return shot_of(path)

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
        return shot_of(path)

    _, _, notes = Window().results(tmp_path / "a.0002.exr", 1, make, 1.0)
    assert notes[0] == "left out of the mean over frames: cannot read a.0003.exr: it is damaged"
    with pytest.raises(InputError):
        Window().results(tmp_path / "a.0003.exr", 1, make, 1.0)


def test_strength_blends_with_the_frame_itself(tmp_path):
    for t in (1, 2):
        (tmp_path / f"a.{t:04d}.exr").write_bytes(b"x")
    whole, half = (Window().results(tmp_path / "a.0002.exr", 1, shot_of, s)[1][0].layers["c"] for s in (1.0, 0.5))
    assert np.allclose(half, 0.5 * scene(2)[0].planes.color + 0.5 * whole, atol=1e-5)


def test_the_line_reads_each_file_once_and_holds_no_more_than_it_needs(tmp_path, monkeypatch):
    card = models.load_card("base")
    options = Options(temporal=1)
    engine, window = engines.open_engine(card, options), Window()
    for t in range(5):
        still = scene(t)[0]
        write(tmp_path / f"shot.{t:04d}.exr", still, **cycles(still))
    reads, really = [], exr.read
    monkeypatch.setattr(exr, "read", lambda path: reads.append(path.name) or really(path))
    before, frames, planes = {}, [], []
    for t in range(5):
        report = pipeline.denoise_file(
            tmp_path / f"shot.{t:04d}.exr", tmp_path / f"out.{t:04d}.exr", engine, card, options, window=window
        )
        assert any(note.startswith("mean over ") for note in report.notes)
        kept = {key[0].name: shot for key, shot in window._kept.items()}
        assert sorted(kept) == [f"shot.{n:04d}.exr" for n in range(max(0, t - 1), min(4, t + 1) + 1)]
        assert all(
            kept[name].stills[0].result is shot.stills[0].result for name, shot in before.items() if name in kept
        )
        before = kept
        gc.collect()
        frames.append(sum(type(one) is Frame for one in gc.get_objects()))
        planes.append(sum(type(one) is Planes for one in gc.get_objects()))
    assert reads == [f"shot.{t:04d}.exr" for t in range(5)]
    assert frames == [1, 1, 1, 1, 0]  # the one ahead, until it is written
    assert len(set(planes[1:4])) == 1


def test_files_without_motion_are_read_alone(tmp_path, monkeypatch):
    card = models.load_card("base")
    for t in range(2):
        write(tmp_path / f"shot.{t:04d}.exr", scene(t)[0])
    reads, really = [], exr.read
    monkeypatch.setattr(exr, "read", lambda path: reads.append(path.name) or really(path))
    options = Options(temporal=1)
    engine = engines.open_engine(card, options)
    report = pipeline.denoise_file(tmp_path / "shot.0000.exr", tmp_path / "out.exr", engine, card, options)
    assert reads == ["shot.0000.exr"] and "mean over 1.0 frames: it has no motion vectors" in report.notes


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


# --- arrays in memory ---------------------------------------------------------------------------------------------


def frame_of(t, noise=0.6):
    still, clean, _ = scene(t, noise=noise)
    p = still.planes
    key = p.color * np.float32([0.7, 0.5, 0.3])
    planes = {"color": p.color, "albedo": p.albedo, "normal": p.normal, "depth": p.depth}
    return planes | {"layers": {"key": key, "fill": p.color - key}, "after": still.motion.after}, clean


def test_a_program_denoises_a_sequence():
    frames = [frame_of(t) for t in range(5)]
    taken = []

    def source():
        for t, (frame, _) in enumerate(frames):
            taken.append(t)
            yield frame

    with mdenoise.Denoiser() as denoiser:
        alone = [denoiser(f["color"], f["albedo"], f["normal"], depth=f["depth"]) for f, _ in frames]
        ahead, done = [], []
        for result in denoiser.sequence(source(), reach=1):
            ahead.append(taken[-1] - len(done))
            done.append(result)
        for one in (
            next(denoiser.sequence([{**frames[0][0], "after": None}])),
            next(denoiser.sequence([frames[0][0]])),
        ):
            assert np.array_equal(one.color, alone[0])  # nothing to join
        (same,) = denoiser.sequence([frames[0][0]], strength=0.0)
        assert np.array_equal(same.color, frames[0][0]["color"])
    assert ahead == [1, 1, 1, 1, 0]  # as a stream
    noise = [np.mean([error(x, clean) for x, (_, clean) in zip(images, frames, strict=True)])
             for images in (alone, [d.color for d in done])]  # fmt: skip
    assert noise[1] < 0.9 * noise[0]
    assert all(np.allclose(d.layers["key"] + d.layers["fill"], d.color, rtol=1e-4, atol=1e-5) for d in done)


def test_frames_of_bytes_and_what_is_no_frame():
    rng = np.random.default_rng(3)
    still = np.zeros((32, 40, 2), np.float32)
    frames = [rng.integers(100, 140, (32, 40, 3), dtype=np.uint8) for _ in range(3)]
    with mdenoise.Denoiser() as denoiser:
        done = [*denoiser.sequence({"color": f, "before": still, "after": still} for f in frames)]
        assert all(d.dtype == np.uint8 and abs(d.mean() - f.mean()) < 1 for d, f in zip(done, frames, strict=True))
        for frame, text in (
            ({"colour": frames[0]}, "'colour'"),
            ({"albedo": frames[0]}, "no color"),
            ({"color": frames[0], "after": still[..., :1]}, "after with 1 channels"),
            ({"color": frames[0], "after": still[:30]}, "after of size 40x30"),
        ):
            with pytest.raises(MDenoiseError, match=text):
                next(denoiser.sequence([frame]))


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
