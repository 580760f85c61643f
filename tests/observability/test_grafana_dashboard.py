"""The dashboards keep the rules that Grafana's own linter has, and speak of metrics that exist, all of them.

The linter: https://github.com/grafana/dashboard-linter/blob/main/docs/index.md
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import yaml
from every_metric import EveryMetric
from grafana_dashboard import ANNOTATIONS, BOARDS, PANELS, ROOT, TARGETS, Board, Target, filled, metrics_of, unknown

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ASKED = [*TARGETS, *ANNOTATIONS]
UNITS = {"none", "short", "sci", "percentunit", "s", "eps", "bytes"}
WITHOUT_A_PANEL = {"process_virtual_memory_bytes", "tocsin_housekeeping_freed_bytes_total"}
NOT_CHOSEN = {"tocsin_build_info": {"version"}, "tocsin_quarantined_total": {"model"}}
"""What is built is not a version that serves, and what cannot be read may belong to no model."""
OF_PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "severity", "model"}}
"""What Prometheus itself says of its rules."""
COUNTER = r"(?:tocsin|process)_\w+(?:_total|_bucket|_sum|_count)"
APPEARED = re.compile(r"(tocsin_\w+_total\{[^{}]*\}) unless \1 offset \$__rate_interval")
"""A counter that is there now, and was not."""
WAS_THERE = re.compile(r"and on \(model\) sum by \(model\) \(tocsin_\w+_total\{[^{}]*\} offset \$__rate_interval\)")
PARTS = re.compile(r"_(bucket|count|sum)$")
"""What a histogram is shown as."""
CHOICES = ["datasource", "job", "instance", "model"]


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """The labels of every sample that Tocsin shows."""
    found: dict[str, set[str]] = {}
    for family in EveryMetric().registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def by_name(board: Board) -> str:
    return board.name


def test_they_are_what_the_boards_say() -> None:
    command = [sys.executable, str(ROOT / "grafana" / "build.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_is_one_for_each_question() -> None:
    assert [board.file["title"] for board in BOARDS] == [
        "Tocsin / 1. Fleet",
        "Tocsin / 2. Model",
        "Tocsin / 3. Response and audit",
        "Tocsin / 4. Pipeline",
    ]
    assert [board.name for board in BOARDS] == ["fleet", "model", "response", "pipeline"]
    assert [board.file["description"].partition("?")[1] for board in BOARDS] == ["?"] * 4


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_it_is_a_dashboard_that_grafana_takes_and_finds_again(board: Board) -> None:
    assert board.file["schemaVersion"] == 41
    assert board.file["id"] is None
    assert board.file["editable"] is False
    assert "tocsin" in board.file["tags"]
    assert board.file["refresh"] in board.file["timepicker"]["refresh_intervals"]
    assert re.fullmatch(r"now-\d+[hm]", board.file["time"]["from"])


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_numbers_and_titles_are_given_once(board: Board) -> None:
    for of in ("id", "title"):
        assert [what for what, times in Counter(p[of] for p in board.file["panels"]).items() if times > 1] == []


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_panels_lie_within_the_page_and_on_no_other(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board.file["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    height = max(y for _, y in taken) + 1
    assert len(taken) == 24 * height, "there are holes"


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_every_row_asks_a_question_and_has_panels_that_answer_it(board: Board) -> None:
    kinds = [panel["type"] for panel in board.file["panels"]]
    assert kinds[0] == "row"
    assert "row row" not in " ".join([*kinds, "row"])
    assert [row["title"] for row in board.rows if not row["title"].endswith("?")] == []


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_what_is_asked_for_is_chosen_above(board: Board) -> None:
    shown = [name for name, variable in board.variables.items() if variable.get("hide") != 2]
    assert shown == CHOICES + ["version"] * (board.name == "model")
    source = board.variables["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    for name, _, label in board.choices():
        variable = board.variables[name]
        assert variable["datasource"] == SOURCE
        assert variable["refresh"] == 2, "versions come and go while the page is open"
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        assert (label, variable["label"]) == (name, name.capitalize())


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_it_leads_to_the_others_with_what_was_chosen_and_to_the_reports(board: Board) -> None:
    links = {link["title"]: link for link in board.file["links"]}
    others = [link["url"] for link in links.values() if link["url"].startswith("/d/")]
    assert others == [f"/d/{each.file['uid']}" for each in BOARDS]
    assert all(link["keepTime"] and link["includeVars"] for link in links.values() if link["url"] in others)
    assert links["Incident reports"]["url"] == "${reports}"
    places = {name: board.variables[name]["query"] for name in ("reports", "docs")}
    assert places["reports"] == f"{places['docs']}/report.md"
    assert (ROOT / "docs" / "report.md").is_file()


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_a_click_leads_to_a_dashboard_that_exists_and_keeps_the_model(board: Board) -> None:
    for panel in board.panels:
        for link in panel["fieldConfig"]["defaults"]["links"]:
            assert link["url"].partition("?")[0] in {f"/d/{each.file['uid']}" for each in BOARDS}
            assert "var-model=${__field.labels.model}" in link["url"]
            assert all("{{model}}" in target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_deployments_incidents_and_rollbacks_are_marked(board: Board) -> None:
    marks = board.file["annotations"]["list"]
    assert [mark["name"] for mark in marks] == ["Deployments", "Incidents", "Rollbacks"]
    assert len({mark["iconColor"] for mark in marks}) == len(marks)


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS])
def test_a_panel_says_what_it_shows_and_what_to_do(panel: dict[str, Any]) -> None:
    assert panel["title"]
    advice, _, meanings = panel["description"].partition("\n\n")
    assert len(advice.split()) >= 12
    assert advice.endswith(".")
    asked = {PARTS.sub("", name) for target in panel["targets"] for name, _ in metrics_of(target["expr"])}
    meant = re.findall(r"(?m)^`(\w+)`: \w", meanings)
    assert set(meant) == {name for name in asked if name.startswith("tocsin_")}
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["noValue"]
    assert defaults["unit"] in UNITS
    assert defaults["thresholds"]["steps"][0]["value"] is None
    limits = [step["value"] for step in defaults["thresholds"]["steps"][1:]]
    assert limits == sorted(limits)


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in PANELS])
def test_a_panel_asks_the_chosen_source_and_names_what_it_draws(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == SOURCE
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert target["datasource"] == SOURCE
        assert target["legendFormat"] not in ("", "__auto")


@pytest.mark.parametrize("target", ASKED, ids=lambda target: target.panel)
def test_a_query_asks_for_labels_that_exist_and_for_what_was_chosen(
    target: Target, labels: dict[str, set[str]]
) -> None:
    found = metrics_of(target.expr)
    assert found
    for name, matchers in found:
        if name in OF_PROMETHEUS:
            assert set(matchers) <= OF_PROMETHEUS[name]
            continue
        assert set(matchers) - {"job", "instance"} <= labels[name]
        chosen = {"job", "instance"} | ((labels[name] & _choices(target)) - NOT_CHOSEN.get(name, set()))
        for label in chosen:
            assert matchers[label] == f"${label}", f"{name} by {label}"


def _choices(target: Target) -> set[str]:
    (board,) = [each for each in BOARDS if target.panel.startswith(f"{each.name}: ")]
    return {"model", "version"} & set(board.variables) if "annotation" not in target.panel else {"model"}


@pytest.mark.parametrize("target", ASKED, ids=lambda target: target.panel)
def test_counters_are_rates_over_an_interval_that_fits_the_scrapes(target: Target) -> None:
    expr = WAS_THERE.sub("", APPEARED.sub("", target.expr))
    counted = len(re.findall(r"(?:tocsin|process)_\w+(?:_total|_bucket|_sum|_count)\b", expr))
    rates = re.findall(
        r"(rate|increase)\((?:tocsin|process)_\w+(?:_total|_bucket|_sum|_count)\{[^{}]*\}\[([^]]*)\]\)", expr
    )
    assert len(rates) == counted
    assert len(rates) + expr.count("max_over_time(") == expr.count("[$")
    for function, interval in rates:
        whole = function == "increase" and target.instant
        assert interval == ("$__range" if whole else "$__rate_interval")


@pytest.mark.parametrize("board", BOARDS, ids=by_name)
def test_every_variable_of_a_query_is_known(board: Board) -> None:
    known = {*board.variables, "__rate_interval", "__range"}
    asked = [*board.targets(), *board.annotations()]
    assert {name for target in asked for name in re.findall(r"\$(\w+)", target.expr)} <= known
    assert "$" not in "".join(filled(target.expr, {}, 60) for target in asked)


def test_every_metric_of_the_dashboards_is_one_that_the_code_shows(labels: dict[str, set[str]]) -> None:
    asked = [(target.panel, target.expr) for target in ASKED]
    choices = [(f"{b.name}: variable {name}", metric) for b in BOARDS for name, metric, _ in b.choices()]
    missing = unknown([*asked, *choices], {*labels, *OF_PROMETHEUS})
    assert missing == {}, "\n".join(f"{name} is gone: it breaks {', '.join(on)}" for name, on in missing.items())


def test_a_metric_that_is_renamed_names_the_dashboards_that_it_breaks(labels: dict[str, set[str]]) -> None:
    renamed = set(labels) - {"tocsin_responses_waiting"} | {"tocsin_responses_pending"}
    missing = unknown([(target.panel, target.expr) for target in TARGETS], {*renamed, *OF_PROMETHEUS})
    assert missing == {
        "tocsin_responses_waiting": ["fleet: Waits for a person", "response: Responses that wait for a person"]
    }


def test_every_metric_is_on_a_panel(labels: dict[str, set[str]]) -> None:
    shown = {PARTS.sub("", name) for target in TARGETS for name, _ in metrics_of(target.expr)}
    assert {PARTS.sub("", name) for name in labels} - shown == WITHOUT_A_PANEL


def test_what_has_a_word_has_it_for_every_value() -> None:
    worded = {name: _words(panel) for name, panel in PANELS if panel["type"] == "state-timeline"}
    assert worded.pop("fleet: Rules that fire") == {"1": "fires"}
    assert all(list(words) == [str(n) for n in range(len(words))] for words in worded.values())
    families = {"stable", "inconclusive", "drift", "fault", "evasion", "poisoning"}
    assert set(worded["fleet: Verdict by version"].values()) == families


def _words(panel: dict[str, Any]) -> dict[str, str]:
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    return {value: option["text"] for value, option in options.items()}


@pytest.mark.parametrize("what", ["datasources", "dashboards"])
def test_it_is_provisioned(what: str) -> None:
    found = yaml.safe_load((ROOT / "grafana" / "provisioning" / what / "tocsin.yaml").read_text())
    assert found["apiVersion"] == 1
    if what == "datasources":
        assert [(source["type"], source.get("isDefault", False)) for source in found[what]] == [
            ("prometheus", True),
            ("alertmanager", False),
        ]
    else:
        assert [provider["allowUiUpdates"] for provider in found["providers"]] == [False]
