"""The step machine against servers that lie, hang and refuse, and through crashes at every moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from theatre import DRAFT, PASSED, POISONED, PROMOTION, RETRAINING, ROLLBACK, Theatre, tamper

from rollback.audit.log import AuditError, read_records
from rollback.audit.verification import verify
from rollback.reload.memory import Behaviour
from rollback.response.desk import Answer
from rollback.response.policy import PolicySettings
from rollback.train.trainer import Retrained


def test_the_whole_way_from_a_finding_to_a_retrained_version_that_serves(theatre: Callable[..., Theatre]) -> None:
    t = theatre(Behaviour(), Behaviour(asks=1))
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    assert (t.phase(ROLLBACK), t.phase(RETRAINING), t.phase(PROMOTION)) == ("done", "made", "approval")
    assert t.servers.serving() == {"server 0": "1", "server 1": "1"}
    assert t.registry.pointers().last_known_good == "1"
    t.desk.give(Answer(PROMOTION, "approve", "ann", known_good=True, reason="tested"))
    t.run()
    assert t.phase(PROMOTION) == "done"
    assert t.servers.serving() == {"server 0": "3", "server 1": "3"}
    assert (t.registry.pointers().serving, t.registry.pointers().last_known_good) == ("3", "3")
    assert t.moves()[:2] == [("1", "2"), ("3", "1")]
    t.responder.seen("nids", "3", t.now + 1)
    assert t.phase(PROMOTION) == "served"
    assert t.kinds("intent")[:2] == ["swap", "reload"]
    (answer,) = [r.body for r in read_records(t.path) if r.kind == "answer"]
    assert (answer["by"], answer["case"]["detail"]) == ("ann", "approve by ann: tested")
    assert verify(t.path).records > 0


def test_each_turn_takes_at_most_one_step_and_intents_come_before_acts(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    for _ in range(12):
        before = len(t.kinds("intent")), len(t.kinds("outcome"))
        t.responder.step()
        assert len(t.kinds("intent")) - before[0] <= 1
        assert len(t.kinds("outcome")) - before[1] <= 1
        assert t.registry.pointers().serving == "2" or "swap" in t.kinds("intent")


def test_what_follows_a_result_is_begun_in_the_same_turn(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    phases = [t.phase(ROLLBACK) for _ in range(5) if t.responder.step() is not None]
    assert phases == ["verify", "swap", "reload", "confirm", "done"]


def test_news_are_told_once_and_again_after_a_restart(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    t.responder.consider(POISONED)
    assert t.responder.step() == ["i1"]
    assert [case.key for case in t.responder.of("i1")] == [ROLLBACK]
    t.run()
    assert t.responder.step() == []
    assert t.start().step() == ["i1"]


@pytest.mark.parametrize("bad", ["says_new_serves_old", "half_right", "hangs", "busy"])
def test_a_server_that_cannot_be_believed_is_tried_again_and_then_halts(
    theatre: Callable[..., Theatre], bad: str
) -> None:
    t = theatre(Behaviour(), Behaviour(bad))  # type: ignore[arg-type]  # each is a conduct
    t.responder.consider(POISONED)
    t.run(80)
    case = t.case(ROLLBACK)
    assert case is not None
    assert case.phase == "halted"
    assert case.detail.startswith("given up after 3 tries: ")
    assert "server 1" in case.detail
    assert t.phase(RETRAINING) is None
    t.servers.observe("1", None)  # which is when it is seen to have loaded
    assert t.servers.serving()["server 0"] == "1"
    t.servers.behave("server 1", Behaviour())
    t.desk.give(Answer(ROLLBACK, "again", "ann"))
    t.run()
    assert t.phase(ROLLBACK) == "done"
    assert t.servers.serving() == {"server 0": "1", "server 1": "1"}
    assert t.moves() == [("1", "2")]


def test_a_server_that_refuses_halts_at_once(theatre: Callable[..., Theatre]) -> None:
    t = theatre(Behaviour("refuses"))
    t.responder.consider(POISONED)
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.detail) == ("halted", "server 0: refuses")
    assert t.kinds("intent") == ["swap", "reload"]


def test_a_target_that_fails_verification_halts_before_anything_is_touched(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    tamper(t.registry, "1")
    t.responder.consider(POISONED)
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert case.phase == "halted"
    assert "changed since it was signed" in case.detail
    assert (t.registry.pointers().serving, t.servers.serving(), t.moves()) == ("2", {"server 0": "2"}, [])
    assert t.kinds("intent") == []


def test_a_pointer_that_somebody_moved_meanwhile_halts(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    t.registry.promote("3", expected="2", known_good=False, by="release", reason="hotfix")
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert case.phase == "halted"
    assert "serving is version 3, not 2 as expected" in case.detail
    assert t.registry.pointers().serving == "3"


def test_events_of_the_old_version_after_the_grace_time_reopen_the_rollback(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=PolicySettings(retrain=False))
    t.responder.consider(POISONED)
    t.run()
    done = t.case(ROLLBACK)
    assert done is not None
    assert done.phase == "done"
    t.responder.seen("nids", "2", done.since + 59)
    assert t.phase(ROLLBACK) == "done"
    t.servers.start("1", "2")  # a server was restored from an old image
    t.responder.seen("nids", "2", done.since + 61)
    assert t.phase(ROLLBACK) == "reload"
    t.run()
    assert t.phase(ROLLBACK) == "done"
    assert t.servers.serving() == {"server 0": "1"}


def test_a_probe_that_finds_another_version_reopens_the_rollback(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=PolicySettings(retrain=False))
    t.responder.consider(POISONED)
    t.run()
    done = t.case(ROLLBACK)
    assert done is not None
    t.responder.probed("nids", "1", "server 0: serves 2", done.since - 1)  # begun before the move was done
    t.responder.probed("nids", "2", "server 0: serves 1", t.now)  # about what served before
    assert t.phase(ROLLBACK) == "done"
    t.responder.probed("nids", "1", "server 0: serves 2", t.now)
    assert t.phase(ROLLBACK) == "reload"


def test_in_mode_propose_nothing_moves_before_approval_and_a_refusal_is_final(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose")
    t.responder.consider(POISONED)
    t.run()
    assert (t.phase(ROLLBACK), t.moves()) == ("approval", [])
    t.desk.give(Answer(ROLLBACK, "decline", "ann", reason="it is a test"))
    t.run()
    t.responder.consider(POISONED)
    t.desk.give(Answer(ROLLBACK, "approve", "bob"))
    t.run()
    assert (t.phase(ROLLBACK), t.moves(), t.desk.answers()) == ("declined", [], ())
    (ignored,) = [r.body for r in read_records(t.path) if r.kind == "ignored"]
    assert ignored["answer"] == "approve by bob"


def test_in_mode_observe_nothing_is_begun_not_even_what_was_under_way(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    t.mode = "observe"
    t.start()
    t.responder.consider(POISONED)
    t.run()
    assert (t.phase(ROLLBACK), t.moves(), t.kinds("intent")) == ("verify", [], [])


def test_on_hold_no_step_is_begun_and_afterwards_it_goes_on(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.desk.hold = True
    t.responder.consider(POISONED)
    t.run()
    assert (t.phase(ROLLBACK), t.moves()) == ("verify", [])
    t.desk.hold = False
    t.run()
    assert t.moves() == [("1", "2")]


@pytest.mark.parametrize(
    ("result", "phase", "detail"),
    [
        (Retrained("rejected", "3", "holdout accuracy"), "rejected", "holdout accuracy"),
        (Retrained("failed", None, "killed"), "halted", "given up after 2 tries: killed"),
    ],
)
def test_a_retraining_that_gives_no_good_candidate_promotes_nothing(
    theatre: Callable[..., Theatre], result: Retrained, phase: str, detail: str
) -> None:
    t = theatre()
    t.will(result)
    t.responder.consider(POISONED)
    t.run(60)
    case = t.case(RETRAINING)
    assert case is not None
    assert (case.phase, case.detail) == (phase, detail)
    assert [c.kind for c in t.responder.cases.values()] == ["rollback", "retraining"]
    assert t.registry.pointers().serving == "1"


def test_a_candidate_that_is_doubted_waits_for_a_person_even_where_releases_are_automatic(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(policy=PolicySettings(release="automatic"))
    t.will(Retrained("vetting", "3", "it may lack a new family"))
    t.responder.consider(POISONED)
    t.run()
    case = t.case(PROMOTION)
    assert case is not None
    assert (case.phase, case.detail) == ("approval", "it waits for approval: it may lack a new family")


def test_without_a_training_buffer_the_retraining_says_so(theatre: Callable[..., Theatre]) -> None:
    t = theatre(buffer=None)
    t.responder.consider(POISONED)
    t.run()
    case = t.case(RETRAINING)
    assert case is not None
    assert case.phase == "halted"
    assert "no training buffer of version 2 is known" in case.detail


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(crashes=st.lists(st.booleans(), max_size=50))
def test_crashes_at_any_moment_lead_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory, crashes: Sequence[bool]
) -> None:
    t = Theatre(tmp_path_factory.mktemp("crash"), Behaviour(asks=1), policy=PolicySettings(release="automatic"))
    t.will(PASSED)
    t.responder.consider(POISONED)
    for crash in [*crashes, *[False] * 60]:
        t.step()
        if crash:
            t.start()
            t.responder.consider(POISONED)  # the window since the last checkpoint is judged again
    assert t.moves() == [("1", "2"), ("3", "1")]
    assert t.servers.serving() == {"server 0": "3"}
    assert {key: case.phase for key, case in t.responder.cases.items()} == {
        ROLLBACK: "done",
        RETRAINING: "made",
        PROMOTION: "done",
    }
    assert t.kinds("plan") == ["rollback", "retraining", "promotion"]
    assert t.kinds("outcome").count("train") == 1
    assert verify(t.path).records > 0
    t.close()


def test_an_audit_log_whose_end_was_cut_off_stops_the_start(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    t.run()
    state = t.responder.state()
    t.start().restore(state)
    lines = t.path.read_bytes().splitlines(keepends=True)
    t.path.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(AuditError, match="the end of the log was cut off or it was replaced"):
        t.start().restore(state)


def test_a_finished_retraining_is_done_again_after_decisions_and_its_last_candidate_alone_waits(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre()
    t.will(Retrained("vetting", "3", "rows wait for a person"))
    t.responder.consider(POISONED)
    t.run()
    assert (t.phase(RETRAINING), t.phase(PROMOTION)) == ("made", "approval")
    t.registry.add(DRAFT, {}, by="tocsin", reason="retrained again", version="4")
    t.will(Retrained("passed", "4", "passed the gate"))
    t.trainer.renew(RETRAINING)
    t.desk.give(Answer(RETRAINING, "again", "ann", reason="the slice was accepted"))
    t.run()
    case = t.case(RETRAINING)
    assert case is not None
    assert (case.phase, case.target, case.doubted) == ("made", "4", False)
    assert (t.phase(PROMOTION), t.phase("i1/promotion/4")) == ("withdrawn", "approval")
    assert t.case("i1/promotion/4").detail == "it waits for approval"  # type: ignore[union-attr]  # its phase was seen


def test_a_retraining_done_again_with_the_same_answer_changes_nothing(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    t.desk.give(Answer(RETRAINING, "again", "ann"))
    t.run()
    assert (t.phase(RETRAINING), t.phase(PROMOTION)) == ("made", "approval")
