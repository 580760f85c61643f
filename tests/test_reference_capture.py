"""A reference from the stream: whole sessions of a stretch of time, labels of trusted origins, and nothing moved."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Run
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka_broker import KafkaBroker

from monitor.capture.gather import Gathering, Stretch
from monitor.capture.reference_file import CaptureError, write_reference
from monitor.sources.source import Chunk, Partition, Role
from rollback.own_model import ReferenceTable, own_model
from rollback.reference import ReferenceRows

STRETCH = Stretch(1000.0, 2000.0)


def event(ident: str, ts: float, session: str | None = None, **change: Any) -> dict[str, Any]:
    made = {
        "id": ident, "ts": ts, "model": "nids", "version": "1", "features": {"bytes": 3.0, "proto": "tcp"},
        "scores": {"attack": 0.2, "benign": 0.8}, "source": "fw1",
    }  # fmt: skip
    return made | ({} if session is None else {"session": session}) | change


def stream(sessions: int = 300) -> list[dict[str, Any]]:
    """Two events a session, all within the stretch."""
    rng = np.random.default_rng(1)
    made = []
    for i in range(sessions):
        at = 1000.0 + 990.0 * i / sessions
        for half in (0, 1):
            features = {"bytes": round(float(rng.normal()), 3), "proto": "tcp" if rng.random() < 0.7 else "udp"}
            attack = round(1 / (1 + math.exp(-features["bytes"])), 4)
            scores = {"attack": attack, "benign": 1 - attack}
            made.append(
                event(f"e{i}.{half}", at + half, f"s{i}", features=features, scores=scores, source=f"fw{i % 3}")
            )
    return made


def chunk(lines: list[dict[str, Any]], role: Role = "inference") -> Chunk:
    return Chunk(Partition("t", 0), role, range(len(lines)), [json.dumps(line).encode() for line in lines])


def gathered(*chunks: Chunk, origins: tuple[str, ...] = ("sandbox",)) -> Gathering:
    gathering = Gathering("nids", STRETCH, frozenset(origins))
    for each in chunks:
        gathering.take(each)
    return gathering


def said(ident: str, label: str, origin: str = "sandbox") -> dict[str, Any]:
    return {"id": ident, "ts": 5000.0, "label": label, "origin": origin}


def ids(gathering: Gathering) -> list[list[str]]:
    return [[e.id for e in session] for session in gathering.whole_sessions()]


def test_a_session_that_reaches_beyond_the_stretch_is_left_out_whole() -> None:
    events = [event("a", 999.0, "early"), event("b", 1000.0, "early"), event("c", 1500.0, "whole"),
              event("d", 1999.9, "late"), event("e", 2000.0, "late"), event("f", 1600.0, "whole")]  # fmt: skip
    gathering = gathered(chunk(events))
    assert ids(gathering) == [["c", "f"]]
    assert gathering.counts["cut_sessions"] == 2


def test_the_same_name_at_another_source_is_another_session() -> None:
    gathering = gathered(chunk([event("a", 999.0, "s"), event("b", 1500.0, "s", source="fw2")]))
    assert ids(gathering) == [["b"]]


def test_events_without_a_session_are_tied_by_source_and_minute() -> None:
    gathering = gathered(chunk([event("a", 1201.0), event("b", 1259.0), event("c", 1260.0), event("d", 1990.0)]))
    assert ids(gathering) == [["a", "b"], ["c"], ["d"]]
    edge = gathered(chunk([event("a", 1980.0), event("b", 2010.0)]))
    assert ids(edge) == []


def test_repeats_are_dropped_and_ids_with_several_contents_left_out() -> None:
    one, other = event("a", 1500.0, "s"), event("a", 1501.0, "s", features={"bytes": 9.0, "proto": "udp"})
    gathering = gathered(chunk([one, one, event("b", 1502.0, "s")]))
    assert ids(gathering) == [["a", "b"]]
    assert gathering.counts["repeats"] == 1
    assert ids(gathered(chunk([one, other, event("b", 1502.0, "s")]))) == [["b"]]


def test_only_trusted_origins_on_a_guarded_channel_label_and_contradictions_label_nothing() -> None:
    gathering = gathered(
        chunk([event(i, 1500.0, i) for i in "abc"]),
        chunk([said("a", "attack"), said("b", "attack", "feed"), said("c", "attack"), said("c", "benign")], "trusted"),
        chunk([said("b", "benign")], "feedback"),
    )
    assert [gathering.label(i) for i in "abc"] == ["attack", "", ""]
    assert gathering.contradictory("abc") == 1
    assert gathering.counts["untrusted_labels"] == 2


def test_what_cannot_be_read_is_counted() -> None:
    broken = Chunk(Partition("t", 0), "inference", [0, 1], [b"{", json.dumps(event("x", 1500.0, features=3)).encode()])
    gathering = gathered(broken, chunk([event("y", 1500.0, model="other")]))
    assert gathering.counts["unreadable"] == 2
    assert gathering.counts["other_model"] == 1


def test_rows_are_drawn_by_session_and_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    made = [
        write_reference(gathered(chunk(stream(900))), tmp_path / f"{i}.csv", rows=500, rng=np.random.default_rng(3))
        for i in range(2)
    ]
    assert made[0].rows == 500
    assert (made[0].sessions, made[0].left_out) == (250, 650)
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    with made[0].path.open() as file:
        sessions = [row["session"] for row in csv.DictReader(file)]
    assert {sessions.count(s) for s in sessions} == {2}


def test_too_few_sessions_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    gathering = gathered(chunk(stream(150)), chunk([event("early", 10.0, "s0", source="fw0")]))
    with pytest.raises(CaptureError, match=r"only 149 whole sessions .* at least 200 .*left out: cut_sessions 1"):
        write_reference(gathering, tmp_path / "r.csv", rows=12_000, rng=np.random.default_rng(0))
    assert not (tmp_path / "r.csv").exists()


def test_an_existing_reference_never_moves(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("mine")
    with pytest.raises(CaptureError, match="a reference never moves by itself"):
        write_reference(gathered(chunk(stream())), tmp_path / "r.csv", rows=500, rng=np.random.default_rng(0))
    assert (tmp_path / "r.csv").read_text() == "mine"


def test_a_feature_may_be_called_label(tmp_path: Path) -> None:
    events = [event(f"e{i}", 1500.0, f"s{i}", features={"label": float(i)}) for i in range(200)]
    made = write_reference(gathered(chunk(events)), tmp_path / "r.csv", rows=500, rng=np.random.default_rng(0))
    assert made.roles == ("tocsin_label", "source", "session")


@pytest.mark.parametrize("listed", [False, True])
def test_a_stretch_of_the_stream_becomes_a_version_and_the_stream_is_watched_with_it(
    run: Run, tmp_path: Path, *, listed: bool
) -> None:
    events = stream(1500)
    if listed:
        events = [e | {"features": list(e["features"].values()), "scores": list(e["scores"].values())} for e in events]
    (tmp_path / "events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in events))
    labels = [said(e["id"], "attack" if i % 4 == 0 else "benign") for i, e in enumerate(events)]
    (tmp_path / "labels.ndjson").write_text("".join(json.dumps(line) + "\n" for line in labels))
    (tmp_path / "tocsin.yaml").write_text("models:\n  nids:\n    trusted_origins: [sandbox]\n")
    code, out, err = run(
        "reference", "capture", "--name", "nids", "--from", "1970-01-01T00:16:40Z", "--to", "2000",
        "--events", tmp_path / "events.ndjson", "--feedback", tmp_path / "labels.ndjson",
        "--config", tmp_path / "tocsin.yaml", "--out", tmp_path / "reference.parquet", "--json",
    )  # fmt: skip
    assert code == 0
    assert ("scores come as lists: say the classes in their order" in err) == listed
    told = json.loads(out)
    assert (told["rows"], told["sessions"], told["sources"]) == (3000, 1500, 3)
    assert told["labels"] == {"attack": 750, "benign": 2250}
    command = told["next"].replace("DIR", str(tmp_path / "registry")).replace("A,B,...", "attack,benign").split()[1:]
    code, out, err = run(*command, "--json")
    assert code == 0, err
    assert json.loads(out)["features"] == 2
    code, out, err = run(
        "replay", "--registry", tmp_path / "registry", "--name", "nids", "--events", tmp_path / "events.ndjson",
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["quarantined"], summary["verdict"]["family"]) == ({}, "stable")
    windows = [json.loads(line) for line in (tmp_path / "out" / "windows.ndjson").read_text().splitlines()]
    assert {w["verdict"]["level"] for w in windows} == {0}
    # the scores that were served for the reference stand in for the model that nobody gave
    last = windows[-1]["detectors"]
    assert (last["prediction_entropy"]["status"], last["importance_drift"]["status"]) == ("ok", "ok")
    assert (last["importance_drift"]["facts"]["mode"], last["importance_drift"]["facts"]["weaker"]) == (
        "surrogate",
        True,
    )
    assert max(last["importance_drift"]["facts"]["importance"].items(), key=lambda pair: pair[1])[0] in {
        "bytes",
        "feature_0",
    }


def test_scores_that_were_served_are_kept_by_class_or_by_position(tmp_path: Path) -> None:
    by_name = write_reference(gathered(chunk(stream())), tmp_path / "a.csv", rows=500, rng=np.random.default_rng(0))
    lists = [e | {"scores": list(e["scores"].values())} for e in stream()]
    by_place = write_reference(gathered(chunk(lists)), tmp_path / "b.csv", rows=500, rng=np.random.default_rng(0))
    headers = [made.path.read_text().split("\n")[0].split(",")[-2:] for made in (by_name, by_place)]
    assert headers == [["served:attack", "served:benign"], ["served:0", "served:1"]]
    rows = [
        own_model(ReferenceTable(made.path, "label", "source", "session"), classes=["attack", "benign"])
        for made in (by_name, by_place)
    ]
    kept = [ReferenceRows.from_npz(made.files["reference.npz"]).served for made in rows]
    assert kept[0] is not None
    np.testing.assert_array_equal(*kept)
    assert [f.name for f in rows[0].draft.features] == ["bytes", "proto"]


def test_without_labels_the_classes_have_to_be_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in stream()))
    code, out, err = run(
        "reference", "capture", "--name", "nids", "--from", "1000", "--to", "2000",
        "--events", tmp_path / "events.ndjson", "--out", tmp_path / "reference.csv", "--json",
    )  # fmt: skip
    assert code == 0
    assert "no label is joined: models.NAME.trusted_origins" in err
    told = json.loads(out)
    assert told["next"].endswith("--classes attack,benign")
    command = told["next"].replace("DIR", str(tmp_path / "registry")).split()[1:]
    code, out, err = run(*command, "--json")
    assert code == 0, err
    assert json.loads(out)["classes"] == ["attack", "benign"]


def test_a_time_without_a_zone_and_a_stretch_that_ends_before_it_begins_are_usage_errors(
    run: Run, tmp_path: Path
) -> None:
    where = ("reference", "capture", "--name", "nids", "--events", tmp_path / "e.ndjson", "--out", tmp_path / "r.csv")
    code, _, err = run(*where, "--from", "2025-03-01T00:00:00", "--to", "2000")
    assert code == 2
    assert "with its zone" in err
    code, _, err = run(*where, "--from", "3000", "--to", "2000")
    assert code == 2
    assert "3000 does not lie before 2000" in err


@pytest.mark.kafka
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # kafka-python leaves sockets
def test_a_stretch_of_a_topic_is_read_without_a_trace_in_the_group(
    kafka: KafkaBroker, topic: Callable[..., str], run: Run, tmp_path: Path
) -> None:
    inference, trusted = topic("capture", 2), topic("capture-vetted", 1)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    base = 1_700_000_000
    events = [e | {"ts": base + e["ts"]} for e in [*stream(), event("z", 90_000.0, "far", source="fw0")]]
    for e in events:
        producer.send(inference, json.dumps(e).encode(), e["session"].encode(), timestamp_ms=int(e["ts"] * 1000))
    for line in (said("e0.0", "attack"), said("e1.0", "benign")):
        producer.send(trusted, json.dumps(line).encode())
    producer.close()
    (tmp_path / "tocsin.yaml").write_text(
        f"registry: {tmp_path}\nkafka:\n  bootstrap_servers: ['{kafka.bootstrap}']\n  inference_topic: {inference}\n"
        f"  trusted_feedback_topic: {trusted}\n  group_id: capture-test\n"
        "models:\n  nids:\n    trusted_origins: [sandbox]\n"
    )
    code, out, err = run(
        "reference", "capture", "--name", "nids", "--from", base + 1000, "--to", base + 2000,
        "--config", tmp_path / "tocsin.yaml", "--out", tmp_path / "r.csv", "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)
    assert (told["rows"], told["sessions"], told["labels"]) == (600, 300, {"attack": 1, "benign": 1})
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    assert "capture-test" not in {group["group_id"] for group in admin.list_groups()}
    admin.close()
