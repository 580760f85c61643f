"""The sidecar, as the example's Pod includes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from helm_command import CHART, ROOT, helm, rendered

EXAMPLE = ROOT / "helm" / "examples" / "sidecar-pod"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with the chart that it depends on, brought by Helm."""
    folder = tmp_path_factory.mktemp("helm")
    shutil.copytree(CHART, folder / "tocsin")
    chart = shutil.copytree(EXAMPLE, folder / "examples" / "sidecar-pod")
    done = helm("dependency", "update", chart)
    assert done.returncode == 0, done.stderr
    return chart


def pod(example: Path, *arguments: str) -> dict[str, Any]:
    (found,) = [item for item in rendered(*arguments, chart=example) if item["kind"] == "StatefulSet"]
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def sidecar(example: Path, *arguments: str) -> dict[str, Any]:
    (found,) = pod(example, *arguments)["initContainers"]
    assert isinstance(found, dict)
    return found


def test_helm_finds_nothing_to_complain_about(example: Path) -> None:
    done = helm("lint", "--strict", example)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubernetes_takes_it(example: Path) -> None:
    for found in rendered(chart=example):
        assert kubernetes_validate.validate(found, "1.29", strict=True) == "1.29"


def test_it_is_a_native_sidecar_that_can_only_look(example: Path) -> None:
    found = sidecar(example)
    assert found["restartPolicy"] == "Always"
    assert found["args"] == ["run", "--config", "/etc/tocsin/tocsin.yaml", "--role", "watcher"]
    context = found["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert context["runAsNonRoot"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    registry = [mount for mount in found["volumeMounts"] if mount["mountPath"] == "/var/lib/tocsin/registry"]
    assert registry == [{"name": "models", "mountPath": "/var/lib/tocsin/registry", "readOnly": True}]


def test_the_chart_adds_no_pod_of_its_own(example: Path) -> None:
    assert sorted(
        found["kind"] for found in rendered(chart=example) if "dashboard" not in found["metadata"]["name"]
    ) == [
        "ConfigMap",
        "StatefulSet",
    ]


def test_every_mount_has_its_volume(example: Path) -> None:
    spec = pod(example)
    volumes = {volume["name"] for volume in spec["volumes"]} | {"tocsin-kept"}
    assert {mount["name"] for mount in sidecar(example)["volumeMounts"]} <= volumes
    scratch = pod(example, "--set", "tocsin.state.volumeName=")
    assert "tocsin-state" in {volume["name"] for volume in scratch["volumes"]}


def test_it_holds_nobody_up_unless_asked_to(example: Path) -> None:
    assert {key for key in sidecar(example) if key.endswith("Probe")} == {"livenessProbe"}
    gate = sidecar(example, "--set", "tocsin.sidecar.gatesServing=true")
    assert gate["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert gate["startupProbe"]["httpGet"]["path"] == "/healthz"


def test_every_pod_has_a_consumer_group_of_its_own(example: Path) -> None:
    environment = {item["name"]: item for item in sidecar(example)["env"]}
    assert environment["TOCSIN_KAFKA__GROUP_ID"]["value"] == "tocsin-$(TOCSIN_POD)"
    names = [item["name"] for item in sidecar(example)["env"]]
    assert names.index("TOCSIN_POD") < names.index("TOCSIN_KAFKA__GROUP_ID")  # else it would not be filled in
    shared = sidecar(example, "--set", "tocsin.sidecar.groupPerPod=false")
    assert "TOCSIN_KAFKA__GROUP_ID" not in {item["name"] for item in shared["env"]}


def test_secrets_are_mounted_read_only(example: Path) -> None:
    arguments = ("--set", "tocsin.secrets[0].name=kafka,tocsin.secrets[0].secretName=soc-kafka")
    mounts = {mount["name"]: mount for mount in sidecar(example, *arguments)["volumeMounts"]}
    assert mounts["tocsin-secret-kafka"]["readOnly"]
    volumes = {volume["name"]: volume for volume in pod(example, *arguments)["volumes"]}
    assert volumes["tocsin-secret-kafka"]["secret"]["secretName"] == "soc-kafka"


def test_the_pod_monitor_finds_the_pod(example: Path) -> None:
    release = rendered("--set", "tocsin.monitor.enabled=true", chart=example)
    (monitor,) = [item for item in release if item["kind"] == "PodMonitor"]
    (served,) = [item for item in release if item["kind"] == "StatefulSet"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= served["spec"]["template"]["metadata"]["labels"].items()
    ports = {port["name"] for port in sidecar(example)["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports
