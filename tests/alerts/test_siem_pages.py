"""The pages in docs/siem: configurations load, samples are real, searches and rules name fields that alerts have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import siem_pages
import yaml
from alert_lines import incident
from siem_pages import SAMPLES, Block, WazuhRules, every, fields, named, part_of, paths, sample

from monitor.alerts.alert import Notice, read_incident
from monitor.alerts.encode.flat import FlatEncoder
from monitor.alerts.sample import sample_incident
from monitor.alerts.vetting_requests import request_body
from monitor.messages import FeedbackEvent, Incident, VettingRequest
from monitor.settings.config import load_config
from monitor.settings.sink_sections import SinkConfig

DOCS = siem_pages.ROOT / "docs"
RULES = WazuhRules(DOCS / "siem" / "wazuh" / "tocsin_rules.xml")
OF_ALERTS = {"ocsf.md": "ocsf", "splunk.md": "ocsf", "elastic.md": "ecs", "wazuh.md": "flat"}
"""Pages with samples in JSON, and their format."""
FLAT = FlatEncoder("1.2.3", 60_000)


@pytest.mark.parametrize("block", every("yaml"), ids=lambda block: f"{block.page}-{block.text[:30]!r}")
def test_every_configuration_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "tocsin.yaml"
    path.write_text(block.text)
    assert load_config(path, {}).sinks


def test_every_page_has_a_configuration_a_sample_and_a_rule() -> None:
    for page in ("splunk.md", "elastic.md", "sentinel.md", "qradar.md", "ocsf.md", "wazuh.md"):
        text = (DOCS / "siem" / page).read_text()
        assert re.findall(r"^## (.*)$", text, re.MULTILINE)[-4:] == [
            "What comes",
            "Search",
            "Detection rule",
            "Triage",
        ], page
        assert "```yaml" in text, page


def test_the_overview_links_to_every_page_and_no_link_is_dead() -> None:
    overview = (DOCS / "siem.md").read_text()
    assert all(f"(siem/{path.name})" in overview for path in siem_pages.PAGES)
    for path in [*siem_pages.PAGES, DOCS / "siem.md"]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            assert link.startswith("http") or (path.parent / link).exists(), f"{path.name}: {link}"


@pytest.mark.parametrize(("page", "name"), OF_ALERTS.items())
def test_what_a_page_shows_is_part_of_the_sample(page: str, name: str) -> None:
    assert part_of(json.loads(named(page, "json")), sample(name))


def test_what_the_overview_shows_is_part_of_the_sample() -> None:
    (shown,) = (b.text for b in every("json") if b.page == "siem.md" and "class_uid" in b.text)
    assert part_of(json.loads(shown), sample("ocsf"))


def test_every_key_of_a_sink_is_documented() -> None:
    text = "".join((DOCS / page).read_text() for page in ("siem.md", "siem/routing.md"))
    assert [key for key in SinkConfig.model_fields if f"`{key}`" not in text] == []


@pytest.mark.parametrize(("page", "name"), [("sentinel.md", "cef"), ("qradar.md", "leef")])
def test_what_a_page_shows_is_the_sample(page: str, name: str) -> None:
    assert named(page, name) == (SAMPLES / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("page", "name", "languages", "others"),
    [
        ("splunk.md", "ocsf", ("spl", "spl-rule"), {"alert.", "dispatch."}),
        ("elastic.md", "ecs", ("esql", "json-rule"), {"rule.name"}),
        ("ocsf.md", "ocsf", ("sql",), set()),
    ],
)
def test_searches_and_rules_name_fields_of_the_sample(
    page: str, name: str, languages: tuple[str, ...], others: set[str]
) -> None:
    asked = {field for field in fields(named(page, *languages)) if not field.startswith(tuple(others or {"-"}))}
    known = paths(sample(name))
    assert len(asked) >= 3
    assert asked - known - {"logs-tocsin.incident", "tocsin.incident"} == set()


def test_splunks_plain_fields_are_in_the_sample_and_the_rule_takes_it() -> None:
    asked = dict(re.findall(r"\b([a-z_]+)(?:!?=|>=)\"?([\w:]+)", named("splunk.md", "spl").split("|")[0]))
    assert asked.keys() - {"index", "sourcetype"} <= sample("ocsf").keys()
    rule = named("splunk.md", "spl-rule").splitlines()[1]
    found = sample("ocsf")
    assert "class_uid=2004 is_alert=true severity_id>=3 activity_id!=3" in rule
    assert (found["class_uid"], found["is_alert"], found["severity_id"] >= 3, found["activity_id"] != 3) == (
        2004,
        True,
        True,
        True,
    )


def test_elastics_rule_is_json_and_takes_the_sample() -> None:
    rule = json.loads(named("elastic.md", "json-rule"))
    conditions = dict(re.findall(r'([\w.]+) : "([^"]+)"', rule["query"]))
    for path, value in conditions.items():
        found: Any = sample("ecs")
        for part in path.split("."):
            found = found[part]
        assert found == value
    mapped = [rule["rule_name_override"], *(each["field"] for each in rule["severity_mapping"])]
    assert set(mapped) <= paths(sample("ecs"))
    json.loads(named("elastic.md", "json-elastic").partition("\n")[2])


def test_sentinels_columns_are_in_the_table_and_its_keys_in_the_sample() -> None:
    page = (DOCS / "siem" / "sentinel.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE))
    cef = (SAMPLES / "cef.txt").read_text()
    keys = set(re.findall(r"(\w+)=", cef)) | {"deviceEventClassId", "agentSeverity"}
    assert rows.keys() <= keys
    rule = yaml.safe_load(named("sentinel.md", "yml"))
    columns = set(re.findall(r"\b(?:Device|Event|Log|Flex|Field|Ext|Receipt)[A-Z]?\w*", rule["query"]))
    columns |= set(rule["customDetails"].values())
    columns |= set(re.findall(r"{{(\w+)}}", json.dumps(rule["alertDetailsOverride"])))
    columns |= set(re.findall(r"\b(?:DeviceCustom\w+|ExtID|EventOutcome|ReceiptTime)\b", named("sentinel.md", "kql")))
    assert columns - {"DeviceVendor"} <= set(rows.values())


def test_qradars_properties_are_in_the_table_and_its_keys_in_the_sample() -> None:
    page = (DOCS / "siem" / "qradar.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w ]+?) \|", page, re.MULTILINE))
    keys = {pair.partition("=")[0] for pair in (SAMPLES / "leef.txt").read_text().split("|", 6)[6].split("^")}
    assert rows.keys() <= keys
    assert len(rows) >= 10
    asked = set(re.findall(r'"(Tocsin \w+)"', named("qradar.md", "aql", "aql-rule")))
    assert asked <= set(rows.values())


def flat(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FLAT.incident(read_incident(msgspec.json.encode(incident(**changes)))))
    return found


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (sample("flat"), ("100607", 13)),
        (flat(status="suspected", severity=3), ("100602", 3)),
        (flat(severity=8, family="evasion"), ("100606", 10)),
        (flat(severity=5, family="fault"), ("100605", 7)),
        (flat(severity=0), ("100605", 7)),
        (flat(activity="close", status="resolved"), ("100603", 3)),
        (flat(activity="close"), ("100603", 3)),
        (flat(activity="update", status="retracted"), ("100603", 3)),
        (json.loads(FLAT.incident(read_incident(sample_incident(1.0)))), ("100601", 3)),
        (json.loads(FLAT.notice(Notice("n", 1.0, 5, "title", "text", {}))), ("100604", 7)),
        (flat(model='"100601"', summary="tocsin-test"), ("100607", 13)),
    ],
)
def test_wazuhs_rules_give_every_kind_of_alert_its_level(event: dict[str, Any], expected: tuple[str, int]) -> None:
    assert RULES.fires(event) == expected


def test_wazuhs_rules_and_page_name_fields_of_the_sample() -> None:
    assert RULES.names <= paths(sample("flat"))
    asked = {name.removeprefix("data.") for name in fields(named("wazuh.md", "wazuh")) if name != "rule.groups"}
    assert asked <= paths(sample("flat"))
    page = (DOCS / "siem" / "wazuh.md").read_text()
    table = re.findall(r"^\| (1006\d\d) \| (\d+) \|", page, re.MULTILINE)
    xml = (DOCS / "siem" / "wazuh" / "tocsin_rules.xml").read_text()
    assert table == re.findall(r'<rule id="(\d+)" level="(\d+)">', xml)


def test_the_question_and_the_answer_of_the_page_are_what_is_sent_and_taken() -> None:
    told = json.loads(named("vetting.md", "json-vetting"))
    request = msgspec.convert({name: told[name] for name in told if name != "alert_id"}, VettingRequest)
    assert json.loads(request_body(request, 8000)) == told
    answer = json.loads(named("vetting.md", "json-feedback"))
    schema = json.loads((DOCS / "schemas" / "tocsin.feedback.v1.schema.json").read_text())
    jsonschema.validate(answer, schema)
    assert msgspec.convert(answer, FeedbackEvent).label in request.scores


def test_the_sample_incident_is_one_that_the_pages_can_speak_of() -> None:
    told = msgspec.json.decode((SAMPLES / "incident.txt").read_bytes(), type=Incident)
    assert (told.status, told.activity, told.severity >= 4) == ("confirmed", "create", True)
