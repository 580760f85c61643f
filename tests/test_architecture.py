"""The borders between packages, and what is forbidden everywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("detectors", "rollback", "monitor")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DETECTORS = [path for path in FILES if path.is_relative_to(ROOT / "detectors")]

PURE_LIBRARIES = {"numpy", "scipy", "river"}
PURE_STANDARD = {
    "__future__", "abc", "bisect", "collections", "copy", "dataclasses", "enum", "functools", "hashlib", "heapq",
    "importlib", "inspect", "itertools", "math", "operator", "pkgutil", "re", "statistics", "string", "types", "typing",
    "zlib",
}  # fmt: skip
"""`importlib`, `inspect` and `pkgutil` find the detectors of the package; all else computes."""

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
IMPURE_CALLS = {"open", "input", "print"}

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""


def modules_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.module or "", node.lineno


def calls_of(path: Path) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def imports_into(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{place(path, line)} imports {module}"
        for path in FILES
        if path.is_relative_to(ROOT / package)
        for module, line in modules_of(path)
        if module.partition(".")[0] in forbidden
    ]


def test_detectors_know_neither_rollback_nor_monitor() -> None:
    assert imports_into("detectors", {"rollback", "monitor"}) == []


def test_rollback_does_not_know_monitor() -> None:
    assert imports_into("rollback", {"monitor"}) == []


def test_nothing_in_the_packages_imports_tests_or_benchmarks() -> None:
    assert [found for package in PACKAGES for found in imports_into(package, {"tests", "bench"})] == []


def test_detectors_import_only_what_computes() -> None:
    allowed = PURE_LIBRARIES | PURE_STANDARD | {"detectors"}
    impure = [
        f"{place(path, line)} imports {module}"
        for path in DETECTORS
        for module, line in modules_of(path)
        if module.partition(".")[0] not in allowed
    ]
    assert impure == []


def test_detectors_open_nothing_and_draw_only_from_the_generator_they_are_given() -> None:
    impure = []
    for path in DETECTORS:
        for call in calls_of(path):
            name = ast.unparse(call.func)
            draws = re.fullmatch(r"(np|numpy)\.random\.(\w+)", name)
            seeded = draws and draws[2] == "default_rng" and call.args
            if name in IMPURE_CALLS or (draws and not seeded):
                impure.append(f"{place(path, call.lineno)} calls {name}")
    assert impure == []


def test_nothing_unpickles_or_evaluates() -> None:
    modules = [
        f"{place(path, line)} imports {module}"
        for path in FILES
        for module, line in modules_of(path)
        if module.partition(".")[0] in FORBIDDEN_MODULES
    ]
    calls = [
        f"{place(path, call.lineno)} calls {call.func.id}"
        for path in FILES
        for call in calls_of(path)
        if isinstance(call.func, ast.Name) and call.func.id in FORBIDDEN_CALLS
    ]
    assert modules + calls == []


def test_arrays_and_weights_are_loaded_without_pickle() -> None:
    unsafe = []
    for path in FILES:
        for call in calls_of(path):
            name = ast.unparse(call.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name in {"np.load", "numpy.load"} and options.get("allow_pickle") != "False":
                unsafe.append(f"{place(path, call.lineno)}: np.load without allow_pickle=False")
            if name in {
                "torch.load",
                "torch.save",
                "torch.jit.load",
                "pd.read_pickle",
                "yaml.unsafe_load",
            }:
                unsafe.append(f"{place(path, call.lineno)}: {name}")
            if options.get("allow_pickle", "False") != "False":
                unsafe.append(f"{place(path, call.lineno)}: allow_pickle=True")
    assert unsafe == []


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    assert [f"{path.relative_to(ROOT)}" for path in FILES if len(path.read_text().splitlines()) > 400] == []


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TRAINS = ("rollback.train", "rollback.sanitise.scores", "rollback.sanitise.bagging", "monitor.demo")
"""What a retraining alone loads, by name and when it runs."""
WATCHER = [
    name
    for name in map(module_name, FILES)
    if not name.startswith(TRAINS) and name not in {"monitor.cli.train", "monitor.cli.demo"}
]


def imports_without(blocked: set[str], modules: list[str]) -> str:
    program = BLOCKED.format(blocked=blocked, modules=modules)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stderr


def test_the_watcher_imports_without_the_optional_libraries() -> None:
    optional = {"torch", "sklearn", "skl2onnx", "onnx", "pyarrow", "lightgbm", "onnxmltools", "opacus"}
    assert imports_without(optional, WATCHER) == ""


@pytest.mark.parametrize("command", ["train", "demo"])
def test_commands_that_train_can_be_asked_for_help_without_torch(command: str) -> None:
    assert imports_without({"torch"}, [f"monitor.cli.{command}"]) == ""
