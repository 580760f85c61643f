from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.batch import Batch
from detectors.schema import UNSEEN, Feature, Schema
from monitor.decoding.decode import InferenceDecoder
from monitor.decoding.envelope import DecodeLimits
from monitor.decoding.reader import Served
from monitor.decoding.reject import Reject
from monitor.sources.source import Chunk, Partition

KEY = b"0123456789abcdef"
SCHEMA = Schema(
    (Feature("bytes"), Feature("service", "categorical", ("http", "dns", "80")), Feature("internal", "binary")),
    ("benign", "attack"),
)
THREE = Schema((Feature("a"),), ("x", "y", "z"))
VERSIONS = {
    ("nids", "1"): Served(SCHEMA),
    ("nids", "2"): Served(SCHEMA),
    ("three", "1"): Served(THREE),
    ("tags", "1"): Served(THREE, simplex=False),
}
EVENT = {
    "id": "e1",
    "ts": 1_700_000_000.5,
    "model": "nids",
    "version": "1",
    "features": [12.5, "dns", True],
    "scores": [0.75, 0.25],
    "source": "sensor-1",
    "session": "s1",
    "ref": "pcap/1",
}


def lookup(model: str, version: str) -> Any:
    if (model, version) in VERSIONS:
        return VERSIONS[model, version]
    return "unknown_version" if any(model == known for known, _ in VERSIONS) else "unknown_model"


def decoder(**limits: int) -> InferenceDecoder:
    return InferenceDecoder(lookup, KEY, DecodeLimits(**limits))


def decode(values: list[bytes], **limits: int) -> tuple[list[Batch], list[Reject]]:
    chunk = Chunk(Partition("events", 3), "inference", range(100, 100 + len(values)), values)
    return decoder(**limits).decode(chunk, 7)


def message(**changes: Any) -> bytes:
    event = {name: value for name, value in (EVENT | changes).items() if value is not ...}
    return json.dumps(event).encode()


def row(**changes: Any) -> Batch:
    batches, rejects = decode([message(**changes)])
    assert rejects == []
    return batches[0]


def reason(**changes: Any) -> str:
    batches, (reject,) = decode([message(**changes)])
    assert batches == []
    return reject.reason


def test_an_event_becomes_a_row_with_its_place() -> None:
    batch = row()
    assert (batch.model, batch.version) == ("nids", "1")
    assert batch.x.tolist() == [[12.5, 1.0, 1.0]]
    assert batch.scores.tolist() == [[0.75, 0.25]]
    assert [batch.id[0], batch.source[0], batch.session[0], batch.ref[0]] == ["e1", "sensor-1", "sensor-1/s1", "pcap/1"]
    assert [batch.ts[0], batch.partition[0], batch.offset[0]] == [1_700_000_000.5, 7, 100]


def test_features_by_name_are_the_same_as_in_order_and_what_is_left_out_is_missing() -> None:
    reader = decoder()
    values = [message(features={"internal": 1, "bytes": 12.5, "service": "dns"}), message(features={"service": "http"})]
    (batch,), _ = reader.decode(Chunk(Partition("events", 0), "inference", [0, 1], values), 0)
    np.testing.assert_array_equal(batch.x, [[12.5, 1.0, 1.0], [np.nan, 0.0, np.nan]])
    counted = reader.reader("nids", "1")
    assert counted is not None
    assert counted.absent == 2


def test_versions_that_take_turns_are_each_read_with_their_own_schema() -> None:
    other = Schema((Feature("bytes"), Feature("service", "categorical", ("dns", "http"))), ("attack", "benign"))
    own = Schema((Feature("bytes"), Feature("service", "categorical", ("http", "dns"))), ("benign", "attack"))
    versions = {"1": Served(own), "2": Served(other)}
    reader = InferenceDecoder(lambda _, version: versions[version], KEY, DecodeLimits())
    features, scores = {"bytes": 1, "service": "dns"}, {"attack": 0.9, "benign": 0.1}
    values = [message(version=version, features=features, scores=scores) for version in ("1", "2", "1")]
    for _ in range(2):  # the second time, the decoder expects the version that it saw last
        batches, rejects = reader.decode(Chunk(Partition("events", 0), "inference", [0, 1, 2], values), 0)
        assert rejects == []
        assert [(b.version, b.x[0].tolist(), b.scores[0].tolist(), len(b)) for b in batches] == [
            ("1", [1.0, 1.0], [0.1, 0.9], 2),
            ("2", [1.0, 0.0], [0.9, 0.1], 1),
        ]


def test_a_bad_event_is_rejected_for_the_same_reason_whatever_was_read_before() -> None:
    reader, good = decoder(), message()
    bad = [message(features=[1]), message(scores=[0.5]), message(ts="yesterday"), good[:-1], b"[]"]
    place = Partition("events", 0)
    (batch,), fresh = reader.decode(Chunk(place, "inference", range(6), [*bad, good]), 0)
    (again,), known = reader.decode(Chunk(place, "inference", range(6), [*bad, good]), 0)
    assert len(fresh) == len(bad)
    assert known == fresh
    assert again.x.tolist() == batch.x.tolist()


@pytest.mark.parametrize(
    ("value", "code"),
    [("http", 0.0), (None, np.nan), ("gopher", UNSEEN), (80, 2.0), (80.0, 2.0), ("80", 2.0), (81, UNSEEN)],
)
def test_a_category_is_coded_and_a_new_one_is_unseen(value: Any, code: float) -> None:
    np.testing.assert_array_equal(row(features=[1, value, 0]).x[0, 1], code)


def test_an_empty_text_is_missing_as_it_is_in_a_table() -> None:
    assert np.isnan(row(features=[1, "", 0]).x[0, 1])


def test_unseen_values_are_counted_by_feature_within_a_bound() -> None:
    reader = decoder()
    values = [message(features=[1, f"new-{i % 50}", 0]) for i in range(100)]
    reader.decode(Chunk(Partition("events", 0), "inference", range(100), values), 0)
    counted = reader.reader("nids", "1")
    assert counted is not None
    assert len(counted.unseen["service"]) == 32
    assert counted.unseen["service"]["new-0"] == 2


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.75, 0.25], [0.75, 0.25]),
        ({"attack": 0.25, "benign": 0.75}, [0.75, 0.25]),
        (0.25, [0.75, 0.25]),
        (1, [0.0, 1.0]),
        ([0.7515, 0.25], [0.7515, 0.25]),
    ],
)
def test_scores_are_read_in_every_form(scores: Any, expected: list[float]) -> None:
    assert row(scores=scores).scores.tolist() == [expected]


def test_independent_scores_need_not_sum_to_one() -> None:
    assert row(model="tags", features=[1], scores=[0.9, 0.8, 0.7]).scores.tolist() == [[0.9, 0.8, 0.7]]
    assert reason(model="tags", features=[1], scores=[0.9, 0.8, 1.7]) == "scores_range"
    assert reason(model="three", features=[1], scores=[0.9, 0.8, 0.7]) == "scores_sum"


@pytest.mark.parametrize(
    ("ts", "seconds"),
    [
        (1_700_000_000, 1_700_000_000.0),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-15T00:13:20.250+02:00", 1_700_000_000.25),
        (0, 0.0),
    ],
)
def test_time_is_read_as_rfc_3339_or_seconds(ts: Any, seconds: float) -> None:
    assert row(ts=ts).ts.tolist() == [seconds]


def test_without_source_and_session_blocks_of_a_minute_stand_in() -> None:
    batch = row(source=..., session=..., ts=120.0)
    assert (batch.source[0], batch.session[0]) == ("-", "-@2")
    assert row(source="", session=None, ts=179.9).session[0] == "-@2"
    assert row(source="s", session="", ts=180.0).session[0] == "s@3"


def test_a_long_ref_is_cut_and_its_control_characters_are_replaced() -> None:
    assert row(ref="a\nb" + "x" * 600).ref[0] == "a�b" + "x" * 509


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": ...}, "missing_field"),
        ({"id": ""}, "missing_field"),
        ({"features": ...}, "missing_field"),
        ({"scores": None}, "scores_type"),
        ({"id": 7}, "field_type"),
        ({"source": 7}, "field_type"),
        ({"ref": 7}, "field_type"),
        ({"id": "x" * 257}, "field_too_long"),
        ({"session": "x" * 257}, "field_too_long"),
        ({"id": "a\0"}, "control_character"),
        ({"source": "a\nb"}, "control_character"),
        ({"ts": "yesterday"}, "bad_ts"),
        ({"ts": "2023-11-14T22:13:20"}, "bad_ts"),
        ({"ts": 1_700_000_000_000}, "bad_ts"),
        ({"ts": -1}, "bad_ts"),
        ({"ts": True}, "bad_ts"),
        ({"ts": float("inf")}, "bad_ts"),
        ({"model": "nobody"}, "unknown_model"),
        ({"version": "99"}, "unknown_version"),
        ({"features": [1, "dns"]}, "feature_count"),
        ({"features": [1, "dns", 0, 0]}, "feature_count"),
        ({"features": ["1", "dns", 0]}, "feature_type"),
        ({"features": [1, True, 0]}, "feature_type"),
        ({"features": [[1], "dns", 0]}, "feature_type"),
        ({"features": "dns"}, "feature_type"),
        ({"features": {"bytes": 1, "colour": 2}}, "unknown_feature"),
        ({"features": [float("nan"), "dns", 0]}, "feature_not_finite"),
        ({"scores": [0.5, 0.25, 0.25]}, "scores_count"),
        ({"scores": {"benign": 1.0}}, "scores_count"),
        ({"scores": {"benign": 1.0, "other": 0.0}}, "unknown_class"),
        ({"scores": [float("nan"), 1.0]}, "scores_not_finite"),
        ({"scores": float("-inf")}, "scores_not_finite"),
        ({"scores": [3.5, -2.5]}, "scores_range"),
        ({"scores": [0.6, 0.3]}, "scores_sum"),
        ({"scores": ["0.5", "0.5"]}, "scores_type"),
        ({"scores": "0.5"}, "scores_type"),
        ({"model": "three", "features": [1], "scores": 0.5}, "scores_count"),
    ],
)
def test_what_breaks_the_contract_is_rejected_with_its_reason(changes: dict[str, Any], expected: str) -> None:
    assert reason(**changes) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", "empty"),
        (b"{", "bad_json"),
        (message()[:-20], "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (message().replace(b"sensor-1", b"\xff"), "bad_json"),
        (message().decode().encode("utf-16"), "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"id":' * 100_000, "bad_json"),
        (message(more=None).replace(b"null", b"[" * 5000 + b"]" * 5000), "bad_json"),
        (b"[1]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
    ],
)
def test_what_is_no_json_object_is_rejected(value: bytes, expected: str) -> None:
    batches, (reject,) = decode([value])
    assert (batches, reject.reason) == ([], expected)


def test_a_large_message_is_not_parsed_and_only_its_beginning_is_kept() -> None:
    _, (reject,) = decode([message(ref="x" * 5000)], message_bytes=1000, excerpt_bytes=100)
    assert (reject.reason, len(reject.raw)) == ("too_large", 100)


def test_a_reject_names_offset_source_and_what_is_wrong() -> None:
    _, (reject,) = decode([message(features=["x", "dns", 0])])
    assert (reject.offset, reject.source) == (100, "sensor-1")
    assert reject.detail == "`bytes` is numeric, got a string"
    _, (reject,) = decode([message(scores=[float("nan"), 0])])
    assert reject.source == "sensor-1"


def test_the_last_of_duplicate_keys_wins() -> None:
    (batch,), _ = decode([message().replace(b'"id": "e1"', b'"id": "first", "id": "last"')])
    assert batch.id.tolist() == ["last"]


def test_one_bad_event_does_not_spoil_the_rest() -> None:
    values = [message(id="a"), b"{", message(id="b", scores=[2, 2]), message(id="c", features=[]), message(id="d")]
    (batch,), rejects = decode(values)
    assert batch.id.tolist() == ["a", "d"]
    assert batch.offset.tolist() == [100, 104]
    assert [(r.offset, r.reason) for r in rejects] == [
        (101, "bad_json"),
        (102, "scores_range"),
        (103, "feature_count"),
    ]


def test_versions_come_apart_and_keep_their_order() -> None:
    batches, _ = decode([message(id=str(i), version=str(1 + i % 2)) for i in range(6)])
    assert {b.version: b.id.tolist() for b in batches} == {"1": ["0", "2", "4"], "2": ["1", "3", "5"]}


def test_keys_follow_the_id_and_digests_the_content() -> None:
    (batch,), _ = decode([message(), message(), message(ref="other"), message(id="e2")])
    assert batch.key[0] == batch.key[1] == batch.key[2] != batch.key[3]
    assert batch.digest[0] == batch.digest[1] != batch.digest[2]
    other = InferenceDecoder(lookup, KEY[::-1], DecodeLimits())
    (again,), _ = other.decode(Chunk(Partition("events", 0), "inference", [0], [message()]), 0)
    assert again.key[0] != batch.key[0]


def test_names_that_json_must_escape_are_read_from_arrays() -> None:
    served = Served(Schema((Feature('say "hi"'), Feature("b")), ("x", "y")))
    quoting = InferenceDecoder(lambda *_: served, KEY, DecodeLimits())
    (batch,), _ = quoting.decode(Chunk(Partition("e", 0), "inference", [0], [message(features=[1, 2])]), 0)
    assert batch.x.tolist() == [[1.0, 2.0]]


def test_a_changed_schema_is_used_at_once() -> None:
    current = [Served(SCHEMA)]
    changing = InferenceDecoder(lambda *_: current[0], KEY, DecodeLimits())
    chunk = Chunk(Partition("e", 0), "inference", [0], [message()])
    assert changing.decode(chunk, 0)[1] == []
    current[0] = Served(Schema((Feature("a"),), ("benign", "attack")))
    assert changing.decode(chunk, 0)[1][0].reason == "feature_count"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
FIELD = st.sampled_from([*EVENT, "label", "origin", "more"])
HOSTILE = (
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(FIELD, JSON, max_size=4).map(lambda changes: message(**changes))
    | st.just(message())
    | st.tuples(st.integers(0, len(message()) - 1), st.integers(0, 255)).map(
        lambda at: message()[: at[0]] + bytes([at[1]]) + message()[at[0] + 1 :]
    )
)


@settings(deadline=None)
@given(st.lists(HOSTILE, max_size=8))
def test_every_message_is_a_row_or_a_reject_whatever_it_holds(values: list[bytes]) -> None:
    batches, rejects = decode(values)
    seen = [o for b in batches for o in b.offset.tolist()] + [r.offset for r in rejects]
    assert sorted(seen) == list(range(100, 100 + len(values)))
    for batch in batches:
        assert np.isfinite(batch.scores).all()
        assert not np.isinf(batch.x).any()
        assert all(batch.source)
