"""The recipes of docs/comp.md: oiiotool's commands as they stand there, Nuke's and Natron's scripts with stand-ins."""

import functools
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise.cli import main

from .exr_files import CASES, write_case, write_exr

TESTS = Path(__file__).resolve().parent
DOCS = TESTS.parent / "docs" / "comp.md"
# oiiotool is looked for beside this Python, too: tests may run in an environment that is not activated.
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
DATA = ["albedo.R", "albedo.G", "albedo.B", "normal.X", "normal.Y", "normal.Z", "depth.Z"]

needs_oiiotool = pytest.mark.skipif(
    os.name != "posix" or not shutil.which("oiiotool", path=PATH),
    reason="oiiotool is missing (pip install OpenImageIO) or there is no sh",
)
needs_command = pytest.mark.skipif(not shutil.which("mdenoise", path=PATH), reason="the command mdenoise is missing")


def blocks(heading, language):
    """The code blocks between a heading of the page and the next one of its level or above."""
    level = heading.index(" ")
    text = DOCS.read_text("utf-8")
    body = text[text.index(f"\n{heading}\n") + 1 :]
    parts = re.split(rf"^#{{2,{level}}} ", body[level + 1 :], maxsplit=1, flags=re.MULTILINE)
    found = re.findall(rf"^```{language}\n(.*?)^```", parts[0], re.MULTILINE | re.DOTALL)
    assert found, heading
    return found


def planes(path, part=0):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.parts[part].channels.items()}


def compression(path, part=0):
    with OpenEXR.File(str(path), header_only=True) as file:
        return file.parts[part].header["compression"]


def same(found, expected, names):
    return {name for name in names if found[name].tobytes() == expected[name].tobytes()} == set(names)


def sh(script, cwd, *more):
    variables = blocks("### Nothing else has changed", "sh")[0].splitlines()[2]
    assert variables.startswith("DATA=")
    script = "\n".join(["set -e", variables, script, *more])
    return subprocess.run(
        ["sh", "-c", script],
        cwd=cwd,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def run(heading, cwd):
    for script in blocks(heading, "sh"):
        done = sh(script, cwd)
        assert done.returncode == 0, (script, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Two frames with AOVs and one of several parts, and their results."""
    folder = tmp_path_factory.mktemp("shots")
    (folder / "render").mkdir()
    for name, number in (("cornell-gaussian", "0101"), ("toys-gaussian", "0102")):
        shutil.copy(TESTS / "data" / "renders" / f"{name}.4.exr", folder / "render" / f"shot.{number}.exr")
    write_case(CASES["cycles-5"], folder / "render" / "parts.exr")
    (command,) = re.findall(r"^mdenoise (\S+) -o clean/$", DOCS.read_text("utf-8"), re.MULTILINE)[:1]
    results = f"{folder / 'clean'}/"
    assert main(["-q", str(folder / command), "-o", results]) == 0
    assert main(["-q", str(folder / "render" / "parts.exr"), "-o", results]) == 0
    return folder


@pytest.fixture
def shot(shots, tmp_path):
    """A copy to write into."""
    return shutil.copytree(shots, tmp_path / "shot")


def change(path, name, part=0):
    """One bit-sized step in one pixel of a channel."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        pixels = np.array(file.parts[part].channels[name].pixels)
        pixels[9, 7] = np.nextafter(pixels[9, 7], pixels.dtype.type(100), dtype=pixels.dtype)
        file.parts[part].channels[name].pixels = pixels
        file.write(str(path) + ".new")
    Path(str(path) + ".new").replace(path)


# --- oiiotool


def test_every_command_of_the_page_is_run_here():
    tests = Path(__file__).read_text("utf-8")
    for heading, body in re.findall(r"^(##.*)\n((?:(?!##).*\n)*)", DOCS.read_text("utf-8"), re.MULTILINE):
        if "```sh" in body:
            assert f'run("{heading}", shot)' in tests or heading == "## OpenImageIO", heading


@needs_oiiotool
def test_untouched_channels_pass_and_a_changed_one_does_not(shot):
    run("### Nothing else has changed", shot)
    frames, parts = blocks("### Nothing else has changed", "sh")
    change(shot / "clean" / "shot.0101.exr", "normal.Y")
    assert sh(frames, shot).returncode == 1
    change(shot / "clean" / "parts.exr", "ViewLayer.Denoising Depth.Z", part=12)
    assert sh(parts, shot).returncode == 1
    assert sh(parts.replace("oiiotool -a ", "oiiotool "), shot).returncode == 0  # why the page says -a


@needs_oiiotool
def test_a_missing_channel_is_noticed(shot):
    kept = {name: plane for name, plane in planes(shot / "clean" / "shot.0101.exr").items() if name != "depth.Z"}
    write_exr(shot / "clean" / "shot.0101.exr", kept)
    assert sh(blocks("### Nothing else has changed", "sh")[0], shot).returncode == 1


@needs_oiiotool
def test_looking_at_it(shot):
    imageio = pytest.importorskip("imageio.v3")
    run("### Look at it", shot)
    picture = imageio.imread(shot / "side.0101.png")
    assert (picture.shape, picture.dtype) == ((128, 264, 3), np.uint8)
    noisy, clean = planes(shot / "render" / "shot.0101.exr"), planes(shot / "clean" / "shot.0101.exr")
    for image, left in ((noisy, 0), (clean, 136)):
        linear = np.clip(np.stack([image[c] for c in "RGB"], -1).astype(np.float32), 0, 1)
        encoded = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert np.abs(picture[:, left : left + 128] - 255 * encoded).max() < 1.5
    for number in ("0101", "0102"):
        noisy, clean = (planes(shot / folder / f"shot.{number}.exr") for folder in ("render", "clean"))
        removed = planes(shot / f"removed.{number}.exr")
        for c in "RGB":
            assert np.abs(removed[c] - (noisy[c].astype(np.float32) - clean[c])).max() <= 2e-3 * noisy[c].max()


@needs_oiiotool
def test_both_in_one_file(shot):
    run("### Both in one file", shot)
    for number in ("0101", "0102"):
        noisy, clean = (planes(shot / folder / f"shot.{number}.exr") for folder in ("render", "clean"))
        both = planes(shot / f"both.{number}.exr")
        assert set(both) == {*clean, "noisy.R", "noisy.G", "noisy.B"}
        assert same(both, clean, clean) and same({c: both[f"noisy.{c}"] for c in "RGB"}, noisy, "RGB")
        beside = planes(shot / f"beside.{number}.exr")
        assert set(beside) == {*"RGB", *DATA}
        assert same(beside, clean, "RGB") and same(beside, noisy, DATA)


@needs_oiiotool
def test_a_little_noise_back_is_strength(shot):
    run("### A little noise back", shot)
    strength = shot / "strength.exr"
    assert main(["-q", "--strength", "0.8", str(shot / "render" / "shot.0101.exr"), "-o", str(strength)]) == 0
    soft, expected = planes(shot / "soft.0101.exr"), planes(strength)
    assert same(soft, expected, DATA)
    for c in "RGB":  # both are half floats, rounded from slightly different ones
        np.testing.assert_allclose(soft[c], expected[c], rtol=2e-3, atol=1e-4)


@needs_oiiotool
def test_dwaa_for_beauty_only(shot):
    run("### Smaller files: DWAA, for beauty only", shot)
    for number in ("0101", "0102"):
        clean = planes(shot / "clean" / f"shot.{number}.exr")
        for path, part in ((shot / f"beauty.{number}.exr", 0), (shot / f"parts.{number}.exr", 0)):
            beauty = planes(path, part)
            assert set(beauty) == set("RGB") and compression(path, part) == OpenEXR.DWAA_COMPRESSION
            assert not same(beauty, clean, "RGB")
            error = np.mean([np.square(beauty[c].astype(np.float32) - clean[c]).mean() for c in "RGB"])
            assert error < 1e-4
        data = planes(shot / f"parts.{number}.exr", 1)
        assert set(data) == set(DATA) and same(data, clean, DATA)
        assert compression(shot / f"parts.{number}.exr", 1) == OpenEXR.ZIP_COMPRESSION


@needs_oiiotool
def test_what_dwaa_does_to_data(shot):
    write_case(CASES["arnold"], shot / "arnold.exr")
    assert sh("oiiotool arnold.exr --compression dwaa:45 -o dwaa.exr", shot).returncode == 0
    before, after = planes(shot / "arnold.exr"), planes(shot / "dwaa.exr")
    assert same(after, before, ["N.X", "N.Z", "Z"])
    for name in ("N.Y", "denoise_albedo.R", "crypto_object00.R"):
        assert not same(after, before, [name]), name


@needs_oiiotool
def test_what_oiiotool_does_to_types_and_ids(shot):
    rng = np.random.default_rng(3)
    before = {
        **{c: rng.random((16, 16)).astype(np.float16) for c in "RGB"},
        "Z": rng.random((16, 16)).astype(np.float32),
        "crypto00.R": rng.integers(1, 0x7F000000, (16, 16), dtype=np.uint32).view(np.float32),
        "id": rng.integers(2**31, 2**32, (16, 16), dtype=np.uint32),
    }
    write_exr(shot / "ids.exr", before)
    write_exr(shot / "other.exr", before | {"id": before["id"] ^ 1})
    assert sh("oiiotool --native ids.exr -o native.exr; oiiotool ids.exr -o plain.exr", shot).returncode == 0
    for name in ("native.exr", "plain.exr"):
        after = planes(shot / name)
        assert same(after, before, [*"RGB", "Z", "crypto00.R"])
        assert after["id"].dtype == np.uint32 and not same(after, before, ["id"])
    assert sh("oiiotool ids.exr other.exr --fail 0 --diff", shot).returncode == 0


@needs_oiiotool
def test_a_rewritten_result_is_still_known_as_ours(shot):
    assert sh("oiiotool clean/shot.0101.exr -o again.exr; mv again.exr clean/shot.0101.exr", shot).returncode == 0
    with OpenEXR.File(str(shot / "clean" / "shot.0101.exr"), header_only=True) as file:
        header = set(file.parts[0].header)
    assert {"mdenoise:version", "Software", "capDate"} <= header  # capDate is OpenEXR's name for DateTime
    source = str(shot / "render" / "shot.0101.exr")
    assert main(["post", "-q", source, "-o", f"{shot / 'clean'}/"]) == 0


@needs_oiiotool
def test_digits_of_a_pattern(shot):
    assert sh("oiiotool --frames 101-102 clean/shot.#.exr -o one.#.exr", shot).returncode == 0
    assert (shot / "one.0102.exr").exists()
    assert "shot.0000000000000101.exr" in sh("oiiotool --frames 101 clean/shot.####.exr -o x.#.exr", shot).stderr


# --- Nuke and Natron: the scripts of the page, called by stand-ins as the documentation of the tools says


def script(heading):
    (source,) = blocks(heading, "python")
    return functools.partial(exec, compile(source, f"{DOCS.name} {heading}", "exec"))


@pytest.fixture
def comp(shots, tmp_path, monkeypatch):
    """A folder with frames, and PATH with mdenoise but a Python setting that would break another Python."""
    shutil.copytree(shots / "render", tmp_path / "render")
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "host"))
    monkeypatch.delenv("MDENOISE", raising=False)
    return tmp_path


def nuke(comp, told):
    """nuke.filename(node, nuke.REPLACE) is the path with the number of the current frame in it."""
    module = types.ModuleType("nuke")
    module.REPLACE, module.tprint, module.number = object(), told.append, 101
    module.thisNode = lambda: f"{comp}/render/shot.%04d.exr"
    module.filename = lambda node, how: node % module.number if how is module.REPLACE else node
    return module


@needs_command
def test_nuke_script(comp, shots, monkeypatch):
    told, names = [], {}
    module = nuke(comp, told)
    monkeypatch.setitem(sys.modules, "nuke", module)
    script("## Nuke")(names)
    for module.number in (101, 102):
        names["frame"]()
    assert told == []
    assert sorted(path.name for path in (comp / "render" / "clean").iterdir()) == ["shot.0101.exr", "shot.0102.exr"]
    assert same(planes(comp / "render/clean/shot.0102.exr"), planes(shots / "clean/shot.0102.exr"), [*"RGB", *DATA])
    (comp / "render" / "shot.0101.exr").write_bytes(b"not an image")
    os.utime(comp / "render" / "shot.0101.exr", (1, 1))
    module.number = 101
    names["frame"]()
    names["MDENOISE"] = "no-such-mdenoise"
    names["frame"]()
    assert len(told) == 2 and all("shot.0101.exr" in line for line in told)
    assert "exit status 3" in told[0] and "no-such-mdenoise" in told[1]


@needs_command
def test_natron_script(comp, shots, capfd):
    names = {}
    script("## Natron")(names)

    class Node:
        def getParam(self, name):
            return {"filename": self}[name]

        def get(self):
            return f"{comp}/render/shot.####.exr"

    names["frame"](102.0, Node(), None)
    assert sorted(path.name for path in (comp / "render" / "clean").iterdir()) == ["shot.0102.exr"]
    assert same(planes(comp / "render/clean/shot.0102.exr"), planes(shots / "clean/shot.0102.exr"), [*"RGB", *DATA])
    capfd.readouterr()
    (comp / "render" / "shot.0101.exr").write_bytes(b"not an image")
    os.utime(comp / "render" / "shot.0101.exr", (1, 1))
    names["frame"](101, Node(), None)
    out, err = capfd.readouterr()
    assert "not denoised" in out and "frame 101" in out and "shot.0101.exr" in err
