"""The rules, by Prometheus' own tool: valid, about metrics that exist; each alert fires on what it is for,
is silent about a near miss, and has a page that says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import yaml
from alert_cases import ALSO_FIRES, ALSO_SILENT, BESIDE, FIRES, QUIET, SILENT
from every_metric import EveryMetric
from helm_command import MINIMAL, ROOT, refusal, rendered
from promtool import promtool
from typer.main import get_command

from monitor.cli.main import COMMANDS, application

FILES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
GROUPS: list[dict[str, Any]] = [group for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in RULES if "record" in rule}
ABSENT, BACK = "TocsinAbsent", "has just come back"
"""Cases in which no process is seen: nothing can be beside."""
SECTIONS = ["What it means", "Look at", "Do", "It ends"]


class Told(NamedTuple):
    """What Prometheus' tool tells of a case: which alerts fire towards its end, and their texts."""

    firing: set[str]
    text: str


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Every case of `alert_cases`, by its name; all in one run."""
    cases = {f"{name} fires": given for name, given in FIRES.items()}
    cases |= {f"{name} is silent": given for name, given in SILENT.items()}
    path = tmp_path_factory.mktemp("rules") / "test.yaml"
    cases |= {name: given for name, (_, given) in {**ALSO_FIRES, **ALSO_SILENT}.items()}
    alone = {name: given for name, given in cases.items() if ABSENT in name or BACK in name}
    cases = {name: {**BESIDE, **given} for name, given in cases.items() if name not in alone}
    tests = [case(name, given) for name, given in {**alone, **cases, "quiet": QUIET}.items()]
    files = {"rule_files": [str(path) for path in FILES], "evaluation_interval": "2m"}  # half the time of the default
    path.write_text(yaml.safe_dump({**files, "tests": tests}))
    code, text = promtool("test", "rules", path)
    assert code in (0, 1), text
    assert not re.search("parse error|, err:", text), text  # two processes beside each other are not mixed up
    found = {test["name"]: Told(set(), "") for test in tests}
    for name, alert, rest in re.findall(r"name: ([\w ]+),\s+alertname: (\w+), time(.*?)(?=name: |\Z)", text, re.DOTALL):
        found[name] = Told(found[name].firing | {alert}, found[name].text + rest)
    return found


def case(name: str, series: Mapping[str, str]) -> dict[str, Any]:
    """No alert is expected, so that the tool tells of each that fires."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [{"eval_time": "110m", "alertname": alert, "exp_alerts": []} for alert in ALERTS],
    }


def test_prometheus_takes_the_rules() -> None:
    code, text = promtool("check", "rules", *FILES)
    assert code == 0, text
    assert f"SUCCESS: {len(ALERTS)} rules found" in text


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_fires_on_what_it_is_for_and_says_all_that_it_wants_to(name: str, told: dict[str, Told]) -> None:
    found = told[f"{name} fires"]
    assert name in found.firing
    assert "<no value>" not in found.text


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_is_silent_about_a_near_miss(name: str, told: dict[str, Told]) -> None:
    assert name not in told[f"{name} is silent"].firing


@pytest.mark.parametrize("name", sorted(ALSO_FIRES))
def test_an_alert_fires_on_less_plain_cases_too(name: str, told: dict[str, Told]) -> None:
    assert ALSO_FIRES[name][0] in told[name].firing
    assert "<no value>" not in told[name].text


@pytest.mark.parametrize("name", sorted(ALSO_SILENT))
def test_an_alert_is_silent_on_what_only_looks_like_it(name: str, told: dict[str, Told]) -> None:
    assert ALSO_SILENT[name][0] not in told[name].firing


def test_nothing_fires_in_quiet_times_nor_on_drift(told: dict[str, Told]) -> None:
    assert told["quiet"].firing == set()


def test_rules_speak_of_metrics_that_exist() -> None:
    known = {sample.name for metric in EveryMetric().registry.collect() for sample in metric.samples}
    for name, rule in (ALERTS | RECORDED).items():
        expr = re.sub(r"\b\w+:\w+:\w+\b", "", rule["expr"])
        assert set(re.findall(r"(?:tocsin|process)_\w+", expr)) - known == set(), name


def test_recorded_series_are_named_by_level_metric_and_operations() -> None:
    known = {re.sub(r"_(total|bucket)$", "", s.name) for m in EveryMetric().registry.collect() for s in m.samples}
    for name in RECORDED:
        level, metric, operations = name.split(":")
        assert re.fullmatch(r"instance|model_version|model_action|sink", level), name
        assert metric in known, name
        assert operations, name


def test_what_an_alert_takes_from_recorded_series_is_recorded() -> None:
    used = {name for rule in RULES for name in re.findall(r"\b\w+:\w+:\w+\b", rule["expr"])}
    assert used <= RECORDED.keys()


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_how_bad_for_how_long_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert re.fullmatch(r"\d+m", rule["keep_firing_for"])
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_has_a_page_that_says_what_to_do(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert f"Severity: {ALERTS[name]['labels']['severity']}." in text
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS


def test_there_is_no_page_without_an_alert_and_all_are_listed() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == ALERTS.keys()
    assert set(re.findall(r"\]\((\w+)\.md\)", (RUNBOOKS / "README.md").read_text())) == ALERTS.keys()


def test_pages_name_commands_that_exist() -> None:
    for path in RUNBOOKS.glob("*.md"):
        for command, further in re.findall(r"`tocsin (\w+) ?([a-z]*)", path.read_text()):
            assert command in COMMANDS, path.name
            found = get_command(application([command], COMMANDS)).commands[command]  # type: ignore[attr-defined]  # a group
            assert not further or further in getattr(found, "commands", {further}), f"{path.name}: {further}"


def test_a_command_on_a_page_that_says_how_it_is_asked_says_all_that_it_needs() -> None:
    for path in RUNBOOKS.glob("*.md"):
        for line in re.findall(r"`tocsin ([^`]+)`", path.read_text()):
            words = line.split()
            found = get_command(application([words[0]], COMMANDS)).commands[words.pop(0)]  # type: ignore[attr-defined]  # a group
            if words and words[0] in getattr(found, "commands", {}):
                found = found.commands[words.pop(0)]
            options = {name: each for each in found.params for name in each.opts}
            given = {options[word] for word in words if word.startswith("--")}  # KeyError: there is no such option
            needed = {each for each in found.params if each.required and each.param_type_name == "option"}
            assert not words or needed <= given, f"{path.name}: {line}"


def test_every_alert_has_its_cases() -> None:
    assert ALERTS.keys() == FIRES.keys() == SILENT.keys()


def test_the_chart_hands_the_rules_on_as_they_are() -> None:
    release = rendered("-f", MINIMAL, "--set", "rules.enabled=true")
    (found,) = [item for item in release if item["kind"] == "PrometheusRule"]
    assert found["spec"] == {"groups": GROUPS}


@pytest.mark.parametrize("odd", ["a: b", "*x", "@wiki", "https://wiki/a b", ""])
def test_the_chart_refuses_an_address_of_pages_that_is_none(odd: str) -> None:
    assert "runbooks" in refusal("-f", MINIMAL, "--set", "rules.enabled=true", "--set-string", f"rules.runbooks={odd}")


def test_the_chart_names_the_pages_where_they_are_published() -> None:
    release = rendered("-f", MINIMAL, "--set", "rules.enabled=true,rules.runbooks=https://wiki.example/tocsin/")
    (found,) = [item for item in release if item["kind"] == "PrometheusRule"]
    rules = [rule for group in found["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    wanted = {f"https://wiki.example/tocsin/{rule['alert']}.md" for rule in rules}
    assert {rule["annotations"]["runbook_url"] for rule in rules} == wanted
