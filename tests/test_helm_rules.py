"""The alerts: valid PromQL about metrics that exist, and each fires on what it is for, by Prometheus' own tool."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from every_metric import EveryMetric
from helm_command import MINIMAL, ROOT, rendered

RULES = ROOT / "helm" / "tocsin" / "rules" / "tocsin.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
WHO = 'job="tocsin", instance="a:9464"'
WHAT = 'model="nids", version="2"'
EVENTS = f"tocsin_events_total{{{WHAT}, {WHO}}}"
SINK = f'sink="siem", {WHO}'

FIRES: dict[str, dict[str, str]] = {
    "TocsinPoisoning": {f'tocsin_verdict{{family="poisoning", {WHAT}}}': "0 1x120", EVENTS: "0+100x120"},
    "TocsinEvasion": {f'tocsin_verdict{{family="evasion", {WHAT}}}': "0 1x120", EVENTS: "0+100x120"},
    "TocsinFault": {f'tocsin_verdict{{family="fault", {WHAT}}}': "0 1x120", EVENTS: "0+100x120"},
    "TocsinAsksForLabels": {f'tocsin_verdict{{family="inconclusive", {WHAT}}}': "0 1x120", EVENTS: "0+100x120"},
    "TocsinAbsent": {"tocsin_something_else": "1x120"},
    "TocsinStuck": {
        f"tocsin_checkpoint_age_seconds{{{WHO}}}": "0+60x120",
        f'tocsin_source_lag_messages{{topic="soc.inference", partition="0", {WHO}}}': "5x120",
    },
    "TocsinDetectorFailed": {
        f'tocsin_detector_status{{detector="prediction_entropy", status="error", {WHAT}}}': "1x120"
    },
    "TocsinUnreadableMessages": {
        f'tocsin_quarantined_total{{model="-", reason="not_json", {WHO}}}': "0+2x120",
        EVENTS: "0+100x120",
    },
    "TocsinLinesDropped": {f"tocsin_lines_dropped_total{{{WHO}}}": "0+1x120"},
    "TocsinSourceErrors": {f"tocsin_source_errors_total{{{WHO}}}": "0+2x120"},
    "TocsinResponseHalted": {'tocsin_actions_total{model="nids", action="rollback", outcome="halted"}': "0x85 1x35"},
    "TocsinWaitsForPerson": {f'tocsin_responses_waiting{{model="nids", {WHO}}}': "1x120"},
    "TocsinEndpointServesAnother": {f'tocsin_endpoint_ok{{model="nids", endpoint="a:8080", {WHO}}}': "1 0x120"},
    "TocsinRegistryTampered": {f"tocsin_registry_verified{{{WHAT}, {WHO}}}": "1 0x120"},
    "TocsinBehind": {
        f'tocsin_source_lag_messages{{topic="soc.inference", partition="0", {WHO}}}': "0+100x120",
        EVENTS: "0+100x120",
    },
    "TocsinAlertsNotTaken": {
        f"tocsin_alerts_waiting{{{SINK}}}": "3x120",
        f"tocsin_alerts_last_success_timestamp_seconds{{{SINK}}}": "0x120",
    },
    "TocsinAlertsDropped": {f'tocsin_alerts_dropped_total{{reason="refused", {SINK}}}': "0x85 1x35"},
}
QUIET = {
    f'tocsin_build_info{{version="1", {WHO}}}': "1x120",
    f'tocsin_verdict{{family="stable", {WHAT}, {WHO}}}': "1x120",
    f'tocsin_verdict{{family="drift", {WHAT}, {WHO}}}': "1x120",
    f'tocsin_verdict{{family="poisoning", {WHAT}, {WHO}}}': "0x120",
    f"tocsin_checkpoint_age_seconds{{{WHO}}}": "0+60x120",
    f'tocsin_source_lag_messages{{topic="soc.inference", partition="0", {WHO}}}': "0x120",
    f'tocsin_quarantined_total{{model="-", reason="not_json", {WHO}}}': "3x120",
    EVENTS: "0+100x120",
    f"tocsin_lines_dropped_total{{{WHO}}}": "0x120",
    f"tocsin_source_errors_total{{{WHO}}}": "1x120",
    f'tocsin_actions_total{{model="nids", action="rollback", outcome="halted", {WHO}}}': "1x120",
    f'tocsin_responses_waiting{{model="nids", {WHO}}}': "0x120",
    f'tocsin_endpoint_ok{{model="nids", endpoint="a:8080", {WHO}}}': "1x120",
    f"tocsin_registry_verified{{{WHAT}, {WHO}}}": "1x120",
    f'tocsin_registry_pointers_ok{{model="nids", {WHO}}}': "1x120",
    f"tocsin_alerts_waiting{{{SINK}}}": "0x120",
    f"tocsin_alerts_last_success_timestamp_seconds{{{SINK}}}": "0x120",
    f'tocsin_alerts_dropped_total{{reason="flood", {SINK}}}': "0x120",
    f'tocsin_alerts_dropped_total{{reason="muted", {SINK}}}': "0+1x120",
}
"""Two hours in which nothing is wrong; what went wrong before them is not told again."""
GONE = {
    f'tocsin_build_info{{version="1", {WHO}}}': "1x120",
    f'tocsin_verdict{{family="poisoning", {WHAT}, {WHO}}}': "1x120",
    EVENTS: "0+100x30 3000x90",
}
"""A poisoned version that serves no longer since half an hour into the series."""


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own tool; without it the test is skipped, in CI (``CI`` is set) it fails."""
    found = shutil.which("promtool")
    if found is None:
        said = "promtool is missing: install the package prometheus"
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    return found


def alerts(promtool: str, series: dict[str, str], folder: Path) -> set[str]:
    """Which alerts fire two hours into the series."""
    expected: list[dict[str, Any]] = [{"eval_time": "110m", "alertname": name, "exp_alerts": []} for name in ALERTS]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": expected,
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1), said
    assert "parse error" not in said, said
    return set(re.findall(r"alertname: (\w+), time", said))


def test_prometheus_takes_the_rules(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_fires_on_what_it_is_for(name: str, promtool: str, tmp_path: Path) -> None:
    assert name in alerts(promtool, FIRES[name], tmp_path)


def test_nothing_fires_in_quiet_times_nor_on_drift(promtool: str, tmp_path: Path) -> None:
    assert alerts(promtool, QUIET, tmp_path) == set()


def test_a_version_that_was_rolled_back_calls_nobody_any_more(promtool: str, tmp_path: Path) -> None:
    assert alerts(promtool, GONE, tmp_path) == set()


def test_rules_speak_of_metrics_that_exist() -> None:
    known = {sample.name for metric in EveryMetric().registry.collect() for sample in metric.samples}
    used = {name for rule in ALERTS.values() for name in re.findall(r"tocsin_\w+", rule["expr"])}
    assert used - known == set()


def test_every_alert_says_how_bad_and_what_to_do() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert rule["annotations"].keys() == {"summary", "description"}, name


def test_the_chart_hands_the_rules_on_as_they_are() -> None:
    release = rendered("-f", MINIMAL, "--set", "rules.enabled=true")
    (found,) = [item for item in release if item["kind"] == "PrometheusRule"]
    assert found["spec"] == {"groups": GROUPS}
