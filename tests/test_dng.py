"""DNG out: develops as the source, keeps what it states, says what it lost; read back by rawpy and by editors."""

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdenoise.adapters import dng, dng_linear, dng_opcodes
from mdenoise.adapters import dng_tiff as tiff
from mdenoise.errors import InputError, OutputError

from . import phone_dng

rawpy = pytest.importorskip("rawpy", reason='needs pip install "mdenoise[raw]"')
tifffile = pytest.importorskip("tifffile", reason='needs pip install "mdenoise[raw]"')

CANON = Path(__file__).resolve().parents[2] / "shared" / "data" / "raw" / "tinydng_colorchart.dng"
EXIF, GPS, XMP, LISTS = 34665, 34853, 700, (51008, 51009, 51022)
PLAIN = {"no_auto_bright": True, "use_camera_wb": True, "adjust_maximum_thr": 0.0}
EVERYTHING = {"deltas": True, "margin": (4, 8), "gain_map": True, "bad_pixels": ((20, 31), (40, 50))}
SHAPES = {
    "RGGB": {"pattern": "RGGB"},
    "BGGR": {"pattern": "BGGR", "bits": 12},
    "GRBG": {"pattern": "GRBG", "sub_ifd": False, "orientation": 1},
    "GBRG": {"pattern": "GBRG", "bits": 14, "orientation": 3},
    "everything": {"pattern": "GRBG", "height": 102, "width": 130} | EVERYTHING,
    "odd": {"pattern": "BGGR", "height": 97, "width": 131, "margin": (3, 5), "orientation": 1},
}


def develop(path: Path, **how) -> np.ndarray:
    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(**how)


def stored(path: Path) -> np.ndarray:
    with rawpy.imread(str(path)) as raw:
        return raw.raw_image.copy()


def tags_of(path: Path) -> tuple[dict[int, object], dict[int, object]]:
    """The values of the first directory and of the raw picture's, by tifffile."""
    with tifffile.TiffFile(path) as file:
        first = file.pages[0]
        raw = first if first.photometric in (32803, 34892) else first.pages[0]
        return tuple({tag.code: tag.value for tag in page.tags.values()} for page in (first, raw))


def copy(phone: phone_dng.Phone, dst: Path, strength: float = 0.0, **more) -> tuple[str, ...]:
    tags = dng.source_tags(phone.path)
    return dng.write_cfa(dst, stored(phone.path), tags.pattern, tags.levels, tags, strength=strength, **more)


def linear_copy(phone: phone_dng.Phone, dst: Path, strength: float = 0.0) -> tuple[str, ...]:
    tags = dng.source_tags(phone.path)
    picture, name, lost = dng_linear.demosaic(stored(phone.path), tags.pattern, tags.levels, tags, tags.active_area)
    return lost + dng.write_linear(dst, picture, tags, strength=strength, demosaic=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_synthetic_phone_is_what_it_says(tmp_path, shape):
    phone = phone_dng.write(tmp_path / "phone.dng", **SHAPES[shape])
    top, left, bottom, right = phone.active_area
    with rawpy.imread(str(phone.path)) as raw:
        assert np.array_equal(raw.raw_image, phone.samples)
        assert raw.white_level == phone.levels.white[0]
        colors = [(0, 1, 2, 1)[raw.raw_color(top + y, left + x)] for y in (0, 1) for x in (0, 1)]  # 3: other greens
        assert colors == phone.pattern.ravel().tolist()
    base = phone.levels.black_plane(*phone.clean.shape)[..., 0]
    noise = (phone.samples[top:bottom, left:right] - base) / (phone.levels.white[0] - base) - phone.clean
    inside = phone.clean < 0.8  # clipping changes the noise of highlights
    rounding = 1 / 12 / phone.levels.white[0] ** 2
    for color in range(3):
        here = np.tile(phone.pattern == color, (80, 80))[: noise.shape[0], : noise.shape[1]] & inside
        expected = phone.shot[color] * phone.clean + phone.read[color] + rounding
        assert np.mean(noise[here] ** 2 / expected[here]) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("shape", SHAPES)
def test_strength_0_develops_as_the_source(tmp_path, shape):
    phone = phone_dng.write(tmp_path / "phone.dng", **SHAPES[shape])
    assert copy(phone, tmp_path / "out.dng") == ()
    assert np.array_equal(stored(tmp_path / "out.dng"), phone.samples)
    for how in ({}, PLAIN, {"output_color": rawpy.ColorSpace.raw, "output_bps": 16}):
        assert np.array_equal(develop(tmp_path / "out.dng", **how), develop(phone.path, **how))


@pytest.mark.parametrize("shape", SHAPES)
def test_all_tags_go_over(tmp_path, shape):
    phone = phone_dng.write(tmp_path / "phone.dng", **SHAPES[shape])
    copy(phone, tmp_path / "out.dng")
    before, after = tags_of(phone.path), tags_of(tmp_path / "out.dng")
    before, after = ({**main, **raw} for main, raw in (before, after))
    assert after[EXIF].pop("ImageHistory").splitlines() == ["mdenoise"]
    interop = [dng.source_tags(path).exif[40965][1].text for path in (phone.path, tmp_path / "out.dng")]
    assert interop == ["R98", "R98"] and before[EXIF].pop("InteroperabilityTag") != after[EXIF].pop(
        "InteroperabilityTag"
    )
    assert {"ExposureTime", "LensModel", "MakerNote"} <= set(before[EXIF])
    assert len(before[GPS]) == 7 and before[XMP].startswith(b"<?xpacket")
    new = {254, 273, 278, 279, 330, 530, 256, 257, 258, 259, 262, 277, 284}
    for code in before.keys() - new:
        assert np.array_equal(before[code], after[code]), code
    assert (257 in before) and after[257] == before[257] and after[274] == SHAPES[shape].get("orientation", 6)
    if shape == "everything":
        assert set(LISTS[:2]) <= before.keys() and {50715, 50716, 50830} <= before.keys()


def test_a_big_endian_source_by_another_writer(tmp_path):
    """The same levels, matrices and bytes whatever the order; tifffile writes the source."""
    samples = np.random.default_rng(0).integers(100, 900, (64, 80), np.uint16)
    opcodes = phone_dng.shading(64, 80)
    matrix = [int(1e4 * value) if even else 10000 for value in phone_dng.MATRIX_D65 for even in (1, 0)]
    tifffile.imwrite(
        tmp_path / "big.dng", samples, byteorder=">", photometric="CFA", metadata=None, software=False,
        extratags=[
            (33421, 3, 2, (2, 2)), (33422, 1, 4, bytes([1, 0, 2, 1])), (50706, 1, 4, bytes([1, 4, 0, 0])),
            (50708, 2, 0, "Big"), (50713, 3, 2, (1, 2)), (50714, 5, 2, (129, 2, 60, 1)), (50717, 4, 1, 1000),
            (50715, 10, 80, tuple(v for k in range(80) for v in (k, 8))), (50721, 10, 9, tuple(matrix)),
            (50728, 5, 3, (1, 2, 1, 1, 5, 8)), (51009, 7, len(opcodes), opcodes), (51041, 12, 2, (1e-3, 2e-6)),
            (274, 3, 1, 8),
        ],
    )  # fmt: skip
    tags = dng.source_tags(tmp_path / "big.dng")
    assert tags.levels.black.tolist() == [[[64.5], [60.0]]] and tags.levels.white.tolist() == [1000]
    assert tags.levels.delta_h.tolist() == [k / 8 for k in range(80)] and tags.noise_profile == ((1e-3, 2e-6),)
    assert tags.neutral.tolist() == [0.5, 1, 0.625] and tags.pattern.tolist() == [[1, 0], [2, 1]]
    assert tags.xyz_to_camera.ravel().tolist() == pytest.approx(phone_dng.MATRIX_D65)
    dng.write_cfa(tmp_path / "out.dng", samples, tags.pattern, tags.levels, tags, strength=0)
    assert tags_of(tmp_path / "out.dng")[1][51009] == opcodes
    assert np.array_equal(develop(tmp_path / "out.dng"), develop(tmp_path / "big.dng"))
    assert dng.source_tags(tmp_path / "out.dng").levels.delta_h.tolist() == tags.levels.delta_h.tolist()


@pytest.mark.parametrize(("strength", "left"), [(0.0, 1.0), (0.5, 0.25), (0.9, 0.01), (1.0, 0.0025)])
def test_the_noise_profile_is_that_of_the_noise_left(tmp_path, strength, left):
    phone = phone_dng.write(tmp_path / "phone.dng")
    copy(phone, tmp_path / "out.dng", strength)
    tags = dng.source_tags(tmp_path / "out.dng")
    assert np.array(tags.noise_profile) == pytest.approx(left * np.stack([phone.shot, phone.read], axis=1))
    assert tags.reduction_applied == pytest.approx(strength)
    copy(phone_dng.Phone(tmp_path / "out.dng", *list(vars(phone).values())[1:]), tmp_path / "again.dng", 0.5)
    assert dng.source_tags(tmp_path / "again.dng").reduction_applied == pytest.approx(1 - 0.5 * (1 - strength))


def test_an_estimated_profile_is_written_where_the_source_has_none(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng", profile=False)
    assert dng.source_tags(phone.path).noise_profile == ()
    copy(phone, tmp_path / "none.dng", 0.5)
    assert dng.source_tags(tmp_path / "none.dng").noise_profile == ()
    copy(phone, tmp_path / "out.dng", 0.5, noise_profile=[(4e-3, 8e-6)])
    assert dng.source_tags(tmp_path / "out.dng").noise_profile == (pytest.approx((1e-3, 2e-6)),)


def test_scaled_samples_develop_alike(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng", **SHAPES["everything"] | {"deltas": False, "margin": (0, 0)})
    tags = dng.source_tags(phone.path)
    factor = dng.headroom(tags.levels, tags, 1.0)
    assert factor == 64 and dng.headroom(tags.levels, tags, 0.0) == 1
    samples = phone.samples * np.uint16(factor)
    dng.write_cfa(tmp_path / "out.dng", samples, tags.pattern, tags.levels.scaled(factor), tags, strength=1)
    found = dng.source_tags(tmp_path / "out.dng").levels
    assert np.array_equal(found.black, 64 * phone.levels.black) and found.white[0] == 64 * 1023
    how = PLAIN | {"demosaic_algorithm": rawpy.DemosaicAlgorithm.LINEAR}  # others decide by the last bit
    ours, theirs = (develop(path, **how).astype(int) for path in (tmp_path / "out.dng", phone.path))
    assert np.abs(ours - theirs).max() <= 1


def test_samples_stay_unscaled_where_an_opcode_counts_in_them(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng")
    tags = dng.source_tags(phone.path)
    constant = struct.pack(">I4III", 1, 4, 0x01030000, 0, 8, 5, 0)
    tags.raw[51008] = tiff.Field(tiff.UNDEFINED, constant)
    assert dng.headroom(tags.levels, tags, 1.0) == 1
    samples = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert np.argwhere(dng_opcodes.bad_pixels(tags.raw[51008], samples)).tolist() == [[1, 1]]


def test_bad_pixels_by_place(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng", bad_pixels=((20, 31), (40, 50), (4000, 1)))
    found = dng_opcodes.bad_pixels(dng.source_tags(phone.path).raw[51008], phone.samples)
    assert np.argwhere(found).tolist() == [[20, 31], [40, 50]]
    body = struct.pack(">3I4I", 0, 0, 1, 2, 3, 4, 6)
    code = tiff.Field(tiff.UNDEFINED, struct.pack(">5I", 1, 5, 0, 1, len(body)) + body)
    assert np.argwhere(dng_opcodes.bad_pixels(code, phone.samples)).tolist() == [
        [2, 3], [2, 4], [2, 5], [3, 3], [3, 4], [3, 5]
    ]  # fmt: skip


def test_gain_maps_follow_their_formula():
    height, width = 90, 122
    picture = np.full((height, width, 1), 0.25, np.float32)
    field = tiff.Field(tiff.UNDEFINED, phone_dng.shading(height, width))
    assert dng_opcodes.apply_gain_maps(field, picture) == set()
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    phase = 2 * (np.arange(height)[:, None] % 2) + np.arange(width) % 2
    expected = 1 + (0.8 + 0.05 * phase) * ((2 * x - 1) ** 2 + (2 * y - 1) ** 2) / 2
    np.testing.assert_allclose(picture[..., 0] / 0.25, expected, rtol=0.006)  # bilinear between the grid's points
    assert dng_opcodes.apply_gain_maps(tiff.Field(7, struct.pack(">5I", 1, 3, 0, 0, 0)), picture) == {3}


@pytest.mark.parametrize("shape", ["RGGB", "BGGR", "GRBG", "GBRG", "odd"])
def test_linear_dng_has_the_colours_of_the_source(tmp_path, shape):
    phone = phone_dng.write(tmp_path / "phone.dng", **SHAPES[shape] | {"height": 193, "width": 259})
    assert linear_copy(phone, tmp_path / "out.dng") == ()
    ours, theirs = (develop(path, **PLAIN) for path in (tmp_path / "out.dng", phone.path))
    assert np.abs(np.subtract(ours.shape, theirs.shape)).max() <= 1
    ours = ours[-theirs.shape[0] :, -theirs.shape[1] :]  # LibRaw leaves out the first row and column of odd margins
    assert ours.mean((0, 1)) == pytest.approx(theirs.mean((0, 1)), rel=0.01)
    main, raw = tags_of(tmp_path / "out.dng")
    assert raw[262] == 34892 and raw[50714] == (0, 0, 0) and raw[50717] == (65535,) * 3
    assert dng.provenance(tmp_path / "out.dng") == {"demosaic": "LibRaw DHT"}
    assert main[XMP] == phone_dng.XMP and not {33422, 51008, 51009} & raw.keys()


def test_linear_dng_has_its_shading_applied_and_keeps_the_highlights(tmp_path):
    picture = np.full((96, 128, 3), 0.2, np.float32)
    picture[:24] = 4.0
    phone = phone_dng.write(tmp_path / "phone.dng", picture=picture, shot=1e-9, read=0, bits=14, **EVERYTHING)
    linear_copy(phone, tmp_path / "out.dng")
    found = stored(tmp_path / "out.dng")[..., :3] / 65535
    y, x = np.meshgrid((np.arange(96) + 0.5) / 48 - 1, (np.arange(128) + 0.5) / 64 - 1, indexing="ij")
    share = np.array([0.8, 0.875, 0.95])  # mean of both greens
    expected = 0.2 * np.array(phone_dng.NEUTRAL) * (1 + share * ((x**2 + y**2) / 2)[..., None])
    np.testing.assert_allclose(found[30:-4, 4:-4], expected[30:-4, 4:-4], rtol=0.03)
    assert found[2:20, 2:-2].min() > 0.9999  # clipped in the camera's colours, none of them held back
    area = dng.source_tags(tmp_path / "out.dng")
    assert area.size == (96, 128) and area.active_area == (0, 0, 96, 128) and 50830 not in area.raw


def test_a_linear_source_stays_linear(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng", linear=True)
    tags = dng.source_tags(phone.path)
    assert tags.kind == "linear" and tags.pattern is None and tags.levels.black.shape == (1, 1, 3)
    plane = stored(phone.path)[..., :3] / 1023
    tags.raw[51022] = tiff.Field(tiff.UNDEFINED, bytes(4))
    dng.write_linear(tmp_path / "out.dng", np.rint(65535 * plane.clip(0, 1)).astype(np.uint16), tags, strength=0)
    ours, theirs = (develop(path, **PLAIN) for path in (tmp_path / "out.dng", phone.path))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert tags_of(tmp_path / "out.dng")[1][51022] == bytes(4) and dng.provenance(tmp_path / "out.dng") == {}


def test_xtrans_demosaics_and_opens(tmp_path):
    pattern = np.array(["GGRGGB", "GGBGGR", "BRGRBG", "GGBGGR", "GGRGGB", "RBGBRG"])
    pattern = np.array([["RGB".index(c) for c in row] for row in pattern], np.uint8)
    light = np.array([0.2, 0.4, 0.3])
    samples = np.rint(1000 + 15000 * light[np.tile(pattern, (90, 90))]).astype(np.uint16)
    levels = dng.Levels(np.full((1, 1, 1), 1000.0), np.array([16000.0]))
    tags = dng.source_tags(phone_dng.write(tmp_path / "phone.dng", sub_ifd=False).path)
    tags = dng.DngTags(tags.path, tags.main, {}, {}, {})
    picture, name, _ = dng_linear.demosaic(samples, pattern, levels, tags, (0, 0, 540, 540))
    assert name == "LibRaw X-Trans"
    np.testing.assert_allclose(picture[6:-6, 6:-6] / 65535, np.broadcast_to(light, (528, 528, 3)), rtol=0.01)
    with pytest.raises(InputError, match=r"cannot demosaic .*phone\.dng: LibRaw says"):
        dng_linear.demosaic(samples, pattern, levels, tags, (0, 0, 120, 120))
    dng.write_cfa(tmp_path / "out.dng", samples, pattern, levels, tags, strength=1)
    with rawpy.imread(str(tmp_path / "out.dng")) as raw:
        assert np.array_equal(raw.raw_pattern % 3, pattern) and np.array_equal(raw.raw_image, samples)


def test_the_preview_shows_the_new_samples_in_the_old_tones(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng", height=192, width=256)
    other = phone_dng.write(tmp_path / "other.dng", height=192, width=256, seed=3)
    tags = dng.source_tags(phone.path)
    dng.write_cfa(tmp_path / "out.dng", other.samples, tags.pattern, tags.levels, tags, strength=1)

    def preview(path: Path) -> np.ndarray:
        with rawpy.imread(str(path)) as raw:
            picture = Image.open(io.BytesIO(raw.extract_thumb().data)).convert("RGB")
        return np.asarray(picture.resize((64, 48), Image.Resampling.BOX)).astype(float)

    ours, stale, new = (preview(tmp_path / name) for name in ("out.dng", "phone.dng", "other.dng"))
    for color in range(3):
        assert np.corrcoef(ours[..., color].ravel(), new[..., color].ravel())[0, 1] > 0.8
        assert np.corrcoef(ours[..., color].ravel(), stale[..., color].ravel())[0, 1] < 0.6
    copy(phone, tmp_path / "same.dng")
    assert preview(tmp_path / "same.dng").mean((0, 1)) == pytest.approx(stale.mean((0, 1)), rel=0.05)
    bare = phone_dng.write(tmp_path / "bare.dng", height=192, width=256, sub_ifd=False)
    copy(bare, tmp_path / "plain.dng")
    assert (preview(tmp_path / "plain.dng").mean((0, 1)) < 0.9 * stale.mean((0, 1))).all()


def test_without_an_old_preview_the_new_one_is_a_plain_rendering(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng", height=192, width=256, sub_ifd=False, shot=1e-9, read=0)
    copy(phone, tmp_path / "out.dng")
    with rawpy.imread(str(tmp_path / "out.dng")) as raw:
        ours = np.asarray(Image.open(io.BytesIO(raw.extract_thumb().data))).astype(float)
    assert ours.shape == (96, 128, 3)  # not rotated, as Orientation is kept
    how = PLAIN | {"gamma": (2.4, 12.92), "user_flip": 0, "half_size": True, "exp_shift": 2**0.25}
    assert ours.mean((0, 1)) == pytest.approx(develop(phone.path, **how).mean((0, 1)), rel=0.06)


def test_stamp_and_no_stamp(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng")
    copy(phone, tmp_path / "out.dng", 1.0, stamp={"version": "1.2", "options": "strength=0.5, a=b\nc"})
    assert dng.provenance(tmp_path / "out.dng") == {"version": "1.2", "options": "strength=0.5, a=b c"}
    assert dng.provenance(phone.path) == {}
    (tmp_path / "text.dng").write_text("not a picture")
    assert dng.provenance(tmp_path / "text.dng") == {}


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    phone = phone_dng.write(tmp_path / "phone.dng")
    (tmp_path / "out.dng").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        copy(phone, tmp_path / "out.dng")
    assert (tmp_path / "out.dng").read_bytes() == b"mine"
    tags = dng.source_tags(phone.path)
    with pytest.raises(ValueError, match="picture of"):
        dng.write_cfa(tmp_path / "new.dng", phone.samples[2:], tags.pattern, tags.levels, tags, strength=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.dng", "phone.dng"]
    copy(phone, tmp_path / "out.dng", overwrite=True)
    assert np.array_equal(stored(tmp_path / "out.dng"), phone.samples)


def test_what_is_lost_is_said(tmp_path, monkeypatch):
    note = b"Google\0" + struct.pack("<3I", 1, 2, 3) * 4
    phone = phone_dng.write(tmp_path / "phone.dng", maker_note=note)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert copy(phone, tmp_path / "out.dng") == ("maker notes (install exiftool to keep them)",)
    assert "MakerNote" not in tags_of(tmp_path / "out.dng")[0][EXIF]
    (tmp_path / "plain.raw").write_bytes(bytes(64))
    tags = dng.source_tags(tmp_path / "plain.raw")
    assert tags.kind == "" and tags.size is None and tags.levels is None
    tags = dng.with_camera(tags, make="A", model="B", xyz_to_camera=np.eye(3), neutral=np.array([2.0, 4.0, 3.0]))
    lost = dng.write_cfa(tmp_path / "b.dng", phone.samples, phone.pattern, phone.levels, tags, strength=1)
    assert lost == ("Exif, GPS, XMP and maker notes (install exiftool to keep them)",)


def test_damaged_gps_costs_gps_alone(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng")
    data = bytearray(phone.path.read_bytes())
    entry = data.index(struct.pack("<HHI", GPS, 4, 1))
    data[entry + 8 : entry + 12] = struct.pack("<I", len(data) + 5)
    phone.path.write_bytes(data)
    assert copy(phone, tmp_path / "out.dng") == ("GPS (damaged)",)
    assert EXIF in tags_of(tmp_path / "out.dng")[0] and GPS not in tags_of(tmp_path / "out.dng")[0]


@pytest.mark.parametrize(("number", "value"), [
    (50713, tiff.field(tiff.SHORT, 60000, 60000)), (50714, tiff.field(tiff.FLOAT, float("nan"))),
    (50829, tiff.field(tiff.LONG, 1, 2, 3)), (33422, tiff.field(tiff.BYTE, 0, 1, 6, 2)),
    (33421, tiff.field(tiff.SHORT, 0, 0)), (50728, tiff.field(tiff.FLOAT, float("inf"), 1, 1)),
])  # fmt: skip
def test_absurd_fields_are_refused_or_left_unused(tmp_path, number, value):
    phone = phone_dng.write(tmp_path / "phone.dng")
    tags = dng.source_tags(phone.path)
    (tags.main if number in tags.main else tags.raw)[number] = value
    absurd = tmp_path / "absurd.dng"
    with absurd.open("wb+") as stream:
        size = {256: tiff.field(tiff.LONG, 128), 257: tiff.field(tiff.LONG, 96), 262: tiff.field(tiff.SHORT, 32803)}
        tiff.write(stream, tags.main | tags.raw | size | {50706: tiff.field(tiff.BYTE, 1, 4, 0, 0)})
    if number == 50728:
        assert dng.source_tags(absurd).neutral is None
        return
    with pytest.raises(InputError, match=r"cannot read .*absurd.dng: its raw picture is described wrongly"):
        dng.source_tags(absurd)


def test_maker_notes_that_are_safe_to_move_go_over(tmp_path):
    phone = phone_dng.write(tmp_path / "phone.dng")  # Apple's count from their own start
    copy(phone, tmp_path / "out.dng")
    assert dng.source_tags(tmp_path / "out.dng").exif[37500].data == phone_dng.APPLE_NOTE


def test_a_source_that_is_no_dng_gets_the_colours_of_its_camera(tmp_path):
    """As the camera's own file: the same samples, levels, matrix and balance as of a DNG, given by hand."""
    phone = phone_dng.write(tmp_path / "phone.dng", maker_note=b"", orientation=1, sub_ifd=False)
    (tmp_path / "camera.raw").write_bytes(b"FUJIFILM" + bytes(64))
    tags = dng.with_camera(
        dng.source_tags(tmp_path / "camera.raw"), make="Maker", model="Phone 1",
        xyz_to_camera=np.reshape(phone_dng.MATRIX_D65, (3, 3)), neutral=np.array(phone_dng.NEUTRAL),
    )  # fmt: skip
    dng.write_cfa(tmp_path / "out.dng", phone.samples, phone.pattern, phone.levels, tags, strength=0)
    assert np.abs(develop(tmp_path / "out.dng", **PLAIN).astype(int) - develop(phone.path, **PLAIN)).max() <= 1


def test_damaged_sources_are_refused_or_read(tmp_path):
    """Truncations and bit flips in the directories: an InputError of one line, or tags that are whole."""
    phone = phone_dng.write(tmp_path / "phone.dng", **SHAPES["everything"])
    whole = phone.path.read_bytes()
    rng = np.random.default_rng(0)
    bad, refusals = tmp_path / "bad.dng", []
    for turn in range(200):
        data = bytearray(whole)
        if turn % 4 == 0:
            del data[rng.integers(0, 7000) :]
        else:
            for at in rng.integers(0, 6500, 3):
                data[at] ^= 1 << rng.integers(8)
        bad.write_bytes(data)
        try:
            tags = dng.source_tags(bad)
        except InputError as error:
            refusals.append(str(error))
            continue
        if tags.kind:
            assert tags.levels.black.size and len(tags.active_area) == 4 and len(tags.size) == 2
        for number in LISTS:
            try:
                dng_opcodes.bad_pixels(tags.raw.get(number), phone.samples)
                dng_opcodes.apply_gain_maps(tags.raw.get(number), np.zeros((32, 32, 1), np.float32))
            except ValueError as error:
                refusals.append(f"cannot read {bad}: {error}")
    assert 10 < len(refusals) < 200
    assert all(line.startswith(f"cannot read {bad}: ") and "\n" not in line for line in refusals)


# Editors and exiftool, where they are installed (Debian: darktable, rawtherapee, libimage-exiftool-perl).


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def darktable(path: Path, workflow: str) -> np.ndarray:
    out = path.with_suffix(".darktable.png")
    command = [needs("darktable-cli"), str(path), str(out), "--core", "--library", ":memory:", "--configdir",
               str(path.parent / f"darktable-{workflow}"), "--conf", f"plugins/darkroom/workflow={workflow}",
               "--conf", "plugins/imageio/format/png/bpp=8"]  # fmt: skip
    return run_editor(command, out)


def rawtherapee(path: Path, *how: str) -> np.ndarray:
    out = path.with_suffix(".rawtherapee.png")
    return run_editor([needs("rawtherapee-cli"), *how, "-Y", "-n", "-b8", "-o", str(out), "-c", str(path)], out)


def run_editor(command: list[str], out: Path) -> np.ndarray:
    out.unlink(missing_ok=True)  # darktable would choose another name
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert out.exists(), done.stdout + done.stderr
    return np.asarray(Image.open(out).convert("RGB")).astype(int)


EDITED = {
    "everything": EVERYTHING | {"pattern": "GRBG", "orientation": 1, "height": 480, "width": 640},
    "single": {"pattern": "BGGR", "sub_ifd": False, "orientation": 3, "height": 480, "width": 640, "bits": 12},
    "canon": None,
}


def edited_source(tmp_path: Path, name: str) -> Path:
    if EDITED[name] is not None:
        return phone_dng.write(tmp_path / "source.dng", **EDITED[name]).path
    if not CANON.exists():
        pytest.skip("the collection of example files is not beside the checkout")
    return shutil.copyfile(CANON, tmp_path / "source.dng")


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITED)
@pytest.mark.parametrize("editor", ["darktable", "rawtherapee"])
def test_editors_develop_both_kinds_as_the_source(tmp_path, name, editor):
    source = edited_source(tmp_path, name)
    phone = phone_dng.Phone(source, *[None] * 7)
    copy(phone, tmp_path / "cfa.dng")
    if editor == "darktable":
        before, after = (darktable(tmp_path / f"{one}.dng", "scene-referred") for one in ("source", "cfa"))
    else:
        before, after = (rawtherapee(tmp_path / f"{one}.dng") for one in ("source", "cfa"))
    assert before.mean() > 20 and before.shape == after.shape
    assert np.abs(before - after).max() <= 1
    if name == "everything":  # its shading is part of the linear file, and an editor's choice for a mosaic
        return
    linear_copy(phone, tmp_path / "linear.dng")
    if editor == "darktable":  # it switches its tone curve (filmic) on by itself for mosaics alone
        before, after = (darktable(tmp_path / f"{one}.dng", "none") for one in ("source", "linear"))
    else:
        after = rawtherapee(tmp_path / "linear.dng")
        after = after[4:-4, 4:-4]  # which it cuts off from mosaics
    assert before.shape == after.shape
    assert after.mean((0, 1)) == pytest.approx(before.mean((0, 1)), rel=0.01)


@pytest.mark.slow
def test_rawtherapee_takes_the_tone_curve_of_the_new_preview(tmp_path):
    """Its default profile matches the curve to the preview: denoised files must not turn flat."""
    source = phone_dng.write(tmp_path / "source.dng", height=480, width=640, orientation=1, shot=2e-4)
    copy(source, tmp_path / "cfa.dng")
    before, after, flat = (
        rawtherapee(tmp_path / f"{name}.dng", *how)
        for name, how in (("source", ["-d"]), ("cfa", ["-d"]), ("source", []))
    )
    assert np.abs(flat - before).mean() > 10
    assert np.abs(after - before).mean() < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITED)
def test_exiftool_finds_no_error_and_the_same_metadata(tmp_path, name):
    exiftool = needs("exiftool")
    source = edited_source(tmp_path, name)
    phone = phone_dng.Phone(source, *[None] * 7)
    copy(phone, tmp_path / "cfa.dng")
    linear_copy(phone, tmp_path / "linear.dng", 0.7)
    own = {"ImageHistory", "PreviewApplicationName", "PreviewColorSpace"}
    for out in ("cfa", "linear"):
        done = subprocess.run(
            [exiftool, "-validate", "-warning", "-error", "-a", "-s", str(tmp_path / f"{out}.dng")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [line.split(":", 1) for line in done.stdout.splitlines()]
        assert lines[0][0].strip() == "Validate" and lines[0][1].strip().endswith(("OK", "minor)")), done.stdout
        assert not [line for line in lines if line[0].strip() == "Error"], done.stdout
        groups = ["-ExifIFD:all", "-GPS:all", "-XMP:all", "-InteropIFD:all", "-MakerNotes:all"]
        before, after = (
            subprocess.run(
                [exiftool, "-s", "-G1", *groups, str(path)], capture_output=True, text=True, check=True
            ).stdout
            for path in (source, tmp_path / f"{out}.dng")
        )
        missing = set(before.splitlines()) ^ set(after.splitlines())
        assert not [line for line in missing if not own & set(line.replace(":", " ").split())], missing


@pytest.mark.slow
def test_exiftool_brings_maker_notes_over(tmp_path):
    needs("exiftool")
    note = b"Google\0" + bytes(range(60))
    phone = phone_dng.write(tmp_path / "phone.dng", maker_note=note, **SHAPES["BGGR"])
    assert copy(phone, tmp_path / "out.dng") == ()
    assert np.array_equal(develop(tmp_path / "out.dng"), develop(phone.path))
    notes = [tags_of(path)[0][EXIF]["MakerNote"] for path in (phone.path, tmp_path / "out.dng")]
    assert notes[0] == notes[1] == note
