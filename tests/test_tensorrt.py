"""TensorRT without a GPU: NVIDIA's own compiler takes every shipped graph, and compiled models are kept safely."""

import ast
import errno
import inspect
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdenoise import models
from mdenoise.engines import cuda, plans, tensorrt, tensorrt_build
from mdenoise.errors import EngineError

from .processes import wait_for

KEY = {"model": "abc", "library": "tensorrt 11.4", "gpu": "GPU", "driver": "13.0", "precision": "fp16"}
NAMES = sorted(path.name for path in models.WEIGHTS.glob("*.onnx"))
posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")


def made(path, key=KEY, plan=b"compiled"):
    """The plan, and whether it was made by this call."""
    return plans.load_or_build(path, key, lambda: plan)


@pytest.fixture(autouse=True)
def talkative(caplog):
    """A command with --quiet, run before in this process, has silenced the logger."""
    caplog.set_level(logging.DEBUG, logger="mdenoise")


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# --- the store of compiled models


def test_a_plan_is_made_once_and_private(tmp_path):
    path = tmp_path / "a.plan"
    assert made(path) == (b"compiled", True)
    assert made(path, plan=b"other") == (b"compiled", False)
    if os.name != "nt":
        assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("name", KEY)
def test_a_stale_plan_is_made_again(tmp_path, caplog, name):
    path = tmp_path / "a.plan"
    made(path)
    newer = KEY | {name: "newer"}
    assert made(path, newer, b"new") == (b"new", True)
    assert warnings(caplog) == [f"{path} is not used and made again: it is of another version, model, driver or GPU"]
    assert made(path, newer) == (b"new", False)


@pytest.mark.parametrize("harm", ["flip", "cut", "header", "empty", "noise", "longer", "no key"])
def test_a_damaged_or_half_written_plan_is_made_again(tmp_path, caplog, harm):
    path = tmp_path / "a.plan"
    made(path, plan=bytes(range(256)) * 8)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "flip": whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:],
            "cut": whole[: len(whole) // 2],
            "header": whole[:20],
            "empty": b"",
            "noise": os.urandom(4096),
            "longer": whole + b"x",
            "no key": b"[]\n" + whole.partition(b"\n")[2],
        }[harm]
    )
    assert made(path, plan=b"new") == (b"new", True)
    assert warnings(caplog) == [f"{path} is not used and made again: it is damaged"]
    assert made(path) == (b"new", False)


@posix
@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_plan_that_others_can_write_is_not_loaded(tmp_path, caplog, mode):
    path = tmp_path / "a.plan"
    made(path, plan=b"evil")
    path.chmod(mode)
    assert plans.read(path, KEY) is None
    assert made(path, plan=b"good") == (b"good", True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert warnings(caplog) == [f"{path} is not used and made again: others can write to it"] * 2


@posix
def test_a_plan_of_another_user_is_not_loaded(tmp_path, caplog):
    path = tmp_path / "a.plan"
    made(path, plan=b"evil")
    try:
        os.chown(path, 65534, -1)
    except OSError:  # only root can, and in a container only to users whom it knows
        pytest.skip("this user cannot give files away")
    assert made(path, plan=b"good") == (b"good", True)
    assert path.stat().st_uid == os.getuid()
    assert warnings(caplog) == [f"{path} is not used and made again: it belongs to another user"]


@posix
def test_a_link_is_not_followed(tmp_path):
    path, elsewhere = tmp_path / "a.plan", tmp_path / "elsewhere"
    made(elsewhere, plan=b"evil")
    path.symlink_to(elsewhere)
    assert made(path, plan=b"good") == (b"good", True)
    assert not path.is_symlink() and elsewhere.read_bytes().endswith(b"evil")


@posix
def test_a_folder_that_others_can_write_keeps_nothing(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = plans.private_folder("tensorrt")
    assert folder is not None and folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert plans.private_folder("tensorrt") is None
    assert warnings(caplog) == [f"compiled models are not kept: {folder}: others can write to it"]


def test_a_failed_build_keeps_nothing(tmp_path):
    def fail():
        raise EngineError("no")

    with pytest.raises(EngineError):
        plans.load_or_build(tmp_path / "a.plan", KEY, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.plan.lock"]
    assert made(tmp_path / "a.plan") == (b"compiled", True)


@posix
def test_a_lock_that_cannot_be_had_costs_only_the_keeping(tmp_path, caplog):
    (tmp_path / "a.plan.lock").mkdir()
    assert made(tmp_path / "a.plan") == (b"compiled", True)
    assert not (tmp_path / "a.plan").exists()
    assert warnings(caplog) == [
        f"a compiled model is not kept: cannot lock {tmp_path / 'a.plan'}: {os.strerror(errno.EISDIR)}"
    ]


PROCESS = """
import os, sys, time
from pathlib import Path
from mdenoise.engines import plans
folder, key = Path(sys.argv[1]), {"model": "abc"}
def build():
    (folder / f"built.{os.getpid()}").touch()
    time.sleep(float(sys.argv[2]))
    return b"plan" * 1000
print("ready", flush=True)
sys.stdin.readline()
plan, fresh = plans.load_or_build(folder / "a.plan", key, build)
assert plan == b"plan" * 1000
print(fresh, flush=True)
"""


def start(folder, seconds):
    child = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    return child


def go(child):
    child.stdin.write("\n")
    child.stdin.flush()


def test_processes_that_build_at_once_build_once(tmp_path):
    children = [start(tmp_path, 0.5) for _ in range(3)]
    for child in children:
        go(child)
    answers = [child.communicate(timeout=120)[0] for child in children]
    assert sorted(answers) == ["False\n", "False\n", "True\n"]
    assert len(list(tmp_path.glob("built.*"))) == 1


@posix
def test_a_builder_that_is_killed_leaves_the_next_one_free(tmp_path):
    first, second = start(tmp_path, 600), start(tmp_path, 0)
    go(first)
    wait_for(lambda: list(tmp_path.glob("built.*")))
    go(second)
    time.sleep(0.2)
    assert second.poll() is None  # it waits
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=120)[0] == "True\n"
    first.communicate()
    assert not list(tmp_path.glob("*.tmp"))


# --- NVIDIA's libraries


@pytest.fixture(scope="module")
def rtx():
    if tensorrt_build.missing("tensorrt_rtx"):
        pytest.skip(tensorrt_build.missing("tensorrt_rtx"))
    return tensorrt_build.load_library("tensorrt_rtx")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_tensorrt_rtx_compiles_every_shipped_graph(rtx, name, capsys):
    logger = tensorrt_build.open_logger(rtx)
    builder = rtx.Builder(logger)
    network, parser = tensorrt_build.read_network(rtx, builder, models.WEIGHTS / name, logger)
    kinds = {network.get_input(i).name: str(network.get_input(i).dtype) for i in range(network.num_inputs)}
    assert set(kinds.values()) == {"DataType.FLOAT"} and ("layers" in kinds) == ("fused" in name)
    layers = network.num_layers
    del parser
    started = time.process_time()
    plan = tensorrt_build.build(rtx, models.WEIGHTS / name, exact="fp16" not in name, largest_px=1280)
    seconds = time.process_time() - started
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {layers} layers, {seconds:.1f} CPU s, {len(plan) / 1e6:.1f} MB ")
    assert len(plan) > 1e6 and not logger.errors


@pytest.mark.slow
def test_two_processes_compile_once(rtx, tmp_path):
    code = """
import sys
from pathlib import Path
from mdenoise.engines import plans, tensorrt_build
def build():
    print("compiles", flush=True)
    trt = tensorrt_build.load_library("tensorrt_rtx")
    return tensorrt_build.build(trt, Path(sys.argv[1]), exact=True, largest_px=1280)
plan, _ = plans.load_or_build(Path(sys.argv[2]), {"model": "base"}, build)
print(len(plan))
"""
    command = [sys.executable, "-c", code, str(models.WEIGHTS / "base.onnx"), str(tmp_path / "a.plan")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for child in children for line in child.communicate(timeout=300)[0].splitlines()]
    assert lines.count("compiles") == 1
    assert len(lines) == 3 and lines[-1].isdigit() and int(lines[-1]) > 1e6


def test_what_cannot_be_parsed_is_one_line(rtx, tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model at all")
    with pytest.raises(EngineError, match=r"tensorrt_rtx cannot read broken\.onnx: ") as caught:
        tensorrt_build.build(rtx, path, exact=False, largest_px=1280)
    assert "\n" not in str(caught.value)


def attributes(module, root):
    """Every dotted name under `root` that a module's source uses: `trt.A.B` as ("A", "B")."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute):
            names, inner = [], node
            while isinstance(inner, ast.Attribute):
                names.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id == root:
                found.add(tuple(reversed(names)))
    return found


def test_every_name_that_is_used_exists_in_the_library(rtx):
    """What only runs on a GPU is at least spelled as NVIDIA spells it."""
    names = attributes(tensorrt, "trt") | attributes(tensorrt_build, "trt")
    assert len(names) > 10
    for chain in names:
        owner = rtx
        for name in chain:
            assert hasattr(owner, name), ".".join(chain)
            owner = getattr(owner, name)
    source = inspect.getsource(tensorrt) + inspect.getsource(tensorrt_build)
    classes = {
        r"_context\.": rtx.IExecutionContext, r"builder\.": rtx.Builder, r"parser\.": rtx.OnnxParser,
        r"profile\.": rtx.IOptimizationProfile, r"network\.": rtx.INetworkDefinition,
        r"engine\.(?=create)": rtx.ICudaEngine, r"_runtime\.": rtx.Runtime, r"_cache\.": rtx.IRuntimeCache,
    }  # fmt: skip
    for pattern, owner in classes.items():
        used = set(re.findall(rf"\b{pattern}(\w+)", source)) | set(re.findall(rf"self\.{pattern}(\w+)", source))
        assert used, pattern
        for name in used:
            assert hasattr(owner, name), f"{owner.__name__}.{name}"
    for name in re.findall(r"\bconfig\.(\w+)", source):
        assert hasattr(rtx.IBuilderConfig, name) or hasattr(rtx.IRuntimeConfig, name), name


def test_every_cuda_call_exists():
    cudart = pytest.importorskip("cuda.bindings.runtime")
    names = attributes(cuda, "cudart")
    assert len(names) > 12
    for chain in names:
        owner = cudart
        for name in chain:
            assert hasattr(owner, name), ".".join(chain)
            owner = getattr(owner, name)


@pytest.mark.skipif(cuda.missing() is None, reason="this machine has a GPU")
def test_no_driver_is_one_line(rtx):
    pytest.importorskip("cuda.bindings.runtime")
    with pytest.raises(EngineError, match=r"^cudaGetDeviceCount failed on the GPU: cudaError\w+$"):
        cuda.open_gpu(0)
    with pytest.raises(EngineError, match="NVIDIA driver"):
        tensorrt.TensorRtEngine(models.load_card(), library="tensorrt_rtx")


INCOMPLETE = {
    "libraries are missing": ("raise ImportError('libnvinfer.so.11: cannot open shared object file')", "libnvinfer"),
    "a library does not load": ("raise OSError('wrong ELF class')", "wrong ELF class"),
    "lean runtime": ("class Runtime: pass", "without its compiler"),
    "folder without a module": (None, "without its compiler"),
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_an_incomplete_installation_is_one_line(tmp_path, what):
    source, reason = INCOMPLETE[what]
    (tmp_path / "tensorrt").mkdir()
    if source is not None:
        (tmp_path / "tensorrt" / "__init__.py").write_text(source, "utf-8")
    assert reason in refusal(tmp_path)


def test_the_real_bindings_without_their_libraries_are_one_line(tmp_path):
    """`tensorrt_bindings` is NVIDIA's wheel; the libraries beside it come from another index and are not here."""
    from importlib.util import find_spec

    if find_spec("tensorrt_bindings") is None or find_spec("tensorrt_libs") is not None:
        pytest.skip("needs tensorrt-cu13-bindings alone: pip install --no-deps tensorrt-cu13-bindings")
    (tmp_path / "tensorrt").mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("from tensorrt_bindings import *", "utf-8")
    said = refusal(tmp_path)
    assert said.startswith("TensorRT is installed in part and cannot be loaded: lib") and "cannot open shared" in said


def refusal(folder: Path) -> str:
    """What `load_library` says in a process whose `tensorrt` is that in `folder`."""
    code = """
from mdenoise.engines import tensorrt_build
from mdenoise.errors import EngineError
try:
    tensorrt_build.load_library("tensorrt")
except EngineError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1 and done.stderr == ""
    return done.stdout.strip()


def test_the_header_tells_what_a_plan_is_for(tmp_path):
    made(tmp_path / "a.plan")
    header = json.loads((tmp_path / "a.plan").read_bytes().partition(b"\n")[0])
    assert header["key"] == KEY and header["bytes"] == len(b"compiled")
