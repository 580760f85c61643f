from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.schema import Feature, Schema
from monitor.decoding.envelope import DecodeLimits
from monitor.decoding.feedback import Feedback, FeedbackDecoder
from monitor.decoding.reader import Served
from monitor.decoding.reject import Reject
from monitor.sources.source import Chunk, Partition

KEY = b"0123456789abcdef"
SERVED = Served(Schema((Feature("bytes"), Feature("service", "categorical", ("http", "dns"))), ("benign", "attack")))
ONE = {"nids": frozenset({"sandbox"})}
TWO = {"nids": frozenset({"sandbox"}), "mail": frozenset({"analyst"})}
EVENT = {"id": "e1", "ts": 1_700_000_000, "label": "attack", "origin": "sandbox", "model": "nids"}

Role = Literal["inference", "feedback", "trusted"]


def message(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (EVENT | changes).items() if value is not ...}).encode()


def decode(
    values: list[bytes], role: Role = "trusted", models: dict[str, frozenset[str]] = ONE
) -> tuple[list[Feedback], list[Reject]]:
    decoder = FeedbackDecoder(models, lambda _: SERVED, KEY, DecodeLimits())
    return decoder.decode(Chunk(Partition("feedback", 0), role, range(len(values)), values), 4)


def test_a_label_becomes_a_row() -> None:
    (feedback,), rejects = decode([message()])
    assert rejects == []
    assert feedback.model == "nids"
    assert [feedback.id[0], feedback.label[0], feedback.origin[0]] == ["e1", "attack", "sandbox"]
    assert [feedback.ts[0], feedback.partition[0], feedback.offset[0]] == [1_700_000_000.0, 4, 0]


@pytest.mark.parametrize(
    ("role", "origin", "trusted", "claimed"),
    [
        ("trusted", "sandbox", True, False),
        ("trusted", "intern", False, False),
        ("feedback", "sandbox", False, True),
        ("feedback", "intern", False, False),
    ],
)
def test_trust_needs_the_origin_and_the_channel(role: Role, origin: str, trusted: bool, claimed: bool) -> None:  # noqa: FBT001 - a table of cases
    (feedback,), _ = decode([message(origin=origin)], role)
    assert (feedback.trusted[0], feedback.claimed[0]) == (trusted, claimed)


def test_an_event_cannot_say_that_it_is_trusted() -> None:
    (feedback,), _ = decode([message(trusted=True, role="trusted")], "feedback")
    assert not feedback.trusted[0]


def test_without_a_model_the_only_one_is_meant() -> None:
    (feedback,), _ = decode([message(model=...)])
    assert (feedback.model, bool(feedback.named[0])) == ("nids", False)


def test_without_a_model_every_one_is_offered_the_label_with_its_own_trust() -> None:
    found, _ = decode([message(model=None, features=[1, "dns"])], models=TWO)
    assert {f.model: (bool(f.trusted[0]), bool(f.carries[0])) for f in found} == {
        "nids": (True, False),
        "mail": (False, False),
    }


def test_features_and_scores_of_its_own_are_read() -> None:
    values = [message(), message(id="e2", features=[5, "dns"], scores=0.25), message(id="e3", features={"bytes": 6})]
    (feedback,), _ = decode(values)
    assert feedback.carries.tolist() == [False, True, True]
    np.testing.assert_array_equal(feedback.x, [[np.nan, np.nan], [5, 1], [6, np.nan]])
    np.testing.assert_array_equal(feedback.scores, [[np.nan, np.nan], [0.75, 0.25], [np.nan, np.nan]])


def test_the_same_statement_has_the_same_digest_and_trust_is_part_of_it() -> None:
    (feedback,), _ = decode([message(), message(ts=1_700_000_009), message(label="benign"), message(origin="intern")])
    assert feedback.digest[0] == feedback.digest[1]
    assert len(set(feedback.digest.tolist())) == 3
    (forged,), _ = decode([message()], "feedback")
    assert forged.digest[0] != feedback.digest[0]
    assert forged.key[0] == feedback.key[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"label": ...}, "missing_field"),
        ({"origin": ""}, "missing_field"),
        ({"origin": "a\0"}, "control_character"),
        ({"label": "x" * 300}, "field_too_long"),
        ({"ts": 1e13}, "bad_ts"),
        ({"model": "nobody"}, "unknown_model"),
        ({"features": [1]}, "feature_count"),
        ({"features": [1, "dns"], "scores": [0.5, 0.1]}, "scores_sum"),
        ({"features": [1, "dns"], "scores": [0.5]}, "scores_count"),
    ],
)
def test_what_breaks_the_contract_is_rejected_with_its_reason(changes: dict[str, Any], expected: str) -> None:
    found, (reject,) = decode([message(**changes)])
    assert (found, reject.reason) == ([], expected)


@settings(deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.dictionaries(
            st.sampled_from([*EVENT, "features", "scores"]),
            st.none() | st.integers() | st.text(max_size=5) | st.lists(st.floats(0, 1), max_size=2),
            max_size=3,
        ).map(lambda changes: message(**changes)),
        max_size=6,
    )
)
def test_every_message_is_a_row_or_a_reject_whatever_it_holds(values: list[bytes]) -> None:
    found, rejects = decode(values)
    seen = [o for f in found for o in f.offset.tolist()] + [r.offset for r in rejects]
    assert sorted(seen) == list(range(len(values)))
