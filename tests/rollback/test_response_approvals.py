"""Two people approve, maintenance and holds delay, and what has lost its reason is withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from theatre import PASSED, POISONED, PROMOTION, ROLLBACK, Theatre

from rollback.audit.log import name_of, read_records
from rollback.registry import moves
from rollback.reload.memory import Behaviour
from rollback.response.desk import Answer
from rollback.response.maintenance import maintenance
from rollback.response.policy import PolicySettings

DRIFT = replace(POISONED, family="drift")


def kept(t: Theatre, kind: str) -> list[dict[str, object]]:
    return [record.body for record in read_records(t.path) if record.kind == kind]


def test_what_needs_two_people_waits_for_the_second_also_after_a_restart(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose", policy=PolicySettings(approvals=2))
    t.responder.consider(POISONED)
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run(3)
    t.desk.give(Answer(ROLLBACK, "approve", "ann", reason="again"))
    t.run(3)
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.approved_by, case.approved) == ("approval", ("ann",), False)
    assert case.detail == "approve by ann; somebody else must do so too"
    assert [body["why"] for body in kept(t, "ignored")] == ["ann has done so already"]
    t.start()
    t.desk.give(Answer(ROLLBACK, "approve", "bob"))
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.approved_by, case.approved) == ("done", ("ann", "bob"), True)


def test_one_person_is_enough_to_decline(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose", policy=PolicySettings(approvals=2))
    t.responder.consider(POISONED)
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run(3)
    t.desk.give(Answer(ROLLBACK, "decline", "bob"))
    t.run(3)
    assert (t.phase(ROLLBACK), t.moves()) == ("declined", [])


def test_a_signed_answer_that_is_put_down_again_does_nothing(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose", policy=PolicySettings(approvals=2))
    t.responder.consider(POISONED)
    log = name_of(t.path)
    given = Answer(ROLLBACK, "approve", "ann", given_at=5.0, log=log)
    for answer in (
        given,
        given,
        Answer(ROLLBACK, "approve", "bob", given_at=4.0, log="tocsin audit 0123456789abcdef"),
        Answer(ROLLBACK, "approve", "bob", given_at=1e300, log=log),
    ):
        t.desk.give(answer)
        t.run(2)
    assert t.phase(ROLLBACK) == "approval"
    assert [str(body["why"]).split(",")[0] for body in kept(t, "ignored")] == [
        "it is no newer than one of ann that was taken",
        "it is for tocsin audit 0123456789abcdef",
        "it was given in the future",
    ]
    t.desk.give(Answer(ROLLBACK, "approve", "bob", given_at=4.0, log=log))  # whose clock is behind ann's
    t.run()
    assert t.phase(ROLLBACK) == "done"


def test_going_on_after_a_halt_takes_as_many_people_as_beginning_and_vouches_for_nothing(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(Behaviour("refuses"), policy=PolicySettings(approvals=2, retrain=False))
    t.responder.consider(POISONED)
    t.run()
    assert t.phase(ROLLBACK) == "halted"
    t.servers.behave("server 0", Behaviour())
    for by in ("ann", "ann"):
        t.desk.give(Answer(ROLLBACK, "again", by, known_good=True))
        t.run(3)
    assert t.phase(ROLLBACK) == "halted"
    t.desk.give(Answer(ROLLBACK, "again", "bob", known_good=True))
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.approved_by, case.known_good) == ("done", ("ann", "bob"), False)


@pytest.mark.parametrize("second", [False, True])
def test_last_known_good_moves_only_if_every_approver_vouches(theatre: Callable[..., Theatre], *, second: bool) -> None:
    t = theatre(policy=PolicySettings(approvals=2))
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    t.desk.give(Answer(PROMOTION, "approve", "ann", known_good=True))
    t.run(2)
    t.desk.give(Answer(PROMOTION, "approve", "bob", known_good=second))
    t.run()
    assert t.registry.pointers().last_known_good == ("3" if second else "1")


def test_a_rollback_is_refused_once_somebody_vouches_for_what_it_would_roll_back_from(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    t.registry.promote("2", expected="2", known_good=True, by="ann", reason="vetted")
    t.desk.give(Answer(ROLLBACK, "approve", "bob"))
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.detail) == ("halted", "version 2 is last known good now, not 1: somebody vouched for it")
    assert (t.registry.pointers().serving, moves.quarantined(t.registry.history())) == ("2", {})


def test_maintenance_holds_what_was_decided_before_it(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=PolicySettings(maintenance=(maintenance("daily 01:00-03:00"),), retrain=False))
    t.desk.hold = True
    t.responder.consider(POISONED)
    t.now = 3600.0 + 600
    t.desk.hold = False
    t.run(20)
    assert t.moves() == []
    t.now = 3 * 3600.0
    t.run()
    assert t.phase(ROLLBACK) == "done"


def test_in_maintenance_nothing_begins_until_it_is_over(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=PolicySettings(maintenance=(maintenance("daily 00:00-01:00"),), retrain=False))
    t.responder.consider(POISONED)
    t.run(30)
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.due, t.moves()) == ("verify", 3600.0, [])
    t.now = 3600.0
    t.run()
    assert t.phase(ROLLBACK) == "done"


def test_who_approves_what_waits_for_the_end_of_maintenance_need_not_wait(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=PolicySettings(maintenance=(maintenance("daily 00:00-01:00"),), retrain=False))
    t.responder.consider(POISONED)
    t.run(3)
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run()
    assert t.phase(ROLLBACK) == "done"


def test_a_proposal_is_withdrawn_when_labels_say_otherwise_and_made_again_when_they_do_not(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    t.responder.consider(replace(POISONED, family="inconclusive"))
    t.responder.consider(replace(POISONED, family="stable", status="suspected"))
    assert t.phase(ROLLBACK) == "approval"
    t.responder.consider(DRIFT)
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.detail) == ("withdrawn", "incident i1 is drift now (confidence 0.990)")
    t.start().consider(POISONED)
    assert (t.phase(ROLLBACK), t.phase(f"{ROLLBACK}/2")) == ("withdrawn", "approval")


def test_what_was_approved_or_has_moved_a_pointer_is_not_withdrawn(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    t.run(3)
    t.responder.consider(DRIFT)
    t.run()
    assert t.phase(ROLLBACK) == "done"


def test_a_hold_and_its_end_are_kept(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.desk.hold = True
    t.responder.consider(POISONED)
    t.run(5)
    assert t.moves() == []
    t.desk.hold = False
    t.run(30)
    assert t.phase(ROLLBACK) == "done"
    assert [len(kept(t, kind)) for kind in ("hold", "resume")] == [1, 1]
    assert t.phase(PROMOTION) is None
