"""OpenEXR files in and out: what is not denoised keeps every bit, and what cannot be carried is refused in one line."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise.adapters import ADAPTERS, adapter_for, exr, exr_header
from mdenoise.config import Options
from mdenoise.errors import EngineError, InputError, MDenoiseError, OutputError
from mdenoise.frame import Filtered

from .exr_files import (
    CASES,
    HEIGHT,
    WIDTH,
    differences,
    patched,
    raw_header,
    rgb,
    scene,
    with_attribute,
    write_case,
    write_exr,
    write_parts,
)

DATA = scene()
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "exr"
SHARED_FILES = sorted(SHARED.glob("*/*.exr"))
STAMP = {"version": "1.2", "model": "base 0123", "options": "defaults", "source": "a.exr"}

LOSSY = range(5, 10)  # PXR24, B44, B44A, DWAA, DWAB

needs_shared = pytest.mark.skipif(not SHARED_FILES, reason="the collection of example files is not beside the checkout")


def same(jobs):
    """A filter that changes nothing."""
    return [Filtered({name: plane.copy() for name, plane in job.planes.layers.items()}) for job in jobs]


def blurred(jobs, radius=2):
    """A filter as ours: the same weights for every layer, linear, the result in the layer's own type."""

    def blur(plane):
        wide = plane.astype(np.float64).reshape(*plane.shape[:2], -1)
        padded = np.pad(wide, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
        size = 2 * radius + 1
        total = sum(padded[y : y + plane.shape[0], x : x + plane.shape[1]] for y in range(size) for x in range(size))
        return (total / size**2).reshape(plane.shape).astype(plane.dtype)

    return [Filtered({name: blur(plane) for name, plane in job.planes.layers.items()}) for job in jobs]


def carried(source, target, filtered=same, **options):
    """Read, adapt, filter, restore and write; the jobs and what was touched."""
    frame = exr.read(source)
    jobs = exr.adapt(frame, Options(**options))
    exr.write(exr.restore(frame, jobs, filtered(jobs), STAMP), target)
    return jobs, frozenset().union(*(job.touched for job in jobs))


def compression(path, part=0):
    return raw_header(path.read_bytes())[0][part]["compression"][1][0]


# --- example files of other programs ----------------------------------------------------------------------------------


@needs_shared
@pytest.mark.parametrize("source", SHARED_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_file_is_carried_exactly_or_refused_in_one_line(source, tmp_path, capfd):
    target = tmp_path / "out.exr"
    refusal = None
    try:
        jobs, touched = carried(source, target, layers="all")
    except InputError as error:
        refusal = error
    assert capfd.readouterr().err == ""
    if refusal is not None:
        assert str(source) in str(refusal) and "\n" not in str(refusal)
        assert refusal.exit_code == 3
        assert not list(tmp_path.iterdir())
        return
    # The filter changed nothing, so touched channels are the same, too, unless they are stored with loss again.
    assert differences(source, target, touched if compression(target) in LOSSY else frozenset()) == []
    notes = " ".join(note for job in jobs for note in job.notes)
    for part, (old, new) in enumerate(
        zip(raw_header(source.read_bytes())[0], raw_header(target.read_bytes())[0], strict=True)
    ):
        assert old["compression"][1] == new["compression"][1] or (
            compression(target, part) == 3 and "written as ZIP" in notes
        )
    assert touched


@needs_shared
@pytest.mark.parametrize("source", SHARED_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_example_files_without_strength_come_back_whole(source, tmp_path):
    target = tmp_path / "out.exr"
    try:
        carried(source, target, strength=0.0)
    except InputError:
        return
    assert differences(source, target) == []


def test_every_file_of_a_renderer_is_carried_exactly(tmp_path):
    for name, case in CASES.items():
        source, target = write_case(case, tmp_path / f"{name}.exr", data=DATA), tmp_path / f"{name}.out.exr"
        _, touched = carried(source, target, filtered=blurred, layers="additive")
        assert differences(source, target, touched) == [], name
        after = OpenEXR.File(str(target), separate_channels=True).parts
        before = OpenEXR.File(str(source), separate_channels=True).parts
        part, channel = min(touched)
        assert (before[part].channels[channel].pixels != after[part].channels[channel].pixels).any()


# --- types, windows, compression, tiles -------------------------------------------------------------------------------

METHODS = ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB", "HTJ2K256", "HTJ2K32")


def mixed_channels():
    """Beauty in half, and untouched channels of every type and suffix."""
    return {
        **rgb(DATA["beauty"], kind="f2"),
        "A": DATA["alpha"].astype("f2"),
        "Z": DATA["depth"],
        "id": DATA["id"],
        **rgb(DATA["normal"], "N", "XYZ", "f2"),
        **rgb(DATA["albedo"], "albedo"),
        **rgb(DATA["crypto"], "crypto00", "RGBA"),
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", [{}, {"tiles": (32, 16)}], ids=["lines", "tiles"])
def test_untouched_channels_survive_every_compression(method, layout, tmp_path):
    source, target = tmp_path / "a.exr", tmp_path / "b.exr"
    write_exr(
        source,
        mixed_channels(),
        compression=getattr(OpenEXR, f"{method}_COMPRESSION"),
        dataWindow=(-7, -20, WIDTH - 8, HEIGHT - 21),
        displayWindow=(0, 0, 30, 30),
        **layout,
    )
    jobs, touched = carried(source, target, filtered=blurred)
    assert differences(source, target, touched) == []
    lossy = method in ("PXR24", "B44", "B44A", "DWAA", "DWAB")
    assert compression(target) == (3 if lossy else compression(source))
    assert any("written as ZIP" in note and method in note for note in jobs[0].notes) == lossy
    header = OpenEXR.File(str(target), header_only=True).header()
    assert header["dataWindow"][0].tolist() == [-7, -20]
    assert str(header["type"]) == ("Storage.tiledimage" if layout else "Storage.scanlineimage")


def test_compression_stays_where_only_the_result_is_lossy(tmp_path):
    """DWA keeps alpha and depth exactly: a beauty pass does not have to give it up."""
    source, target = tmp_path / "a.exr", tmp_path / "b.exr"
    write_exr(
        source,
        {**rgb(DATA["beauty"]), "A": np.ones_like(DATA["alpha"]), "Z": DATA["depth"]},
        compression=OpenEXR.DWAA_COMPRESSION,
        dwaCompressionLevel=45.0,
    )
    jobs, touched = carried(source, target)
    assert compression(target) == 8 and jobs[0].notes == ()
    assert differences(source, target, touched) == []


def test_a_part_that_nobody_touches_is_not_compressed_lossily_again(tmp_path):
    header = {"compression": OpenEXR.DWAB_COMPRESSION}
    source = write_parts(
        tmp_path / "a.exr",
        [({"name": "rgba"}, rgb(DATA["beauty"])), (header | {"name": "crypto"}, rgb(DATA["direct"], "crypto00"))],
    )
    jobs, touched = carried(source, tmp_path / "b.exr")
    assert differences(source, tmp_path / "b.exr", touched) == []
    assert jobs[0].notes == (
        "part 1: DWAB would change untouched channels (crypto00.B, crypto00.G, crypto00.R): written as ZIP",
    )


@pytest.mark.parametrize("order", ["INCREASING_Y", "DECREASING_Y", "RANDOM_Y"])
def test_line_order_and_linearity_hints_stay(order, tmp_path):
    layout = {"tiles": (16, 16)} if order == "RANDOM_Y" else {}
    source, target = tmp_path / "a.exr", tmp_path / "b.exr"
    channels = {name: OpenEXR.Channel(plane, 1, 1, True) for name, plane in mixed_channels().items()}
    write_exr(source, channels, lineOrder=getattr(OpenEXR, order), **layout)
    _, touched = carried(source, target)
    assert differences(source, target, touched) == []
    assert raw_header(target.read_bytes())[0][0]["lineOrder"][1][0] == [
        "INCREASING_Y",
        "DECREASING_Y",
        "RANDOM_Y",
    ].index(order)


def test_parts_with_windows_types_and_tiles_of_their_own(tmp_path):
    source, target = tmp_path / "a.exr", tmp_path / "b.exr"
    display = (-5, -5, 60, 60)
    small = DATA["albedo"][10:30, 8:40]
    write_parts(
        source,
        [
            (
                {"name": "rgba", "dataWindow": (2, -3, WIDTH + 1, HEIGHT - 4), "displayWindow": display},
                rgb(DATA["beauty"], kind="f2"),
            ),
            (
                {
                    "name": "albedo",
                    "dataWindow": (10, 7, 41, 26),
                    "displayWindow": display,
                    "tiles": (8, 8),
                    "compression": OpenEXR.PIZ_COMPRESSION,
                },
                rgb(small),
            ),
            ({"name": "id", "dataWindow": (0, 0, 47, 39), "displayWindow": display}, {"id": DATA["id"]}),
        ],
    )
    (job,), touched = carried(source, target, filtered=blurred)
    assert differences(source, target, touched) == []
    np.testing.assert_array_equal(job.planes.albedo[10:30, 8:40], small)
    assert np.isnan(job.planes.albedo[9]).all() and np.isnan(job.planes.albedo[:, 40:]).all()
    assert int(np.isfinite(job.planes.albedo).all(-1).sum()) == small[..., 0].size


def test_one_pixel(tmp_path):
    source = write_exr(tmp_path / "a.exr", rgb(np.float32([[[0.5, 0.25, 2]]])), dataWindow=(-3, 9, -3, 9))
    _, touched = carried(source, tmp_path / "b.exr")
    assert differences(source, tmp_path / "b.exr", touched) == []


# --- attributes -------------------------------------------------------------------------------------------------------

ATTRIBUTES = [
    ("framesPerSecond", "rational", struct.pack("<iI", 24000, 1000)),  # the binding would write 24/1
    ("noRate", "rational", struct.pack("<iI", 1, 0)),
    ("Artist", "string", "Müller".encode("latin-1")),
    ("owner", "string", "Müller".encode()),
    ("empty", "string", b""),
    ("nul", "string", b"a\0b"),
    ("words", "stringvector", struct.pack("<i", 2) + b"ab" + struct.pack("<i", 0)),
    ("words8", "stringvector", struct.pack("<i", 3) + b"\xe9\xff "),
    ("noWords", "stringvector", b""),
    ("numbers", "floatvector", struct.pack("<2f", 1, 2)),
    ("noNumbers", "floatvector", b""),
    ("nan", "float", b"\x23\x01\xc0\x7f"),
    ("third", "double", struct.pack("<d", 1 / 3)),
    ("world", "m44f", struct.pack("<16f", *range(16))),
    ("m", "m33d", struct.pack("<9d", *range(9))),
    ("v", "v3i", struct.pack("<3i", 1, -2, 3)),
    ("box", "box2f", struct.pack("<4f", 0, 1, 2, 3)),
    ("chromaticities", "chromaticities", struct.pack("<8f", *np.linspace(0.1, 0.8, 8))),
    ("timeCode", "timecode", struct.pack("<II", 0x12345678, 0x9ABCDEF0)),
    ("keyCode", "keycode", struct.pack("<7i", 1, 2, 3, 4, 5, 6, 64)),
    ("badKeyCode", "keycode", struct.pack("<7i", 1, 200, 3, 4, 5, 1, 64)),
    ("preview", "preview", struct.pack("<II", 2, 1) + bytes(range(8))),
    ("sphere", "envmap", b"\0"),
    ("deepImageState", "deepImageState", b"\1"),
    ("idManifest", "idmanifest", bytes(8)),
    ("studio", "studioType", bytes(range(256))),
    ("blob", "bytes", struct.pack("<I", 3) + b"abcxyz"),
    ("x" * 200, "string", b"a long name"),
    ("name", "string", b""),
    ("colorInteropID", "string", b"lin_rec709"),
]


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda a: f"{a[0][:20]}-{a[1]}")
def test_every_attribute_comes_back_byte_for_byte(attribute, tmp_path):
    source, target = tmp_path / "a.exr", tmp_path / "b.exr"
    write_exr(source, mixed_channels())
    source.write_bytes(with_attribute(source.read_bytes(), *attribute))
    name, kind, value = attribute
    carried(source, target)
    assert raw_header(target.read_bytes())[0][0][name][:2] == (kind, value)
    # The whole file again, with the attribute set aside: its pixels must have survived as well.
    assert [d for d in pixel_differences(source, target) if d] == []


def pixel_differences(source, target):
    first, second = exr.read(source), exr.read(target)
    return [
        name
        for old, new in zip(first.parts, second.parts, strict=True)
        for name in old.channels
        if old.channels[name].tobytes() != new.channels[name].tobytes()
    ]


def test_all_attributes_together(tmp_path):
    source, target = tmp_path / "a.exr", tmp_path / "b.exr"
    data = write_exr(source, mixed_channels()).read_bytes()
    for attribute in ATTRIBUTES:
        data = with_attribute(data, *attribute)
    source.write_bytes(data)
    carried(source, target)
    after = raw_header(target.read_bytes())[0][0]
    assert {name: after[name][:2] for name, _, _ in ATTRIBUTES} == {n: (k, v) for n, k, v in ATTRIBUTES}


def test_the_result_carries_its_provenance(tmp_path):
    source = write_exr(tmp_path / "a.exr", rgb(DATA["beauty"]), owner="me")
    carried(source, tmp_path / "b.exr")
    header = OpenEXR.File(str(tmp_path / "b.exr"), header_only=True).header()
    assert {name: header[f"mdenoise:{name}"] for name in STAMP} == STAMP
    assert header["owner"] == "me"
    carried(tmp_path / "b.exr", tmp_path / "c.exr")  # a second pass sets it anew instead of failing on it
    assert raw_header((tmp_path / "c.exr").read_bytes())[0][0]["mdenoise:version"][:2] == ("string", b"1.2")


def test_provenance_stands_in_the_first_and_in_changed_parts(tmp_path):
    source = write_parts(
        tmp_path / "a.exr",
        [
            ({"name": "Z"}, {"Z": DATA["depth"]}),
            ({"name": "rgba"}, rgb(DATA["beauty"])),
            ({"name": "id"}, {"id": DATA["id"]}),
        ],
    )
    carried(source, tmp_path / "b.exr")
    stamped = ["mdenoise:version" in part for part in raw_header((tmp_path / "b.exr").read_bytes())[0]]
    assert stamped == [True, True, False]


# --- refused ----------------------------------------------------------------------------------------------------------


def refused(path, match):
    with pytest.raises(InputError, match=match) as caught:
        exr.read(path)
    assert str(caught.value).startswith(f"cannot read {path}: ") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def test_deep_parts_are_refused(tmp_path):
    samples = np.empty((4, 5), object)
    for y, x in np.ndindex(samples.shape):
        samples[y, x] = np.ones(1 + (x + y) % 3, np.float32)
    flat = OpenEXR.Part({"name": "rgba", "type": OpenEXR.scanlineimage}, rgb(DATA["beauty"]))
    deep = OpenEXR.Part(
        {
            "name": "deep",
            "type": OpenEXR.deepscanline,
            "compression": OpenEXR.ZIPS_COMPRESSION,
            "displayWindow": flat.header["displayWindow"],
        },
        {"Z": samples},
    )
    OpenEXR.File([flat, deep]).write(str(tmp_path / "both.exr"))
    refused(tmp_path / "both.exr", r"part 1 \(deep\) is deep data")
    OpenEXR.File([deep]).write(str(tmp_path / "deep.exr"))
    refused(tmp_path / "deep.exr", "deep data")


def test_mip_maps_are_refused(tmp_path):
    path = write_exr(tmp_path / "a.exr", rgb(DATA["beauty"]), tiles=(16, 16))
    for mode in (1, 2):
        path.write_bytes(patched(path.read_bytes(), "tiles", bytes([mode]), at=8))
        refused(path, "mip-map levels")


def test_subsampled_chroma_is_refused(tmp_path):
    path = write_exr(tmp_path / "a.exr", {"Y": DATA["alpha"], "RY": DATA["alpha"], "BY": DATA["alpha"]})
    with pytest.raises(InputError, match="no colour layer"):  # of full size, but no radiance either
        exr.adapt(exr.read(path), Options())
    # "BY\0" type linear reserved, then the sampling in x and y
    path.write_bytes(patched(path.read_bytes(), "channels", struct.pack("<ii", 2, 2), at=3 + 8))
    refused(path, "channels BY are stored at lower resolution")


def test_what_is_no_openexr_file(tmp_path):
    refused(tmp_path / "missing.exr", "No such file or directory")
    refused(tmp_path, "Is a directory")
    for content in (b"", b"v/1\x01", b"\x89PNG\r\n\x1a\n" + bytes(100), b"v/1\x01\x02\0\0\0" + bytes(100)):
        (tmp_path / "a.exr").write_bytes(content)
        refused(tmp_path / "a.exr", "not an OpenEXR file|header is damaged")


@pytest.mark.parametrize(
    "window",
    [
        (0, 0, 2**31 - 2, 2**31 - 2),
        (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1),
        (5, 5, 4, 4),
        (0, 0, 10**6, 10**6),
        (0, 0, 2**31 - 2, 0),
        (0, 0, 0, 2**31 - 2),
    ],
)
def test_absurd_windows_cost_no_memory(window, tmp_path):
    path = write_exr(tmp_path / "a.exr", rgb(DATA["beauty"]))
    path.write_bytes(patched(path.read_bytes(), "dataWindow", struct.pack("<4i", *window)))
    refused(path, "claims|no pixels|cut off|damaged")


def test_cut_off_files(tmp_path, capfd):
    """A renderer that was stopped, a copy that is not finished: wherever the file ends."""
    whole = write_case(CASES["cycles-5"], tmp_path / "whole.exr", data=DATA).read_bytes()
    single = write_exr(tmp_path / "single.exr", mixed_channels(), tiles=(16, 16)).read_bytes()
    path = tmp_path / "a.exr"
    for content in (whole, single):
        for length in [*range(0, len(content), len(content) // 40), len(content) - 1]:
            path.write_bytes(content[:length])
            refused(path, "cut off|not an OpenEXR|incomplete")
    _, table = raw_header(single)
    path.write_bytes(single[:table] + bytes(8) + single[table + 8 :])
    refused(path, r"1 of 9 blocks of part 0 are missing")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_never_raise_anything_else(seed, tmp_path, capfd):
    rng = np.random.default_rng(seed)
    content = bytearray(
        write_case(CASES[("arnold", "cycles-5", "mitsuba")[seed % 3]], tmp_path / "a.exr", data=DATA).read_bytes()
    )
    end = len(content) if seed % 2 else raw_header(bytes(content))[1] + 100
    for position in rng.integers(8, end, 1 + seed // 4):
        content[position] = rng.integers(256)
    (tmp_path / "a.exr").write_bytes(content)
    refusal = None
    try:
        frame = exr.read(tmp_path / "a.exr")
        jobs = exr.adapt(frame, Options(layers="all"))
        exr.write(exr.restore(frame, jobs, same(jobs), STAMP), tmp_path / "b.exr")
    except MDenoiseError as error:
        refusal = error
    assert (tmp_path / "b.exr").exists() == (refusal is None)
    assert "\n" not in str(refusal)
    assert capfd.readouterr().err == ""
    assert not list(tmp_path.glob(".*"))


def test_what_others_print_while_a_file_is_read_still_appears(tmp_path, capfd):
    content = bytearray(write_exr(tmp_path / "a.exr", rgb(DATA["beauty"])).read_bytes())
    _, table = raw_header(bytes(content))
    (first,) = struct.unpack_from("<Q", content, table)
    content[first : first + 4] = struct.pack("<i", 77)  # the first block says that it is line 77
    header = exr_header.parse(io.BytesIO(content))

    class Talker(io.BytesIO):
        def read(self, *size):
            os.write(2, b"progress 50 %\r")
            return super().read(*size)

    from mdenoise.adapters.exr_file import _decode

    with pytest.raises(ValueError, match="damaged: 1 of 1 parts could not be decoded"):
        _decode(Talker(content), header)
    printed = capfd.readouterr().err
    assert "progress 50 %\r" in printed and "EXR_ERR" not in printed and "Warning" not in printed


# --- writing ----------------------------------------------------------------------------------------------------------


def restored(tmp_path, channels=None):
    frame = exr.read(write_exr(tmp_path / "source.exr", channels or mixed_channels()))
    jobs = exr.adapt(frame, Options())
    return exr.restore(frame, jobs, same(jobs), STAMP)


def test_an_existing_file_is_not_overwritten(tmp_path):
    frame, target = restored(tmp_path), tmp_path / "b.exr"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists already") as caught:
        exr.write(frame, target)
    assert caught.value.exit_code == 4 and target.read_text() == "mine"
    exr.write(frame, target, overwrite=True)
    assert exr.read(target).parts[0].channels["Z"].tobytes() == DATA["depth"].tobytes()
    with pytest.raises(OutputError, match="No such file or directory"):
        exr.write(frame, tmp_path / "missing" / "b.exr")


@pytest.mark.parametrize("size", [64, 128, 200, 256, 300, 400])
def test_a_full_disk_leaves_the_old_file_and_no_temp(tmp_path, size):
    """At several sizes: the last bytes are the ones that the library does not notice to be lost."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        target = disk / "b.exr"
        target.write_text("old")
        noise = np.random.default_rng(size).random((150, 250, 3), np.float32)
        frame = restored(tmp_path, rgb(noise))
        with pytest.raises(OutputError) as caught:
            exr.write(frame, target, overwrite=True)
        assert str(caught.value) == f"cannot write {target}: No space left on device"
        assert target.read_text() == "old"
        assert [entry.name for entry in disk.iterdir()] == ["b.exr"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_frame_is_left_as_it_was(tmp_path):
    """The binding replaces arrays in the dictionaries that it is given: never in ours."""
    frame = restored(tmp_path)
    before = dict(frame.parts[0].header), dict(frame.parts[0].channels)
    exr.write(frame, tmp_path / "b.exr")
    assert all(type(plane) is np.ndarray for plane in frame.parts[0].channels.values())
    assert set(frame.parts[0].header) == set(before[0]) and set(frame.parts[0].channels) == set(before[1])
    exr.write(frame, tmp_path / "c.exr")
    assert (tmp_path / "b.exr").read_bytes() == (tmp_path / "c.exr").read_bytes()


# --- results ----------------------------------------------------------------------------------------------------------


def test_results_take_the_type_of_the_file_and_half_ends_at_65504(tmp_path):
    channels = rgb(DATA["beauty"], kind="f2") | {"G": DATA["beauty"][..., 1]}
    frame = exr.read(write_exr(tmp_path / "a.exr", channels))
    jobs = exr.adapt(frame, Options())
    result = np.full((HEIGHT, WIDTH, 3), 1e6, np.float32)
    result[0] = -1e6
    part = exr.restore(frame, jobs, [Filtered({"RGB": result})], {}).parts[0]
    assert [part.channels[name].dtype for name in "RGB"] == [np.float16, np.float32, np.float16]
    assert part.channels["R"][1, 0] == 65504 and part.channels["R"][0, 0] == -65504 and part.channels["G"][1, 0] == 1e6


def test_a_result_that_is_not_finite_is_an_error_unless_it_came_so(tmp_path):
    beauty = DATA["beauty"].copy()
    beauty[5, 5] = np.nan
    frame = exr.read(write_exr(tmp_path / "a.exr", rgb(beauty)))
    jobs = exr.adapt(frame, Options(strength=0.0))
    kept = exr.restore(frame, jobs, same(jobs), {}).parts[0].channels["R"]
    assert kept.tobytes() == frame.parts[0].channels["R"].tobytes()
    jobs = exr.adapt(frame, Options())
    broken = beauty.copy()
    broken[9, 9] = np.inf
    with pytest.raises(EngineError, match="not finite"):
        exr.restore(frame, jobs, [Filtered({"RGB": broken})], {})


def test_alpha_goes_with_the_beauty_or_stays(tmp_path):
    path = write_exr(tmp_path / "a.exr", {**rgb(DATA["beauty"]), "A": DATA["alpha"]})
    (job,) = exr.adapt(exr.read(path), Options())
    assert list(job.planes.layers) == ["RGB", "A"] and job.planes.layers["A"].shape == (HEIGHT, WIDTH)
    (job,) = exr.adapt(exr.read(path), Options(alpha="keep"))
    assert list(job.planes.layers) == ["RGB"]
    opaque = write_exr(tmp_path / "b.exr", {**rgb(DATA["beauty"]), "A": np.ones_like(DATA["alpha"])})
    (job,) = exr.adapt(exr.read(opaque), Options())
    assert list(job.planes.layers) == ["RGB"]  # the same everywhere: any filter returns it


def test_demodulation_is_offered_for_beauty_and_additive_layers_only(tmp_path):
    path = write_case(CASES["cycles-4"], tmp_path / "a.exr", data=DATA)
    (job,) = exr.adapt(exr.read(path), Options(layers="additive,ViewLayer.Normal"))
    # Cycles' light is without its surface already.
    assert job.planes.demodulated == {"ViewLayer.Combined", "ViewLayer.Emit"}
    assert job.sums == (tuple(f"ViewLayer.{n}" for n in ("Emit", "DiffDir", "DiffInd", "GlossDir")),)
    assert "ViewLayer.Combined.A" in job.planes.layers
    (job,) = exr.adapt(exr.read(path), Options(albedo="none"))
    assert not job.planes.demodulated


def plane(frame, name, components="RGB"):
    for part in frame.parts:
        if f"{name}.{components[0]}" in part.channels:
            return np.stack([part.channels[f"{name}.{c}"] for c in components], -1).astype(np.float64)
    raise KeyError(name)


@pytest.mark.parametrize(("kind", "tolerance"), [("f4", 1e-5), ("f2", 2e-3)])
@pytest.mark.parametrize("name", ["cycles-4", "cycles-5"])
def test_cycles_lobes_still_sum_to_the_denoised_beauty(name, kind, tolerance, tmp_path):
    """Also where the surface is black and the blur carries light onto it from its neighbours."""
    source = write_case(CASES[name], tmp_path / "a.exr", data=DATA, kind=kind)
    _, touched = carried(source, tmp_path / "b.exr", filtered=blurred, layers="additive")
    assert differences(source, tmp_path / "b.exr", touched) == []
    names = {
        "cycles-4": ("DiffCol", "DiffDir", "DiffInd", "GlossCol", "GlossDir", "Emit"),
        "cycles-5": (
            "Diffuse Color",
            "Diffuse Direct",
            "Diffuse Indirect",
            "Glossy Color",
            "Glossy Direct",
            "Emission",
        ),
    }[name]
    before, after = exr.read(source), exr.read(tmp_path / "b.exr")
    col, direct, indirect, gloss_col, gloss, emit = (plane(after, f"ViewLayer.{n}") for n in names)
    beauty = plane(after, "ViewLayer.Combined")
    total = col * (direct + indirect) + gloss_col * gloss + emit
    assert np.abs(total - beauty).max() <= tolerance * beauty.max()
    assert (np.abs(total - beauty) <= tolerance * np.maximum(np.abs(beauty), 0.05 * beauty.max())).all()
    assert np.isfinite(direct).all() and (direct != plane(before, f"ViewLayer.{names[1]}")).any()
    # Untouched surfaces, filtered light.
    assert (col == plane(before, f"ViewLayer.{names[0]}")).all()


@pytest.mark.parametrize(("kind", "tolerance"), [("f4", 1e-5), ("f2", 2e-3)])
@pytest.mark.parametrize("name", ["cycles-groups", "arnold-groups", "vray-maya"])
def test_light_layers_still_sum_to_the_denoised_beauty(name, kind, tolerance, tmp_path):
    source = write_case(CASES[name], tmp_path / "a.exr", data=DATA, kind=kind)
    frame = exr.read(source)
    jobs = exr.adapt(frame, Options(layers="additive"))
    result = exr.restore(frame, jobs, blurred(jobs), {})
    total = sum(plane(result, layer.name) for layer in jobs[0].roles.additive)
    target = jobs[0].targets[jobs[0].beauty]
    beauty = np.stack([result.parts[0].channels[c] for c in target.channels], -1).astype(np.float64)
    assert np.abs(total - beauty).max() <= tolerance * beauty.max()


def cycles_sets(**plain):
    """Cycles lobes, light groups of the same beauty, and the plain layers given."""
    lobes = {
        "DiffCol": "albedo",
        "DiffDir": "direct",
        "DiffInd": "indirect",
        "GlossCol": "gloss_color",
        "GlossDir": "gloss",
    }
    beauty = DATA["diffuse"] + DATA["specular"] + sum(plain.values())
    channels = {f"V.{name}": DATA[data] for name, data in lobes.items()} | {f"V.{n}": p for n, p in plain.items()}
    channels |= {"V.Combined": beauty, "V.Combined_a": beauty * 0.75, "V.Combined_b": beauty * 0.25}
    return {name: plane for layer, data in channels.items() for name, plane in rgb(data, layer).items()}


@pytest.mark.parametrize("holders", [("Env", "Emit"), ("Env",), ("Emit",)])
def test_lobes_and_light_groups_sum_to_one_beauty(holders, tmp_path):
    """What the filter carries over edges onto black surfaces goes to the background or to emission: not to the
    beauty, which would get dark seams there, and no longer be the sum of the groups."""
    sky = np.where((DATA["depth"] > 1e9)[..., None], np.float32([0.2, 0.3, 0.9]), 0).astype(np.float32)
    plain = {name: {"Env": sky, "Emit": DATA["emission"]}[name] for name in holders}
    frame = exr.read(write_exr(tmp_path / "a.exr", cycles_sets(**plain)))
    jobs = exr.adapt(frame, Options(layers="additive"))
    assert jobs[0].notes[0].count("sum to beauty") == 2
    results = blurred(jobs)
    result = exr.restore(frame, jobs, results, {})
    col, direct, indirect, gloss_col, gloss, beauty, a, b = (
        plane(result, f"V.{n}")
        for n in ("DiffCol", "DiffDir", "DiffInd", "GlossCol", "GlossDir", "Combined", "Combined_a", "Combined_b")
    )
    lobes = col * (direct + indirect) + gloss_col * gloss + sum(plane(result, f"V.{name}") for name in holders)
    np.testing.assert_allclose(lobes, beauty, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a + b, beauty, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(beauty, results[0].layers["V.Combined"])
    if len(holders) == 2:  # emission takes it only where no background is seen
        unseen = ~sky.any(-1)
        assert (plane(result, "V.Env")[unseen] <= 2.001 * results[0].layers["V.Env"][unseen]).all()


def test_without_a_layer_to_hold_it_the_beauty_gives_it_up(tmp_path):
    channels = {name: plane for name, plane in cycles_sets().items() if "Combined_" not in name}
    frame = exr.read(write_exr(tmp_path / "a.exr", channels))
    jobs = exr.adapt(frame, Options(layers="additive"))
    result = exr.restore(frame, jobs, blurred(jobs), {})
    col, direct, indirect, gloss_col, gloss, beauty = (
        plane(result, f"V.{n}") for n in ("DiffCol", "DiffDir", "DiffInd", "GlossCol", "GlossDir", "Combined")
    )
    np.testing.assert_allclose(col * (direct + indirect) + gloss_col * gloss, beauty, rtol=1e-5, atol=1e-6)


def test_without_strength_additive_layers_keep_their_bits(tmp_path):
    source = write_case(CASES["cycles-4"], tmp_path / "a.exr", data=DATA)
    carried(source, tmp_path / "b.exr", layers="additive", strength=0.0)
    assert differences(source, tmp_path / "b.exr") == []


def test_layers_that_left_the_group_may_be_missing_from_the_result(tmp_path):
    frame = exr.read(write_exr(tmp_path / "a.exr", {**rgb(DATA["beauty"]), "A": DATA["alpha"]}))
    jobs = exr.adapt(frame, Options())
    part = exr.restore(frame, jobs, [Filtered({"RGB": jobs[0].planes.layers["RGB"]})], {}).parts[0]
    assert part.channels["A"].tobytes() == DATA["alpha"].tobytes()
    with pytest.raises(EngineError, match="the result is"):
        exr.restore(frame, jobs, [Filtered({"RGB": DATA["beauty"][:5]})], {})


def test_views_are_restored_each_to_its_own_channels(tmp_path):
    source = write_exr(
        tmp_path / "a.exr", {**rgb(DATA["beauty"]), **rgb(DATA["key"], "right")}, multiView=["left", "right"]
    )
    frame = exr.read(source)
    jobs = exr.adapt(frame, Options())
    results = [Filtered({job.beauty: np.full_like(job.planes.color, index + 1)}) for index, job in enumerate(jobs)]
    channels = exr.restore(frame, jobs, results, STAMP).parts[0].channels
    assert (channels["R"] == 1).all() and (channels["right.R"] == 2).all()


# --- what is told about a file ----------------------------------------------------------------------------------------


def test_describe_is_plain_data(tmp_path):
    report = exr.describe(exr.read(write_case(CASES["arnold"], tmp_path / "a.exr", data=DATA)))
    report = json.loads(json.dumps(report))
    (image,) = report["images"]
    assert image["roles"]["albedo"] == "denoise_albedo" and image["reasons"]["albedo"] == "by its name"
    assert image["renderer"] == "Arnold" and "additive" in image
    (part,) = report["parts"]
    assert (part["compression"], part["width"], part["height"]) == ("ZIP", WIDTH, HEIGHT)
    assert part["channels"]["Z"] == "float32" and part["channels"]["R"] == "float16"
    nothing = exr.describe(exr.read(write_exr(tmp_path / "z.exr", {"Z": DATA["depth"]})))
    assert "no colour layer" in nothing["error"] and nothing["images"] == []


def test_adapters_by_extension(tmp_path):
    assert adapter_for(Path("A.EXR")) is exr and adapter_for(Path("a.cxr")) is exr
    with pytest.raises(InputError) as caught:
        adapter_for(Path("a.xyz"))
    assert ".exr" in str(caught.value) and set(ADAPTERS) >= {".exr", ".cxr"}


def test_the_library_is_loaded_only_when_a_file_is(tmp_path):
    program = "import sys, mdenoise.adapters.exr, mdenoise.adapters.aovs\nsys.exit('OpenEXR' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_frames_without_exact_attributes_can_be_written(tmp_path):
    """A host may build a Frame itself: then the attributes are the header's."""
    frame = replace(restored(tmp_path), metadata={})
    exr.write(frame, tmp_path / "b.exr")
    assert differences(tmp_path / "source.exr", tmp_path / "b.exr") == []
