"""An incident is updated when it changes or its interval is over, and closed with a reason; nothing is told twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from detectors.evidence import Evidence
from detectors.verdict import Verdict
from monitor.incidents.book import IncidentBook
from monitor.incidents.dismissals import Dismissal
from monitor.incidents.fields import Sighting
from monitor.messages import ActionTaken, Incident, WindowItem
from monitor.state.checkpoint import decode, encode

STABLE = Verdict("stable", None, 1.0)
DRIFT = Verdict("drift", "covariate_drift", 0.9, reasons=("The inputs moved.",))
POISON = Verdict("poisoning", "backdoor", 0.99, reasons=("34 sessions differ.",), detectors=("version_disagreement",))
DOUBT = Verdict("inconclusive", None, 0.6)
HOUR = 3600.0


def sighting(verdict: Verdict, at: float, version: str = "2", model: str = "nids", *, share: float = 0.02) -> Sighting:
    window = WindowItem(int(at), f"{model}-{version}-{at}", "last")
    evidence = (Evidence("version_disagreement", "fired", 1.0, 2.0, gauges={"disagreement_rate": share}),)
    return Sighting(model, version, "1", at, window, verdict, evidence, asking=False)


def order(incident: Incident, name: str = "order-1") -> Dismissal:
    return Dismissal(name, incident, "ada", "a test of ours", 1.0)


def again(book: IncidentBook, **options: float) -> IncidentBook:
    """The book of a process that goes on from a checkpoint."""
    other = IncidentBook(**options)  # type: ignore[arg-type]
    other.restore(decode(encode(book.state())))
    return other


def test_windows_that_show_the_same_are_folded_into_one_update_an_interval_which_counts_them() -> None:
    book = IncidentBook(update_seconds=HOUR)
    told = [i for minute in range(0, 150, 10) for i in book.consider(sighting(POISON, minute * 60.0))]
    said = [(i.activity, i.at / 60, i.folded) for i in told]
    assert said == [("create", 0, 0), ("update", 60, 5), ("update", 120, 5)]


def test_what_is_folded_after_the_last_update_is_in_the_close() -> None:
    book = IncidentBook(quiet_windows=1)
    told = [i for at, v in enumerate((POISON, POISON, POISON, STABLE)) for i in book.consider(sighting(v, at))]
    assert [(i.activity, i.folded) for i in told] == [("create", 0), ("close", 2)]


@given(st.lists(st.floats(1, 5 * HOUR), min_size=1, max_size=60), st.floats(0, 5 * HOUR))
def test_updates_of_an_incident_that_stays_the_same_are_an_interval_apart_and_no_window_is_lost(
    gaps: list[float], interval: float
) -> None:
    book, at, told = IncidentBook(update_seconds=interval), 0.0, []
    for gap in gaps:
        at += gap
        told += book.consider(sighting(POISON, at))
    times = [i.at for i in told]
    assert all(later - earlier >= interval for earlier, later in pairwise(times))
    (last,) = book.acted(told[-1].uid, ActionTaken("rollback", "1", "k", "halted"), at)
    assert sum(i.folded + 1 for i in told) + last.folded == len(gaps)


def test_a_change_of_family_hypothesis_or_severity_is_told_at_once() -> None:
    book = IncidentBook()
    unsure = replace(POISON, confidence=0.6)
    seen = [DRIFT, unsure, unsure, POISON, replace(POISON, hypothesis="label_flip"), unsure]
    told = [i for at, v in enumerate(seen) for i in book.consider(sighting(v, at))]
    assert [(i.at, i.family, i.hypothesis, i.severity) for i in told] == [
        (0, "drift", "covariate_drift", 3),
        (1, "poisoning", "backdoor", 8),
        (3, "poisoning", "backdoor", 9),
        (4, "poisoning", "label_flip", 9),
        (5, "poisoning", "backdoor", 9),
    ]
    assert len({i.uid for i in told}) == 1


def test_a_share_around_a_limit_sends_no_update_each_window() -> None:
    evasion = Verdict("evasion", "evasion_burst", 0.9, detectors=("version_disagreement",))
    book = IncidentBook()
    told = [i for at in range(40) for i in book.consider(sighting(evasion, at, share=0.49 + 0.02 * (at % 2)))]
    assert [(i.activity, i.severity, i.share) for i in told] == [("create", 8, 0.49), ("update", 9, 0.51)]


def test_a_milder_finding_keeps_the_incident_open_and_does_not_speak_in_its_name() -> None:
    book = IncidentBook(update_seconds=10)
    (created,) = book.consider(sighting(POISON, 0))
    (update,) = book.consider(sighting(DRIFT, 20))
    assert (update.family, update.confidence, update.summary) == ("poisoning", 0.99, created.summary)


def test_a_stuck_response_raises_the_severity_and_one_that_is_done_lowers_it_where_nothing_is_poisoned() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON, 0))
    results = [book.acted(created.uid, ActionTaken("rollback", "1", "k", r), 1.0) for r in ("halted", "done")]  # type: ignore[arg-type]
    assert [i.severity for told in results for i in told] == [10, 9]
    fault = Verdict("fault", "regression", 0.95)
    (created,) = book.consider(sighting(fault, 0, model="mail"))
    (update,) = book.acted(created.uid, ActionTaken("rollback", "1", "k", "done"), 1.0)
    assert (created.severity, update.severity) == (6, 5)


def test_one_drift_that_two_versions_of_a_model_show_is_one_incident() -> None:
    book = IncidentBook(quiet_windows=2)
    (created,) = book.consider(sighting(DRIFT, 0, "1"))
    assert book.consider(sighting(DRIFT, 1, "2")) == []
    assert book.uid("nids", "2") == created.uid
    assert (book.open_for("nids"), book.message(created.uid)) == (1, created)
    other = book.consider(sighting(DRIFT, 1, "2", model="mail"))
    assert other[0].uid != created.uid


def test_it_stays_open_while_either_version_shows_it() -> None:
    book = IncidentBook(quiet_windows=3)
    book.consider(sighting(DRIFT, 0, "1"))
    both = ((DRIFT, "2"), (STABLE, "1"))
    told = [i for at in range(1, 20) for verdict, which in both for i in book.consider(sighting(verdict, at, which))]
    assert told == []
    closed = [i for at in range(20, 23) for i in book.consider(sighting(STABLE, at, "1"))]
    assert [(i.activity, i.close_reason) for i in closed] == [("close", "3 windows without a finding")]


def test_a_version_that_turns_out_to_be_poisoned_gets_an_incident_of_its_own() -> None:
    book = IncidentBook()
    (drift,) = book.consider(sighting(DRIFT, 0, "1"))
    book.consider(sighting(DRIFT, 1, "2"))
    (poison,) = book.consider(sighting(POISON, 2, "2"))
    assert (poison.activity, poison.version) == ("create", "2")
    assert poison.uid != drift.uid
    assert book.uid("nids", "2") == poison.uid


def test_an_incident_of_a_version_that_serves_no_more_is_closed_when_others_have_long_come() -> None:
    book = IncidentBook(quiet_windows=3, silent_seconds=HOUR)
    (created,) = book.consider(sighting(DRIFT, 0, "1"))
    told = [i for hour in range(1, 6) for i in book.consider(sighting(STABLE, hour * HOUR, "2"))]
    assert [(i.uid, i.activity, i.status, i.at / HOUR, i.close_reason) for i in told] == [
        (created.uid, "close", "resolved", 3, "no events of version 1 came for 1 hours")
    ]


def test_a_pause_of_all_traffic_closes_nothing() -> None:
    book = IncidentBook(quiet_windows=3, silent_seconds=HOUR)
    (created,) = book.consider(sighting(POISON, 0))
    assert book.consider(sighting(STABLE, 48 * HOUR, model="mail")) == []
    (update,) = book.consider(sighting(POISON, 48 * HOUR))
    assert (update.uid, update.activity) == (created.uid, "update")


def test_an_incident_about_which_something_is_being_done_is_not_closed_for_silence() -> None:
    book = IncidentBook(quiet_windows=1, silent_seconds=HOUR)
    (created,) = book.consider(sighting(POISON, 0))
    book.acted(created.uid, ActionTaken("rollback", "1", "k", "proposed"), 1.0)
    assert [i for hour in range(1, 9) for i in book.consider(sighting(STABLE, hour * HOUR, "1"))] == []
    book.acted(created.uid, ActionTaken("rollback", "1", "k", "declined"), 2.0)
    (closed,) = book.consider(sighting(STABLE, 9 * HOUR, "1"))
    assert (closed.uid, closed.activity) == (created.uid, "close")


def test_incidents_of_a_model_that_is_not_configured_any_more_are_closed() -> None:
    before = IncidentBook()
    (kept,) = before.consider(sighting(POISON, 0))
    (gone,) = before.consider(sighting(POISON, 0, model="mail"))
    book = IncidentBook(models={"nids"})
    book.restore(decode(encode(before.state())))
    (closed,) = book.unwatched(5.0)
    assert (closed.uid, closed.activity, closed.status) == (gone.uid, "close", "resolved")
    assert closed.close_reason == "model mail is not watched any more"
    assert book.unwatched(6.0) == []
    assert book.uid("nids", "2") == kept.uid


def test_an_operator_closes_an_incident_with_a_reason_and_the_same_finding_opens_no_other() -> None:
    book = IncidentBook(quiet_windows=2)
    (created,) = book.consider(sighting(POISON, 0))
    (closed,) = book.dismiss(order(created))
    assert (closed.uid, closed.activity, closed.status) == (created.uid, "close", "resolved")
    assert (closed.close_reason, closed.closed_by) == ("a test of ours", "ada")
    assert [i for at in range(2, 9) for i in book.consider(sighting(POISON, at))] == []
    assert book.uid("nids", "2") is None


def test_after_an_operator_has_closed_an_incident_another_finding_opens_one() -> None:
    book = IncidentBook()
    (drift,) = book.consider(sighting(DRIFT, 0))
    book.dismiss(order(drift))
    assert book.consider(sighting(DOUBT, 2)) == []
    (poison,) = book.consider(sighting(POISON, 3))
    assert (poison.activity, poison.family) == ("create", "poisoning")


def test_the_same_finding_that_is_graver_than_what_an_operator_has_closed_is_told() -> None:
    probing = Verdict("evasion", "probing", 0.9, detectors=("version_disagreement",))
    book = IncidentBook()
    (created,) = book.consider(sighting(probing, 0, share=0.005))
    book.dismiss(order(created))
    assert book.consider(sighting(probing, 2, share=0.009)) == []
    (fresh,) = again(book).consider(sighting(probing, 3, share=0.7))
    assert (created.severity, fresh.activity, fresh.severity) == (7, "create", 9)
    assert fresh.uid != created.uid


def test_a_response_that_comes_to_its_end_opens_no_incident_again_that_an_operator_has_closed() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON, 0))
    book.acted(created.uid, ActionTaken("rollback", "1", "k", "proposed"), 1.0)
    book.dismiss(order(created))
    (again_closed,) = book.acted(created.uid, ActionTaken("rollback", "1", "k", "declined"), 3.0)
    assert (again_closed.activity, again_closed.status, again_closed.closed_by) == ("close", "resolved", "ada")
    assert [act.result for act in again_closed.action] == ["declined"]
    (halted,) = book.acted(created.uid, ActionTaken("retraining", "2", "m", "halted"), 4.0)
    assert (halted.activity, halted.close_reason) == ("update", "")


def test_what_an_operator_has_closed_is_told_again_when_it_goes_on_for_days() -> None:
    book = IncidentBook(dismissed_seconds=10)
    (created,) = book.consider(sighting(POISON, 5))
    book.dismiss(order(created))
    assert [i for at in range(6, 15) for i in again(book).consider(sighting(POISON, at))] == []
    (fresh,) = again(book, dismissed_seconds=10).consider(sighting(POISON, 15))
    assert (fresh.activity, fresh.uid == created.uid) == ("create", False)


def test_an_old_order_that_a_cold_start_reads_again_silences_no_new_attack() -> None:
    (old,) = IncidentBook().consider(sighting(POISON, 0))
    book = IncidentBook(dismissed_seconds=10)
    book.dismiss(order(old))
    (fresh,) = book.consider(sighting(POISON, 11))
    assert fresh.activity == "create"


def test_an_order_that_is_followed_again_after_a_crash_gives_the_same_close() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON, 0))
    before = again(book)
    for at in (1, 2, 3):
        book.consider(sighting(POISON, at))
    assert book.dismiss(order(created)) == before.dismiss(order(created)) == IncidentBook().dismiss(order(created))


def test_what_an_operator_has_closed_may_come_again_once_it_was_away() -> None:
    book = IncidentBook(quiet_windows=2)
    (created,) = book.consider(sighting(POISON, 0))
    book.dismiss(order(created))
    for at in (2, 3):
        book.consider(sighting(STABLE, at))
    (fresh,) = book.consider(sighting(POISON, 4))
    assert (fresh.activity, fresh.uid == created.uid) == ("create", False)


def test_an_order_is_followed_once_also_by_the_next_process() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON, 0))
    book.dismiss(order(created))
    book.acted(created.uid, ActionTaken("rollback", "1", "k", "halted"), 2.0)
    after = again(book)
    assert after.dismiss(order(created)) == []
    (closed,) = after.dismiss(order(created, "order-2"))
    assert (closed.activity, closed.closed_by) == ("close", "ada")


def test_an_order_is_followed_where_only_the_published_messages_know_the_incident() -> None:
    (created,) = IncidentBook().consider(sighting(POISON, 0))
    book = IncidentBook()
    (closed,) = book.dismiss(order(created))
    assert (closed.uid, closed.activity, closed.at) == (created.uid, "close", created.at)
    assert book.consider(sighting(POISON, 0)) == []


def test_an_order_about_an_incident_of_long_ago_lets_the_one_that_is_open_now_go_on() -> None:
    (old,) = IncidentBook().consider(sighting(POISON, 0))
    book = IncidentBook(quiet_windows=1)
    (now,) = book.consider(sighting(POISON, 50))
    (closed,) = book.dismiss(order(old))
    assert closed.uid == old.uid
    (end,) = book.consider(sighting(STABLE, 52))
    assert (end.uid, end.activity) == (now.uid, "close")


def test_a_hunt_and_an_action_count_windows_once() -> None:
    book = IncidentBook(quiet_windows=1)
    (created,) = book.consider(sighting(POISON, 0))
    for at in (1, 2, 3):
        book.consider(sighting(POISON, at))
    (hunted,) = book.hunted(created.uid, "17 passed.", 3.0)
    (acted,) = book.acted(created.uid, ActionTaken("rollback", "1", "k", "done"), 4.0)
    book.consider(sighting(POISON, 5))
    (closed,) = book.remedied(created.uid, 6.0)
    assert [i.folded for i in (hunted, acted, closed)] == [3, 0, 1]


def test_a_book_of_an_older_version_is_taken_back() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON, 0))
    state = {name: part for name, part in book.state().items() if name in {"open", "closed"}}
    state["open"] = [{k: v for k, v in row.items() if k != "figures"} for row in state["open"]]
    for row in state["open"]:
        for field in ("share", "folded", "close_reason", "closed_by"):
            del row["last"][field]
    older = IncidentBook()
    older.restore(decode(encode(state)))
    assert older.uid("nids", "2") == created.uid
    assert older.consider(sighting(POISON, 1)) == []


VERDICTS = st.sampled_from([STABLE, DRIFT, POISON, DOUBT, replace(POISON, confidence=0.6)])
STEPS = st.lists(st.tuples(VERDICTS, st.sampled_from("12"), st.floats(1, 2 * HOUR)), max_size=40)


@given(STEPS, st.integers(0, 40))
def test_whatever_happens_an_incident_has_one_create_first_and_nothing_after_its_close_and_a_restart_changes_nothing(
    steps: list[tuple[Verdict, str, float]], cut: int
) -> None:
    settings = {"quiet_windows": 2, "update_seconds": HOUR, "silent_seconds": 6 * HOUR}
    whole, parted = (IncidentBook(**settings) for _ in range(2))  # type: ignore[arg-type]
    told: list[Incident] = []
    same: list[Incident] = []
    at = 0.0
    for index, (verdict, version, gap) in enumerate(steps):
        at += gap
        if index == cut:
            parted = again(parted, **settings)
        told += whole.consider(sighting(verdict, at, version))
        same += parted.consider(sighting(verdict, at, version))
    assert msgspec.json.encode(told) == msgspec.json.encode(same)
    for uid in {i.uid for i in told}:
        activities = [i.activity for i in told if i.uid == uid]
        assert activities[0] == "create"
        assert activities.count("create") == 1
        assert "close" not in activities[:-1]
        assert all(i.close_reason for i in told if i.uid == uid and i.activity == "close")
