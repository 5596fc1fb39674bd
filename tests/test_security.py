"""What strangers' files and their names must not be able to do, and what is never done: network, shell, pickle."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import mdenoise
from mdenoise import batch
from mdenoise.config import Options
from mdenoise.errors import ModelError

from .fuzz import seeds

PLUGIN = Path(mdenoise.__file__).parent
FRAME = seeds.make("exr")["zip.exr"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def command(*arguments):
    return [sys.executable, "-m", "mdenoise", *map(str, arguments)]


# --- names

ODD = ("two\nlines.exr", "camera \U0001f4f7.exr", "-o.exr", "--overwrite.exr", "'; touch owned; '.exr", "$(id).exr",
       "not\udce9utf8.exr", f"{'n' * 251}.exr", "back\\slash.exr", "esc\x1b[31m.exr", " .exr", "..exr.exr")  # fmt: skip


def test_odd_names_go_through_a_batch_as_they_are(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ODD:
        (tmp_path / "in" / name).write_bytes(FRAME)
    done = subprocess.run(command("in", "-o", "out/"), cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    shown = [name for name in ODD if not name.startswith(".")]
    assert names(tmp_path / "out") == sorted(shown)
    assert names(tmp_path) == ["in", "out"]  # nothing was run, nothing went elsewhere
    said = done.stderr.decode("utf-8", "surrogateescape").splitlines()
    assert all(line.startswith("mdenoise: ") and line.isprintable() for line in said)


def test_a_name_too_long_for_its_result_is_refused_in_one_line(tmp_path):
    name = f"{'n' * 251}.exr"
    (tmp_path / name).write_bytes(FRAME)
    done = subprocess.run(command(name, "-q"), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 4 and len(done.stderr.splitlines()) == 1 and "too long" in done.stderr
    assert names(tmp_path) == [name]


# --- permissions


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_outputs_have_the_permissions_that_the_umask_gives(umask, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.exr").write_bytes(FRAME)
        (tmp_path / f"{name}.exr").chmod(0o444)
    before = os.umask(umask)
    try:
        (single,) = batch.run(batch.plan([tmp_path / "a.exr"]), Options())
        several = list(batch.run(batch.plan([tmp_path], f"{tmp_path}/new/out/"), Options(), jobs=1))
    finally:
        os.umask(before)
    for outcome in (single, *several):
        info = outcome.dst.stat()
        assert stat.S_IMODE(info.st_mode) == 0o666 & ~umask
        assert (info.st_uid, info.st_gid) == (os.geteuid(), os.getegid())
    assert stat.S_IMODE((tmp_path / "new/out").stat().st_mode) == 0o777 & ~umask


def test_the_cache_of_compiled_models_is_private(tmp_path):
    (tmp_path / "a.exr").write_bytes(FRAME)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "import os, sys; os.umask(0); from mdenoise.cli import main; sys.exit(main(['a.exr', '-q']))"
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, capture_output=True)
    (cache,) = (tmp_path / "cache" / "mdenoise").iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700 and any(cache.rglob("*.blob"))


# --- what is loaded


def test_models_are_onnx_of_the_hash_that_their_card_states(tmp_path):
    for name in ("base.onnx", "base.json"):
        shutil.copy(PLUGIN / "weights" / name, tmp_path / name)
    data = bytearray((tmp_path / "base.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "base.onnx").write_bytes(data)
    (tmp_path / "base.pt").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch owned'\ntR.")
    (tmp_path / "a.exr").write_bytes(FRAME)
    for model, reason in (("base.onnx", "hash"), ("base.pt", "is an .onnx file")):
        with pytest.raises(ModelError, match=reason):
            list(batch.run(batch.plan([tmp_path / "a.exr"]), Options(model=str(tmp_path / model))))


def test_nothing_that_runs_strangers_code_is_used():
    banned = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
    calls = re.compile(r"\beval\(|\bexec\(|os\.system|os\.popen|shell\s*=\s*True|allow_pickle\s*=\s*True|torch\.load")
    kits = {"training", "exporters", "integrations"}  # beside the plugin where it is installed
    for path in PLUGIN.rglob("*.py"):
        if path.relative_to(PLUGIN).parts[0] in kits:
            continue
        text = path.read_text("utf-8")
        assert not calls.search(text), path
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = getattr(node, "module", None) if isinstance(node, ast.ImportFrom) else None
            assert not banned & {name.split(".")[0] for name in (*names, module or "")}, path


# --- what the system is asked for


@pytest.fixture
def traced(tmp_path):
    """Run a command cold (no byte code, no compiled models) and answer the system calls that it and its children make
    to reach a network or to start a program."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode:
        pytest.skip("strace is not permitted here")

    def run(*arguments):
        log = tmp_path / "strace.log"
        environment = os.environ | {
            "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPYCACHEPREFIX": str(tmp_path / "byte-code"),
        }  # fmt: skip
        trace = ["strace", "-f", "-qq", "-s", "200", "-e", "trace=%network,execve", "-o", str(log)]
        done = subprocess.run([*trace, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return [line.split(maxsplit=1)[1] for line in log.read_text("utf-8", "replace").splitlines()]

    return run


def is_remote(call):
    return call.startswith(("socket(", "connect(", "sendto(", "bind(")) and "AF_UNIX" not in call


def programs(calls):
    return [re.match(r'execve\("([^"]*)"', call)[1] for call in calls if call.startswith("execve(")]


def test_denoising_asks_for_no_network_and_no_shell(traced, tmp_path):
    good = {name: data for kind in ("exr", "raw", "srgb") for name, data in seeds.make(kind).items()}
    (tmp_path / "in").mkdir()
    for name in ("zip.exr", "rggb.dng", "a.png", "a.jpg", "a.webp", "deep.tif"):
        (tmp_path / "in" / name).write_bytes(good[name])
    calls = traced(*command("in", "-o", "out/", "-q", "-j", 1))
    assert len(list((tmp_path / "out").iterdir())) == 6
    assert not [call for call in calls if is_remote(call)]
    allowed = {Path(sys.executable).name, "exiftool", "perl"}
    assert {Path(program).name for program in programs(calls)} <= allowed and len(programs(calls)) >= 2


def test_a_single_file_starts_no_process(traced, tmp_path):
    (tmp_path / "a.exr").write_bytes(FRAME)
    calls = traced(*command("a.exr", "-q"))
    assert not [call for call in calls if is_remote(call)] and len(programs(calls)) == 1


def test_watching_asks_for_no_network_and_no_shell(traced, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.exr").write_bytes(FRAME)
    calls = traced(*command("watch", "in", "out", "--once", "--settle", 0, "-q"))
    assert (tmp_path / "out/a.exr").is_file()
    assert not [call for call in calls if is_remote(call)]
    assert {Path(program).name for program in programs(calls)} == {Path(sys.executable).name}


def test_the_trace_sees_sockets(traced):
    call = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()"
    assert any(is_remote(call) for call in traced(sys.executable, "-c", call))
