"""The chart, rendered by the real Helm: what it makes is valid, has no rights, and refuses what is mistyped."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_command import CHART, CI_VALUES, MINIMAL, ROOT, helm, refusal, rendered

from monitor.settings.config import load_config
from monitor.watching.health import Health

KUBERNETES = ("1.29", "1.33", "1.37")
"""The oldest that the chart takes, the one in between, and the newest that the validator knows."""
OPERATOR = "monitoring.coreos.com/v1"
RIGHTS = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
LOCKED_UP = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SECRET = re.compile(r"password|secret|token|credential", re.IGNORECASE)


@pytest.fixture(scope="module")
def releases() -> dict[str, list[dict[str, Any]]]:
    """What every file of values in ci/ makes, by its name."""
    return {path.stem: rendered("-f", path) for path in CI_VALUES}


def objects(releases: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, release in releases.items():
        for found in release:
            yield f"{name}: {found['kind']}/{found['metadata']['name']}", found


def pods(releases: dict[str, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, found in objects(releases):
        if found["kind"] == "Pod":
            yield where, found["spec"]
        elif "template" in found.get("spec", {}):
            yield where, found["spec"]["template"]["spec"]


def one(release: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [item for item in release if item["kind"] == kind]
    return found


def configuration(release: list[dict[str, Any]]) -> str:
    (text,) = [item["data"]["tocsin.yaml"] for item in release if "tocsin.yaml" in item.get("data", {})]
    assert isinstance(text, str)
    return text


def container(release: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = one(release, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("values", [None, *CI_VALUES], ids=lambda path: path.stem if path else "defaults")
def test_helm_finds_nothing_to_complain_about(values: Path | None) -> None:
    done = helm("lint", "--strict", CHART, *(("-f", values) if values else ()))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
def test_every_object_is_what_kubernetes_takes(version: str, releases: dict[str, list[dict[str, Any]]]) -> None:
    for _, found in objects(releases):
        if found["apiVersion"] != OPERATOR:
            assert kubernetes_validate.validate(found, version, strict=True) == version


def test_no_object_grants_a_right_and_no_pod_gets_a_token(releases: dict[str, list[dict[str, Any]]]) -> None:
    assert [where for where, found in objects(releases) if found["kind"] in RIGHTS] == []
    accounts = [found for _, found in objects(releases) if found["kind"] == "ServiceAccount"]
    assert accounts
    assert {found["automountServiceAccountToken"] for found in accounts} == {False}
    assert {where: pod.get("automountServiceAccountToken") for where, pod in pods(releases)} == dict.fromkeys(
        (where for where, _ in pods(releases)), False
    )


def test_every_container_is_locked_up(releases: dict[str, list[dict[str, Any]]]) -> None:
    found = [each for _, pod in pods(releases) for each in (*pod["containers"], *pod.get("initContainers", ()))]
    assert len(found) == 2 * 3  # the Deployment and the test's Pod, thrice; the sidecar's values make none
    for each in found:
        assert each["securityContext"].items() >= LOCKED_UP.items()


def test_every_mount_has_its_volume_and_only_state_and_scratch_can_be_written(
    releases: dict[str, list[dict[str, Any]]],
) -> None:
    for where, pod in pods(releases):
        volumes = [volume["name"] for volume in pod.get("volumes", ())]
        mounts = [mount for each in pod["containers"] for mount in each.get("volumeMounts", ())]
        assert sorted(volumes) == sorted(mount["name"] for mount in mounts), where
        writable = {mount["name"] for mount in mounts if not mount.get("readOnly")}
        acts = where.startswith("act-values") and bool(mounts)
        assert writable == ({"tocsin-state", "tocsin-tmp"} if mounts else set()) | (
            {"tocsin-registry"} if acts else set()
        )


def test_secrets_come_as_files_only(releases: dict[str, list[dict[str, Any]]]) -> None:
    assert [where for where, found in objects(releases) if found["kind"] == "Secret"] == []
    volumes = {v["name"]: v["secret"] for _, pod in pods(releases) for v in pod.get("volumes", ()) if "secret" in v}
    assert volumes == {
        "tocsin-secret-kafka": {"secretName": "tocsin-kafka", "defaultMode": 0o440},
        "tocsin-secret-keys": {"secretName": "tocsin-keys", "defaultMode": 0o440},
        "tocsin-secret-siem": {"secretName": "tocsin-siem", "defaultMode": 0o440},
    }
    assert "secretKeyRef" in refusal(
        "-f", MINIMAL, "--set", "env[0].name=TOCSIN_X,env[0].valueFrom.secretKeyRef.name=kafka"
    )


def test_no_key_of_the_configuration_can_hold_a_secret_itself() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    sections = [schema["properties"]["config"], *schema["$defs"].values()]
    suspicious = {key for section in sections for key in section.get("properties", ()) if SECRET.search(key)}
    assert "sasl_password_file" in suspicious
    assert [key for key in sorted(suspicious) if not key.endswith("_file")] == []


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.stem)
def test_the_configuration_is_one_that_tocsin_takes(values: Path, tmp_path: Path) -> None:
    release = rendered("-f", values)
    path = tmp_path / "tocsin.yaml"
    path.write_text(configuration(release))
    deployed = any(found["kind"] == "Deployment" for found in release)
    environment = {item["name"]: item["value"] for item in container(release)["env"]} if deployed else {}
    config = load_config(path, environment)
    assert list(config.models) == ["nids"]
    if deployed:
        assert config.http.listen == "0.0.0.0:9464"
        assert config.state_dir == Path("/var/lib/tocsin/state")
        assert config.registry == Path("/var/lib/tocsin/registry")


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("imge.tag=1", "imge"),
        ("http.prot=9000", "prot"),
        ("deployment.replicas=2", "replicas"),
        ("livenessPatienceSeconds=60", "livenessPatienceSeconds"),
        ("config.mode=atc", "mode"),
        ("config.state_dir=/data", "state_dir"),
        ("config.kafka.inference_topik=x", "inference_topik"),
        ("config.kafka.sasl_password=hunter2", "sasl_password"),
        ("config.models.nids.vetting_budget=-1", "vetting_budget"),
        ("secrets[0].name=kafka", "secretName"),
    ],
)
def test_a_mistake_in_the_values_is_refused_and_named(mistake: str, said: str) -> None:
    assert said in refusal("-f", MINIMAL, "--set", mistake)


def test_what_is_missing_is_said() -> None:
    assert "config.models: name at least one model" in refusal()
    assert "registry.volume" in refusal("--set", "config.models.nids.window_events=100")


@pytest.mark.parametrize("mode", ["propose", "act"])
def test_acting_needs_a_registry_that_can_be_written(mode: str) -> None:
    assert "registry.readOnly" in refusal("-f", MINIMAL, "--set", f"config.mode={mode}")
    watching = rendered("-f", MINIMAL, "--set", f"config.mode={mode},deployment.role=watcher")
    assert container(watching)["args"][-2:] == ["--role", "watcher"]


def test_there_is_never_more_than_one_member_of_the_group(releases: dict[str, list[dict[str, Any]]]) -> None:
    spec = one(releases["minimal-values"], "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_liveness_waits_as_long_as_fitting_may_take(releases: dict[str, list[dict[str, Any]]]) -> None:
    probe = container(releases["minimal-values"])["livenessProbe"]
    assert probe["httpGet"]["path"] == "/healthz"
    assert probe["periodSeconds"] * probe["failureThreshold"] >= Health(lambda: 0.0).patience


def test_another_configuration_makes_another_pod() -> None:
    def annotations(*arguments: str) -> dict[str, str]:
        found: dict[str, str] = one(rendered("-f", MINIMAL, *arguments), "Deployment")["spec"]["template"]["metadata"][
            "annotations"
        ]
        return found

    assert annotations() == annotations()
    assert annotations() != annotations("--set", "config.models.nids.window_events=500")


def test_large_numbers_reach_the_configuration_as_they_are() -> None:
    release = rendered("-f", MINIMAL, "--set", "config.models.nids.window_events=5000000")
    written = yaml.safe_load(configuration(release))
    assert written["models"]["nids"]["window_events"] == 5_000_000


def test_what_goes_out_is_limited_only_where_it_is_said(releases: dict[str, list[dict[str, Any]]]) -> None:
    assert one(releases["minimal-values"], "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]
    assert one(releases["act-values"], "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]
    shut = rendered("-f", MINIMAL, "--set-json", "networkPolicy.egress=[]")
    assert one(shut, "NetworkPolicy")["spec"]["egress"] == []


def test_the_state_outlives_the_release(releases: dict[str, list[dict[str, Any]]]) -> None:
    claim = one(releases["minimal-values"], "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert [found for found in releases["openshift-values"] if found["kind"] == "PersistentVolumeClaim"] == []


def test_what_the_chart_copies_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "helm" / "copies.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_dashboard_is_a_config_map_that_grafana_finds(releases: dict[str, list[dict[str, Any]]]) -> None:
    originals = {path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}
    found = {name: board for each in maps(releases["minimal-values"]) for name, board in boards(each).items()}
    assert {name: without_links(board) for name, board in found.items()} == {
        name: without_links(board) for name, board in originals.items()
    }
    assert set(found) == {f"tocsin-{name}.json" for name in ("fleet", "model", "response", "pipeline")}


def test_unless_said_no_link_of_a_dashboard_leads_to_a_page_that_nobody_serves(
    releases: dict[str, list[dict[str, Any]]],
) -> None:
    for each in maps(releases["minimal-values"]):
        for board in boards(each).values():
            urls = links(board)
            assert {url for url in urls if not url.startswith(("/d/tocsin-", "/alerting/list?search="))} == set()
            assert any(url.startswith("/alerting/list?search=Tocsin") for url in urls)


def test_the_links_of_the_dashboards_lead_where_the_values_say() -> None:
    given = "dashboards.docs=https://wiki.example/tocsin/,dashboards.reports=https://soc.example/reports/"
    for each in maps(rendered("-f", MINIMAL, "--set", given)):
        for board in boards(each).values():
            places = {each["name"]: each["query"] for each in board["templating"]["list"] if each.get("hide") == 2}
            assert places == {"docs": "https://wiki.example/tocsin", "reports": "https://soc.example/reports/"}
            assert {"${reports}", "${docs}/runbooks"} <= links(board)


def test_an_address_that_breaks_out_of_a_dashboard_is_refused() -> None:
    assert "dashboards" in refusal("-f", MINIMAL, "--set-string", 'dashboards.reports=https://a/"x')


def maps(release: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects that hold dashboards."""
    return [each for each in release if each["metadata"]["labels"].get("grafana_dashboard") == "1"]


def boards(of: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in of["data"].items()}


def links(board: dict[str, Any]) -> set[str]:
    """Where the board and its panels lead."""
    found = [*board["links"], *(link for panel in board["panels"] for link in panel.get("links", ()))]
    return {link["url"] for link in found}


def without_links(board: dict[str, Any]) -> dict[str, Any]:
    panels = [{key: value for key, value in panel.items() if key != "links"} for panel in board["panels"]]
    chosen = [each for each in board["templating"]["list"] if each.get("hide") != 2]
    return {**board, "links": [], "panels": panels, "templating": {"list": chosen}}


def test_the_chart_and_what_it_installs_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{chart["appVersion"]}"' in project
