"""`mdenoise hook` and `mdenoise post` with stand-in renderers: real commands, real files, real signals."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from mdenoise.cli import main

from .processes import alive, wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are shell scripts")

# A file that a stand-in waits for, but not for ever.
AWAIT = "await() { n=0; while [ ! -e $1 ] && [ $n -lt 4800 ]; do sleep 0.05; n=$((n + 1)); done; }\n"
COMMAND = [sys.executable, "-m", "mdenoise", "hook", "--settle", "0.3", "--poll", "0.1"]
DOCS = Path(__file__).resolve().parent.parent / "docs" / "hooks.md"


def render(path, seed=1, size=64):
    color = np.random.default_rng(seed).gamma(1.0, 0.5, (size, size, 3)).astype(np.float32)
    header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
    path.parent.mkdir(parents=True, exist_ok=True)
    OpenEXR.File(header, {c: color[..., i].copy() for i, c in enumerate("RGB")}).write(str(path))
    return path


def pixels(path):
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return np.stack([np.array(file.parts[0].channels[c].pixels) for c in "RGB"])


def names(folder="."):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in; ../a.img and ../b.img are frames that a stand-in can copy."""
    for seed, name in enumerate("ab"):
        render(tmp_path / f"{name}.exr", seed).rename(tmp_path / f"{name}.img")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def hook(here, capfd):
    """Run the command in this process: (exit code, stdout, lines on stderr)."""

    def call(script, *options):
        script = f"{AWAIT}{script}"
        code = main(["hook", "--settle", "0.3", "--poll", "0.1", *options, "--", "sh", "-c", script])
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return call


# --- frames


def test_frames_are_denoised_while_the_renderer_goes_on(hook, here):
    render(here / "old.exr")
    render(here / "changed.exr")
    code, out, err = hook(
        """echo drawing; echo careful >&2
        cp ../a.img shot.0001.exr
        await shot.denoised.0001.exr
        cp ../b.img changed.exr; cp ../b.img shot.0002.exr
        exit 7"""
    )
    assert code == 7
    assert out == "drawing\n"
    assert sorted(err) == [
        "careful",
        "mdenoise: changed.exr -> changed.denoised.exr",
        "mdenoise: shot.0001.exr -> shot.denoised.0001.exr",
        "mdenoise: shot.0002.exr -> shot.denoised.0002.exr",
    ]
    assert names() == [
        "changed.denoised.exr",
        "changed.exr",
        "old.exr",
        "shot.0001.exr",
        "shot.0002.exr",
        "shot.denoised.0001.exr",
        "shot.denoised.0002.exr",
    ]
    assert pixels("shot.denoised.0001.exr").std() < 0.6 * pixels("shot.0001.exr").std()
    assert main(["-q", "shot.0001.exr", "-o", "alone.exr"]) == 0
    np.testing.assert_array_equal(pixels("shot.denoised.0001.exr"), pixels("alone.exr"))


def test_a_frame_that_pauses_unfinished_does_not_fail(hook):
    code, _, err = hook("head -c 9000 ../a.img > shot.exr; sleep 1.2; cat ../a.img > shot.exr")
    assert (code, err) == (0, ["mdenoise: shot.exr -> shot.denoised.exr"])


def test_a_frame_that_changes_again_is_denoised_again(hook):
    code, _, err = hook("cp ../a.img shot.exr; await shot.denoised.exr; cp ../b.img shot.exr")
    assert (code, len(err)) == (0, 2)
    assert main(["-q", "shot.exr", "-o", "alone.exr"]) == 0
    np.testing.assert_array_equal(pixels("shot.denoised.exr"), pixels("alone.exr"))


def test_folders_patterns_and_where_results_go(hook, here):
    code, _, err = hook(
        "mkdir -p out/deep; for f in out/deep/beauty.0001 out/deep/mask.0001 x; do cp ../a.img $f.exr; done",
        "--watch",
        "out",
        "--recursive",
        "--pattern",
        "beauty.*",
        "-o",
        "out/clean",
    )
    assert code == 0, err
    assert names() == ["out/clean/deep/beauty.0001.exr", "out/deep/beauty.0001.exr", "out/deep/mask.0001.exr", "x.exr"]


def test_results_that_would_meet_are_refused(hook):
    code, _, err = hook(
        "mkdir l r; cp ../a.img l/f.exr; cp ../a.img r/f.exr", "--watch", "l", "--watch", "r", "-o", "out"
    )
    assert code == 1
    assert err[1] == "mdenoise: cannot write out/f.exr: it is already the result of l/f.exr. Watch one folder a command"


def test_what_may_be_replaced(hook, here):
    assert hook("cp ../a.img f.exr")[0] == 0
    first = pixels("f.denoised.exr")
    assert hook("cp ../b.img f.exr")[0] == 0  # a result of ours
    assert not np.array_equal(pixels("f.denoised.exr"), first)
    render(here / "f.denoised.exr", 5)
    foreign = (here / "f.denoised.exr").read_bytes()
    code, _, err = hook("cp ../a.img f.exr")
    assert code == 4
    assert len(err) == 1 and "it exists and mdenoise did not write it. Give --overwrite" in err[0]
    assert hook("cp ../b.img f.exr", "--skip-existing")[::2] == (0, ["mdenoise: f.exr skipped, f.denoised.exr exists"])
    assert (here / "f.denoised.exr").read_bytes() == foreign
    assert hook("cp ../a.img f.exr", "--overwrite")[0] == 0
    np.testing.assert_array_equal(pixels("f.denoised.exr"), first)


# --- exit codes


@pytest.mark.parametrize(
    ("script", "expected", "lines"),
    [
        ("cp ../a.img f.exr; exit 0", 0, 1),
        ("cp ../a.img f.exr; exit 3", 3, 1),
        ("cp ../a.img f.exr; kill -9 $$", 137, 1),
        ("echo broken > f.exr", 3, 1),
        ("echo broken > f.exr; cp ../a.img g.exr", 1, 2),
        ("echo broken > f.exr; exit 5", 5, 1),
        (": > f.exr", 3, 1),
    ],
)
def test_the_exit_code_is_the_renderers_or_says_what_failed(hook, script, expected, lines):
    code, _, err = hook(script)
    assert code == expected
    assert len(err) == lines and all(line.startswith("mdenoise: ") for line in err)


def test_a_renderer_that_writes_nothing_is_told(hook):
    assert hook("true")[::2] == (0, ["mdenoise: sh wrote nothing to denoise in .: is --watch right?"])
    code, _, err = hook("true", "--watch", "nowhere")
    assert code == 3
    assert err == ["mdenoise: cannot watch nowhere: No such file or directory"]
    assert hook("exit 9", "--watch", "nowhere")[0] == 9


def test_what_cannot_work_fails_before_the_render(hook, here, capfd):
    assert hook("touch started", "--engine", "tensorrt")[0] == 5
    assert hook("touch started", "-o", ".")[0] == 2
    assert hook("touch started", "--quality", "superb")[0] == 2
    assert names() == []
    assert main(["hook", "--", "no-such-renderer", "x"]) == 2
    assert capfd.readouterr().err == "mdenoise: cannot run no-such-renderer: No such file or directory\n"
    assert main(["hook"]) == 2


# --- signals


def start(script):
    nothing = subprocess.DEVNULL
    return subprocess.Popen([*COMMAND, "--", "sh", "-c", script], stdin=nothing, stdout=nothing, stderr=subprocess.PIPE)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_renderer_and_its_children(here, number):
    script = """trap 'echo cleaned > cleaned; exit 9' INT TERM
    sh -c 'echo $$ > child; while :; do sleep 300; done' & echo $$ > parent
    cp ../a.img f.exr; wait"""
    process = start(script.replace("wait", "while :; do sleep 0.1; done") if number == signal.SIGINT else script)
    wait_for(lambda: (here / "f.denoised.exr").exists() and (here / "child").exists() and (here / "child").read_text())
    pids = [int((here / name).read_text()) for name in ("parent", "child")]
    assert all(alive(pid) for pid in pids)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.splitlines()[-1] == b"mdenoise: interrupted"
    assert (here / "cleaned").exists()
    assert not any(alive(pid) for pid in pids)
    assert "f.denoised.exr" in names() and not [name for name in names() if name.endswith(".tmp")]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent was killed")
def test_a_killed_hook_leaves_no_renderer_behind(here):
    process = start("echo $$ > parent; exec sleep 300")
    wait_for(lambda: (here / "parent").exists() and (here / "parent").read_text())
    process.kill()
    process.communicate()
    pid = int((here / "parent").read_text())
    wait_for(lambda: not alive(pid))


# Makes its stdin the terminal of a session of its own, as a terminal window does.
ON_A_TERMINAL = """import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])"""


def test_at_a_terminal_ctrl_c_comes_once(here):
    script = "trap 'echo int >> ints; exit 0' INT; echo ready > ready; while :; do sleep 0.1; done"
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-c", ON_A_TERMINAL, *COMMAND, "--", "sh", "-c", script]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
    try:
        wait_for(lambda: (here / "ready").exists())
        os.write(keyboard, b"\x03")
        assert process.wait(120) == 130
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert (here / "ints").read_text() == "int\n"


# --- post


@pytest.fixture
def post(here, capfd):
    def call(*arguments):
        code = main(["post", *map(str, arguments)])
        out, err = capfd.readouterr()
        return code, out.splitlines(), err.splitlines()

    return call


def test_post_denoises_and_replaces_its_own_result(post, here):
    render(here / "shot.0001.exr", 1)
    assert post("-q", "shot.0001.exr") == (0, ["shot.denoised.0001.exr"], [])
    first = pixels("shot.denoised.0001.exr")
    render(here / "shot.0001.exr", 2)
    assert post("-q", "shot.0001.exr")[0] == 0
    assert not np.array_equal(pixels("shot.denoised.0001.exr"), first)
    assert post("shot.0001.exr", "--skip-existing")[2] == [
        "mdenoise: shot.0001.exr: skipped, shot.denoised.0001.exr exists"
    ]


def test_post_takes_patterns_with_frames(post, here):
    for frame in range(1, 5):
        render(here / f"shot.{frame:04d}.exr", frame, 32)
    code, out, _ = post("-q", "shot.####.exr", "--frames", "2-4x2", "-o", "clean/")
    assert (code, out) == (0, ["clean/shot.0002.exr", "clean/shot.0004.exr"])


def test_post_keeps_what_others_wrote(post, here):
    render(here / "f.exr"), render(here / "f.denoised.exr")
    code, out, err = post("f.exr")
    assert (code, out) == (4, [])
    assert err == [
        "mdenoise: cannot write f.denoised.exr: it exists and mdenoise did not write it. "
        "Give --overwrite or move it away"
    ]
    (here / "f.denoised.exr").unlink()
    (here / "f.denoised.exr").symlink_to(here / "elsewhere.exr")
    assert "symbolic link" in post("f.exr", "--overwrite")[2][0]
    assert not (here / "elsewhere.exr").exists()


@pytest.mark.parametrize("begun", ["", "head -c 9000 ../a.img > late.exr;"])
def test_post_waits_for_a_frame_that_is_not_finished(post, here, begun):
    with subprocess.Popen(["sh", "-c", f"{begun} sleep 1; cp ../a.img tmp; mv tmp late.exr"]):
        assert post("-q", "late.exr", "--wait", "60")[:2] == (0, ["late.denoised.exr"])


def test_post_gives_up_in_time(post, here):
    assert post("no.exr", "--wait", "0.3")[::2] == (3, ["mdenoise: cannot read no.exr: No such file or directory"])
    (here / "broken.exr").write_bytes(b"broken")
    code, _, err = post("broken.exr", "--wait", "0.3")
    assert code == 3 and len(err) == 1 and "broken.exr" in err[0]


# --- the examples of docs/hooks.md

# Each writes its frames as the renderer would; `draw` copies ../a.img.
STAND_INS = {
    "husk": """for n in 1 2; do
        draw render/shot.000$n.exr
        {python} -c 'import os; os.environ["PYTHONHOME"] = "/nowhere"
exec(compile(open("denoise_frame.py").read(), "denoise_frame.py", "exec"), {{"__name__": "builtins"}})' || exit 1
    done
    case "$*" in *"-o render/shot.\\$F4.exr --postframe-script denoise_frame.py"*) ;; *) exit 9; esac""",
    "kick": '[ "$1$2$3" = -dw-dp-i ] && [ "$5" = -o ] && draw "$6"',
    "vray": """case "$*" in *-imgFile=render/shot..exr*-frames=1-2*)
        draw render/shot.0001.exr; draw render/shot.0002.exr;; *) exit 9; esac""",
    "prman": '[ "$1" = -cwd ] && draw "$2/${{3%.rib}}.exr"',
    "mdenoise": 'exec {python} -m mdenoise "$@"',
}


def blocks(heading, language):
    section = re.search(rf"^### {heading}.*?(?=^#|\Z)", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section, heading
    body = section[0]
    while body.count("```") % 2:  # a comment in a block looked like a heading
        start = DOCS.read_text("utf-8").index(body)
        end = re.compile(r"^###? ", re.MULTILINE).search(DOCS.read_text("utf-8"), start + 4)
        body = DOCS.read_text("utf-8")[start : end.start() if end else None]
    return re.findall(rf"^```{language}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)


@pytest.fixture
def studio(here, monkeypatch):
    """A PATH with a stand-in for every renderer, and empty folders for frames and results."""
    programs = here.parent / "bin"
    programs.mkdir()
    for name, body in STAND_INS.items():
        draw = 'draw() { cp ../a.img "$1.part" && mv "$1.part" "$1"; }\n'
        (programs / name).write_text(f"#!/bin/sh\n{draw}{body.format(python=sys.executable)}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (here / "render").mkdir()
    return here


@pytest.mark.parametrize(
    ("heading", "which"), [("husk", 0), ("Arnold", 0), ("V-Ray", 0), ("V-Ray", 1), ("RenderMan", 0)]
)
def test_examples_of_the_docs(studio, heading, which):
    for script in blocks(heading, "python"):
        (studio / "denoise_frame.py").write_text(script)
    script = blocks(heading, "sh")[which]
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert names("clean") == ["shot.0001.exr", "shot.0002.exr"]
    noisy = pixels("render/shot.0001.exr")
    assert pixels("clean/shot.0001.exr").std() < 0.6 * noisy.std()


class Plugin:
    """What Deadline hands to a post-task script, as far as ours asks."""

    def __init__(self, folder):
        self.JobOutputDirectories, self.JobOutputFileNames = [str(folder)], ["shot.####.exr"]
        self.TaskFrameList = [1, 2]

    def GetJob(self):
        return self

    def GetCurrentTask(self):
        return self


def test_example_for_deadline(studio):
    for frame in (1, 2, 3):
        render(studio / "render" / f"shot.{frame:04d}.exr", frame)
    (script,) = blocks("Deadline", "python")
    namespace = {}
    exec(compile(script, "denoise_task.py", "exec"), namespace)
    namespace["__main__"](Plugin(studio / "render"), "post task")
    assert names("clean") == ["shot.0001.exr", "shot.0002.exr"]
