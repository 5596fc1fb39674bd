"""C++ hosts: the header over the host's own memory, and libOpenImageDenoise run by mdenoise under hosts of OIDN."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

CPP = Path(__file__).resolve().parent.parent / "integrations" / "cpp"
HEIGHT, WIDTH = 100, 140

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc)")


def build(folder: Path, *options: str) -> Path:
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    if find_spec("pybind11") is None:
        pytest.skip("no pybind11 (pip install pybind11)")
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        pytest.skip("this Python has no shared libpython")
    flags = ["-DMDENOISE_WERROR=ON", "-DMDENOISE_BUILD_TESTS=ON", f"-DPython_EXECUTABLE={sys.executable}", *options]
    run(["cmake", "-S", CPP, "-B", folder, *flags], timeout=300)
    run(["cmake", "--build", folder, "--parallel", "2"], timeout=1800)
    return folder


def run(command: list[object], *, code: int = 0, timeout: float = 600, **environment: str) -> str:
    """What the command printed; its exit code must be `code`."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env=os.environ | environment,
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("cpp"))


def write_pfm(path: Path, image: np.ndarray) -> Path:
    path.write_bytes(b"PF\n%d %d\n-1.0\n" % (image.shape[1], image.shape[0]) + image.astype("<f4").tobytes())
    return path


def read_pfm(path: Path) -> np.ndarray:
    _, size, _, data = path.read_bytes().split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(data, "<f4").reshape(height, width, 3)


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """A float EXR, what the command line makes of it, and its planes as PFM: upright and with the bottom row first."""
    folder = tmp_path_factory.mktemp("frame")
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) / 40
    albedo = np.dstack([0.5 + 0.4 * np.sin(3 * x), 0.5 + 0.4 * np.cos(2 * y), 0.3 + 0.2 * np.sin(x * y)])
    normal = np.dstack([np.sin(x), np.cos(x) * np.sin(y), np.cos(x) * np.cos(y)])
    light = np.random.default_rng(5).gamma(1.5, 1.0, (HEIGHT, WIDTH, 1))
    planes = {"color": albedo * light, "albedo": albedo, "normal": normal}
    planes = {name: np.ascontiguousarray(plane, np.float32) for name, plane in planes.items()}
    names = {"color": ("R", "G", "B"), "albedo": ("albedo.R", "albedo.G", "albedo.B"), "normal": ("N.X", "N.Y", "N.Z")}
    channels = {
        name: np.ascontiguousarray(planes[plane][..., c]) for plane in names for c, name in enumerate(names[plane])
    }
    source = folder / "frame.exr"
    with OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels) as file:
        file.write(str(source))
    run([sys.executable, "-m", "mdenoise", source])
    with OpenEXR.File(str(folder / "frame.denoised.exr"), separate_channels=True) as file:
        clean = np.dstack([file.channels()[name].pixels for name in "RGB"])
    assert clean.dtype == np.float32 and not np.array_equal(clean, planes["color"])
    for name, plane in planes.items():
        write_pfm(folder / f"{name}.pfm", plane)
        write_pfm(folder / f"{name}.bottom-up.pfm", plane[::-1])
    np.savez(folder / "planes.npz", clean=clean, **planes)
    return folder, clean


@needs_cc
def test_header_is_plain_c99(tmp_path):
    source = tmp_path / "use.c"
    source.write_text("#include <OpenImageDenoise/oidn.h>\nint main(void) { return oidnGetNumPhysicalDevices(); }\n")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    run(["cc", *flags, "-I", CPP / "include", source])


@pytest.mark.slow
def test_buffer_is_denoised_in_place_without_a_copy_on_threads(built, frame, tmp_path):
    folder, clean = frame
    aux = [part for n in ("albedo", "normal") for part in (f"--{n}", folder / f"{n}.bottom-up.pfm")]
    color = folder / "color.bottom-up.pfm"
    printed = run([built / "denoise_buffer", color, tmp_path / "out.pfm", *aux, "--threads", 4])
    assert "without a copy: yes" in printed and "threads agree: yes" in printed
    np.testing.assert_array_equal(read_pfm(tmp_path / "out.pfm")[::-1], clean)


@pytest.mark.slow
def test_python_errors_are_exceptions_of_one_line(built, frame, tmp_path):
    example, color = built / "denoise_buffer", frame[0] / "color.pfm"
    printed = run([example, color, tmp_path / "o.pfm", "--quality", "fine"], code=1)
    assert printed.splitlines()[-1] == "UsageError: quality 'fine' is not known: use fast, balanced, best"
    printed = run([example, color, tmp_path / "o.pfm", "--albedo", color, "--stop-at", "0.01"], code=1)
    assert printed.splitlines()[-1] == "Cancelled: stopped before the end"
    empty = tmp_path / "empty"  # a Python without packages: its own folder, no site-packages of ours
    run([sys.executable, "-m", "venv", "--without-pip", empty])
    printed = run([example, color, tmp_path / "o.pfm"], code=1, MDENOISE_PYTHON=str(empty / "bin" / "python"))
    assert "cannot import mdenoise with" in printed and "Set MDENOISE_PYTHON" in printed.splitlines()[-1]
    assert not (tmp_path / "o.pfm").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{}, {"ASYNC": "1"}, {"QUALITY": "5"}, {"MAX_MEMORY_MB": "1"}],  # 1 MB cannot be kept: to OIDN it is a wish
    ids=["sync", "async", "balanced", "memory"],
)
def test_host_of_oidn_gets_the_pixels_of_the_command_line(built, frame, tmp_path, environment):
    folder, clean = frame
    planes = [folder / f"{name}.pfm" for name in ("color", "albedo", "normal")]
    assert "progress 1, version 205" in run([built / "oidn_host", tmp_path / "out.pfm", *planes], **environment)
    np.testing.assert_allclose(read_pfm(tmp_path / "out.pfm"), clean, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["errors", "order", "threads", "exit-while-running"])
def test_library_stands_what_hosts_do(built, what):
    assert "as it should be" in run([built / "oidn_abuse", what])


@pytest.mark.slow
def test_library_opened_and_closed_as_plugins_do(built):
    assert "as it should be" in run([built / "oidn_plugin_host", built / "libOpenImageDenoise.so.2"])


def pyoidn_folder() -> Path:
    found = find_spec("pyoidn")
    if found is None or found.origin is None:
        pytest.skip("no pyoidn (pip install pyoidn)")
    return Path(found.origin).parent


def exports(library: Path) -> set[str]:
    table = run(["nm", "-D", "--defined-only", library])
    return {line.split()[2] for line in table.splitlines() if line.split()[1] == "T"}


@pytest.mark.slow
def test_library_has_the_functions_and_the_name_of_oidn(built):
    theirs = pyoidn_folder() / "oidn" / "lib" / "libOpenImageDenoise.so.2"
    ours = built / "libOpenImageDenoise.so.2"
    assert exports(ours) == exports(theirs)
    assert "[libOpenImageDenoise.so.2]" in run(["readelf", "-d", ours])


PYOIDN_HOST = """
import sys
import numpy as np
import pyoidn
planes = np.load(sys.argv[1])
assert pyoidn.__file__.startswith(sys.argv[2]), pyoidn.__file__
color, clean = planes["color"], planes["clean"]
got = pyoidn.denoise(color, planes["albedo"], planes["normal"], hdr=True, quality="balanced")
assert np.abs(got - clean).max() <= 1e-6, np.abs(got - clean).max()
half = pyoidn.denoise(color.astype(np.float16), hdr=True, quality="fast")
assert half.dtype == np.float16 and np.isfinite(half).all() and half.std() < color.std()
unit = pyoidn.denoise(planes["normal"] , hdr=False, quality="fast")
assert unit.min() >= 0 and unit.max() <= 1  # LDR
device = pyoidn.Device(); device.commit()
grey = np.ascontiguousarray(color[..., 0]); out = np.zeros((*grey.shape, 2), np.float32)  # every other float
normal = planes["normal"].copy()
with pyoidn.Filter(device) as only_normal:  # prefiltered in place; directions keep their sign
    only_normal.set_image("normal", normal, pyoidn.OIDN_FORMAT_FLOAT3)
    only_normal.set_image("output", normal, pyoidn.OIDN_FORMAT_FLOAT3)
    only_normal.commit(); only_normal.execute()
    assert device.get_error() is None
assert normal.min() < -0.5 and np.abs(normal - planes["normal"]).mean() < 0.1
with pyoidn.Filter(device) as strided:
    strided.set_image("color", grey, pyoidn.OIDN_FORMAT_FLOAT)
    strided.set_image("output", out, pyoidn.OIDN_FORMAT_FLOAT, pixel_byte_stride=8)
    strided.set_bool("hdr", True); strided.commit(); strided.execute()
    assert device.get_error() is None
assert out[..., 0].all() and not out[..., 1].any()
try:
    pyoidn.denoise(color, filter_type="RTLightmap")
except RuntimeError as error:
    assert "RTLightmap" in str(error), error
else:
    raise AssertionError("RTLightmap")
if sys.argv[3:] == ["leave"]:  # the interpreter ends while a filter runs, and with a device that nobody released
    running = pyoidn.Filter(device)
    running.set_image("color", color, pyoidn.OIDN_FORMAT_FLOAT3)
    running.set_image("output", got, pyoidn.OIDN_FORMAT_FLOAT3)
    running.commit(); running.execute_async()
print("same pixels")
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", [[], ["leave"]], ids=["released", "left running"])
def test_pyoidn_loads_it_and_gets_the_pixels_of_the_command_line(built, frame, tmp_path, ending):
    """pyoidn opens the library in its own folder: a copy of its Python files with ours there is pyoidn unchanged."""
    package = tmp_path / "pyoidn"
    shutil.copytree(pyoidn_folder(), package, ignore=shutil.ignore_patterns("oidn", "__pycache__"))
    (package / "oidn" / "lib").mkdir(parents=True)
    (package / "oidn" / "lib" / "libOpenImageDenoise.so").symlink_to(built / "libOpenImageDenoise.so.2")
    host = tmp_path / "host.py"
    host.write_text(PYOIDN_HOST, "utf-8")
    command = [sys.executable, host, frame[0] / "planes.npz", tmp_path, *ending]
    assert run(command, PYTHONPATH=str(tmp_path)).splitlines()[-1] == "same pixels"


def borrow(program: str, built: Path, folder: Path) -> Path:
    """A program of OIDN with our library where it looks for its own: ../lib."""
    (folder / "bin").mkdir()
    (folder / "lib").mkdir()
    (folder / "lib" / "libOpenImageDenoise.so.2").symlink_to(built / "libOpenImageDenoise.so.2")
    return Path(shutil.copy(pyoidn_folder() / "oidn" / "bin" / program, folder / "bin"))


@pytest.mark.slow
def test_programs_of_oidn_run_on_it(built, frame, tmp_path):
    folder, clean = frame
    program = borrow("oidnDenoise", built, tmp_path)
    aux = ["--alb", folder / "albedo.bottom-up.pfm", "--nrm", folder / "normal.bottom-up.pfm", "-q", "b"]
    run([program, "--hdr", folder / "color.bottom-up.pfm", *aux, "-o", tmp_path / "out.pfm"])
    np.testing.assert_allclose(read_pfm(tmp_path / "out.pfm")[::-1], clean, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases",
    [
        "physical device,device creation,device parameters,error function,user weights",
        "buffer creation,buffer read/write,buffer properties,filter parameters",
        "single device,multiple devices,shared image",
    ],
    ids=["devices", "buffers", "filters"],
)
def test_own_tests_of_oidn_pass_on_it(built, tmp_path, cases):
    assert "All tests passed" in run([borrow("oidnTest", built, tmp_path), cases])


@pytest.mark.slow
def test_under_address_sanitizer(frame, tmp_path):
    built = build(tmp_path / "asan", "-DMDENOISE_SANITIZE=address", "-DCMAKE_BUILD_TYPE=Debug")
    watched = {"LSAN_OPTIONS": f"suppressions={CPP / 'cpython.supp'}", "ASAN_OPTIONS": "allocator_may_return_null=1"}
    watched["TBB_ENABLE_SANITIZERS"] = "1"  # no RTLD_DEEPBIND, which the sanitizer refuses
    color = frame[0] / "color.bottom-up.pfm"
    example = [built / "denoise_buffer", color, tmp_path / "out.pfm"]
    assert "threads agree: yes" in run([*example, "--threads", 3], timeout=1200, **watched)
    run([*example, "--quality", "fine"], code=1, **watched)
    for what in ("errors", "order", "threads"):
        assert "as it should be" in run([built / "oidn_abuse", what], timeout=1200, **watched)
    watched["ASAN_OPTIONS"] += ":detect_leaks=0"  # it leaves without releasing anything
    assert "as it should be" in run([built / "oidn_abuse", "exit-while-running"], timeout=1200, **watched)
