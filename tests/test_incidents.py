"""The life of an incident."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from detectors.evidence import Contributor, Evidence, Implicated
from detectors.verdict import Verdict
from monitor.incidents.book import MOST_CLOSED, IncidentBook
from monitor.incidents.fields import Sighting, incident_uid
from monitor.messages import ActionTaken, Incident, WindowItem
from monitor.state.checkpoint import decode, encode

STABLE = Verdict("stable", None, 1.0)
DRIFT = Verdict("drift", "covariate_drift", 0.9, reasons=("The inputs moved.",))
POISON = Verdict(
    "poisoning", "backdoor", 0.99, implicated=Implicated({"urgent": 2.0}, ("s1",)), reasons=("34 sessions differ.",)
)
DOUBT = Verdict("inconclusive", None, 0.6, alternatives=(("backdoor", 0.6), ("concept_drift", 0.4)))
EVIDENCE = (Evidence("version_disagreement", "fired", 1.0, 2.0, float("inf")),)


def sighting(verdict: Verdict, index: int = 0, *, asking: bool = False) -> Sighting:
    window = WindowItem(index, f"first-{index}", f"last-{index}")
    return Sighting("nids", "2", "1", 100.0 + index, window, verdict, EVIDENCE, asking)


def told(book: IncidentBook, *verdicts: Verdict) -> list[Incident]:
    return [i for index, v in enumerate(verdicts) for i in book.consider(sighting(v, index))]


def test_one_uid_lasts_from_create_to_close_whatever_the_family_becomes() -> None:
    messages = told(IncidentBook(quiet_windows=2), STABLE, DRIFT, DRIFT, POISON, STABLE, STABLE, STABLE)
    assert [(m.activity, m.family, m.status) for m in messages] == [
        ("create", "drift", "confirmed"),
        ("update", "poisoning", "confirmed"),
        ("close", "poisoning", "resolved"),
    ]
    assert len({m.uid for m in messages}) == 1
    assert {m.opened_at for m in messages} == {101.0}


def test_a_family_never_becomes_milder() -> None:
    messages = told(IncidentBook(), POISON, DRIFT, DOUBT)
    assert [m.family for m in messages] == ["poisoning"]


def test_suspicion_pages_nobody_and_is_retracted_when_it_goes() -> None:
    book = IncidentBook()
    (create,) = book.consider(sighting(DOUBT, asking=True))
    (close,) = book.consider(sighting(STABLE, 1))
    assert (create.status, create.severity) == ("suspected", 2)
    assert (close.activity, close.status) == ("close", "retracted")
    assert book.open_for("nids") == 0


def test_an_action_is_told_once_for_each_way_it_stands() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON))
    running, done = (ActionTaken("rollback", "1", "key", result) for result in ("running", "done"))
    assert [i.action for i in book.acted(created.uid, running, 105.0)] == [[running]]
    assert book.acted(created.uid, running, 106.0) == []
    (update,) = book.acted(created.uid, done, 107.0)
    assert (update.action, update.activity, update.at) == ([done], "update", 107.0)
    assert book.acted("unknown", done, 108.0) == []


def test_an_incident_is_closed_when_its_response_is_through_and_told_when_that_comes_undone() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON))
    book.acted(created.uid, ActionTaken("promotion", "3", "key", "done"), 105.0)
    (closed,) = book.remedied(created.uid, 106.0)
    assert (closed.activity, closed.status, book.open_for("nids")) == ("close", "resolved", 0)
    assert book.remedied(created.uid, 107.0) == []
    again = IncidentBook()
    again.restore(book.state())
    (undone,) = again.acted(created.uid, ActionTaken("promotion", "3", "key", "halted"), 108.0)
    assert (undone.uid, undone.activity, undone.status) == (created.uid, "update", "confirmed")


def test_the_uid_of_the_same_first_window_is_the_same_in_another_process() -> None:
    first, second = told(IncidentBook(), POISON), told(IncidentBook(), POISON)
    assert first[0].uid == second[0].uid
    assert first[0].uid != IncidentBook().consider(sighting(POISON, 1))[0].uid


@pytest.mark.parametrize("cut", range(6))
def test_a_book_that_goes_through_a_checkpoint_tells_the_same(cut: int) -> None:
    verdicts = (DOUBT, DRIFT, POISON, STABLE, STABLE, STABLE)
    undisturbed = told(IncidentBook(quiet_windows=2), *verdicts)
    book, messages = IncidentBook(quiet_windows=2), []
    for index, verdict in enumerate(verdicts):
        if index == cut:
            state = decode(encode(book.state()))
            book = IncidentBook(quiet_windows=2)
            book.restore(state)
        messages += book.consider(sighting(verdict, index))
    assert messages == undisturbed


def test_an_incident_is_plain_json_even_where_evidence_is_infinite() -> None:
    (create,) = told(IncidentBook(), POISON)
    again = msgspec.json.decode(msgspec.json.encode(create), type=Incident)
    assert again.evidence[0].e_value is None
    endless = Evidence("input_similarity", "fired", float("inf"), 2.0, top=(Contributor("bytes", float("inf")),))
    (other,) = IncidentBook().consider(replace(sighting(POISON), evidence=(endless,)))
    read = msgspec.json.decode(msgspec.json.encode(other), type=Incident).evidence[0]
    assert (read.score, read.threshold, read.top[0].contribution) == (None, 2.0, None)
    assert again.implicated.features == {"urgent": 2.0}
    assert again.atlas == ["AML.T0020", "AML.T0018.000", "AML.T0043.004", "AML.T0015"]
    assert again.summary.count(". ") == 1


def test_labels_that_are_poisoned_while_the_good_version_serves_do_not_ask_for_a_rollback() -> None:
    (create,) = IncidentBook().consider(replace(sighting(POISON), version="1"))
    assert "Roll back" not in create.summary
    assert "keep what is implicated out of its next training" in create.summary


def test_summaries_say_what_to_do() -> None:
    advice = {family: told(IncidentBook(), replace(DRIFT, family=family))[0].summary for family in ("drift", "fault")}
    assert "Nothing is rolled back" in advice["drift"]
    assert "Check the sensors" in advice["fault"]


def test_what_a_hunt_has_found_is_told_once_and_stays_in_every_later_message() -> None:
    book = IncidentBook()
    (created,) = book.consider(sighting(POISON))
    (update,) = book.hunted(created.uid, "17 attacks passed.", 105.0)
    assert (update.activity, update.status, update.missed) == ("update", "confirmed", "17 attacks passed.")
    assert book.hunted(created.uid, "17 attacks passed.", 106.0) == []
    (acted,) = book.acted(created.uid, ActionTaken("rollback", "1", "key", "done"), 107.0)
    assert acted.missed == "17 attacks passed."
    (again,) = book.hunted(created.uid, "18 attacks passed.", 108.0)
    assert again.missed == "18 attacks passed."
    assert again.summary == f"{created.summary} 18 attacks passed."
    (drifted,) = book.consider(sighting(replace(POISON, hypothesis="label_flip"), 9))
    assert drifted.summary.endswith(" 18 attacks passed.")


def test_a_hunt_about_a_closed_incident_is_told_and_leaves_it_closed() -> None:
    book = IncidentBook(quiet_windows=1)
    (created,) = book.consider(sighting(POISON))
    (closed,) = book.consider(sighting(STABLE, 1))
    kept = IncidentBook(quiet_windows=1)
    kept.restore(book.state())
    (said,) = kept.hunted(created.uid, "17 attacks passed.", 105.0)
    summary = f"{closed.summary} 17 attacks passed."
    assert said == msgspec.structs.replace(closed, missed="17 attacks passed.", summary=summary, at=105.0)
    assert kept.remedied(created.uid, 106.0) == []
    assert kept.open_for("nids") == 0


def test_a_hunt_about_an_incident_that_is_judged_again_after_a_crash_is_told_when_it_is_created() -> None:
    uid = sighting(POISON).window
    book = IncidentBook()
    assert book.hunted(incident_uid("nids", "2", uid), "17 attacks passed.", 0.0) == []
    (created,) = book.consider(sighting(POISON))
    assert (created.activity, created.missed) == ("create", "17 attacks passed.")


def test_closed_incidents_without_a_response_are_forgotten_first() -> None:
    book = IncidentBook(quiet_windows=1)
    uids = []
    for index in range(MOST_CLOSED + 1):
        (created,) = book.consider(sighting(POISON, 2 * index))
        uids.append(created.uid)
        if index == 0:
            book.acted(created.uid, ActionTaken("rollback", "1", "key", "done"), 105.0)
        book.consider(sighting(STABLE, 2 * index + 1))
    told = [bool(book.hunted(uid, "None passed.", 1e6)) for uid in uids]
    assert [index for index, known in enumerate(told) if not known] == [1]
