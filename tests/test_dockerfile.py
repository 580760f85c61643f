"""The images: what is installed in them is what was tested, and the watcher does its work without torch."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TRAINING = {"torch", "onnx", "skl2onnx", "scikit-learn", "triton"}

CONFIG = """
registry: registry
kafka: {bootstrap_servers: [kafka:9092], inference_topic: soc.inference}
models: {nids: {}}
"""
WITHOUT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(name + " is not in this image", name=name)
BLOCKED = set({blocked!r})
sys.meta_path.insert(0, Block())
{then}
"""


WORK = """
import contextlib
import monitor.daemon
from monitor.cli.main import main
for arguments in {wanted!r}:
    with contextlib.suppress(SystemExit):
        main(arguments, {{}})
"""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    """What a lock names: version by name."""
    text = (ROOT / lock).read_text()
    return {
        normal(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;\\]+)", text, re.MULTILINE)
    }


def instructions() -> list[str]:
    """The Dockerfile's instructions, each on one line."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()


def without_the_rest(then: str) -> subprocess.CompletedProcess[str]:
    """Run Python with everything out of reach that the watcher's image does not hold."""
    held = {*pins("requirements/watcher.lock"), "tocsin"}
    owners = importlib.metadata.packages_distributions()
    blocked = sorted(top for top, names in owners.items() if not held & {normal(name) for name in names})
    assert {"torch", "onnx", "sklearn", "pytest"} <= set(blocked)
    code = WITHOUT.format(blocked=blocked, then=then)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("lock", ["watcher", "retrain", "build"])
def test_an_image_holds_the_versions_that_everything_is_tested_with(lock: str) -> None:
    assert pins(f"requirements/{lock}.lock").items() <= pins("requirements.lock").items()


@pytest.mark.parametrize("lock", ["watcher", "retrain", "build", "charts", "tracing"])
def test_everything_is_installed_by_hash(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = re.split(r"^(?=[\w.-]+(?:\[.*\])?==)", text, flags=re.MULTILINE)
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


def test_what_traces_need_fits_what_is_in_the_image() -> None:
    image, more = pins("requirements/watcher.lock"), pins("requirements/tracing.lock")
    both = image.keys() & more.keys()
    assert both
    assert {name: more[name] for name in both} == {name: image[name] for name in both}


def test_the_watcher_holds_what_it_needs_and_nothing_to_train_with() -> None:
    held = set(pins("requirements/watcher.lock"))
    wanted = {normal(match[0]) for need in PROJECT["dependencies"] if (match := re.match(r"[\w.-]+", need))}
    assert wanted <= held
    assert held & TRAINING == set()
    assert {name for name in held if name.startswith("nvidia")} == set()


def test_the_retrain_image_is_the_watcher_and_more() -> None:
    assert pins("requirements/watcher.lock").items() <= pins("requirements/retrain.lock").items()
    assert set(pins("requirements/retrain.lock")) >= TRAINING - {"triton"}


def test_the_daemon_and_its_commands_work_without_what_training_needs(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    path = tmp_path / "tocsin.yaml"
    path.write_text(CONFIG)
    wanted = [["--help"], ["run", "--help"], ["vet", "--help"], ["validate", "--config", str(path)]]
    done = without_the_rest(WORK.format(wanted=wanted))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: tocsin") == 3
    assert "valid\n" in done.stdout


def test_the_watcher_is_what_is_built_unless_said() -> None:
    stages = [line for line in instructions() if line.startswith("FROM")]
    assert stages[-1] == "FROM base AS watcher"
    assert any(stage.endswith("AS retrain") for stage in stages)


def test_the_process_is_nobody_and_is_started_without_a_shell() -> None:
    final = "\n".join(instructions()).partition("AS base")[2].splitlines()
    users = [line.split()[1] for line in final if line.startswith("USER")]
    assert users == ["65532:65532"]
    started = [line.split(maxsplit=1)[1] for line in final if line.startswith(("ENTRYPOINT", "CMD"))]
    assert json.loads(started[0]) == ["tocsin"]
    assert json.loads(started[1])[0] == "run"
    assert [line for line in final if line.startswith("RUN")] == []


def test_the_health_check_is_python_and_asks_the_listener() -> None:
    (check,) = [line for line in instructions() if line.startswith("HEALTHCHECK")]
    program, flag, code = json.loads(check.partition(" CMD ")[2])
    assert (program, flag) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert "/healthz" in code
    assert "TOCSIN_HTTP__LISTEN=0.0.0.0:9464" in DOCKERFILE
    assert ":9464/" in code


def test_nothing_is_installed_that_no_hash_names() -> None:
    installs = re.findall(r"pip(?: --python \S+)? install [^&]*", "\n".join(instructions()))
    assert installs
    assert [line for line in installs if "--require-hashes" not in line and "--no-index" not in line] == []


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [shlex.split(line)[1:-1] for line in instructions() if line.startswith("COPY") and "--from" not in line]
    sources = {source for each in copied for source in each}
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert {source.partition("/")[0] for source in sources} == let_in
