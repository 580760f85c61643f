"""`compose.yaml` is one that Compose takes, mounts what exists, and opens nothing to the network."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prometheus_server import program
from typer.main import get_command

from monitor.cli.main import COMMANDS, application

ROOT = Path(__file__).parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DASHBOARDS = "/var/lib/grafana/dashboards"

WORDS = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
BY_NAME = {"type": "object", "additionalProperties": {"type": "string"}}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "pattern": "^[a-z0-9./-]+(:[A-Za-z0-9._-]+)?$"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"context": {"type": "string"}, "target": {"type": "string"}},
        },
        "command": WORDS,
        "environment": BY_NAME,
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "oneOf": [{"required": ["test"]}, {"required": ["disable"]}],
            "properties": {
                "disable": {"const": True},
                "test": WORDS,
                "interval": {"type": "string", "pattern": "^[0-9]+s$"},
                "timeout": {"type": "string", "pattern": "^[0-9]+s$"},
                "retries": {"type": "integer"},
            },
        },
        "depends_on": {
            "oneOf": [
                WORDS,
                {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["condition"],
                        "properties": {
                            "condition": {
                                "enum": ["service_started", "service_healthy", "service_completed_successfully"]
                            }
                        },
                    },
                },
            ]
        },
        "volumes": WORDS,
        "tmpfs": WORDS,
        "ports": WORDS,
        "read_only": {"type": "boolean"},
        "cap_drop": WORDS,
        "security_opt": WORDS,
    },
}
FILE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "services"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}},
    },
}
"""The part of the Compose Specification that the file uses."""


def checked(*command: str) -> str:
    """What a tool of Prometheus says of a file that it takes."""
    done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def mounts() -> list[tuple[str, str, str]]:
    """What is mounted: source, target and how."""
    found = [volume for service in SERVICES.values() for volume in service.get("volumes", ())]
    return [(*volume.split(":"), "rw")[:3] for volume in found]


def test_it_is_a_compose_file() -> None:
    jsonschema.validate(COMPOSE, FILE)


def test_what_services_wait_for_exists_and_can_be_waited_for() -> None:
    for service in SERVICES.values():
        wanted = service.get("depends_on", {})
        assert set(wanted) <= SERVICES.keys()
        healthy = {
            name for name in wanted if isinstance(wanted, dict) and wanted[name]["condition"] == "service_healthy"
        }
        assert {name for name in healthy if "healthcheck" not in SERVICES[name]} == set()


def test_what_is_mounted_exists_and_files_of_ours_stay_as_they_are() -> None:
    for source, _, how in mounts():
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert how == "ro", source
        else:
            assert source in COMPOSE["volumes"]


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_what_is_not_built_here_has_a_version() -> None:
    foreign = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert [image for image in foreign if not re.search(r":v?\d+\.\d+\.\d+$", image)] == []


def test_the_demonstration_is_built_from_a_stage_that_can_train() -> None:
    assert re.search(
        rf"^FROM \S+ AS {SERVICES['demo']['build']['target']}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )


def test_prometheus_asks_the_demonstration_and_knows_the_alerts() -> None:
    config = yaml.safe_load((ROOT / "compose" / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert f"--listen=0.0.0.0:{port}" in SERVICES[name]["command"]
    rules = {target: ROOT / source for source, target, _ in mounts()}["/etc/prometheus/rules"]
    assert config["rule_files"] == ["/etc/prometheus/rules/*.yaml"]
    assert list(rules.glob("*.yaml"))


def test_prometheus_takes_its_file_and_the_rules(tmp_path: Path) -> None:
    text = (ROOT / "compose" / "prometheus.yaml").read_text()
    rules = ROOT / "prometheus" / "rules"
    (tmp_path / "prometheus.yaml").write_text(text.replace("/etc/prometheus/rules", str(rules)))
    said = checked("promtool", "check", "config", str(tmp_path / "prometheus.yaml"))
    assert f"{len(list(rules.glob('*.yaml')))} rule files found" in said


def test_alertmanager_takes_its_file_and_is_told_by_prometheus() -> None:
    assert "SUCCESS" in checked("amtool", "check-config", str(ROOT / "compose" / "alertmanager.yaml"))
    config = yaml.safe_load((ROOT / "compose" / "prometheus.yaml").read_text())
    (told,) = config["alerting"]["alertmanagers"]
    assert told["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert "127.0.0.1:9093:9093" in SERVICES["alertmanager"]["ports"]


def test_alertmanager_holds_back_only_alerts_that_there_are() -> None:
    config = yaml.safe_load((ROOT / "compose" / "alertmanager.yaml").read_text())
    files = [yaml.safe_load(path.read_text()) for path in (ROOT / "prometheus" / "rules").glob("*.yaml")]
    alerts = {rule.get("alert") for file in files for group in file["groups"] for rule in group["rules"]}
    named = set(re.findall(r"Tocsin[A-Z]\w+", str(config["inhibit_rules"])))
    assert named
    assert named <= alerts


@pytest.mark.parametrize("what", ["datasources", "dashboards"])
def test_grafana_is_provisioned(what: str) -> None:
    provisioned = {target: ROOT / source for source, target, _ in mounts()}
    (path,) = provisioned[f"/etc/grafana/provisioning/{what}"].glob("*.yaml")
    found = yaml.safe_load(path.read_text())
    if what == "datasources":
        hosts = {source["url"].removeprefix("http://").partition(":")[0] for source in found["datasources"]}
        assert hosts == {"prometheus", "alertmanager"}
        assert hosts <= SERVICES.keys()
    else:
        assert found["providers"][0]["options"]["path"] == DASHBOARDS
        assert provisioned[DASHBOARDS] == ROOT / "grafana" / "dashboards"
        home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        assert (provisioned[str(home.parent)] / home.name).exists()


def test_the_runbooks_lie_where_the_dashboards_lead() -> None:
    frame = yaml.safe_load((ROOT / "grafana" / "frame.yaml").read_text())
    provisioned = {target: ROOT / source for source, target, _ in mounts()}
    assert provisioned[f"/usr/share/grafana{frame['places']['docs']}"] == ROOT / "docs"


def test_prometheus_keeps_the_incidents_behind_the_numbers() -> None:
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_the_demonstration_is_asked_for_what_it_can_do() -> None:
    command, *options = SERVICES["demo"]["command"]
    known = get_command(application([command], COMMANDS)).commands[command].params
    names = {name for parameter in known for name in parameter.opts}
    assert {option.partition("=")[0] for option in options} - names == set()
