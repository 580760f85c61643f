"""The dashboard keeps the rules that Grafana's own linter has, and speaks of metrics that exist, all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import yaml
from every_metric import EveryMetric
from grafana_dashboard import BOARD, PANELS, ROOT, ROWS, VARIABLES, Target, annotations, filled, label_values, targets

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
TARGETS = [*targets(), *annotations()]
UNITS = {"none", "short", "sci", "percentunit", "s", "eps", "bytes"}
WITHOUT_A_PANEL = {
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "tocsin_audit_checkpoint_timestamp_seconds",
    "tocsin_audit_last_record_timestamp_seconds",
    "tocsin_audit_records",
    "tocsin_audit_signed_records",
    "tocsin_audit_size_bytes",
    "tocsin_endpoint_canaries_timestamp_seconds",
    "tocsin_endpoint_mismatches_total",
    "tocsin_gate_requirement_passed",
    "tocsin_gpu_memory_total_bytes",
    "tocsin_gpu_memory_used_bytes",
    "tocsin_gpu_utilization_ratio",
    "tocsin_housekeeping_freed_bytes_total",
    "tocsin_importance_ratio",
    "tocsin_response_duration_seconds_bucket",
    "tocsin_responses",
    "tocsin_responses_held",
    "tocsin_schedule_last_run_timestamp_seconds",
    "tocsin_schedule_period_seconds",
    "tocsin_window_event_timestamp_seconds",
    "tocsin_window_judged_timestamp_seconds",
}
NOT_CHOSEN = {"tocsin_build_info": {"version"}, "tocsin_quarantined_total": {"model"}}
"""What is built is not a version that serves, and what cannot be read may belong to no model."""
SELECTOR = re.compile(r"(tocsin_\w+)(?:\{([^{}]*)\})?")
APPEARED = re.compile(r"(tocsin_\w+_total\{[^{}]*\}) unless \1 offset \$__rate_interval")
"""A counter that is there now, and was not."""
VARIABLE_LABELS = ("job", "instance", "model", "version")


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """The labels of every sample that Tocsin shows."""
    found: dict[str, set[str]] = {}
    for family in EveryMetric().registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(expr: str) -> list[tuple[str, dict[str, str]]]:
    """Metrics of an expression with their matchers."""
    return [
        (name, {label: value for label, _, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers)})
        for name, matchers in SELECTOR.findall(expr)
    ]


def each(panel: dict[str, Any]) -> str:
    return str(panel["title"])


def test_it_is_what_its_rows_say() -> None:
    command = [sys.executable, str(ROOT / "grafana" / "build.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_is_a_dashboard_that_grafana_takes_and_finds_again() -> None:
    assert (BOARD["schemaVersion"], BOARD["uid"], BOARD["title"]) == (41, "tocsin", "Tocsin")
    assert BOARD["id"] is None
    assert BOARD["editable"] is False
    assert "tocsin" in BOARD["tags"]
    assert BOARD["refresh"] in BOARD["timepicker"]["refresh_intervals"]
    assert re.fullmatch(r"now-\d+[hm]", BOARD["time"]["from"])


def test_numbers_and_titles_are_given_once() -> None:
    for of in ("id", "title"):
        assert [what for what, times in Counter(p[of] for p in BOARD["panels"]).items() if times > 1] == []


def test_panels_lie_within_the_page_and_on_no_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height, "there are holes"


def test_every_row_asks_a_question_and_has_panels_that_answer_it() -> None:
    kinds = [panel["type"] for panel in BOARD["panels"]]
    assert kinds[0] == "row"
    assert "row row" not in " ".join([*kinds, "row"])
    assert [row["title"] for row in ROWS if not row["title"].endswith("?")] == []


def test_what_is_asked_for_is_chosen_above() -> None:
    assert list(VARIABLES) == ["datasource", *VARIABLE_LABELS]
    assert (VARIABLES["datasource"]["type"], VARIABLES["datasource"]["query"]) == ("datasource", "prometheus")
    for name in VARIABLE_LABELS:
        variable = VARIABLES[name]
        assert variable["datasource"] == SOURCE
        assert variable["refresh"] == 2, "versions come and go while the page is open"
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        assert label_values(name)[1] == name


@pytest.mark.parametrize("panel", PANELS, ids=each)
def test_a_panel_says_what_it_shows_and_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"].split()) >= 12
    assert panel["description"].endswith((".", "green."))
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["noValue"]
    assert defaults["unit"] in UNITS
    assert defaults["thresholds"]["steps"][0]["value"] is None
    limits = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    assert limits == sorted(limits)


@pytest.mark.parametrize("panel", PANELS, ids=each)
def test_a_panel_asks_the_chosen_source_and_names_what_it_draws(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert target["legendFormat"] not in ("", "__auto")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.panel)
def test_a_query_asks_for_what_exists_and_for_what_was_chosen(target: Target, labels: dict[str, set[str]]) -> None:
    found = selectors(target.expr)
    assert found
    for name, matchers in found:
        assert name in labels
        assert set(matchers) - {"job", "instance"} <= labels[name]
        chosen = {"job", "instance"} | ((labels[name] & {"model", "version"}) - NOT_CHOSEN.get(name, set()))
        for label in chosen:
            assert matchers[label] == f"${label}", f"{name} by {label}"


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.panel)
def test_counters_are_rates_over_an_interval_that_fits_the_scrapes(target: Target) -> None:
    expr = APPEARED.sub("", target.expr)
    counted = len(re.findall(r"tocsin_\w+(?:_total|_bucket)\b", expr))
    rates = re.findall(r"(rate|increase)\(tocsin_\w+(?:_total|_bucket)\{[^{}]*\}\[([^]]*)\]\)", expr)
    assert len(rates) == counted == expr.count("[$")
    for function, interval in rates:
        whole = function == "increase" and target.instant
        assert interval == ("$__range" if whole else "$__rate_interval")


def test_every_variable_of_a_query_is_known() -> None:
    known = {*VARIABLES, "__rate_interval", "__range"}
    assert {name for target in TARGETS for name in re.findall(r"\$(\w+)", target.expr)} <= known
    assert "$" not in "".join(filled(target.expr, {}, 60) for target in TARGETS)


def test_every_metric_is_on_a_panel(labels: dict[str, set[str]]) -> None:
    shown = {name for target in targets() for name, _ in selectors(target.expr)}
    assert {re.sub(r"_(count|sum)$", "_bucket", name) for name in labels} - shown == WITHOUT_A_PANEL


def test_what_has_a_word_has_it_for_every_value() -> None:
    worded = [p["fieldConfig"]["defaults"]["mappings"][0]["options"] for p in PANELS if p["type"] == "state-timeline"]
    assert all(list(options) == [str(n) for n in range(len(options))] for options in worded)
    families = {option["text"] for option in worded[0].values()}
    assert families == {"stable", "inconclusive", "drift", "fault", "evasion", "poisoning"}


@pytest.mark.parametrize("what", ["datasources", "dashboards"])
def test_it_is_provisioned(what: str) -> None:
    found = yaml.safe_load((ROOT / "grafana" / "provisioning" / what / "tocsin.yaml").read_text())
    assert found["apiVersion"] == 1
    if what == "datasources":
        assert [(source["type"], source["isDefault"]) for source in found[what]] == [("prometheus", True)]
    else:
        assert [provider["allowUiUpdates"] for provider in found["providers"]] == [False]
