"""Camera raw files: samples to planes and back, defects, noise, whole files through the line, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mdenoise import batch_plan, engines, mosaic, pipeline, sensor_noise
from mdenoise.adapters import adapter_for, dng_tags, raw, raw_defects, raw_detail, raw_file, raw_planes
from mdenoise.config import Options
from mdenoise.errors import InputError, OutputError
from mdenoise.frame import Filtered
from mdenoise.models import load_card

from . import phone_dng

rawpy = pytest.importorskip("rawpy", reason="raw files need rawpy")

MODEL = "base"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw"
QUAD = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 2, 2], [1, 1, 2, 2]], np.uint8)
X_TRANS = np.array(["RGB".index(color) for color in "GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG"]).reshape(6, 6)


@pytest.fixture(scope="module")
def line():
    card = load_card(MODEL)
    engine = engines.open_engine(card, Options())

    def run(src, dst, **options):
        return pipeline.denoise_file(src, dst, engine, card, Options(**options), overwrite=True)

    return run


def in_memory(samples, pattern, black=64.0, white=1023.0, **changes):
    levels = dng_tags.Levels(np.full((1, 1, 1), black), np.array([white]))
    tags = dng_tags.DngTags(Path("memory.dng"), {}, {}, {}, {})
    frame = raw_file.RawFile(Path("memory.dng"), samples, pattern, levels, (0, 0, *samples.shape[:2]), tags)
    return replace(frame, **changes)


def slopes(height, width):
    """(height, width, 3) light that changes slowly, each colour another way."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    return np.stack([0.1 + 0.5 * x, 0.2 + 0.4 * y, 0.6 - 0.4 * x * y], axis=-1)


def noisy(clean, shot, read, seed=0):
    rng = np.random.default_rng(seed)
    signal = rng.poisson(np.maximum(clean, 0) / shot) * shot
    return (signal + np.sqrt(read) * rng.standard_normal(clean.shape)).astype(np.float32)


# --- samples and planes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", phone_dng.PATTERNS)
@pytest.mark.parametrize(("height", "width", "margin"), [(64, 80, (0, 0)), (65, 83, (6, 10)), (64, 81, (5, 3))])
def test_planes_hold_the_light_of_their_colour(tmp_path, pattern, height, width, margin):
    phone = phone_dng.write(
        tmp_path / "a.dng", pattern=pattern, height=height, width=width, margin=margin, deltas=True, shot=1e-7,
        read=0.0, bits=14,
    )  # fmt: skip
    frame = raw_file.read(phone.path)
    assert frame.area == phone.active_area and (frame.samples == phone.samples).all()
    (lattice,) = raw_planes.lattices(frame.pattern)
    planes = raw_planes.take(frame, lattice)
    light = (phone_dng.scene(height, width) * np.float32(phone_dng.NEUTRAL)).clip(0, 15 / 16)
    red = np.argwhere(phone.pattern == 0)[0]
    light = np.pad(light, [(red[0], (height + red[0]) % 2), (red[1], (width + red[1]) % 2), (0, 0)], "reflect")
    for k, (y, x, color) in enumerate(((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))):
        assert np.abs(planes[..., k].clip(None, 15 / 16) - light[y::2, x::2, color]).max() < 2e-3
    samples = np.zeros_like(frame.active)
    raw_planes.put(planes, frame, lattice, 1, samples)
    assert (samples == frame.active).all()


def test_quad_bayer_is_four_mosaics():
    rng = np.random.default_rng(1)
    light = rng.uniform(0.1, 0.9, 3)
    for shift in ((0, 0), (1, 0), (2, 1), (3, 3)):
        pattern = np.roll(QUAD, shift, (0, 1))
        colors = np.tile(pattern, (9, 9))[:34, :35]
        frame = in_memory(np.rint(64 + light[colors] * 959).astype(np.uint16), pattern)
        found = raw_planes.lattices(pattern)
        assert len(found) == 4 and {one.start for one in found} == {(0, 0), (0, 1), (1, 0), (1, 1)}
        samples = np.zeros_like(frame.samples)
        for lattice in found:
            planes = raw_planes.take(frame, lattice)
            assert np.abs(planes - light[[0, 1, 1, 2]]).max() < 1e-3
            raw_planes.put(planes, frame, lattice, 1, samples)
        assert (samples == frame.samples).all()


def test_quad_bayer_comes_back_whole():
    rng = np.random.default_rng(2)
    samples = rng.integers(100, 900, (36, 40)).astype(np.uint16)
    frame = in_memory(samples, QUAD)
    jobs = raw.adapt(frame, Options())
    done = raw.restore(frame, jobs, [Filtered(job.planes.layers) for job in jobs], {})
    assert len(jobs) == 4 and np.abs(done.raw.samples / 64.0 - samples).mean() < 30  # hot photosites may be repaired
    assert done.raw.levels.white[0] == 64 * 1023


def test_other_mosaics_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"every 6x6 photosites \(X-Trans\).*linear DNG") as caught:
        raw.adapt(in_memory(np.zeros((36, 36), np.uint16), X_TRANS), Options())
    assert "\n" not in str(caught.value)


# --- noise --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shot", "read"), [(3e-4, 1e-7), (2e-3, 4e-6), (1e-2, 2e-4), (3e-2, 1.5e-3)])
def test_noise_is_estimated(shot, read):
    light = phone_dng.scene(768, 1024, seed=3).clip(0, 0.9)
    planes = np.stack([light[::2, ::2, 0], light[::2, 1::2, 1], light[1::2, ::2, 1], light[1::2, 1::2, 2]], axis=-1)
    found_shot, found_read = sensor_noise.estimate(noisy(planes, shot, read))
    for level in (0.02, 0.1, 0.5):
        assert (found_shot * level + found_read) / (shot * level + read) == pytest.approx(1, abs=0.1)


def test_noise_of_clipped_darkness_and_of_dead_borders_is_left_out():
    planes = np.random.default_rng(4).uniform(0.05, 0.6, (24, 32, 1)).repeat(16, 0).repeat(16, 1).repeat(4, 2)
    planes[:128] = 0.0
    seen = noisy(planes, 4e-3, 1e-4).clip(0, None)
    seen[-64:] = 0.25  # a border that holds one value
    shot, read = sensor_noise.estimate(seen, floor=0.0)
    assert (shot * 0.3 + read) / (4e-3 * 0.3 + 1e-4) == pytest.approx(1, abs=0.1)


def test_noise_of_a_picture_too_small_to_tell_is_a_cameras():
    shot, read = sensor_noise.estimate(np.full((4, 4, 4), 0.5, np.float32))
    assert 0 < read < shot < 0.1


def textured(height, width, contrast=0.5, seed=11):
    """(height, width, 4) planes that are flat nowhere."""
    rng = np.random.default_rng(seed)
    blurred = rng.standard_normal((height + 2, width + 2, 1)).repeat(4, axis=2)
    blurred = sum(blurred[y : y + height, x : x + width] for y in range(3) for x in range(3)) / 3
    return (0.2 * np.exp(contrast * blurred)).clip(0, 0.9)


@pytest.mark.parametrize(("shot", "read"), [(1e-3, 1e-6), (1e-2, 2e-4)])
def test_texture_that_is_everywhere_hardly_passes_for_noise(shot, read):
    planes = noisy(textured(384, 512), shot, read)
    flat, found = sensor_noise.of_flat_blocks(planes), sensor_noise.estimate(planes)
    ratios = [(s * 0.2 + r) / (shot * 0.2 + read) for s, r in (flat, found)]
    assert 0.85 < ratios[1] < 1.5 and ratios[1] <= ratios[0]
    if shot < 2e-3:
        assert ratios[0] > 2 * ratios[1]


@pytest.mark.parametrize("shot", [3e-4, 4e-3, 3e-2])
def test_a_profile_that_is_wrong_is_corrected(shot):
    read = sensor_noise.typical_read(shot)
    light = phone_dng.scene(768, 1024, seed=3).clip(0, 0.9)
    planes = np.stack([light[::2, ::2, 0], light[::2, 1::2, 1], light[1::2, ::2, 1], light[1::2, 1::2, 2]], axis=-1)
    planes = noisy(planes, shot, read)
    assert sensor_noise.correction(planes, (shot, read)) == 1
    for factor in (0.5, 2.0):
        found = sensor_noise.correction(planes, (factor * shot, factor * read))
        assert found * factor == pytest.approx(1, abs=0.15)


def test_texture_does_not_raise_a_profile():
    planes = noisy(textured(384, 512, contrast=0.7), 1e-3, 1e-6)
    assert sensor_noise.correction(planes, (1e-3, 1e-6)) == 1
    assert sensor_noise.correction(planes, (4e-3, 4e-6)) < 0.6


def test_the_files_profile_wins():
    frame = in_memory(
        np.random.default_rng(0).integers(80, 900, (64, 64)).astype(np.uint16), phone_dng.PATTERNS["RGGB"]
    )
    told = [1e-3, 1e-6, 2e-3, 2e-6, 3e-3, 3e-6]

    def noise(*values):
        tags = replace(frame.tags, raw={51041: dng_tags.tiff.field(12, *values)})
        return raw.adapt(replace(frame, tags=tags), Options(strength=0.0))[0].noise  # as told, not as measured

    assert noise(*told) == ((1e-3, 1e-6), (2e-3, 2e-6), (3e-3, 3e-6))
    assert noise(1e-3, 1e-6) == ((1e-3, 1e-6),) * 3
    assert noise(1e-3, -1e-6) == ((1e-3, 0.0),) * 3  # Android's fit may dip below nothing
    for nonsense in ((0.0, 0.0), (float("nan"), 0.0), (7.0, 1.0)):
        assert noise(*nonsense) == raw.adapt(frame, Options())[0].noise


# --- defects ------------------------------------------------------------------------------------------------------


def test_hot_and_dead_photosites_are_repaired_and_stars_are_not():
    shot, read = 2e-3, 1e-5
    light = np.full((128, 160, 4), 0.2, np.float32)
    y, x = np.mgrid[:128, :160]
    star = np.exp(-((y - 60) ** 2 + (x - 40) ** 2) / (2 * 0.5**2)).astype(np.float32)  # sigma of one photosite
    light += 0.6 * star[..., None]
    planes = noisy(light, shot, read)
    before = planes.copy()
    defects = [(30, 50, 0, 0.95), (80, 20, 1, 0.9), (81, 90, 2, -0.02), (100, 120, 3, 0.8), (5, 5, 0, 0.0)]
    for row, column, k, value in defects:
        planes[row, column, k] = value
    count = raw_defects.repair_hot(planes, np.full(4, shot), np.full(4, read))
    assert count == len(defects)
    for row, column, k, _ in defects:
        assert abs(planes[row, column, k] - 0.2) < 0.05
        before[row, column, k] = planes[row, column, k]
    assert (planes == before).all()


def test_fine_texture_is_not_taken_for_hot_photosites():
    shot, read = 1e-4, 1e-8
    planes = noisy(textured(384, 512, contrast=0.7), shot, read)
    hot = planes.copy()
    assert raw_defects.repair_hot(hot, np.full(4, shot), np.full(4, read)) < 20  # of 786,432
    hot[50:60, 100, 2] += np.float32([0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
    assert raw_defects.repair_hot(hot, np.full(4, shot), np.full(4, read)) >= 1 and hot[52, 100, 2] < 1


@pytest.mark.parametrize(("shot", "read"), [(1e-4, 1e-8), (3e-2, 1e-3)])
def test_noise_is_not_taken_for_hot_photosites(shot, read):
    planes = noisy(np.full((256, 512, 4), 5 * shot, np.float32), shot, read)
    assert raw_defects.repair_hot(planes, np.full(4, shot), np.full(4, read)) <= 1


def test_banding_is_removed_and_a_scenes_own_lines_stay():
    rng = np.random.default_rng(5)
    light = phone_dng.scene(512, 768, seed=6).clip(0, 0.9)
    clean = np.stack([light[::2, ::2, 0], light[::2, 1::2, 1], light[1::2, ::2, 1], light[1::2, 1::2, 2]], axis=-1)
    clean[100:104] += 0.2  # a line across the whole frame
    planes = noisy(clean, 2e-3, 1e-4)
    untouched = planes.copy()
    assert raw_defects.remove_banding(planes) == (0.0, 0.0) and (planes == untouched).all()
    sigma = np.sqrt(2e-3 * 0.2 + 1e-4)
    offsets = 0.5 * sigma * rng.standard_normal((256, 2)).astype(np.float32)
    planes += offsets[:, None, [0, 0, 1, 1]]
    rows, columns = raw_defects.remove_banding(planes)
    assert rows == pytest.approx(0.5 * sigma, rel=0.3) and columns == 0
    left = (planes - untouched).mean(axis=1)
    far = np.r_[0:92, 112:256]
    assert np.std(left[far]) < 0.45 * np.std(offsets[far])
    assert np.abs(left).max() < 1.1 * np.abs(offsets).max()  # nothing beside the line is worse than it was


def test_photosites_named_by_the_file_are_repaired(tmp_path):
    phone = phone_dng.write(tmp_path / "a.dng", bad_pixels=((20, 30), (21, 31), (50, 7)))
    job = raw.adapt(raw_file.read(phone.path), Options())[0]
    assert "3 photosites that the file names as bad repaired" in job.notes


# --- detail -------------------------------------------------------------------------------------------------------


def blurred(planes):
    padded = np.pad(planes, ((2, 2), (2, 2), (0, 0)), "reflect")
    height, width = planes.shape[:2]
    return sum(padded[y : y + height, x : x + width] for y in range(5) for x in range(5)) / np.float32(25)


@pytest.mark.parametrize("size", [(300, 200), (129, 67), (9, 5), (4, 4)])
def test_detail_that_stands_out_of_the_noise_goes_back(size):
    shot, read = 1e-3, 1e-6
    y, x = np.mgrid[: size[0], : size[1]]
    clean = (0.3 + 0.1 * np.sin(1.3 * x) * (np.hypot(y - 60, x - 60) < 50))[..., None].repeat(4, axis=2)
    seen = noisy(clean, shot, read)
    before = blurred(seen)
    after = before.copy()
    raw_detail.refine(seen, after, np.full(4, shot), np.full(4, read))
    errors = [np.mean((one - clean) ** 2) for one in (seen, before, after)]
    assert np.isfinite(after).all() and after.shape == seen.shape
    if min(size) > 60:
        assert errors[2] < min(errors[:2]) / 3
    assert after.mean() == pytest.approx(before.mean(), rel=2e-3)


def test_refined_picture_does_not_depend_on_bands_and_is_blended_like_any_other(monkeypatch):
    shot, read = np.full(4, 4e-3), np.full(4, 2e-5)
    seen = noisy(textured(200, 96), 4e-3, 2e-5)
    whole, banded = blurred(seen), blurred(seen)
    raw_detail.refine(seen, whole, shot, read)
    monkeypatch.setattr(raw_detail, "BAND_ROWS", 24)
    raw_detail.refine(seen, banded, shot, read)
    assert (whole == banded).all()
    half = (0.4 * blurred(seen) + 0.6 * seen).astype(np.float32)
    raw_detail.refine(seen, half, shot, read, strength=0.4)
    assert half == pytest.approx(0.4 * whole + 0.6 * seen, abs=1e-5)


# --- through the line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", phone_dng.PATTERNS)
def test_a_phones_mosaic_becomes_cleaner(tmp_path, line, pattern):
    phone = phone_dng.write(
        tmp_path / "a.dng", picture=slopes(131, 170), pattern=pattern, shot=1e-2, read=2e-4, margin=(4, 8), deltas=True
    )
    report = line(phone.path, tmp_path / "b.dng")
    assert "noise by the file's profile: shot 0.01" in report.roles_line
    before, after = raw_file.read(phone.path), raw_file.read(tmp_path / "b.dng")
    assert (after.pattern == before.pattern).all() and after.area == before.area
    (lattice,) = raw_planes.lattices(before.pattern)
    clean = np.zeros((131, 170), np.float32)
    clean[...] = phone.clean
    truth = np.stack(raw_planes.gather(clean, lattice), axis=-1)
    known = truth < 0.9
    errors = [np.mean((raw_planes.take(one, lattice) - truth)[known] ** 2) for one in (before, after)]
    assert errors[1] < errors[0] / 4
    assert (after.tags.noise_profile[0][0]) < 0.02 * before.tags.noise_profile[0][0]
    assert raw.provenance(tmp_path / "b.dng")["source"] == "a.dng"


@pytest.mark.parametrize("linear", [False, True])
def test_strength_0_gives_the_source_back(tmp_path, line, linear):
    phone = phone_dng.write(
        tmp_path / "a.dng", margin=(0, 0) if linear else (4, 8), linear=linear, bits=16 if linear else 12
    )
    line(phone.path, tmp_path / "b.dng", strength=0.0)
    before, after = raw_file.read(phone.path), raw_file.read(tmp_path / "b.dng")
    if not linear:
        assert (after.samples == before.samples).all()
    with rawpy.imread(str(phone.path)) as one, rawpy.imread(str(tmp_path / "b.dng")) as other:
        pictures = [raw.postprocess(use_camera_wb=True, no_auto_bright=True).astype(int) for raw in (one, other)]
    assert np.abs(pictures[0] - pictures[1]).max() <= (1 if linear else 0)


@pytest.mark.slow
def test_the_mean_of_large_flats_is_kept():
    raw_evaluate = pytest.importorskip("mdenoise.training.raw_evaluate")
    for row in raw_evaluate.flats(MODEL):
        assert row["megapixels"] >= 4
        assert abs(row["denoised"]) < (5e-3 if row["electrons"] == 5 else 1e-3)


def test_the_mean_of_a_dark_flat_is_kept(tmp_path, line):
    shot = 4e-3
    for electrons in (5, 50):
        flat = np.full((640, 704, 3), electrons * shot, np.float32) / np.float32(phone_dng.NEUTRAL)
        phone = phone_dng.write(tmp_path / "a.dng", picture=flat, shot=shot, read=2e-5, bits=12, sub_ifd=False)
        line(phone.path, tmp_path / "b.dng")
        (lattice,) = raw_planes.lattices(phone.pattern)
        means = [
            raw_planes.take(raw_file.read(path), lattice).mean(axis=(0, 1), dtype=np.float64)
            for path in (phone.path, tmp_path / "b.dng")
        ]
        assert means[1] == pytest.approx(means[0], rel=1e-2)
        assert means[1].mean() == pytest.approx(means[0].mean(), rel=5e-3 if electrons == 5 else 1e-3)


def test_linear_rgb_is_denoised_as_it_is(tmp_path, line):
    phone = phone_dng.write(tmp_path / "a.dng", picture=slopes(121, 150), linear=True, bits=16, shot=5e-3, read=1e-4)
    line(phone.path, tmp_path / "b.dng")
    after = raw_file.read(tmp_path / "b.dng")
    assert after.pattern is None and after.levels.white.max() == 65535
    known = phone.clean < 0.9
    before = raw_planes.take(raw_file.read(phone.path), raw_planes.Lattice())
    errors = [np.mean((one - phone.clean)[known] ** 2) for one in (before, after.samples / np.float32(65535))]
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize(("luma", "chroma"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.25)])
def test_luma_and_chroma_are_blended_apart(luma, chroma):
    rng = np.random.default_rng(7)
    frame = in_memory(rng.integers(100, 900, (32, 32)).astype(np.uint16), phone_dng.PATTERNS["RGGB"])
    neutral = dng_tags.tiff.field(dng_tags.tiff.RATIONAL, *phone_dng.NEUTRAL)
    frame = replace(frame, tags=replace(frame.tags, main={dng_tags.NEUTRAL: neutral}))
    job = raw.adapt(frame, Options(luma=luma, chroma=chroma))[0]
    source = job.planes.layers[raw.LAYER]
    grey = np.float32(phone_dng.NEUTRAL)[[0, 1, 1, 2]]
    done = (source + rng.normal(0, 0.05, source.shape)).astype(np.float32)
    blended = raw._blended(frame, job, Filtered({raw.LAYER: done.copy()}))
    change, wanted = (blended - source) / grey, (done - source) / grey
    means = [part.mean(axis=-1) for part in (change, wanted)]
    assert means[0] == pytest.approx(luma * means[1], abs=1e-5)
    assert change - means[0][..., None] == pytest.approx(chroma * (wanted - means[1][..., None]), abs=1e-5)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg", "exr"])
def test_developed_pictures(tmp_path, line, suffix):
    if suffix != "exr":
        pytest.importorskip("imagecodecs")
    phone = phone_dng.write(tmp_path / "a.dng", height=96, width=130, gain_map=True, orientation=6)
    dst = tmp_path / f"b.{suffix}"
    line(phone.path, dst)
    adapter = adapter_for(dst)
    assert adapter.provenance(dst)["source"] == "a.dng"
    frame = adapter.read(dst)
    if suffix == "exr":
        plane = frame.parts[0].channels["G"]
        assert plane.dtype == np.float16 and plane.shape == (130, 96)  # upright: EXR knows no orientation
        assert 0.05 < plane.astype(np.float32).mean() < 0.9
    else:
        assert frame.color.dtype == (np.uint8 if suffix == "jpg" else np.uint16) and frame.color.shape == (96, 130, 3)
        assert b"Phone 1" in frame.data and 0.2 < frame.color.mean() / frame.white < 0.9


def test_linear_dng_of_a_mosaic(tmp_path, line):
    phone = phone_dng.write(tmp_path / "a.dng", height=96, width=130)
    line(phone.path, tmp_path / "b.dng", dng="linear")
    assert raw_file.read(tmp_path / "b.dng").samples.shape == (96, 130, 3)
    assert raw.provenance(tmp_path / "b.dng")["demosaic"].startswith("LibRaw")


def test_other_formats_are_refused(tmp_path, line):
    phone = phone_dng.write(tmp_path / "a.dng")
    with pytest.raises(OutputError, match=r"raw files become \.dng"):
        line(phone.path, tmp_path / "b.nef")


# --- what is read, and what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "fields"), [(1, (1, 1)), (1, (2, 2)), (3, (1, 1))])
def test_jpeg_xl(tmp_path, channels, fields):
    pytest.importorskip("imagecodecs")
    tifffile = pytest.importorskip("tifffile")
    samples = np.random.default_rng(8).integers(0, 65536, (66, 70, channels), np.uint16)
    samples = samples[..., 0] if channels == 1 else samples
    stored = samples
    if fields == (2, 2):
        blocks = [[samples[y::2, x::2] for x in (0, 1)] for y in (0, 1)]
        stored = np.block(blocks)
    tags = [
        (50706, 1, 4, bytes((1, 7, 0, 0)), True), (50707, 1, 4, bytes((1, 7, 0, 0)), True), (50717, 4, 1, 65535, True),
        (50975, 4, 1, fields[0], True), (52547, 4, 1, fields[1], True),
    ]  # fmt: skip
    if channels == 1:
        tags += [(33421, 3, 2, (2, 2), True), (33422, 1, 4, bytes((1, 0, 2, 1)), True)]
    tifffile.imwrite(
        tmp_path / "a.dng", stored, photometric=32803 if channels == 1 else 34892, compression=52546,
        compressionargs={"level": 0, "lossless": True}, extratags=tags, planarconfig=None if channels == 1 else 1,
    )  # fmt: skip
    frame = raw_file.read(tmp_path / "a.dng")
    assert (frame.samples == samples).all()
    assert frame.pattern is None if channels == 3 else (frame.pattern == phone_dng.PATTERNS["GRBG"]).all()


def test_numbers_without_a_header_are_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(np.arange(1920 * 1080, dtype=np.uint16).tobytes())  # LibRaw would guess
    with pytest.raises(InputError, match="no header"):
        raw_file.read(tmp_path / "a.raw")


def test_damaged_files_are_refused_in_one_line(tmp_path):
    whole = phone_dng.write(tmp_path / "a.dng").path.read_bytes()
    for size in (0, 3, 40, 900, len(whole) // 2, len(whole) - 1):
        (tmp_path / "b.dng").write_bytes(whole[:size])
        with pytest.raises(InputError) as caught:
            raw_file.read(tmp_path / "b.dng")
        assert "\n" not in str(caught.value) and "b.dng" in str(caught.value)
    with pytest.raises(InputError, match="cannot read"):
        raw_file.read(tmp_path / "missing.dng")


def test_a_file_without_a_picture_is_refused(tmp_path):
    phone = phone_dng.write(tmp_path / "a.dng", bits=12)
    data = phone.path.read_bytes()
    stored = phone.samples.astype("<u2").tobytes()
    assert stored in data
    phone.path.write_bytes(data.replace(stored, bytes(len(stored))))
    with pytest.raises(InputError, match="it holds no picture"):
        raw_file.read(phone.path)


@pytest.mark.parametrize("name", ["tinydng_colorchart.dng", "blackmagic_cinemadng.dng", "kodak_dc50.kdc"])
def test_files_of_cameras(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not in ../shared/data/raw")
    frame = raw_file.read(SHARED / name)
    (lattice,) = raw_planes.lattices(frame.pattern)
    planes = raw_planes.take(frame, lattice)
    samples = np.zeros_like(frame.active)
    raw_planes.put(planes, frame, lattice, 1, samples)
    assert (samples == frame.active).all() and frame.tags.neutral is not None
    assert planes.min() > -0.01 and planes.max() <= 1.01


@pytest.mark.parametrize("name", ["IMG_1361.dng", "openisp_1920x1080_u16.raw", "nikon_dsc1339_768x512_rggb_u16.raw"])
def test_files_of_cameras_that_are_refused(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not in ../shared/data/raw")
    with pytest.raises(InputError, match=r"cut off|no header"):
        raw_file.read(SHARED / name)


def test_the_guide_is_that_of_the_planes():
    frame = in_memory(
        np.random.default_rng(9).integers(60, 900, (700, 64)).astype(np.uint16), phone_dng.PATTERNS["BGGR"]
    )
    job = raw.adapt(frame, Options())[0]
    shot, read = (np.array(values)[[0, 1, 1, 2]] for values in zip(*job.noise, strict=True))
    assert np.allclose(job.planes.color, mosaic.guide_color(job.planes.layers[raw.LAYER], shot, read))
    assert job.planes.noise == pytest.approx(mosaic.guide_noise(shot, read))


def test_results_of_raw_files_are_dngs_or_what_is_asked_for(tmp_path):
    (tmp_path / "photo.nef").write_bytes(b"II*\0")
    for output, options, expected in (
        (None, Options(), tmp_path / "photo.denoised.dng"),
        (f"{tmp_path}/out/", Options(), tmp_path / "out" / "photo.dng"),
        (f"{tmp_path}/out/", Options(format="tiff"), tmp_path / "out" / "photo.tif"),
    ):
        (task,) = batch_plan.plan([tmp_path / "photo.nef"], output, options=options).tasks
        assert task.dst == expected


# --- measuring ----------------------------------------------------------------------------------------------------


def test_synthetic_files_hold_the_noise_that_they_tell(tmp_path):
    raw_evaluate = pytest.importorskip("mdenoise.training.raw_evaluate")
    clean = np.tile(np.linspace(0.02, 0.8, 512), (512, 1))
    scene = raw_evaluate.Scene("slope", clean, 4e-3, 2e-5, np.ones(3), np.eye(3))
    mosaic = scene.noisy(0)
    raw_evaluate.write(scene, tmp_path / "a.dng", mosaic, 2.0)
    assert np.abs(raw_evaluate.read(tmp_path / "a.dng") - raw_evaluate.planes(mosaic)).max() < 2e-5
    assert raw_file.read(tmp_path / "a.dng").tags.noise_profile == ((8e-3, 4e-5),)
    assert np.var(mosaic - clean) == pytest.approx(4e-3 * clean.mean() + 2e-5, rel=0.02)
    raw_evaluate.write(scene, tmp_path / "b.dng", mosaic, None)
    assert raw_file.read(tmp_path / "b.dng").tags.noise_profile == ()


def test_the_peers_transform_is_undone_without_bias():
    raw_evaluate = pytest.importorskip("mdenoise.training.raw_evaluate")
    shot, read = 4e-3, 2e-5
    for level in (0.008, 0.02, 0.2):
        seen = noisy(np.full((1000, 1000), level), shot, read)
        curved = raw_evaluate.stabilised(seen, shot, read)
        assert curved.std() == pytest.approx(1, abs=0.12)
        assert raw_evaluate.unstabilised(curved.mean(), shot, read) == pytest.approx(level, rel=0.02)
