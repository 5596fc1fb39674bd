"""The order of the modules: who may import whom, and that `import mdenoise` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mdenoise
from mdenoise import errors

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "plugin": "mdenoise",
    "training": "mdenoise.training",
    "exporters": "mdenoise.exporters",
    "integrations": "mdenoise.integrations",
}
# A module may import those of its own row and of the rows below it.
ROWS = (
    ("cli",),
    (
        "watch",
        "watch_run",
        "watch_control",
        "watch_scan",
        "watch_work",
        "watch_results",
        "watch_move",
        "watch_status",
        "posthook",
        "postframe",
        "spool",
        "spool_owner",
        "spool_records",
        "spool_journal",
        "batch",
        "batch_plan",
        "isolation",
        "isolation_process",
        "report",
        "doctor",
        "inputs",
        "budget",
    ),
    (
        "hooks",
        "turns",
        "pipeline",
        "predict",
        "columns",
        "memory",
        "look",
        "tile_guide",
        "robustness",
        "compat",
        "prefilter",
        "temporal",
        "joining",
        "motion",
        "warp",
    ),
    (
        "adapters",
        "arrays",
        "engines",
        "tiles",
        "filter",
        "guide",
        "models",
        "noise",
        "render_noise",
        "sensor_noise",
        "masks",
        "chroma",
        "uncertainty",
    ),
    ("frame", "config", "atomic", "sequences", "machine", "mosaic", "_native"),
    ("errors",),
)
ROW = {name: i for i, row in enumerate(ROWS) for name in row}
SHARED_WITH_TRAINING = {"frame", "config", "errors", "guide", "filter", "chroma", "mosaic"}
PUBLIC = {"", *mdenoise.__all__}  # "": the package itself, as `import mdenoise`
BLENDER = "mdenoise.integrations.blender.extension"
USES_PUBLIC = {
    f"mdenoise.training.{name}"
    for name in ("gate", "render_evaluate", "photos", "compare", "uncertainty", "render_ablation", "sensor_sets")
}
USES_PUBLIC |= {"mdenoise.training.budget", "mdenoise.training.additive", "mdenoise.exporters.parity"}
READS_FILES = {
    f"mdenoise.training.{name}" for name in ("pairing", "raw_evaluate", "sensor_sets")
}  # as the product does


def find_sources() -> dict[str, Path]:
    """Module name -> file, of everything that is installed."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


SOURCES = find_sources()


def imports_of(module: str) -> list[tuple[str, bool]]:
    """(imported module, whether on import of `module`) of all import statements, those inside functions too."""
    tree = ast.parse(SOURCES[module].read_text("utf-8"))
    found = []

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and module.startswith(BLENDER) and node.level:
            pass  # an extension cannot know its own name: Blender chooses it when it installs one
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                whole = inner in SOURCES or node.module == "mdenoise"  # a module, or a public name of the package
                found.append((inner if whole else node.module, at_import))
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            inside = True
        for child in ast.iter_child_nodes(node):
            visit(child, at_import and not inside)

    visit(tree, True)
    return found


def part(name: str) -> str:
    """`mdenoise.adapters.exr` -> `adapters`; the package itself -> ``."""
    return [*name.split("."), ""][1]


def test_every_module_has_a_row():
    known = {*ROW, "", "__main__", "training", "exporters", "integrations"}
    assert {part(name) for name in SOURCES} - known == set()


def may_import(module: str, name: str) -> bool:
    package, target = part(module), part(name)
    public = PUBLIC if module in USES_PUBLIC else set()
    if package in ("", "__main__"):  # the public names come from anywhere, and late
        return True
    if package == "training":
        return target in SHARED_WITH_TRAINING | public | ({"adapters"} if module in READS_FILES else set())
    if package == "exporters":
        trained = {f"mdenoise.training.{name}" for name in ("model", "data", "rendered")}
        return name in trained or target in SHARED_WITH_TRAINING | {"models", "engines"} | public
    if package == "integrations":
        return target in PUBLIC | {"errors", "config", "hooks"}
    return target == "__version__" or ROW.get(target, -1) >= ROW[package]


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_imports_go_down_only(module):
    for name, _ in imports_of(module):
        top = name.split(".")[0]
        assert top not in (*FOLDERS, "tests"), f"{module} imports {name}: write mdenoise.{top}"
        assert not name.startswith("mdenoise.plugin"), f"{module} imports {name}: that is a second copy of mdenoise"
        if top == "mdenoise" and part(name) != part(module):
            assert may_import(module, name), f"{module} imports {name}"


def test_the_rule_can_fail():
    assert may_import("mdenoise.cli.app", "mdenoise.batch") and not may_import("mdenoise.batch", "mdenoise.cli.app")
    assert not may_import("mdenoise.filter", "mdenoise.training.filter")
    assert not may_import("mdenoise.adapters.exr", "mdenoise.Denoiser")
    assert not may_import("mdenoise.training.data", "mdenoise.adapters")
    assert not may_import("mdenoise.training.train", "mdenoise.Denoiser")
    assert may_import("mdenoise.training.gate", "mdenoise.Denoiser")


def test_no_import_cycle():
    graph = {m: {n for n, at_import in imports_of(m) if at_import and n in SOURCES and n != m} for m in SOURCES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in graph[module]:
                visit(name, (*path, module))
            done.add(module)

    for module in SOURCES:
        visit(module, ())


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = ("torch", "openvino", "onnxruntime", "onnx", "OpenEXR", "imageio", "rawpy", "mitsuba", "numpy", "click", "rich")


def test_import_is_light():
    loaded = run_python("import sys, mdenoise; mdenoise.__version__; print(*sys.modules)").split()
    assert not [name for name in HEAVY if name in loaded]


def test_import_is_fast():
    code = "import time; t = time.process_time(); import mdenoise; print(time.process_time() - t)"
    assert min(float(run_python(code)) for _ in range(5)) < 0.15


def test_engines_and_formats_load_on_use():
    modules = ("hooks", "pipeline", "filter", "guide", "tiles", "models", "adapters", "engines", "cli.app")
    loaded = run_python(f"import sys, {', '.join(f'mdenoise.{m}' for m in modules)}; print(*sys.modules)").split()
    assert not {"torch", "openvino", "onnxruntime", "onnx", "OpenEXR", "imageio", "rawpy", "mitsuba"} & set(loaded)


def test_public_names_are_there():
    for name in mdenoise.__all__:
        assert getattr(mdenoise, name) is not None
        assert name in dir(mdenoise)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mdenoise.nothing
    assert mdenoise.InputError is errors.InputError
    missing = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, Exception)}
    assert missing <= set(mdenoise.__all__)


def test_python_m_mdenoise():
    done = subprocess.run([sys.executable, "-m", "mdenoise", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert mdenoise.__version__ in done.stdout
