"""What the policy decides, and that it decides nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.registry.registry import Pointers
from rollback.response.cases import Case
from rollback.response.maintenance import maintenance
from rollback.response.policy import DAY, Finding, Mode, PolicySettings, Standing, decide, follow, withdrawn

POISONED = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99, "{}")
FAMILIES = ("stable", "drift", "poisoning", "evasion", "fault", "inconclusive")
POINTERS = Pointers("2", "1")
HOUR = 3600.0
BACK = Pointers("1", "1")


def decided(
    finding: Finding = POISONED, *past: Case, pointers: Pointers = POINTERS, mode: Mode = "act", now: float = 0.0
) -> Case | None:
    return decide(finding, Standing(pointers), {case.key: case for case in past}, mode, PolicySettings(), now)


def rolled_back(at: float, incident: str = "i0") -> Case:
    made = decided(replace(POISONED, incident=incident), now=at)
    assert made is not None
    return replace(made, phase="served", since=at)


def another(at: float, incident: str = "i0") -> Case:
    """A rollback of the same model from another version."""
    return replace(rolled_back(at, incident), key=f"{incident}/rollback/0/1", expected="0")


def test_a_confirmed_poisoning_of_the_serving_version_rolls_back_to_the_last_known_good_one() -> None:
    case = decided()
    assert case is not None
    assert (case.kind, case.expected, case.target, case.phase) == ("rollback", "2", "1", "verify")


@given(
    st.sampled_from(FAMILIES),
    st.sampled_from(("suspected", "confirmed")),
    st.floats(0, 1),
    st.sampled_from((None, "1", "2", "3")),
    st.sampled_from((None, "1", "2")),
    st.sampled_from(("observe", "propose", "act")),
)
def test_nothing_else_ever_does(
    family: str, status: str, confidence: float, serving: str | None, good: str | None, mode: Mode
) -> None:
    finding = replace(POISONED, family=family, status=status, confidence=confidence)
    case = decided(finding, pointers=Pointers(serving, good), mode=mode)
    if case is not None:
        assert (family, status) == ("poisoning", "confirmed")
        assert mode != "observe"
        assert confidence >= PolicySettings().minimum_confidence
        assert serving == finding.version != good


def test_the_same_incident_opens_one_case_only() -> None:
    case = decided()
    assert case is not None
    assert decided(POISONED, case) is None


def test_in_mode_propose_it_waits_for_approval() -> None:
    case = decided(mode="propose")
    assert case is not None
    assert (case.phase, case.detail) == ("approval", "mode is propose: it waits for approval")


def test_a_second_rollback_within_the_cooldown_waits_for_approval_and_a_later_one_does_not() -> None:
    soon, later = decided(POISONED, another(0.0), now=HOUR - 1), decided(POISONED, another(0.0), now=HOUR + 1)
    assert soon is not None
    assert later is not None
    assert (soon.phase, later.phase) == ("approval", "verify")
    assert "less than 3600 s ago" in soon.detail


def test_rollbacks_beyond_the_budget_of_a_day_wait_for_approval() -> None:
    past = [another(n * 2 * HOUR, f"p{n}") for n in range(3)]
    today, tomorrow = decided(POISONED, *past, now=8 * HOUR), decided(POISONED, *past, now=25 * HOUR)
    assert today is not None
    assert tomorrow is not None
    assert (today.phase, tomorrow.phase) == ("approval", "verify")
    assert "budget of 3 rollbacks" in today.detail


def test_proposals_that_nobody_approved_use_up_no_budget() -> None:
    past = [replace(rolled_back(n, f"p{n}"), phase="declined") for n in range(5)]
    case = decided(POISONED, *past, now=8 * HOUR)
    assert case is not None
    assert case.phase == "verify"


def test_a_rollback_that_is_done_leads_to_a_retraining_and_that_to_a_promotion_which_waits_for_approval() -> None:
    retraining = follow(replace(rolled_back(0.0), phase="done"), BACK, "act", PolicySettings(), now=5.0)
    assert retraining is not None
    assert (retraining.kind, retraining.phase, retraining.expected, retraining.target) == (
        "retraining",
        "train",
        "2",
        "",
    )
    promotion = follow(replace(retraining, phase="made", target="3"), BACK, "act", PolicySettings(), now=9.0)
    assert promotion is not None
    assert (promotion.kind, promotion.phase, promotion.expected, promotion.target) == (
        "promotion",
        "approval",
        "1",
        "3",
    )
    assert follow(replace(promotion, phase="done"), Pointers("3", "1"), "act", PolicySettings(), now=10.0) is None


def test_an_automatic_release_waits_for_nobody() -> None:
    retraining = replace(rolled_back(0.0), kind="retraining", phase="made", target="3")
    promotion = follow(retraining, BACK, "act", PolicySettings(release="automatic"), now=9.0)
    assert promotion is not None
    assert promotion.phase == "verify"


def test_an_automatic_release_waits_where_nothing_may_be_done_unasked_and_where_something_else_serves() -> None:
    retraining = replace(rolled_back(0.0), kind="retraining", phase="made", target="3")
    automatic = PolicySettings(release="automatic")
    proposed = follow(retraining, BACK, "propose", automatic, now=9.0)
    overtaken = follow(retraining, Pointers("9", "1"), "act", automatic, now=9.0)
    assert proposed is not None
    assert overtaken is not None
    assert (proposed.phase, overtaken.phase) == ("approval", "approval")
    assert overtaken.detail == "version 9 was made to serve meanwhile: it waits for approval"


def test_a_rollback_that_somebody_has_moved_on_from_leads_to_no_retraining() -> None:
    done = replace(rolled_back(0.0), phase="served")
    assert follow(done, Pointers("9", "9"), "act", PolicySettings(), now=5.0) is None


def test_a_poisoned_version_that_is_promoted_again_is_rolled_back_again_after_approval() -> None:
    done = rolled_back(0.0, "i1")
    again = decided(POISONED, done, now=10 * HOUR)
    assert again is not None
    assert (again.key, again.phase) == (f"{done.key}/2", "approval")
    assert "somebody made version 2 serve again" in again.detail
    assert decided(POISONED, done, again, now=10 * HOUR) is None


def test_another_incident_about_a_version_that_is_being_rolled_back_opens_no_second_case() -> None:
    waiting = replace(rolled_back(0.0), phase="approval")
    assert decided(POISONED, waiting, now=10 * HOUR) is None


@pytest.mark.parametrize("phase", ["verify", "swap", "reload", "confirm", "halted", "declined", "approval"])
def test_nothing_follows_a_rollback_that_is_not_done(phase: str) -> None:
    case = replace(rolled_back(0.0), phase=phase)  # type: ignore[arg-type]  # each is a phase
    assert follow(case, BACK, "act", PolicySettings(), now=5.0) is None
    assert follow(replace(rolled_back(0.0), phase="done"), BACK, "act", PolicySettings(retrain=False), now=5.0) is None


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"does not hold: 0\.8, 0\.9, 0\.2"):
        PolicySettings(minimum_confidence=0.2)
    with pytest.raises(ValueError, match="approvals must be 1 or 2, not 3"):
        PolicySettings(approvals=3)
    with pytest.raises(ValueError, match="must not be negative"):
        PolicySettings(cooldown_seconds=-1)


def test_a_version_on_probation_needs_less_to_be_rolled_back_and_time_alone_never_makes_it_good() -> None:
    likely = replace(POISONED, confidence=0.92)
    cases: dict[str, Case] = {}
    young, old = Standing(POINTERS, 1000.0), Standing(POINTERS, 1000.0)
    assert decide(likely, young, cases, "act", PolicySettings(), 1000.0 + DAY - 1) is not None
    assert decide(likely, old, cases, "act", PolicySettings(), 1000.0 + DAY + 1) is None
    assert decide(likely, Standing(POINTERS), cases, "act", PolicySettings(), 0.0) is None


@given(st.sampled_from(FAMILIES), st.sampled_from(("suspected", "confirmed")), st.floats(0, 1))
def test_only_what_speaks_against_the_poisoning_withdraws_a_rollback(
    family: str, status: str, confidence: float
) -> None:
    waits = decided(mode="propose")
    assert waits is not None
    finding = replace(POISONED, family=family, status=status, confidence=confidence)
    gone = withdrawn(finding, {waits.key: waits}, PolicySettings())
    unlikely = family == "poisoning" and confidence < 0.8
    assert bool(gone) == (unlikely or (family in {"drift", "evasion", "fault"} and status == "confirmed"))


@pytest.mark.parametrize(
    "other",
    [
        {"phase": "swap"},
        {"phase": "done"},
        {"approved": True},
        {"kind": "promotion"},
        {"incident": "i2"},
        {"expected": "3"},
    ],
)
def test_what_was_begun_or_approved_or_is_about_something_else_is_not_withdrawn(other: dict[str, str]) -> None:
    waits = decided(mode="propose")
    assert waits is not None
    changed = replace(waits, **other)  # type: ignore[arg-type]  # each is a field of a case
    assert withdrawn(replace(POISONED, family="drift"), {changed.key: changed}, PolicySettings()) == []


def test_what_was_withdrawn_is_decided_again_once_it_is_sure_enough() -> None:
    first = decided(mode="propose")
    assert first is not None
    again = decided(POISONED, replace(first, phase="withdrawn"))
    assert again is not None
    assert (again.key, again.phase, again.detail) == ("i1/rollback/2/1/2", "verify", "")


def test_in_maintenance_a_rollback_waits_for_the_end_of_it() -> None:
    midnight = 1_700_006_400.0  # Wednesday, 2023-11-15, UTC
    settings = PolicySettings(maintenance=(maintenance("Wed 00:00-02:00"), maintenance("Wed 02:00-03:30")))
    case = decide(POISONED, Standing(POINTERS), {}, "act", settings, midnight + 60)
    assert case is not None
    assert (case.phase, case.due) == ("verify", midnight + 3.5 * HOUR)
    assert case.detail == "maintenance until 2023-11-15T03:30+00:00: approve it to begin now"
    later = decide(POISONED, Standing(POINTERS), {}, "act", settings, midnight + 4 * HOUR)
    assert later is not None
    assert (later.due, later.detail) == (midnight + 4 * HOUR, "")


def test_a_released_version_that_was_rolled_back_from_waits_for_approval_whatever_incident_finds_it() -> None:
    case = decided(POISONED, rolled_back(0.0, "another incident"), now=5 * DAY)
    assert case is not None
    assert (case.phase, case.detail.split(" after ")[0]) == (
        "approval",
        "somebody made version 2 serve again",
    )
