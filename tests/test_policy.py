"""What the policy decides, and that it decides nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.response import MINIMUM_CONFIDENCE, Response, past_plans
from rollback.audit import FILE_NAME, AuditLog, verify
from rollback.keys import Keys, new_signing_key
from rollback.manifest import Draft, FeatureSpec
from rollback.policy import Finding, Mode, decide
from rollback.registry.memory import MemoryRegistry

POISONED = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99)
FAMILIES = ("stable", "drift", "poisoning", "evasion", "fault", "inconclusive")


def decided(finding: Finding, serving: str | None = "2", good: str | None = "1") -> str | None:
    plan = decide(finding, serving, good, MINIMUM_CONFIDENCE)
    return plan.target if plan else None


def test_a_confirmed_poisoning_of_the_serving_version_rolls_back_to_the_last_known_good_one() -> None:
    assert decided(POISONED) == "1"


@given(
    st.sampled_from(FAMILIES),
    st.sampled_from(("suspected", "confirmed")),
    st.floats(0, 1),
    st.sampled_from((None, "1", "2", "3")),
    st.sampled_from((None, "1", "2")),
)
def test_nothing_else_ever_does(
    family: str, status: str, confidence: float, serving: str | None, good: str | None
) -> None:
    finding = replace(POISONED, family=family, status=status, confidence=confidence)
    if decided(finding, serving, good) is not None:
        assert (family, status) == ("poisoning", "confirmed")
        assert confidence >= MINIMUM_CONFIDENCE
        assert serving == finding.version != good


def registry() -> MemoryRegistry:
    keeper = MemoryRegistry("nids", Keys.of(new_signing_key()), lambda: 0.0)
    draft = Draft(classes=("attack", "benign"), features=(FeatureSpec("bytes"),))
    for _ in range(2):
        keeper.add(draft, {}, by="test", reason="test")
    keeper.promote("2", expected="1", known_good=False, by="test", reason="test")
    return keeper


@contextmanager
def log(folder: Path) -> Iterator[AuditLog]:
    audit = AuditLog(folder / FILE_NAME, lambda: 0.0)
    try:
        yield audit
    finally:
        audit.close()


def test_a_finding_that_comes_again_is_not_acted_upon_again(tmp_path: Path) -> None:
    keeper = registry()
    with log(tmp_path) as audit:
        respond = Response("act", {"nids": keeper}, audit, tmp_path / FILE_NAME)
        first, again = respond(POISONED), respond(POISONED)
    assert first is not None
    assert (first.result, first == again) == ("done", True)
    assert [m.version for m in keeper.history() if m.action == "promote"] == ["2", "1"]
    assert verify(tmp_path / FILE_NAME) == 2


def test_an_act_survives_a_crash_before_the_checkpoint_and_is_told_again_without_being_repeated(tmp_path: Path) -> None:
    keeper = registry()
    with log(tmp_path) as audit:
        outcome = Response("act", {"nids": keeper}, audit, tmp_path / FILE_NAME)(POISONED)
    with log(tmp_path) as audit:
        assert Response("act", {"nids": keeper}, audit, tmp_path / FILE_NAME)(POISONED) == outcome
    assert keeper.pointers().serving == "1"
    assert outcome is not None
    assert past_plans(tmp_path / FILE_NAME) == ([outcome.plan], {"i1": outcome})


@pytest.mark.parametrize(("mode", "result"), [("propose", "proposed"), ("observe", None)])
def test_only_mode_act_touches_the_registry(tmp_path: Path, mode: Mode, result: str | None) -> None:
    keeper = registry()
    with log(tmp_path) as audit:
        outcome = Response(mode, {"nids": keeper}, audit, tmp_path / FILE_NAME)(POISONED)
    assert (outcome.result if outcome else None) == result
    assert keeper.pointers().serving == "2"
