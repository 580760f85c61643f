"""Every metric there is: its names are frozen, its page is current, and whoever renames one reads what that breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from every_metric import EveryMetric
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from promtool import promtool

from monitor.watching.catalogue import LABELS, Described, catalogue
from monitor.watching.documentation import document

ROOT = Path(__file__).parent.parent.parent
FROZEN = Path(__file__).with_name("metrics.txt")
USERS = ("grafana/dashboards/*.json", "prometheus/rules/*.yaml", "docs/runbooks/*.md", "docs/**/*.md", "README.md")
RECORDED = re.compile(r"\b[a-z_]+:\w+:\w+\b")
"""A recorded series, which `test_rules` looks at."""
NO_METRIC = re.compile(r"tocsin_(rules|findings|runtime|alert|incident|label|weight|session|trusted)\b")
"""What else is called so: a file, a module, fields of messages, columns of a table."""


def declared() -> list[Described]:
    return [each for found in catalogue().values() for each in found]


def lines() -> list[str]:
    return [f"{each.name} {each.kind} {','.join(each.labels)}".strip() for each in declared()]


def users() -> Iterator[tuple[str, str]]:
    """Names that look like those of metrics, each with the file that uses it."""
    for path in sorted({path for pattern in USERS for path in ROOT.glob(pattern)}):
        text = RECORDED.sub("", path.read_text(encoding="utf-8"))
        for name in set(re.findall(r"\btocsin_[a-z0-9_]+\b", text)):
            yield name, str(path.relative_to(ROOT))


def broken(known: Mapping[str, str]) -> list[str]:
    """What uses a name that is not ``known`` (name to kind)."""
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    samples = {name + end for name, kind in known.items() for end in suffixes.get(kind, ("",))} | known.keys()
    return sorted(f"{path} uses {name}" for name, path in users() if name not in samples and not NO_METRIC.match(name))


def test_names_types_and_labels_are_frozen() -> None:
    before, now = set(FROZEN.read_text().splitlines()), set(lines())
    gone = {line.split()[0] for line in before - now}
    uses = sorted(f"{path} uses {name}" for name, path in users() if any(name.startswith(each) for each in gone))
    assert not before - now, f"changed or gone: {sorted(before - now)}; that breaks: {uses}"
    assert not now - before, f"new: add to {FROZEN.name}: {sorted(now - before)}"


def test_dashboards_rules_and_pages_speak_of_metrics_that_exist() -> None:
    assert broken({each.name: each.kind for each in declared()}) == []


def test_a_renamed_metric_is_told_with_what_it_would_break() -> None:
    kept = {each.name: each.kind for each in declared() if each.name != "tocsin_verdict"}
    said = broken(kept)
    assert any(line.startswith("grafana/dashboards/") and line.endswith("uses tocsin_verdict") for line in said)


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == document(), "run `make schemas`"


def test_every_label_is_explained_and_no_more_than_those() -> None:
    assert {label for each in declared() for label in each.labels} == LABELS.keys()


def test_nobody_who_sends_events_names_a_label() -> None:
    assert not LABELS.keys() & {"source", "origin", "session", "id", "incident", "ref", "instance", "job"}


def test_what_is_declared_is_what_is_scraped() -> None:
    scraped: dict[str, set[str]] = {}
    for family in EveryMetric().registry.collect():
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name) if family.type == "histogram" else sample.name
            scraped.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    found = {name: labels for name, labels in scraped.items() if not name.startswith("process_")}
    known = {each.name: set(each.labels) for each in declared()}
    assert found == known | {"tocsin_build_info": {"version"}}


def test_prometheus_finds_nothing_to_complain_of() -> None:
    assert promtool("check", "metrics", text=generate_latest(EveryMetric().registry)) == (0, "")


@pytest.mark.parametrize("name", ["tocsin_incidents_total", "tocsin_actions_total", "tocsin_response_duration_seconds"])
def test_exemplars_name_the_incident(name: str) -> None:
    text = generate_openmetrics(EveryMetric().registry).decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = [s.exemplar.labels for s in samples if s.name.startswith(name) and s.exemplar is not None]
    assert {"incident": "49f0600eefb3f8c24f6bff66fd3773a8"} in found
