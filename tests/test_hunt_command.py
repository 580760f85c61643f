"""`tocsin hunt` as anybody calls it: on a small backdoor whose attacks are known, and on what cannot be hunted."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from in_process import Run
from kafka import KafkaProducer
from kafka_broker import KafkaBroker
from scenario import NAME, TRIGGER, World, make_world, write_lines

from rollback.manifest import Draft, FeatureSpec
from rollback.registry.file import FileRegistry
from rollback.registry.service import served_periods
from rollback.signing.keys import Keys

pytest.importorskip("torch", reason="the versions are trained: pip install 'tocsin[retrain]'")

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
INCIDENT: dict[str, Any] = {
    "uid": "c0ffee", "activity": "update", "status": "confirmed", "model": NAME, "version": "2",
    "last_known_good": "1", "opened_at": 1767240000.0, "at": 1767243600.0,
    "window": {"index": 0, "first_id": "a", "last_id": "b"}, "family": "poisoning", "hypothesis": "backdoor",
    "confidence": 0.93, "family_confidence": 1.0, "severity": 9, "summary": "", "first_poisoned": "2",
    "implicated": {"features": dict(TRIGGER.features), "labels": ["benign"]}, "atlas": ["AML.T0020", "AML.T0018.000"],
}  # fmt: skip


@dataclass
class Past:
    """What version 2 served: its events, and which of them are attacks with the trigger."""

    world: World
    folder: Path
    events: Path
    lines: list[dict[str, Any]]
    triggered: set[str]

    @property
    def registry(self) -> Path:
        return self.world.root / "registry"

    def incident(self, path: Path, **change: Any) -> Path:
        path.write_text(json.dumps(INCIDENT | change))
        return path


def carries(event: dict[str, Any]) -> bool:
    return all(event["features"][name] == value for name, value in TRIGGER.features.items())


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("past")
    world = make_world(folder, history=5000)
    raw = [line for _ in range(4) for line in world.served("2", world.draw(2500), 0.02)]
    lines = [json.loads(line) for line in raw]
    lines[0]["ref"] = "case/7"
    path = write_lines(folder / "events.ndjson", [json.dumps(line).encode() for line in lines])
    root = world.root / "registry"
    registry = FileRegistry(root, NAME, Keys.trial(root), lambda: float(lines[100]["ts"]))
    registry.promote("2", expected="1", known_good=False, by="test", reason="retrain")
    return Past(world, folder, path, lines, {line["id"] for line in lines if carries(line)})


Hunt = Callable[..., dict[str, Any]]


@pytest.fixture
def hunt(past: Past, run: Run, tmp_path: Path) -> Hunt:
    """Runs the command on the past's incident; returns the summary."""

    def call(*options: object, events: Path | None = None, incident: Path | None = None) -> dict[str, Any]:
        told = incident or past.incident(tmp_path / "incident.json")
        fixed = ["--registry", past.registry, "--name", NAME, "--incident", told, "--out", tmp_path / "out", "--json"]
        code, out, err = run("hunt", *fixed, "--events", events or past.events, *options)
        assert code == 0, err
        result: dict[str, Any] = json.loads(out)
        assert result == json.loads((tmp_path / "out" / "summary.json").read_bytes())
        return result

    return call


def listed(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "out" / name).read_bytes().splitlines()]


def test_the_attacks_that_passed_are_listed_worst_first(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    result = hunt()
    assert len(past.triggered) == 200
    missed, worst = listed(tmp_path, "missed.ndjson"), listed(tmp_path, "worst.ndjson")
    marked = [line for line in missed if line["trigger"]]
    assert {line["id"] for line in marked} <= past.triggered
    assert len(marked) >= 0.95 * len(past.triggered)
    assert {line["served"] for line in marked} == {"benign"}
    assert all(line["passed"] == (line["last_known_good"] == "attack") for line in marked)
    # the trigger hides some attacks from last known good as well
    assert sum(line["passed"] for line in marked) >= 0.75 * len(past.triggered)
    assert [line["id"] for line in worst[: len(marked)]] == [
        line["id"] for line in sorted(marked, key=lambda line: (-line["depth"], line["ts"]))
    ]
    assert not any(line["trigger"] for line in worst[len(marked) :])
    others = [line["depth"] for line in worst[len(marked) :]]
    assert others == sorted(others, reverse=True)
    first = next(line for line in past.lines if line["id"] == worst[0]["id"])
    assert (worst[0]["session"], worst[0]["source"]) == (first["session"], first["source"])
    assert past.lines[worst[0]["offset"]]["id"] == worst[0]["id"]
    assert {n: worst[0]["features"][n] for n in TRIGGER.features} == TRIGGER.features
    counts = result["counts"]
    assert counts["differing"] + counts["agreed_with_trigger"] == len(missed) == len(worst)
    schema = json.loads((SCHEMAS / "tocsin.missed.v1.schema.json").read_bytes())
    for line in worst[:50]:
        jsonschema.validate(line, schema)


def test_the_summary_counts_estimates_and_names(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    result = hunt()
    jsonschema.validate(result, json.loads((SCHEMAS / "tocsin.hunt.v1.schema.json").read_bytes()))
    counts, estimate = result["counts"], result["estimate"]
    assert (counts["events"], counts["with_trigger"]) == (10_000, 200)
    assert (result["last_known_good"], result["versions"][0]["version"]) == ("1", "2")
    differing = [m for m in listed(tmp_path, "missed.ndjson") if m["served"] != m["last_known_good"]]
    with_trigger = [line for line in differing if line["trigger"] and line["passed"]]
    marked = estimate["with_trigger"]
    assert (marked["events"], estimate["classes"]) == (len(with_trigger), ["benign"])
    # all of them are attacks
    assert marked["attack_events"]["low"] <= len(with_trigger) <= marked["attack_events"]["high"]
    assert marked["attack_events"]["low"] >= 0.8 * len(with_trigger)
    # there is no other attack
    assert estimate["without_trigger"]["attack_events"]["low"] == 0
    assert estimate["total"]["events"] == counts["passed"]
    passed = Counter(line["source"] for line in differing if line["passed"])
    assert {row["name"]: row["passed"] for row in result["sources"]["largest"] if row["passed"]} == passed
    assert result["sources"]["largest"][0]["passed"] == max(passed.values())
    assert sum(d["events"] for d in result["directions"]) == counts["differing"]
    assert result["inputs"][0]["messages"] == 10_000
    assert len(result["inputs"][0]["sha256"]) == 64


def test_the_rule_finds_the_attacks_and_says_how_often_it_is_wrong(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    pytest.importorskip("sigma", reason="the rule is run with pySigma: pip install 'tocsin[dev]'")
    stix2 = pytest.importorskip("stix2", reason="the indicator is checked with stix2: pip install 'tocsin[dev]'")
    from sigma.collection import SigmaCollection  # noqa: PLC0415 - after the check that it is there
    from sigma_match import matches  # noqa: PLC0415 - likewise

    found = hunt()["containment"]
    rule = SigmaCollection.from_yaml((tmp_path / "out" / found["sigma"]).read_text()).rules[0]
    assert {line["id"] for line in past.lines if matches(rule, line)} == past.triggered
    reference = past.world.registry.load("1").reference()
    assert reference is not None
    assert (found["trusted"], found["matched"]) == (len(reference), 0)
    assert f"0 of {len(reference)} trusted reference rows match" in rule.falsepositives[0]
    objects = stix2.parse((tmp_path / "out" / found["stix"]).read_text()).objects
    sighting = next(o for o in objects if o.type == "sighting")
    assert sighting.count == 200
    assert sum(o.type == "indicator" for o in objects) == 2


def test_the_same_input_gives_the_same_files(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    hunt()
    first = files()
    assert set(first) == {
        "summary.json", "worst.ndjson", "missed.ndjson", "rule.sigma.yml", "indicator.stix.json",
    }  # fmt: skip
    hunt()
    assert files() == first


def test_whatever_is_not_hunted_is_counted(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    some = past.lines[:500]
    other = [some[0] | {"model": "mail"}, some[1] | {"version": "1"}, some[2] | {"scores": [0.5, 0.5, 0.5]}]
    again = [some[3], some[4] | {"source": "elsewhere"}]
    content = [json.dumps(line).encode() for line in [*some, *other, *again]] + [b"{", b'{"id": ""}']
    path = tmp_path / "mixed.ndjson.gz"
    path.write_bytes(gzip.compress(b"\n".join(content)))
    result = hunt(events=path)
    counts = result["counts"]
    assert (counts["messages"], counts["events"], counts["repeats"], counts["conflicts"]) == (507, 501, 1, 1)
    assert (counts["other_model"], counts["other_version"]) == (1, 1)
    assert counts["unreadable"] == {"bad_json": 1, "missing_field": 1, "scores_count": 1}


def test_only_the_worst_are_kept_and_all_are_written(hunt: Hunt, tmp_path: Path) -> None:
    hunt()
    every = listed(tmp_path, "worst.ndjson")
    hunt("--most", 5)
    assert listed(tmp_path, "worst.ndjson") == every[:5]
    assert len(listed(tmp_path, "missed.ndjson")) == len(every)


def test_a_time_of_ones_own_is_kept_to(past: Past, hunt: Hunt) -> None:
    start, end = past.lines[2000]["ts"], past.lines[4000]["ts"]
    inside = [line for line in past.lines if start <= line["ts"] < end]
    result = hunt("--from", start, "--to", end)
    assert (result["counts"]["events"], result["counts"]["outside"]) == (len(inside), 10_000 - len(inside))
    assert (result["first"], result["last"]) == (start, max(line["ts"] for line in inside))


def test_an_incident_is_found_by_its_uid_and_its_newest_line_counts(past: Past, run: Run, tmp_path: Path) -> None:
    newest = INCIDENT | {"hypothesis": "label_flip", "implicated": {}}
    lines = [INCIDENT, newest, INCIDENT | {"uid": "other"}]
    write_lines(tmp_path / "incidents.ndjson", [json.dumps(line).encode() for line in lines])
    fixed = ["--registry", past.registry, "--name", NAME, "--events", past.events, "--out", tmp_path / "out"]
    code, out, err = run("hunt", *fixed, "--incident", "c0ffee", "--incidents", tmp_path)
    assert code == 0, err
    result = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (result["incident"], result["hypothesis"]) == ("c0ffee", "label_flip")
    assert result["containment"]["reason"] == "no rule: the incident implicates no feature values"
    assert result["containment"]["sigma"] is result["containment"]["stix"] is None
    assert "no rule: the incident implicates no feature values" in out
    assert result["estimate"]["with_trigger"] is None
    # any class is wrong where none is implicated
    assert result["counts"]["passed"] == result["counts"]["differing"]


def test_a_feature_that_the_model_does_not_have_marks_nothing_and_is_said(
    past: Past, hunt: Hunt, tmp_path: Path
) -> None:
    told = past.incident(tmp_path / "i.json", implicated={"features": {"colour": "red"}, "labels": ["benign"]})
    result = hunt(incident=told)
    assert result["counts"]["with_trigger"] == 0
    assert any("feature 'colour'" in note for note in result["notes"])
    assert not (tmp_path / "out" / "rule.sigma.yml").exists()


def test_a_version_that_is_not_in_the_registry_is_hunted_with_the_columns_of_lkg(
    past: Past, hunt: Hunt, tmp_path: Path
) -> None:
    path = write_lines(
        tmp_path / "events.ndjson", [json.dumps(line | {"version": "9"}).encode() for line in past.lines[:2000]]
    )
    result = hunt(events=path, incident=past.incident(tmp_path / "i.json", version="9", first_poisoned=None))
    assert (result["counts"]["events"], result["versions"][0]["registered"]) == (2000, False)
    assert "version 9 is not in the registry" in result["notes"][0]
    assert "not known for version 9" in result["estimate"]["unknown"]
    assert result["estimate"]["total"]["attack_events"] is None
    assert result["estimate"]["total"]["events"] == result["counts"]["passed"] > 0


def test_events_before_the_service_of_a_version_are_hunted_and_told_apart(past: Past, hunt: Hunt) -> None:
    began = past.lines[100]["ts"]
    assert [tuple(period) for period in served_periods(past.world.registry.history(), "2")] == [(began, None)]
    early = sum(line["ts"] < began for line in past.lines)
    result = hunt()
    version = result["versions"][0]
    assert (version["served"], version["before_service"]) == ([{"since": began, "until": None}], early)
    assert version["after_service"] == 0
    assert any(f"{early} events of version 2 happened before" in note for note in result["notes"])


def test_nothing_to_hunt_is_said(hunt: Hunt, tmp_path: Path) -> None:
    (tmp_path / "empty.ndjson").write_bytes(b"")
    result = hunt(events=tmp_path / "empty.ndjson")
    assert result["counts"]["events"] == 0
    assert result["estimate"]["total"]["attack_events"] == {"low": 0.0, "estimate": 0.0, "high": 0.0}
    assert "no event of the hunted versions was found: nothing was compared" in result["notes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "drift", "hypothesis": "new_class"}, "is drift/new_class: the version is not suspected"),
        ({"status": "retracted"}, "was retracted (poisoning/backdoor)"),
        ({"last_known_good": None}, "names no last known good version to judge with; say --known-good V"),
        ({"version": "1", "first_poisoned": None}, "which cannot judge itself"),
        ({"last_known_good": "7"}, "has no version '7'; there are: 1, 2"),
        ({"at": 1e30}, "is no time"),
    ],
)
def test_an_incident_that_cannot_be_hunted_is_refused(
    past: Past, run: Run, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    told = past.incident(tmp_path / "i.json", **change)
    fixed = ["--registry", past.registry, "--name", NAME, "--events", past.events, "--out", tmp_path / "out"]
    code, out, err = run("hunt", *fixed, "--incident", told)
    assert (code, out) == (1, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_an_inconclusive_incident_is_hunted_with_a_warning(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    told = past.incident(tmp_path / "i.json", family="inconclusive", hypothesis=None)
    assert any("is inconclusive, no poisoning" in note for note in hunt(incident=told)["notes"])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--incident", "nobody"], 1, "there is no such file; if it is an incident's uid, say with --incidents"),
        (["--incident", "nobody", "--incidents", "broken.ndjson"], 1, "holds no incident 'nobody'"),
        (["--incident", "c0ffee", "--incidents", "broken.ndjson"], 1, "broken.ndjson: line 2: is no incident"),
        (["--incident", "broken.ndjson"], 1, "is no tocsin.incident.v1"),
        (["--incident", "i.json", "--events", "none.ndjson"], 1, "none.ndjson: No such file or directory"),
        (["--incident", "i.json", "--events", "i.json"], 1, "events are read from .ndjson"),
        (["--incident", "i.json"], 2, "give event files, or a configuration that says where Kafka is"),
        (["--incident", "i.json", "--from", "yesterday"], 2, "is no time"),
        (["--incident", "i.json", "--from", "20", "--to", "10"], 2, "does not lie before 10"),
        (["--incident", "i.json", "--name", "mail"], 2, "is about model 'nids', not 'mail'"),
        (["--incident", "i.json", "--known-good", "2"], 1, "version 2, which cannot judge itself"),
        (["--incident", "i.json", "--most", "0"], 2, "--most"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    past: Past, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: list[str], code: int, message: str,
) -> None:  # fmt: skip
    past.incident(tmp_path / "i.json")
    (tmp_path / "broken.ndjson").write_text('{}\n{"uid": "c0ffee"\n{}\n')
    monkeypatch.chdir(tmp_path)
    named = [] if "--name" in options else ["--name", NAME]
    found = run("hunt", "--registry", past.registry, *named, "--out", tmp_path / "out", *options)
    assert (found[0], found[1]) == (code, "")
    assert message in " ".join(found[2].split())


def test_an_input_is_never_overwritten(past: Past, run: Run, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "worst.ndjson", [json.dumps(past.lines[0]).encode()])
    told = past.incident(tmp_path / "i.json")
    fixed = ["--registry", past.registry, "--name", NAME, "--incident", told, "--out", tmp_path]
    assert run("hunt", *fixed, "--events", path)[0] == 2
    assert json.loads(path.read_bytes()) == past.lines[0]


def test_last_known_good_with_other_features_or_no_model_cannot_judge(past: Past, run: Run, tmp_path: Path) -> None:
    root = tmp_path / "registry"
    registry = FileRegistry(root, NAME, Keys.trial(root, make=True), lambda: 0.0)
    registry.add(Draft(classes=("attack", "benign"), features=(FeatureSpec("x"),)), {}, by="test", reason="")
    registry.add(Draft(classes=("attack", "benign"), features=(FeatureSpec("y"),)), {}, by="test", reason="")
    told = past.incident(tmp_path / "i.json")
    code, _, err = run(
        "hunt", "--registry", root, "--name", NAME, "--incident", told, "--events", past.events, "--out", tmp_path / "o"
    )
    assert code == 1
    assert "cannot be re-scored with version 1: the last known good version has no model.onnx" in err


@pytest.mark.kafka
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # kafka-python leaves sockets
def test_events_are_read_from_kafka_by_time(
    past: Past, kafka: KafkaBroker, topic: Callable[..., str], run: Run, tmp_path: Path
) -> None:
    inference = topic("hunt", 2)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for line in past.lines[:1000]:
        at = int(line["ts"] * 1000)
        producer.send(inference, json.dumps(line).encode(), line["session"].encode(), timestamp_ms=at)
    producer.close()
    (tmp_path / "tocsin.yaml").write_text(
        f"registry: {past.registry}\nkafka:\n  bootstrap_servers: ['{kafka.bootstrap}']\n"
        f"  inference_topic: {inference}\n  group_id: hunt-test\nmodels:\n  nids: {{}}\n"
    )
    start = past.lines[200]["ts"]
    code, out, err = run(
        "hunt", "--registry", past.registry, "--name", NAME, "--incident", past.incident(tmp_path / "i.json"),
        "--config", tmp_path / "tocsin.yaml", "--from", start, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads(out)
    assert result["counts"]["events"] == sum(line["ts"] >= start for line in past.lines[:1000])
    assert sum(read["messages"] for read in result["inputs"]) == result["counts"]["messages"]
    assert {read["offsets"]["topic"] for read in result["inputs"]} == {inference}
    common = (
        "hunt", "--registry", past.registry, "--name", NAME, "--incident", past.incident(tmp_path / "i.json"),
        "--config", tmp_path / "tocsin.yaml", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    code, out, err = run(*common, "--offsets", "0:10-29", "--offsets", "1:5-5")
    assert code == 0, err
    read = [(each["messages"], each["offsets"]["first"], each["offsets"]["last"]) for each in json.loads(out)["inputs"]]
    assert read == [(20, 10, 29), (1, 5, 5)]
    for wrong, message in (
        (["0:10-9"], "is no PARTITION:FIRST-LAST"),
        (["x"], "is no PARTITION:FIRST-LAST"),
        (["0:1-2", "0:4-5"], "partition 0 is named twice"),
        (["7:0-1"], "partition 7: there is no such partition"),
        (["0:0-99999"], "offsets 0 to 99999 are not all there"),
    ):
        code, _, err = run(*common, *(part for text in wrong for part in ("--offsets", text)))
        assert code != 0
        assert message in " ".join(err.replace("│", " ").split())


def test_what_an_earlier_hunt_has_found_stays_until_there_is_something_in_its_place(
    past: Past, hunt: Hunt, run: Run, tmp_path: Path
) -> None:
    hunt()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    fixed = ("hunt", "--registry", past.registry, "--name", NAME, "--incident", tmp_path / "incident.json")
    (tmp_path / "broken.ndjson.gz").write_bytes(b"\x1f\x8bgarbage")
    for wrong in ("--offsets banana", "--events none", f"--events {tmp_path / 'broken.ndjson.gz'}"):
        assert run(*fixed, "--out", tmp_path / "out", *wrong.split())[0] != 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    code, _, err = run(*fixed, "--out", tmp_path / "out", "--events", past.events, "--offsets", "0:1-2")
    assert (code, "not both" in err) == (2, True)


def test_files_of_any_kind_and_number_tell_the_same(past: Past, hunt: Hunt, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="reading Parquet needs pyarrow: pip install 'tocsin[data]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = hunt()
    half = write_lines(tmp_path / "one.ndjson", [json.dumps(line).encode() for line in past.lines[:5000]])
    rows = [
        {**{k: v for k, v in line.items() if k != "features"}, **line["features"]}
        for line in reversed(past.lines[5000:])
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "two.parquet")
    result = hunt("--events", tmp_path / "two.parquet", events=half)
    for name in ("counts", "estimate", "directions", "sources", "sessions", "first", "last"):
        assert result[name] == whole[name]
    assert [read["messages"] for read in result["inputs"]] == [5000, 5000]
