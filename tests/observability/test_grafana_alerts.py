"""Panels and alerting rules agree: what is red pages somebody, and every rule is on a panel that leads to its page."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from grafana_dashboard import PANELS, ROOT

RULES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
COMPARED = re.compile(r"(?<=[<>=*] )\d+(?:\.\d+)?|\d+(?:\.\d+)?(?= \*)")
WITH_LIMITS = {"stat", "bargauge"}


def linked(panel: dict[str, Any]) -> list[str]:
    """The rules that a panel leads to."""
    return [link["title"].partition(":")[0] for link in panel["links"]]


def limits_of(expr: str) -> set[float]:
    """What a rule compares with; a whole number of things is red from 1 on where the rule says `> 0`."""
    found = {float(number) for number in COMPARED.findall(expr)}
    return found | ({1.0} if 0.0 in found or "absent" in expr else set())


def test_every_rule_is_on_a_panel_that_leads_to_what_to_do() -> None:
    assert {alert for _, panel in PANELS for alert in linked(panel)} == ALERTS.keys()
    for _, panel in PANELS:
        for link in panel["links"]:
            alert = ALERTS[link["title"].partition(":")[0]]
            page = alert["annotations"].get("runbook_url", f"/alerting/list?search={alert['alert']}")
            assert link["url"].replace("${docs}", "docs") == page
            assert not page.startswith("docs/") or (ROOT / page).is_file()


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS if linked(panel)])
def test_what_is_red_is_what_pages(panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if panel["type"] not in WITH_LIMITS or len(steps) == 1:
        return  # a word or a name says it
    last = steps[-1]["value"]
    paging = [ALERTS[name] for name in linked(panel) if ALERTS[name]["labels"]["severity"] != "info"]
    for alert in paging:
        assert last in limits_of(alert["expr"]), alert["expr"]
