"""The phase table: what follows from what, and that every way ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollback.response.cases import TABLE, WORKING, Case, Event, Phase, Tries, advance

CASE = Case("i/rollback/2/1", "rollback", "i", "nids", "2", "1", "why", "verify", since=0.0)
EVENTS: tuple[Event, ...] = (
    "approve",
    "decline",
    "again",
    "ok",
    "retry",
    "doubted",
    "refused",
    "rejected",
    "stale",
    "seen",
)


def after(case: Case, *events: Event) -> Case:
    for event in events:
        case = advance(case, event, 1.0, "so", Tries())
    return case


def test_a_rollback_goes_through_every_phase_in_its_order() -> None:
    seen: list[Phase] = []
    case = replace(CASE, phase="approval")
    for event in ("approve", "ok", "ok", "ok", "ok", "seen"):
        case = after(case, event)
        seen.append(case.phase)
    assert seen == ["verify", "swap", "reload", "confirm", "done", "served"]


@given(st.lists(st.sampled_from(EVENTS), max_size=40), st.sampled_from(["rollback", "promotion", "retraining"]))
def test_nothing_is_swapped_that_was_not_verified_just_before(events: list[Event], kind: str) -> None:
    case = replace(CASE, kind=kind, phase="train" if kind == "retraining" else "approval")  # type: ignore[arg-type]
    for event in events:
        before, case = case, after(case, event)
        if case.phase == "swap" and before.phase != "swap":
            assert (before.phase, event) == ("verify", "ok")
        if kind == "retraining":
            assert case.phase in {"train", "made", "halted", "rejected", "declined"}


@given(st.lists(st.sampled_from(EVENTS[3:]), min_size=200, max_size=200))
def test_without_a_person_every_way_ends(events: list[Event]) -> None:
    """Retries and returns are bounded: events of any kind bring a case to rest or to a halt, never round and round."""
    case, failures = CASE, 0
    for event in events:
        failures += event in {"retry", "stale"} and (case.phase, event) in TABLE
        case = after(case, event)
    tries = Tries()
    assert failures <= (tries.reopens + 1) * tries.attempts * 5 + tries.reopens + 1


def test_an_endpoint_that_never_comes_halts_the_case_after_as_many_tries_as_are_set() -> None:
    case = replace(CASE, phase="reload")
    waits = []
    while case.phase != "halted":
        case = advance(
            case, "retry", 100.0, "server a: away", Tries(attempts=4, retry_seconds=5.0, longest_seconds=12.0)
        )
        waits.append(case.due - 100.0)
    assert waits == [5.0, 10.0, 12.0, 0.0]
    assert case.detail == "given up after 4 tries: server a: away"


def test_reload_and_confirm_count_their_failures_together() -> None:
    case = after(replace(CASE, phase="reload"), "retry", "ok", "retry")
    assert (case.phase, case.attempt) == ("reload", 2)
    assert after(case, "ok", "ok").attempt == 0


def test_a_server_is_asked_twice_before_it_is_told_again() -> None:
    asked_again = after(replace(CASE, phase="confirm"), "retry")
    assert (asked_again.phase, after(asked_again, "retry").phase) == ("confirm", "reload")


def test_an_old_version_that_comes_back_reopens_the_case_and_too_often_halts_it() -> None:
    case = replace(CASE, phase="served")
    for _ in range(Tries().reopens):
        case = after(case, "stale")
        assert case.phase == "reload"
        case = after(case, "ok", "ok")
    case = after(case, "stale")
    assert (case.phase, case.detail) == ("halted", "an old version came back 4 times: so")


def test_what_is_halted_begins_again_with_verification_or_with_training() -> None:
    halted = replace(CASE, phase="halted", attempt=6, reopened=4)
    assert (after(halted, "again").phase, after(halted, "again").attempt, after(halted, "again").reopened) == (
        "verify",
        0,
        0,
    )
    assert after(replace(halted, kind="retraining"), "again").phase == "train"
    assert after(halted, "decline").phase == "declined"


def test_a_retraining_is_tried_fewer_times() -> None:
    case = replace(CASE, kind="retraining", phase="train")
    assert [after(case, "retry").phase, after(case, "retry", "retry").phase] == ["train", "halted"]


@given(st.sampled_from(EVENTS), st.sampled_from(sorted(WORKING | {"approval", "done", "served", "halted", "declined"})))
def test_an_event_that_means_nothing_in_a_phase_changes_nothing(event: Event, phase: Phase) -> None:
    case = replace(CASE, phase=phase)
    if (phase, event) not in TABLE:
        assert advance(case, event, 9.0, "so", Tries()) is case


def test_tries_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="every number must be 1 at least"):
        Tries(attempts=0)
