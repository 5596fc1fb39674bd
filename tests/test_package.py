"""What is shipped: a wheel with the compiled filter and the default model, and without sources of the former."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(folder)]
    command += ["-C", f"build-dir={folder / 'build'}"]  # not the one of an editable install
    if all(importlib.util.find_spec(name) for name in ("scikit_build_core", "pybind11")):
        command.append("--no-build-isolation")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (wheel,) = folder.glob("mdenoise-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_wheel_holds_the_compiled_filter(wheel_names):
    (native,) = [name for name in wheel_names if name.startswith("mdenoise/_native.") and not name.endswith(".pyi")]
    assert native.endswith((".so", ".pyd"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("weights/base.onnx", "weights/base.json", "weights/base.fused.fp16.onnx"),
        *("py.typed", "_native.pyi", "training/__init__.py", "training/weights/base.safetensors"),
        "integrations/openjd/mdenoise.template.yaml",
        "integrations/blender/extension/blender_manifest.toml",
    ],
)
def test_wheel_holds(wheel_names, name):
    assert f"mdenoise/{name}" in wheel_names


@pytest.mark.slow
def test_wheel_holds_every_module(wheel_names):
    folders = {"plugin": "mdenoise", **{kit: f"mdenoise/{kit}" for kit in ("training", "exporters", "integrations")}}
    for folder, package in folders.items():
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{package}/{path.relative_to(ROOT / folder).as_posix()}" in wheel_names


@pytest.mark.slow
def test_wheel_holds_nothing_else(wheel_names):
    assert all(name.startswith(("mdenoise/", "mdenoise-")) for name in wheel_names)
    unwanted = (".cpp", ".h", ".pyc", "CMakeLists.txt")
    assert not [name for name in wheel_names if name.endswith(unwanted) or name.startswith("mdenoise/native/")]
