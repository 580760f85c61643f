"""Every query of the dashboards and every rule, asked of a real Prometheus that watched the demonstration."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from every_metric import EveryMetric
from grafana_dashboard import ANNOTATIONS, BOARDS, PANELS, ROOT, Target, filled
from grafana_dashboard import TARGETS as OF_PANELS
from prometheus_server import Prometheus, Series, free_port

from rollback.retraining.stages import STAGES

TARGETS = [*OF_PANELS, *ANNOTATIONS]
CHOICES = [(board.name, *choice) for board in BOARDS for choice in board.choices()]
RULE_FILES = sorted((ROOT / "prometheus" / "rules").glob("*.yaml"))
RULES = [rule for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
EXPRESSIONS = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES}
STORY, EVERYTHING = "story", "everything"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE = 840.0
STEP = 1.0
POISONED, GOOD, RETRAINED = "2", "1", "3"

NOT_IN_THE_STORY = {
    "response: Endpoints serve what they should",
    "response: Agreement on canaries",
    "response: Versions are what was signed",
    "response: Scheduled work",
    "response: Since it last succeeded, in periods",
    "response: Since it last ran",
    "response: Since canaries were answered, in periods",
    "response: Canaries that did not match",
    "pipeline: GPU memory",
    "pipeline: GPU busy",
    "pipeline: Behind by",
    "pipeline: Lag by partition",
    "pipeline: Messages that cannot be read",
    "pipeline: Turns of the loop",
    "pipeline: Alerts sent",
    "pipeline: Alerts that wait",
    "pipeline: Alerts dropped",
    "pipeline: Circuit breaker",
    "pipeline: Since the receiver last took alerts",
    "pipeline: Alerts wait, and none was taken for",
    "pipeline: On disk",
    "pipeline: Dead letters",
}
"""It has neither sinks nor a schedule nor a GPU, reads everything at once, and everything in it can be read."""


class Told(NamedTuple):
    """The story, as Prometheus saw it from ``start`` to ``end``, and the figures that it ended with."""

    prometheus: Prometheus
    start: float
    end: float
    figures: dict[str, Any]

    def ask(self, target: Target, job: str = STORY) -> list[Series]:
        expr = filled(target.expr, {"job": job}, self.end - self.start)
        if target.instant:
            return self.prometheus.at(expr, self.end)
        return self.prometheus.over(expr, self.start, self.end, STEP)

    def panel(self, title: str) -> list[Series]:
        return [series for target in TARGETS if target.panel == title for series in self.ask(target)]

    def highest(self, title: str, **labels: str) -> float:
        """The highest value that a panel shows of what has these labels."""
        series = [each for each in self.panel(title) if labels.items() <= each.labels.items()]
        return max((value for each in series for value in each.values), default=math.nan)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("story")
    port = free_port()
    with (
        EveryMetric() as everything,
        Prometheus(folder, {STORY: port, EVERYTHING: everything.port}, RULE_FILES) as prometheus,
    ):
        start = time.time()
        figures = tell(folder, port, everything)
        end = prometheus.last_seen(STORY)  # a little later it is not there any more
        yield Told(prometheus, end - STEP * ceil((end - start) / STEP), end, figures)


def tell(folder: Path, port: int, everything: EveryMetric) -> dict[str, Any]:
    """Run the demonstration to its end; meanwhile everything else happens as well."""
    command = [sys.executable, "-m", "monitor", "demo", "--approve", "--json", "--out", str(folder / "out")]
    command += ["--listen", f"127.0.0.1:{port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    deadline = time.monotonic() + PATIENCE
    with (
        (folder / "figures").open("wb") as out,
        (folder / "told").open("wb") as err,
        subprocess.Popen(command, stdout=out, stderr=err, env=environment) as demo,
    ):
        try:
            while demo.poll() is None and time.monotonic() < deadline:
                everything.touch()
                time.sleep(0.5)
        finally:
            demo.kill()
    said = (folder / "told").read_text()
    assert demo.returncode == 0, said
    lines = (folder / "out" / "state" / "incidents.ndjson").read_text().splitlines()
    return json.loads((folder / "figures").read_text()) | {"uids": {json.loads(line)["uid"] for line in lines}}


def finite(series: list[Series]) -> list[float]:
    return [value for each in series for value in each.values if math.isfinite(value)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.panel)
def test_a_query_finds_what_is_there(told: Told, target: Target) -> None:
    found = told.ask(target, EVERYTHING)
    assert finite(found), "nothing, though every metric is there"
    assert all(target.named <= series.labels.keys() for series in found), "its legend has holes"


@pytest.mark.parametrize("title", [name for name, _ in PANELS if name not in NOT_IN_THE_STORY])
def test_the_story_is_seen_on_the_panel(told: Told, title: str) -> None:
    assert finite(told.panel(title))


@pytest.mark.parametrize(("board", "name", "metric", "label"), CHOICES, ids=str)
def test_what_can_be_chosen_is_offered(told: Told, board: str, name: str, metric: str, label: str) -> None:
    found = told.prometheus.labels(label, filled(metric, {"job": STORY}, 60), told.start, told.end)
    offered = {"job": {STORY, EVERYTHING}, "model": {"nids"}, "version": {GOOD, POISONED, RETRAINED}}
    assert set(found) == offered[name] if name in offered else len(found) == 1


@pytest.mark.parametrize("mark", ["Deployments", "Incidents", "Rollbacks"])
def test_the_story_is_marked_on_the_panels(told: Told, mark: str) -> None:
    found = told.panel(f"model: annotation {mark}")
    assert finite(found)
    if mark == "Deployments":
        assert {each.labels["version"] for each in found} == {POISONED, RETRAINED}, "a start is no deployment"


def test_how_much_was_asked_and_answered(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [told.ask(target, job) for target in TARGETS for job in (STORY, EVERYTHING)]
    asked = f"{len(TARGETS)} queries of {len(PANELS)} panels on {len(BOARDS)} dashboards, {len(CHOICES)} variables"
    with capsys.disabled():
        print(f"\n{asked}, {len(EXPRESSIONS)} rules: {sum(map(len, answers)):,} series")  # noqa: T201
    assert len(BOARDS) == 4


@pytest.mark.parametrize("chosen", [f"({STORY}|{EVERYTHING})", STORY])
def test_several_and_single_choices_are_taken(told: Told, chosen: str) -> None:
    choice = {"job": chosen, "model": "nids", "version": f"({GOOD}|{POISONED})"}
    for target in TARGETS:
        told.prometheus.at(filled(target.expr, choice, 60), told.end)


def test_drift_and_poisoning_are_seen_on_the_version_that_has_them(told: Told) -> None:
    drift, poisoning = 2.0, 5.0
    assert told.highest("model: Verdict by version", version=GOOD) == drift
    assert told.highest("model: Verdict by version", version=POISONED) == poisoning
    assert told.highest("model: Verdict") == poisoning
    assert told.highest("fleet: Verdict") < poisoning, "it does not serve any more"
    assert told.highest("model: Confidence", version=POISONED) >= 0.95
    assert told.highest("fleet: Incidents by family", family="poisoning") >= 1


def test_the_way_back_and_the_cure_are_seen(told: Told) -> None:
    for action in ("rollback", "retraining", "promotion"):
        assert told.highest("response: Responses by outcome", action=action, outcome="done") >= 1
    assert told.highest("response: Responses by outcome", action="promotion", outcome="proposed") >= 1
    (waiting,) = told.panel("response: Responses that wait for a person")
    assert waiting.values[-1] == 0
    assert told.figures["serving"] == RETRAINED


def test_what_was_done_is_seen_phase_by_phase_and_can_be_proved(told: Told) -> None:
    assert told.highest("response: Responses by phase", action="rollback", phase="done") >= 1
    assert told.highest("response: How long responses take", action="retraining") > 0, "in the time of the story"
    assert min(finite(told.panel("response: Release gate"))) == 1.0
    assert told.highest("response: Records of the audit log") >= 3
    (unsigned,) = told.panel("response: Records not yet signed for")
    assert unsigned.values[-1] == 0


def test_the_retraining_is_seen_stage_by_stage(told: Told) -> None:
    (stage,) = told.panel("response: Stage of the retraining")
    seen = [value for value in stage.values if value > 0]
    assert seen == sorted(seen)
    assert {3.0, 4.0} <= set(seen), "screening and training take seconds"
    assert stage.values[-1] == 0
    took = {each.labels["stage"]: each.values[0] for each in told.panel("response: How long each stage took")}
    assert took.keys() == set(STAGES)
    assert 1.0 < sum(took.values()) < told.end - told.start


@pytest.mark.parametrize("target", [each for each in TARGETS if each.exemplar], ids=lambda target: target.panel)
def test_the_marks_on_a_panel_name_the_incident(told: Told, target: Target) -> None:
    expr = filled(target.expr, {"job": STORY}, told.end - told.start)
    named = {labels["incident"] for labels in told.prometheus.exemplars(expr, told.start, told.end)}
    assert named
    assert named <= told.figures["uids"]


def test_importances_of_both_versions_stand_side_by_side(told: Told) -> None:
    for whose in ("serving", "last known good"):
        found = told.panel(f"model: Importance in the {whose} version")
        assert len({each.labels["feature"] for each in found}) >= 3
        assert all(0 <= share <= 1 for share in finite(found))


def test_a_version_is_drawn_only_while_it_answers_events(told: Told) -> None:
    verdicts = {each.labels["version"]: len(each.values) for each in told.panel("model: Verdict by version")}
    seconds = told.end - told.start
    assert verdicts.keys() == {GOOD, POISONED, RETRAINED}
    assert verdicts[POISONED] < 0.9 * seconds


def test_what_changed_is_seen(told: Told) -> None:
    entropy = [each for each in told.panel("model: Prediction entropy") if each.labels["gauge"] == "entropy_mean"]
    assert all(0 < value < 1 for value in finite(entropy))
    assert told.highest("model: Inputs against the reference", gauge="drifted_share", version=GOOD) > 0.1
    assert told.highest("model: How far each detector is from an alarm", detector="version_disagreement") >= 0
    assert told.highest("model: Status of each detector", detector="input_similarity", version=GOOD) == 2.0
    named = {each.labels["feature"] for each in told.panel("model: Features whose importance moved most")}
    assert len(named) >= 3
    assert "other" not in named


def test_the_poisoned_version_parts_from_the_last_known_good_one(told: Told) -> None:
    deep = told.highest("model: Disagreement on the same events", gauge="deep_rate", version=POISONED)
    null = told.highest("model: Disagreement on the same events", gauge="null_rate", version=POISONED)
    assert deep > null
    assert told.highest("model: Evidence of deep disagreement", version=POISONED) > 1e4
    assert told.highest("model: What was tried about them", gauge="swap_flip_gap", version=POISONED) > 0.5


def test_labels_were_asked_for_and_answered(told: Told) -> None:
    assert told.highest("model: Requests for labels", outcome="asked") >= 1
    assert told.highest("model: Requests for labels", outcome="answered") >= 1
    assert told.highest("model: Labels by outcome and trust", trust="trusted") >= 1
    assert 0.5 < told.highest("model: Answered of what was asked") <= 1.1
    assert told.highest("model: Claims of trust that were not believed") == 0


@pytest.mark.parametrize("name", sorted(EXPRESSIONS))
def test_a_rule_is_taken(told: Told, name: str) -> None:
    told.prometheus.over(EXPRESSIONS[name], told.start, told.end, 5.0)


@pytest.mark.parametrize("name", sorted(rule["record"] for rule in RULES if "record" in rule))
def test_what_is_recorded_has_figures(told: Told, name: str) -> None:
    assert finite(told.prometheus.over(f'{name}{{job="{EVERYTHING}"}}', told.start, told.end, 5.0))


def test_prometheus_had_no_trouble_with_a_rule(told: Told) -> None:
    rules = told.prometheus.rules()
    assert {rule["name"] for rule in rules} == EXPRESSIONS.keys()
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []
    assert {rule["health"] for rule in rules} == {"ok"}


def test_the_poisoning_would_have_called_somebody(told: Told) -> None:
    found = told.prometheus.over(f"({EXPRESSIONS['TocsinPoisoning']})", told.start, told.end, STEP)
    assert {each.labels["version"] for each in found if each.labels["model"] == "nids"} == {POISONED}
