"""The Blender extension: its process handling everywhere, and the whole of it in a real, headless Blender (bpy)."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

import mdenoise
from mdenoise.integrations import blender

MDENOISE = Path(sys.executable).with_name("mdenoise")


def load_command():
    """The module that runs mdenoise; the package around it needs bpy."""
    spec = importlib.util.spec_from_file_location("blender_command", blender.SOURCE / "command.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


command = load_command()


def render(path, size=48):
    rng = np.random.default_rng(3)
    planes = {f"ViewLayer.Combined.{c}": rng.gamma(2.0, 0.5, (size, size)).astype(np.float32) for c in "RGB"}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, planes).write(str(path))
    return path


def parts(path):
    """Channel name -> (part, pixels) of a file, and the names of its parts in order."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        planes = {
            name: (index, np.array(channel.pixels))
            for index, part in enumerate(file.parts)
            for name, channel in part.channels.items()
        }
        return planes, [part.header.get("name", "") for part in file.parts]


def same(one, other):
    """Whether two files hold the same channels with the same bits in the same parts."""
    (planes, names), (others, other_names) = parts(one), parts(other)
    return (
        names == other_names
        and planes.keys() == others.keys()
        and all(
            planes[name][0] == others[name][0]
            and planes[name][1].dtype == others[name][1].dtype
            and planes[name][1].tobytes() == others[name][1].tobytes()
            for name in planes
        )
    )


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


def test_manifest_is_of_this_version():
    manifest = tomllib.loads((blender.SOURCE / "blender_manifest.toml").read_text("utf-8"))
    assert manifest["version"] == mdenoise.__version__ and manifest["id"] == "mdenoise"


def test_zip_holds_the_source_and_is_the_same_every_time(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mdenoise.integrations.blender", str(tmp_path / "dist")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path == tmp_path / "dist" / f"mdenoise-{mdenoise.__version__}.zip"
    with zipfile.ZipFile(path) as packed:
        for name in packed.namelist():
            assert packed.read(name) == (blender.SOURCE / name).read_bytes()
        assert {"__init__.py", "blender_manifest.toml"} <= set(packed.namelist())
        assert not [name for name in packed.namelist() if "torch" in name or name.endswith(".whl")]
    first = path.read_bytes()
    assert blender.build(tmp_path / "dist").read_bytes() == first


@pytest.mark.skipif(not MDENOISE.exists(), reason="needs the mdenoise command beside this Python")
def test_result_beside_the_file_or_in_its_place(tmp_path):
    path = render(tmp_path / "shot_0007.exr")
    rendered = path.read_bytes()
    run = command.Run([str(MDENOISE)], path, ["--strength=0.5"])
    beside = run.wait(120)
    assert beside == tmp_path / "shot.denoised_0007.exr" and run.percent == 100
    assert path.read_bytes() == rendered
    assert command.Run([str(MDENOISE)], path, ["--strength=0.5"], keep=False).wait(120) == path
    assert same(path, beside) and path.read_bytes() != rendered
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["shot.denoised_0007.exr", "shot_0007.exr"]


@pytest.mark.skipif(not MDENOISE.exists(), reason="needs the mdenoise command beside this Python")
@pytest.mark.parametrize("keep", [True, False])
def test_failure_says_why_and_leaves_the_file(tmp_path, keep):
    path = render(tmp_path / "shot_0007.exr")
    rendered = path.read_bytes()
    with pytest.raises(command.Failed, match=r"shot_0007.exr is not denoised: .*nowhere\.onnx"):
        command.Run([str(MDENOISE)], path, ["--model=./nowhere.onnx"], keep).wait(120)
    assert path.read_bytes() == rendered
    assert [entry.name for entry in tmp_path.iterdir()] == ["shot_0007.exr"]


@pytest.mark.skipif(os.name != "posix", reason="needs sh")
def test_program_that_hangs_or_says_nothing(tmp_path):
    path = render(tmp_path / "shot_0007.exr")
    start = time.monotonic()
    with pytest.raises(command.Failed, match=r"stopped after 0.3 s, the time limit"):
        command.Run(script(tmp_path / "hangs", "exec sleep 60"), path, []).wait(0.3)
    assert time.monotonic() - start < 20
    with pytest.raises(command.Failed, match="ended with exit code 9"):
        command.Run(script(tmp_path / "silent", "exit 9"), path, []).wait(60)
    with pytest.raises(command.Failed, match="exit code 0"):  # success without a result is none
        command.Run(script(tmp_path / "liar", "exit 0"), path, [], keep=False).wait(60)
    run = command.Run(script(tmp_path / "stopped", "exec sleep 60"), path, [])
    run.stop()
    with pytest.raises(command.Failed, match="cancelled"):
        run.result()


def test_program_is_found(tmp_path, monkeypatch):
    with pytest.raises(command.Failed, match="no such program"):
        command.find(str(tmp_path / "nothing"))
    assert command.find(sys.executable) == [sys.executable]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.find() == [sys.executable, "-m", "mdenoise"]
    assert command.ask(command.find(), "--version").strip() == f"mdenoise {mdenoise.__version__}"
    found = script(tmp_path / "mdenoise", "exit 0")
    assert command.find() == found


# What follows runs in Blender's Python. It prints what it saw as one JSON line.
HOST = """
import importlib, json, os, sys
from pathlib import Path
import bpy

zip_path, out = sys.argv[1], Path(sys.argv[2])
saw = {}

def ours():
    found = []
    for name in dir(bpy.app.handlers):
        handlers = getattr(bpy.app.handlers, name)
        found += [name for handler in handlers if "mdenoise" in handler.__module__] if type(handlers) is list else []
    return found

def scene_settings(samples):
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", samples
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.render.resolution_percentage = 100
    return scene

def render(name, **kind):
    bpy.context.scene.render.filepath = str(out / name)
    return sorted(bpy.ops.render.render(**kind))

module = "bl_ext.user_default.mdenoise"
install = dict(filepath=zip_path, repo="user_default", enable_on_install=True, overwrite=True)
saw["installed"] = sorted(bpy.ops.extensions.package_install_files(**install))
saw["handlers"] = ours()
preferences = bpy.context.preferences

bpy.ops.mesh.primitive_plane_add(size=20, location=(0, 0, -1))
bpy.data.objects["Light"].data.shadow_soft_size = 3.0  # a soft shadow: noise
scene = scene_settings(4)
saw["passes"] = [bpy.context.view_layer.cycles.denoising_store_passes]
scene.mdenoise.enabled = True
saw["passes"].append(bpy.context.view_layer.cycles.denoising_store_passes)
settings = importlib.import_module(module + ".settings")
saw["notes"] = [settings.notes(scene)]
bpy.ops.mdenoise.use_multilayer()
saw["notes"].append(settings.notes(scene))
bpy.context.view_layer.use_pass_z = bpy.context.view_layer.use_pass_vector = True

scene.frame_start, scene.frame_end = 1, 3
saw["animation"] = render("shot_", animation=True)

scene.render.image_settings.media_type = "IMAGE"
scene.render.image_settings.file_format = "OPEN_EXR"
scene.render.image_settings.color_depth = "32"
saw["still"] = render("still", write_still=True)
saw["result"] = sorted(bpy.ops.mdenoise.denoise_result())
image = bpy.data.images["Denoised Render"]
saw["image"] = [list(image.size), image.packed_file is not None, scene.render.image_settings.file_format]
(out / "image.f32").write_bytes(memoryview(__import__("numpy").array(image.pixels[:], "float32")))
saw["file"] = sorted(bpy.ops.mdenoise.denoise_file(filepath=str(out / "still.exr")))

# Off, the same frame: what a failing denoise must leave.
scene.mdenoise.enabled = False
saw["passes"].append(bpy.context.view_layer.cycles.denoising_store_passes)
render("plain", write_still=True)
scene.mdenoise.enabled, scene.mdenoise.keep_original = True, False
saw["in_place"] = render("in_place", write_still=True)
os.environ["MDENOISE_MODEL"] = "./nowhere.onnx"
saw["failing"] = render("failing", write_still=True)
try:
    bpy.ops.mdenoise.denoise_file(filepath=str(out / "plain.exr"))
except RuntimeError as error:
    saw["operator_error"] = str(error)
del os.environ["MDENOISE_MODEL"]
preferences.addons[module].preferences.executable = str(out / "no-such-mdenoise")
render("missing", write_still=True)
preferences.addons[module].preferences.executable = ""
scene.render.image_settings.file_format = "PNG"
bpy.context.view_layer.cycles.denoising_store_passes = False
saw["notes"].append(settings.notes(scene))
render("picture", write_still=True)

# Settings and handlers live on in a file that is opened again.
scene.render.image_settings.file_format = "OPEN_EXR"
scene.mdenoise.keep_original = True
bpy.ops.wm.save_as_mainfile(filepath=str(out / "scene.blend"))
bpy.ops.wm.open_mainfile(filepath=str(out / "scene.blend"))
render("reopened", write_still=True)
saw["handlers_after_open"] = ours()

bpy.ops.preferences.addon_disable(module=module)
saw["disabled"] = [ours(), hasattr(bpy.types.Scene, "mdenoise"), hasattr(bpy.types, "RENDER_PT_mdenoise")]
render("disabled", write_still=True)
bpy.ops.preferences.addon_enable(module=module)
saw["enabled_again"] = ours()

# The reference, at last without denoising.
scene = scene_settings(256)
scene.mdenoise.enabled = False
render("reference", write_still=True)

repo = [repo.module for repo in preferences.extensions.repos].index("user_default")
saw["uninstalled"] = sorted(bpy.ops.extensions.package_uninstall(repo_index=repo, pkg_id="mdenoise"))
saw["left"] = [ours(), hasattr(bpy.types.Scene, "mdenoise"), module in preferences.addons]
saw["left"].append([str(path) for path in Path(os.environ["BLENDER_USER_RESOURCES"]).rglob("*")
                    if path.is_file() and ("mdenoise" in str(path) or path.suffix == ".py")])
print("SAW " + json.dumps(saw))
"""


def blender_python():
    """A Python that has bpy: the one in MDENOISE_BPY_PYTHON, else this one; None without."""
    named = os.environ.get("MDENOISE_BPY_PYTHON")
    if named:
        return named
    return sys.executable if importlib.util.find_spec("bpy") else None


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Everything in one Blender: (what it saw, what it printed, the folder of its files)."""
    python = blender_python()
    if python is None:
        pytest.skip("needs Blender as a module: pip install bpy, or name a Python that has it in MDENOISE_BPY_PYTHON")
    if not MDENOISE.exists():
        pytest.skip("needs the mdenoise command beside this Python")
    folder = tmp_path_factory.mktemp("blender")
    out = folder / "out"
    for name in ("out", "user"):
        (folder / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MDENOISE_")} | {
        "PATH": f"{MDENOISE.parent}{os.pathsep}{os.environ['PATH']}",
        "BLENDER_USER_RESOURCES": str(folder / "user"),
    }
    program = folder / "host.py"
    program.write_text(HOST)
    done = subprocess.run(
        [python, str(program), str(blender.build(folder)), str(out)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("SAW ")]
    assert done.returncode == 0 and said, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return json.loads(said[0][4:]), done.stdout + done.stderr, out


@pytest.mark.slow
def test_extension_is_valid_for_blenders_own_tool(tmp_path):
    python = blender_python()
    if python is None:
        pytest.skip("needs Blender as a module: pip install bpy, or name a Python that has it in MDENOISE_BPY_PYTHON")
    find = (
        "import bpy, pathlib; print(pathlib.Path(bpy.utils.resource_path('LOCAL'), 'scripts/addons_core/bl_pkg/cli'))"
    )
    found = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.split()[-1]
    tool = [python, f"{found}/blender_ext.py"]
    for subject in (blender.SOURCE, blender.build(tmp_path)):
        done = subprocess.run([*tool, "validate", str(subject)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    official = tmp_path / "official.zip"
    build = ["build", "--source-dir", str(blender.SOURCE), "--output-filepath", str(official)]
    done = subprocess.run([*tool, *build], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(official) as theirs, zipfile.ZipFile(blender.build(tmp_path)) as ours:
        assert {name: theirs.read(name) for name in theirs.namelist()} == {
            name: ours.read(name) for name in ours.namelist()
        }


@pytest.mark.slow
def test_animation_keeps_every_part(host):
    saw, _, out = host
    assert saw["installed"] == ["FINISHED"] and saw["animation"] == ["FINISHED"]
    assert saw["handlers"] == ["render_init", "render_write"]
    assert saw["passes"] == [False, True, False]  # switched on, and off again with the denoiser
    switched_on = "Albedo and normal passes switched on: ViewLayer"
    assert saw["notes"][0] == [switched_on, "Output is not OpenEXR: frames will not be denoised"]
    assert saw["notes"][1] == [switched_on]
    assert "No albedo or normal pass, with which it is better: ViewLayer" in saw["notes"][2]
    for frame in (1, 2, 3):
        rendered, names = parts(out / f"shot_{frame:04d}.exr")
        denoised, denoised_names = parts(out / f"shot.denoised_{frame:04d}.exr")
        assert denoised_names == names and denoised.keys() == rendered.keys() and len(denoised) > 12
        for name, (part, plane) in rendered.items():
            assert denoised[name][0] == part and denoised[name][1].dtype == plane.dtype
            if ".Combined." not in name:
                assert denoised[name][1].tobytes() == plane.tobytes(), name
        changed = [name for name in rendered if rendered[name][1].tobytes() != denoised[name][1].tobytes()]
        assert {f"ViewLayer.Combined.{c}" for c in "RGB"} <= set(changed)


def colour(path):
    planes, _ = parts(path)
    return np.stack([planes[c][1] for c in "RGB"], -1)


def error(image, reference):
    return float(np.mean((np.clip(image, 0, 1) - np.clip(reference, 0, 1)) ** 2))


@pytest.mark.slow
def test_still_and_render_result_are_nearer_to_the_reference(host):
    saw, _, out = host
    reference = colour(out / "reference.exr")
    noisy = error(colour(out / "still.exr"), reference)
    assert error(colour(out / "still.denoised.exr"), reference) < 0.7 * noisy
    assert saw["still"] == saw["result"] == saw["file"] == ["FINISHED"]
    assert saw["image"] == [[64, 64], True, "OPEN_EXR"]
    image = np.frombuffer((out / "image.f32").read_bytes(), np.float32).reshape(64, 64, 4)[::-1, :, :3]
    assert error(image, reference) < 0.7 * noisy


@pytest.mark.slow
def test_failure_leaves_the_render_and_is_reported(host):
    saw, printed, out = host
    assert saw["failing"] == saw["in_place"] == ["FINISHED"]
    assert not same(out / "in_place.exr", out / "plain.exr")
    assert same(out / "failing.exr", out / "plain.exr") and same(out / "missing.exr", out / "plain.exr")
    assert "mdenoise: failing.exr is not denoised: " in printed and "nowhere.onnx" in printed
    assert "no-such-mdenoise: no such program" in printed
    assert "mdenoise: frames are not denoised: set the output to OpenEXR" in printed
    assert "plain.exr is not denoised" in saw["operator_error"]
    assert "Traceback" not in printed


@pytest.mark.slow
def test_nothing_is_left_when_it_is_off_or_gone(host):
    saw, _, out = host
    assert saw["handlers_after_open"] == saw["enabled_again"] == ["render_init", "render_write"]
    assert saw["disabled"] == [[], False, False]
    assert saw["uninstalled"] == ["FINISHED"] and saw["left"] == [[], False, False, []]
    expected = {f"shot_{frame:04d}.exr" for frame in (1, 2, 3)} | {
        f"shot.denoised_{frame:04d}.exr" for frame in (1, 2, 3)
    }
    expected |= {f"{name}.exr" for name in ("still", "plain", "in_place", "failing", "missing", "reference")}
    expected |= {"still.denoised.exr", "reopened.exr", "reopened.denoised.exr", "disabled.exr"}
    expected |= {"picture.png", "scene.blend", "image.f32"}
    assert {path.name for path in out.iterdir()} == expected
