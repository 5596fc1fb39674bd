"""The command line as a user meets it: real files, real processes, exit codes, streams."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise.cli import console, main

from .processes import holding, program, wait_for

COMMAND = [sys.executable, "-m", "mdenoise"]


def render(path, size=64, seed=0):
    """A noisy ramp with albedo, normal and an id, as Cycles names them."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.2, 1.0, size, dtype=np.float32) * np.ones((size, 1), np.float32)
    color = (ramp[..., None] * rng.gamma(4.0, 0.25, (size, size, 3))).astype(np.float32)
    channels = {f"ViewLayer.Combined.{c}": color[..., i].astype(np.float16) for i, c in enumerate("RGB")}
    channels |= {f"ViewLayer.Denoising Albedo.{c}": np.full((size, size), 0.5, np.float32) for c in "RGB"}
    up = {"X": 0, "Y": 0, "Z": 1}
    channels |= {f"ViewLayer.Denoising Normal.{c}": np.full((size, size), v, np.float32) for c, v in up.items()}
    channels["ViewLayer.IndexOB.X"] = rng.random((size, size)).astype(np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "Software": "Blender 4.2"}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File(header, channels).write(str(path))
    return path


def channels(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.parts[0].channels.items()}


def colour(path):
    planes = channels(path)
    return np.stack([planes[f"ViewLayer.Combined.{c}"].astype(np.float32) for c in "RGB"], -1)


def names(folder):
    """Every name in a folder, hidden and temporary ones too."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mdenoise(here, capfd):
    """Run the command in this process: (exit code, lines on stdout, lines on stderr)."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


# --- the main job


def test_frame_becomes_denoised_frame_with_everything_else_kept(mdenoise, here):
    render("frame.exr")
    code, out, err = mdenoise("frame.exr")
    assert (code, out) == (0, ["frame.denoised.exr"])
    assert names(here) == ["frame.denoised.exr", "frame.exr"]
    roles = [line for line in err if line.startswith("mdenoise: frame.exr: color ")]
    assert (
        len(roles) == 1 and "Combined" in roles[0] and "Denoising Albedo" in roles[0] and "Denoising Normal" in roles[0]
    )
    before, after = channels("frame.exr"), channels("frame.denoised.exr")
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].dtype == after[name].dtype
        if "Combined" not in name:
            assert before[name].tobytes() == after[name].tobytes(), name
    assert colour("frame.denoised.exr").std(axis=0).mean() < 0.5 * colour("frame.exr").std(axis=0).mean()


def test_module_and_process_exit_code(here):
    render("frame.exr")
    done = subprocess.run([*COMMAND, "frame.exr"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "frame.denoised.exr\n")


def test_missing_input_does_not_stop_the_others(mdenoise, here):
    render("a.exr"), render("b.exr")
    code, out, err = mdenoise("a.exr", "missing.exr", "b.exr")
    assert (code, out) == (1, ["a.denoised.exr", "b.denoised.exr"])
    assert [line for line in err if "missing.exr" in line] == [
        "mdenoise: cannot read missing.exr: No such file or directory"
    ]


def test_damaged_input_does_not_stop_the_others(mdenoise, here):
    render("a.exr"), render("b.exr")
    data = Path("a.exr").read_bytes()
    Path("a.exr").write_bytes(data[: len(data) // 2])
    code, out, err = mdenoise("a.exr", "b.exr", "-q")
    assert (code, out) == (1, ["b.denoised.exr"])
    assert "a.exr" in next(line for line in err if line.startswith("mdenoise:"))
    assert names(here) == ["a.exr", "b.denoised.exr", "b.exr"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.exr", None),
        ("empty.exr", b""),
        ("text.exr", b"not an image"),
        ("note.txt", b"text"),
        ("s.####.exr", None),
    ],
)
def test_single_unreadable_input_exits_3(mdenoise, here, name, content):
    if content is not None:
        Path(name).write_bytes(content)
    code, out, err = mdenoise(name)
    assert (code, out) == (3, [])
    assert len([line for line in err if line.startswith("mdenoise:") and name in line]) == 1
    assert not any("Traceback" in line for line in err)
    assert names(here) == ([] if content is None else [name])


def test_fifo_is_refused_and_does_not_hang(mdenoise, here):
    os.mkfifo("pipe.exr")
    code, _, err = mdenoise("pipe.exr")
    assert code == 3 and "not a regular file" in err[0]


# --- clashes come before work


def test_existing_output_is_refused_before_any_work(mdenoise, here):
    for name in ("a.exr", "b.exr", "c.exr"):
        render(name)
    Path("b.denoised.exr").write_text("mine")
    Path("c.denoised.exr").write_text("mine")
    code, out, err = mdenoise("a.exr", "b.exr", "c.exr")
    assert (code, out) == (4, [])
    assert any("b.denoised.exr" in line for line in err) and any("c.denoised.exr" in line for line in err)
    assert "--overwrite" in err[-1] and "--skip-existing" in err[-1]
    assert names(here) == ["a.exr", "b.denoised.exr", "b.exr", "c.denoised.exr", "c.exr"]
    assert Path("b.denoised.exr").read_text() == "mine"


def test_skip_existing_does_the_rest(mdenoise, here):
    render("a.exr"), render("b.exr")
    Path("b.denoised.exr").write_text("mine")
    code, out, err = mdenoise("a.exr", "b.exr", "--skip-existing")
    assert (code, out) == (0, ["a.denoised.exr"])
    assert Path("b.denoised.exr").read_text() == "mine"
    assert any("skipped" in line and "b.denoised.exr" in line for line in err)


def test_overwrite_replaces(mdenoise, here):
    render("a.exr")
    Path("a.denoised.exr").write_text("old")
    code, out, _ = mdenoise("a.exr", "--overwrite")
    assert (code, out) == (0, ["a.denoised.exr"])
    assert colour("a.denoised.exr").shape == (64, 64, 3)


@pytest.mark.parametrize("extra", [(), ("--overwrite",), ("--skip-existing",)])
def test_input_is_never_the_output(mdenoise, here, extra):
    render("a.exr")
    before = Path("a.exr").read_bytes()
    Path("link.exr").symlink_to("a.exr")
    os.link("a.exr", "hard.exr")
    for output in ("a.exr", "./a.exr", "link.exr", "hard.exr", "."):
        code, out, err = mdenoise("a.exr", "-o", output, *extra)
        assert (code, out) == (4, []), output
        assert "it is an input" in err[-1]
    assert Path("a.exr").read_bytes() == before


def test_two_inputs_for_one_output_are_refused(mdenoise, here):
    render("x/a.exr"), render("y/a.exr")
    code, out, err = mdenoise("x/a.exr", "y/a.exr", "-o", "out/", "--overwrite")
    assert (code, out) == (4, [])
    assert "output of both x/a.exr and y/a.exr" in err[-1]
    assert not Path("out").exists()


def test_wildcard_run_again_leaves_results_alone(mdenoise, here):
    render("a.exr"), render("b.exr")
    assert mdenoise("a.exr", "b.exr")[0] == 0
    code, out, _ = mdenoise("a.denoised.exr", "a.exr", "b.denoised.exr", "b.exr", "--skip-existing")
    assert (code, out) == (0, [])
    assert names(here) == ["a.denoised.exr", "a.exr", "b.denoised.exr", "b.exr"]


# --- where results go


def test_frames_of_a_pattern(mdenoise, here):
    for frame in (1, 2, 3, 12):
        render(f"shot.{frame:04d}.exr", seed=frame)
    code, out, _ = mdenoise("shot.####.exr", "-f", "1-3x2,12")
    assert (code, out) == (0, ["shot.denoised.0001.exr", "shot.denoised.0003.exr", "shot.denoised.0012.exr"])
    code, out, _ = mdenoise("shot.%04d.exr", "-o", "out.@@.exr", "--frames", "2,12")
    assert (code, out) == (0, ["out.02.exr", "out.12.exr"])
    code, out, err = mdenoise("shot.11-12#.exr", "-o", "new/deep/")
    assert (code, out) == (1, ["new/deep/shot.0012.exr"])
    assert any("shot.0011.exr" in line for line in err)


def test_roles_are_said_once_for_frames_that_share_them(mdenoise, here):
    for frame in (1, 2):
        render(f"shot.{frame:04d}.exr", seed=frame)
    _, _, err = mdenoise("shot.####.exr")
    assert sum("color " in line for line in err) == 1


def test_folder_is_taken_without_own_results(mdenoise, here):
    (
        render("in/b.exr"),
        render("in/a.exr"),
        render("in/deep/c.exr"),
        render("in/.hidden.exr"),
        render("in/a.denoised.exr"),
    )
    Path("in/notes.txt").write_text("x")
    code, out, _ = mdenoise("in", "-o", "out/")
    assert (code, out) == (0, ["out/a.exr", "out/b.exr"])
    code, out, _ = mdenoise("in", "-o", "in/out/", "--recursive")
    assert (code, out) == (0, ["in/out/a.exr", "in/out/b.exr", "in/out/deep/c.exr"])
    code, out, _ = mdenoise("in", "-o", "in/out", "--recursive", "--overwrite", "--dry-run")
    assert len(out) == 3


def test_empty_folder_exits_3(mdenoise, here):
    Path("in").mkdir()
    code, out, err = mdenoise("in")
    assert (code, out) == (3, []) and "no file to denoise" in err[-1]


@pytest.mark.parametrize(
    "name",
    [
        "two\nlines.exr",
        "a b.exr",
        "naïve ☃.exr",
        "shot.####.exr",
        "x@y.exr",
        "a" * 180 + ".exr",
        os.fsdecode(b"latin\xe9.exr"),
    ],
)
def test_odd_names(mdenoise, here, name):
    render("plain.exr")
    Path("plain.exr").rename(name)
    code, _, err = mdenoise(name, "--json")
    assert code == 0
    assert all(line.startswith("mdenoise: ") for line in err)
    assert len(names(here)) == 2 and (here / (name[:-4] + ".denoised.exr")).is_file()


def test_names_with_leading_dash_and_of_commands(mdenoise, here):
    for name in ("-q.exr", "watch", "info"):
        render("plain.exr")
        Path("plain.exr").rename(name)
    assert mdenoise("--", "-q.exr")[:2] == (0, ["-q.denoised.exr"])
    assert mdenoise("./watch")[0] == 3  # no extension: refused as a file, not taken for the command


def test_single_output_file(mdenoise, here):
    render("a.exr"), render("b.exr")
    assert mdenoise("a.exr", "-o", "x.exr")[:2] == (0, ["x.exr"])
    code, out, err = mdenoise("a.exr", "b.exr", "-o", "y.exr")
    assert (code, out) == (2, []) and "2 inputs cannot go to one file y.exr" in err[-1]
    code, _, err = mdenoise("a.exr", "-o", "no/such/y.exr")
    assert code == 4 and "folder no/such does not exist" in err[-1]
    code, _, err = mdenoise("a.exr", "-o", "y.png")
    assert code == 2 and "format" in err[-1]


def test_dry_run_shows_the_plan_and_writes_nothing(mdenoise, here):
    render("a.exr"), render("b.exr")
    code, out, err = mdenoise("a.exr", "b.exr", "missing.exr", "-o", "out/", "--dry-run")
    assert (code, out) == (1, ["a.exr -> out/a.exr", "b.exr -> out/b.exr"])
    assert any("color " in line for line in err) and any("missing.exr" in line for line in err)
    assert names(here) == ["a.exr", "b.exr"]
    Path("a.denoised.exr").touch()
    assert mdenoise("a.exr", "-n")[0] == 4


def test_json_is_one_object_a_file(mdenoise, here):
    render("a.exr"), render("b.exr")
    Path("b.denoised.exr").touch()
    code, out, _ = mdenoise("a.exr", "b.exr", "missing.exr", "--skip-existing", "--json", "-q")
    lines = {line["src"]: line for line in map(json.loads, out)}
    assert code == 1
    assert {name: line["status"] for name, line in lines.items()} == {
        "a.exr": "denoised",
        "b.exr": "skipped",
        "missing.exr": "failed",
    }
    assert (
        lines["a.exr"]["dst"] == "a.denoised.exr"
        and lines["a.exr"]["width"] == 64
        and "Combined" in lines["a.exr"]["roles"]
    )
    assert lines["missing.exr"]["exit_code"] == 3 and "missing.exr" in lines["missing.exr"]["error"]


def test_quiet_says_nothing_and_verbose_more(mdenoise, here):
    render("a.exr")
    assert mdenoise("a.exr", "-q") == (0, ["a.denoised.exr"], [])
    _, _, err = mdenoise("a.exr", "-v", "--overwrite")
    assert any("64x64" in line for line in err)


# --- options


def test_flag_beats_environment_beats_config(mdenoise, here, monkeypatch):
    render("a.exr")
    noisy = colour("a.exr")
    Path("job.toml").write_text("strength = 0.0\n")

    def kept(*arguments):
        assert mdenoise("a.exr", "-o", "x.exr", "--overwrite", *arguments)[0] == 0
        return np.array_equal(colour("x.exr"), noisy)

    assert not kept()
    assert kept("--config", "job.toml")
    assert not kept("--config", "job.toml", "--strength", "1")
    monkeypatch.setenv("MDENOISE_STRENGTH", "1")
    assert not kept("--config", "job.toml")
    assert kept("--config", "job.toml", "--strength", "0")
    monkeypatch.delenv("MDENOISE_STRENGTH")
    monkeypatch.setenv("MDENOISE_CONFIG", "job.toml")
    assert kept()


def test_layer_overrides_follow_the_frame(mdenoise, here):
    for frame in (1, 2):
        render(f"shot.{frame:04d}.exr", seed=frame)
        flat = {c: np.full((64, 64), 0.25 * frame, np.float32) for c in "RGB"}
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, flat).write(
            f"alb.{frame:04d}.exr"
        )
    code, out, err = mdenoise("shot.####.exr", "--albedo", "alb.####.exr", "-v")
    assert code == 0 and len(out) == 2
    assert any("alb.0001.exr" in line for line in err) and any("alb.0002.exr" in line for line in err)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--frobnicate", "a.exr"),
        ("a.exr", "--quality", "superb"),
        ("a.exr", "--strength", "2"),
        ("a.exr", "--strength", "x"),
        ("a.exr", "--robustness", "x"),
        ("a.exr", "--robustness", "1"),
        ("a.exr", "--tile", "100"),
        ("a.exr", "--overlap", "-32"),
        ("a.exr", "--frames", "1-2"),
        ("a.####.exr", "--frames", "one"),
        ("a##.##.exr",),
        ("a.exr", "--config", "missing.toml"),
        ("a.exr", "-o"),
        ("info",),
        ("watch", "x"),
        ("a.exr", "-o", "out.####.exr"),
    ],
)
def test_usage_errors_exit_2_in_one_line(mdenoise, here, arguments):
    render("a.exr")
    code, out, err = mdenoise(*arguments)
    assert (code, out) == (2, []), err
    assert len(err) == 1 and err[0].startswith("mdenoise: ")
    assert names(here) == ["a.exr"]


def test_config_with_unknown_key_suggests(mdenoise, here):
    render("a.exr")
    Path("job.toml").write_text("stength = 0.5\n")
    code, _, err = mdenoise("a.exr", "--config", "job.toml")
    assert code == 2 and "did you mean 'strength'" in err[-1]


def test_missing_model_exits_5(mdenoise, here):
    render("a.exr")
    code, out, err = mdenoise("a.exr", "--model", "nowhere.onnx")
    assert (code, out) == (5, []) and "nowhere.onnx" in err[-1]
    assert names(here) == ["a.exr"]


def test_help_and_version(mdenoise, here):
    code, out, _ = mdenoise("--help")
    text = "\n".join(out)
    assert code == 0
    assert text.startswith("Usage: mdenoise [OPTIONS] INPUT...")
    for word in (
        "--output",
        "--skip-existing",
        "--strength",
        "--albedo",
        "--max-memory",
        "watch",
        "info",
        "train",
        "./watch",
    ):
        assert word in text
    code, out, _ = mdenoise("--version")
    assert code == 0 and out[0].startswith("mdenoise ")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from mdenoise.cli import main; main(['--help']); main(['--version']);"
        "print('HEAVY', sorted({'numpy', 'rich', 'fileseq', 'OpenEXR', 'openvino', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_denoising_needs_neither_rich_nor_fileseq_nor_torch(here):
    render("a.exr")
    code = (
        "import sys; from mdenoise.cli import main; assert main(['a.exr']) == 0;"
        "print('HEAVY', sorted({'rich', 'fileseq', 'torch', 'imageio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_denoising_opens_no_socket_and_starts_no_process(here):
    render("a.exr")
    code = (
        "import sys\n"
        "bad = ('socket.connect', 'socket.getaddrinfo', 'os.fork', 'os.posix_spawn', 'os.exec', 'subprocess.Popen')\n"
        "sys.addaudithook(lambda event, args: event in bad and print('AUDIT', event, args))\n"
        "from mdenoise.cli import main; sys.exit(main(['a.exr', '-q']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a.denoised.exr\n"


@pytest.mark.parametrize("command", ["prepare", "train", "export"])
def test_missing_extra_is_one_line(here, command):
    call = f"from mdenoise.cli import main; sys.exit(main([{command!r}, '--help']))"
    code = f"import sys; sys.modules['torch'] = sys.modules['onnx'] = None; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 5
    needs = "onnx" if command == "export" else "torch"
    assert done.stderr == f'mdenoise: mdenoise {command} needs {needs}: pip install "mdenoise[train]"\n'


def test_internal_errors_are_one_line():
    line = console.internal(ValueError("two\nlines"))
    assert line == "internal error: ValueError: two lines; rerun with -v for the traceback"


# --- info


def test_info_shows_layers_roles_and_noise(mdenoise, here):
    render("a.exr")
    code, out, err = mdenoise("info", "a.exr")
    text = "\n".join(out)
    assert (code, err) == (0, [])
    for word in ("a.exr", "64x64", "ViewLayer.Combined", "ViewLayer.IndexOB", "half", "float", "noise"):
        assert word in text, word
    assert names(here) == ["a.exr"]


def test_info_as_json_measures_the_noise(mdenoise, here):
    render("a.exr")
    code, out, _ = mdenoise("info", "a.exr", "missing.exr", "--json")
    assert code == 1
    facts = {line["src"]: line for line in map(json.loads, out)}
    assert facts["a.exr"]["images"][0]["noise"] > 0.01
    assert "Combined" in json.dumps(facts["a.exr"]) and facts["missing.exr"]["exit_code"] == 3


# --- interruption and full disks


def start(*arguments, code=None):
    """The command, or one whose workers run `code` before."""
    python = COMMAND if code is None else [sys.executable, *program(code)]
    return subprocess.Popen([*python, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def sequence(folder, frames=40, size=192):
    """One real file and links to it."""
    first = render(folder / "shot.0001.exr", size)
    for frame in range(2, frames + 1):
        os.link(first, folder / f"shot.{frame:04d}.exr")


def whole(path):
    return all(np.isfinite(plane.astype(np.float32)).all() for plane in channels(path).values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_no_partial_file(here, number):
    sequence(here)
    process = start("shot.####.exr", "-o", "out/", "-q", code=holding("shot.0040.exr"))
    assert process.stdout.readline() == b"out/shot.0001.exr\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == b"mdenoise: interrupted\n"
    done = sorted((here / "out").iterdir())
    assert 1 <= len(done) < 40
    assert all(path.name.startswith("shot.") and whole(path) for path in done)


def wait_until_guarded(process):
    """Until the program answers signals itself: SIGTERM is listed as caught. Before, it is Python that starts."""

    def is_guarded():
        assert process.poll() is None
        return int(Path(f"/proc/{process.pid}/status").read_text().split("SigCgt:")[1].split()[0], 16) >> 14 & 1

    wait_for(is_guarded)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6])
def test_interrupt_is_quiet_from_the_first_import_on(here, delay):
    sequence(here, frames=600)
    process = start("shot.####.exr", "-o", "out/", "-q")
    wait_until_guarded(process)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    time.sleep(delay / 10)
    process.send_signal(signal.SIGINT)  # an impatient second one does not cut the clean-up short
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, b"mdenoise: interrupted\n")
    assert not [path for path in here.rglob(".*")]


def test_kill_leaves_nothing_under_a_final_name_that_is_not_whole(here):
    sequence(here)
    for delay in (0.0, 0.03, 0.07):
        process = start("shot.####.exr", "-o", "out/", "-q", "--skip-existing")
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=120)
    finals = [path for path in (here / "out").iterdir() if not path.name.startswith(".")]
    assert finals and all(whole(path) for path in finals)


def test_reader_of_stdout_may_leave(here):
    sequence(here, frames=4, size=64)
    process = start("shot.####.exr")
    process.stdout.close()
    with process.stderr as stream:
        err = stream.read()
    assert process.wait(timeout=120) == 1
    assert b"Traceback" not in err and b"Exception ignored" not in err


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_leaves_the_old_file(mdenoise, here, small_disk):
    render("big.exr", size=160)
    assert Path("big.exr").stat().st_size > 96 * 1024
    old = small_disk / "big.exr"
    old.write_bytes(b"old result")
    code, out, err = mdenoise("big.exr", "-o", f"{small_disk}/", "--overwrite", "-q")
    assert (code, out) == (4, [])
    assert len(err) == 1 and str(old) in err[0] and "space" in err[0]
    assert old.read_bytes() == b"old result"
    assert names(small_disk) == ["big.exr"]


# --- terminals


def on_terminal(*arguments, **environment):
    """(exit code, stdout from a pipe, stderr from a terminal)."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux says end of file so
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    out, _ = process.communicate(timeout=120)
    return process.returncode, out, shown


def test_bar_is_on_stderr_of_a_terminal_only(here):
    sequence(here, frames=3, size=128)
    code, out, shown = on_terminal("shot.####.exr", "-o", "a/")
    assert (code, out) == (0, b"a/shot.0001.exr\na/shot.0002.exr\na/shot.0003.exr\n")
    assert b"3/3 shot.0003.exr" in shown
    code, out, shown = on_terminal("shot.####.exr", "-o", "b/", "-q")
    assert code == 0 and shown == b""
    code, _, shown = on_terminal("shot.####.exr", "-o", "c/", NO_COLOR="1")
    assert code == 0 and b"\x1b[38" not in shown and b"\x1b[3" not in shown.replace(b"\x1b[3m", b"")
