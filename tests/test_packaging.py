"""What is shipped, what it needs, and where that comes from."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"detectors", "rollback", "monitor"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def names_of(requirements: list[str]) -> set[str]:
    found = [re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements]
    return {normal(match[0]) for match in found if match}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


BASE = names_of(PROJECT["dependencies"])
EXTRAS = {extra: names_of(wanted) for extra, wanted in PROJECT["optional-dependencies"].items()}


def top_level_imports(path: Path) -> set[str]:
    """What is imported as soon as the module is (an import within a function may be of an extra)."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) - PACKAGES


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == PACKAGES | {f"tocsin-{PROJECT['version']}.dist-info"}


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = f"tocsin-{PROJECT['version']}.dist-info"
    assert "tocsin = monitor.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert "Apache License" in wheel.read(f"{info}/licenses/LICENSE").decode()


def test_the_lock_names_no_index_and_pins_every_hash() -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host|file:", LOCK)
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==\S+ ?(?:;.*)?\\\n    --hash=sha256:", LOCK, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[A-Za-z0-9]", LOCK, re.MULTILINE))


def test_the_lock_holds_every_declared_dependency() -> None:
    locked = {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", LOCK, re.MULTILINE)}
    own = set(re.findall(r"^([a-z-]+)==", (ROOT / "requirements" / "tracing.lock").read_text(), re.MULTILINE))
    assert EXTRAS["tracing"] <= own, "what few need is locked by itself"
    assert EXTRAS["tracing"] & locked == set()
    declared = BASE.union(*(needed for extra, needed in EXTRAS.items() if extra != "tracing")) - {"tocsin"}
    assert declared - locked == set()


SCREENING = (*sorted((ROOT / "rollback" / "sanitise" / "scores").rglob("*.py")), ROOT / "rollback/sanitise/bagging.py")
"""Loaded by name, and only when a buffer is screened: then there is a recipe too, and what the extra brings."""


def test_what_the_base_imports_is_a_declared_dependency() -> None:
    owners = importlib.metadata.packages_distributions()
    undeclared = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in sorted(PACKAGES)
        for path in sorted((ROOT / package).rglob("*.py"))
        if not path.is_relative_to(ROOT / "rollback" / "train") and path not in SCREENING
        for name in sorted(top_level_imports(path))
        if not BASE & {normal(owner) for owner in owners.get(name, [name])}
    ]
    assert undeclared == []


def test_what_training_imports_is_declared_in_the_extra() -> None:
    owners = importlib.metadata.packages_distributions()
    allowed = BASE | EXTRAS["retrain"] | EXTRAS["data"] | EXTRAS["privacy"] | EXTRAS["lightgbm"]
    undeclared = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in (*sorted((ROOT / "rollback" / "train").rglob("*.py")), *SCREENING)
        for name in sorted(top_level_imports(path))
        if not allowed & {normal(owner) for owner in owners.get(name, [name])}
    ]
    assert undeclared == []
