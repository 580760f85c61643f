"""The step machine where the world is against it: what is missing, broken, late, hung, moved or set back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from theatre import (
    BUFFER,
    DRAFT,
    PASSED,
    POISONED,
    PROMOTION,
    RETRAINING,
    ROLLBACK,
    SlowWorker,
    Theatre,
    mend,
    tamper,
)

from rollback.audit.log import read_records
from rollback.bundle import IntegrityError
from rollback.registry.file import FileRegistry
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Buffer, Pointers, RegistryError
from rollback.reload.pointer import PointerReloader
from rollback.response.cases import Case
from rollback.response.desk import Answer
from rollback.response.policy import PolicySettings
from rollback.response.steps import Target, perform
from rollback.signing.keys import Keys, new_signing_key

AUTOMATIC = PolicySettings(release="automatic")
ALONE = PolicySettings(retrain=False)
DAY = 86_400.0


@pytest.mark.parametrize("error", [IntegrityError, RegistryError, OSError])
def test_a_training_buffer_that_cannot_be_read_halts_the_retraining_and_nothing_else(
    theatre: Callable[..., Theatre], error: type[Exception]
) -> None:
    t = theatre()
    t.will(PASSED)

    def broken(_: str) -> Buffer:
        raise error("rows.csv: changed since it was added")

    whole, t.charge = t.charge, replace(t.charge, buffer=broken)
    t.start()
    t.responder.consider(POISONED)
    t.run()
    for _ in range(3):
        t.start()
        t.run()
    case = t.case(RETRAINING)
    assert case is not None
    assert (t.phase(ROLLBACK), case.phase) == ("done", "halted")
    assert case.detail == "rows.csv: changed since it was added"
    t.charge = whole
    t.start()
    t.desk.give(Answer(RETRAINING, "again", "ann"))
    t.run()
    assert (t.phase(RETRAINING), [order.buffer for order in t.trainer.orders]) == ("made", [BUFFER])


def test_a_poisoned_version_that_was_tampered_with_is_rolled_back_all_the_same(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=ALONE)
    tamper(t.registry, "2")
    t.responder.consider(POISONED)
    t.run()
    assert (t.phase(ROLLBACK), t.servers.serving()) == ("done", {"server 0": "1"})


def test_a_training_buffer_that_is_gone_does_not_stop_a_rollback_to_its_version(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("bytes,label\n1,benign\n")
    registry = FileRegistry(tmp_path / "registry", "nids", Keys.of(new_signing_key()), lambda: 0.0)
    registry.add(DRAFT, {}, by="test", reason="test", buffer=Buffer(rows, "label"))
    for kept in (tmp_path / "registry" / "nids" / "buffers").iterdir():
        kept.unlink()
    with pytest.raises(IntegrityError, match="the training buffer cannot be read"):
        registry.buffer("1")
    case = Case("k", "rollback", "i", "nids", "9", "1", "why", "verify", since=0.0)
    found = perform(case, Target(registry, PointerReloader()))
    assert (found.event, found.detail) == ("ok", "version 1 is what was signed")


def test_a_poisoned_version_that_somebody_promotes_again_is_proposed_again(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=ALONE)
    t.responder.consider(POISONED)
    t.run()
    t.registry.release("2", by="pipeline", reason="refuted")
    t.registry.promote("2", expected="1", known_good=False, by="pipeline", reason="sync")
    t.servers.start("1", "2")
    t.servers.observe("2", None)
    t.now += 2 * DAY
    t.responder.consider(POISONED)
    t.run()
    second = f"{ROLLBACK}/2"
    assert (t.phase(ROLLBACK), t.phase(second), t.servers.serving()) == ("done", "approval", {"server 0": "2"})
    t.desk.give(Answer(second, "approve", "ann"))
    t.run()
    assert (t.phase(second), t.servers.serving()) == ("done", {"server 0": "1"})


def test_events_of_the_poisoned_version_after_the_promotion_reopen_the_promotion(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(policy=AUTOMATIC)
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    t.responder.seen("nids", "3", t.now + 1)
    assert t.phase(PROMOTION) == "served"
    t.responder.seen("nids", "2", t.now + 100)  # a replica followed neither move
    case = t.case(PROMOTION)
    assert case is not None
    assert (case.phase, case.detail) == ("reload", "version 2 still serves, by its events")


def test_a_poisoned_version_that_serves_on_without_any_endpoint_to_tell_is_halted_in_the_end(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(policy=AUTOMATIC)
    t.charge = replace(t.charge, target=Target(t.registry, PointerReloader()))
    t.start()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    assert t.phase(PROMOTION) == "done"
    for hour in range(10):
        t.responder.seen("nids", "2", t.now + 3600 * hour)
        t.run(3)
    case = t.case(PROMOTION)
    assert case is not None
    assert case.phase == "halted"
    assert case.detail == "an old version came back 4 times: version 2 still serves, by its events"


def test_events_from_before_the_move_are_no_proof_that_it_worked(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=ALONE)
    t.responder.consider(POISONED)
    t.run()
    done = t.case(ROLLBACK)
    assert done is not None
    t.responder.seen("nids", "1", done.since - 5)  # a backlog, from when version 1 served the first time
    assert t.phase(ROLLBACK) == "done"
    t.responder.seen("nids", "1", done.since + 5)
    assert t.phase(ROLLBACK) == "served"


def test_in_mode_propose_every_move_is_asked_for_though_releases_are_automatic(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose", policy=AUTOMATIC)
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run()
    assert (t.phase(ROLLBACK), t.phase(PROMOTION), t.moves()) == ("done", "approval", [("1", "2")])


def test_what_mode_act_had_planned_and_not_begun_is_asked_for_in_mode_propose(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=ALONE)
    t.responder.consider(POISONED)
    t.mode = "propose"
    t.start()
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.detail) == ("approval", "mode is propose now: it waits for approval")
    assert (t.moves(), [r.kind for r in read_records(t.path)]) == ([], ["plan", "held"])
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run(2)
    t.start()  # what was approved needs no second approval
    t.run()
    assert (t.phase(ROLLBACK), t.moves()) == ("done", [("1", "2")])


def test_a_swap_that_was_done_before_a_crash_is_followed_through_in_mode_propose(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(policy=ALONE)
    t.responder.consider(POISONED)
    while not t.moves():
        t.step()
    assert t.phase(ROLLBACK) == "swap"  # its outcome is in no record yet
    t.mode = "propose"
    t.start()
    t.run()
    assert (t.phase(ROLLBACK), t.servers.serving(), t.moves()) == ("done", {"server 0": "1"}, [("1", "2")])


def test_an_answer_about_no_case_is_written_down_as_ignored(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose")
    t.desk.give(Answer("i9/rollback/2/1", "approve", "ann", reason="typed by hand"))
    t.run(2)
    (ignored,) = [r.body for r in read_records(t.path) if r.kind == "ignored"]
    assert ignored == {
        "key": "i9/rollback/2/1",
        "answer": "approve by ann: typed by hand",
        "why": "there is no such case",
    }
    assert t.desk.answers() == ()


def test_an_automatic_release_does_not_replace_a_hotfix(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=AUTOMATIC)
    t.responder.consider(POISONED)
    t.run()
    t.release("9")
    t.will(PASSED)
    t.run()
    case = t.case(PROMOTION)
    assert case is not None
    assert (case.phase, t.registry.pointers().serving) == ("approval", "9")
    assert case.detail == "version 9 was made to serve meanwhile: it waits for approval"


def test_a_promotion_that_was_overtaken_can_be_tried_again_against_what_serves_now(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    t.release("9")
    t.desk.give(Answer(PROMOTION, "approve", "ann"))
    t.run()
    halted = t.case(PROMOTION)
    assert halted is not None
    assert halted.phase == "halted"
    assert "serving is version 9, not 1 as expected" in halted.detail
    t.desk.give(Answer(PROMOTION, "again", "ann"))
    t.run()
    assert (t.phase(PROMOTION), t.moves()[-1]) == ("done", ("3", "9"))


def test_switching_retraining_on_retrains_nothing_that_is_history(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=ALONE)
    t.responder.consider(POISONED)
    t.run()
    t.now += 90 * DAY
    t.release("9", known_good=True)
    t.charge = replace(t.charge, policy=AUTOMATIC)
    t.will(PASSED)
    t.start()
    t.run()
    assert (list(t.responder.cases), t.trainer.orders) == ([ROLLBACK], [])
    assert t.registry.pointers() == Pointers("9", "9", assumed=False)


def test_the_same_poisoning_under_another_name_is_retrained_once(theatre: Callable[..., Theatre]) -> None:
    t = theatre(mode="propose")
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.responder.consider(replace(POISONED, incident="i2"))
    assert list(t.responder.cases) == [ROLLBACK]
    t.desk.give(Answer(ROLLBACK, "approve", "ann"))
    t.run()
    assert [order.version for order in t.trainer.orders] == ["2"]


def test_an_incident_that_a_crash_gave_another_name_is_told_what_is_done(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    t.run(3)
    t.start()
    t.responder.consider(replace(POISONED, incident="i2"))
    t.run()
    state = t.responder.state()
    t.start().restore(state)
    assert [case.key for case in t.responder.of("i2")] == [ROLLBACK, RETRAINING]
    assert t.responder.step() == ["i1", "i2"]


def test_a_clock_that_is_set_back_stops_no_rollback(theatre: Callable[..., Theatre]) -> None:
    t = theatre(policy=ALONE)
    t.now = 4e9
    t.responder.consider(POISONED)
    t.now = 1000.0
    t.start()
    t.run()
    assert (t.phase(ROLLBACK), t.servers.serving()) == ("done", {"server 0": "1"})


def test_whoever_vouched_for_a_promotion_need_not_do_so_again_when_it_is_tried_again(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre()
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    tamper(t.registry, "3")
    t.desk.give(Answer(PROMOTION, "approve", "ann", known_good=True))
    t.run()
    assert t.phase(PROMOTION) == "halted"
    mend(t.registry, "3")
    t.desk.give(Answer(PROMOTION, "again", "bob"))
    t.run()
    assert t.phase(PROMOTION) == "done"
    assert (t.registry.pointers().serving, t.registry.pointers().last_known_good) == ("3", "3")


def test_a_step_that_hangs_is_halted_and_what_it_says_in_the_end_is_about_no_later_try(
    theatre: Callable[..., Theatre],
) -> None:
    worker = SlowWorker()
    worker.stuck = f"{ROLLBACK} swap"
    t = theatre(policy=ALONE, worker=lambda: worker)
    t.responder.consider(POISONED)
    t.run()
    assert t.phase(ROLLBACK) == "swap"
    t.now += 2 * 3600
    t.run()
    case = t.case(ROLLBACK)
    assert case is not None
    assert (case.phase, case.detail) == ("halted", "the step swap has hung for 7200 s")
    worker.stuck = f"{ROLLBACK} reload"
    t.desk.give(Answer(ROLLBACK, "again", "ann"))
    t.run()
    assert (t.phase(ROLLBACK), t.moves()) == ("reload", [("1", "2")])
    worker.release()  # the swap that had hung finds the pointer moved and is refused: that is no news
    t.run()
    assert (t.phase(ROLLBACK), t.moves()) == ("done", [("1", "2")])


def test_two_moves_of_a_model_never_overlap(theatre: Callable[..., Theatre]) -> None:
    worker = SlowWorker()
    t = theatre(policy=PolicySettings(cooldown_seconds=0.0), worker=lambda: worker)
    t.will(PASSED)
    t.responder.consider(POISONED)
    t.run()
    worker.stuck = f"{PROMOTION} reload"  # a server takes its time to load version 3
    t.desk.give(Answer(PROMOTION, "approve", "ann"))
    t.run()
    assert t.phase(PROMOTION) == "reload"
    t.responder.consider(replace(POISONED, incident="i2", version="3"))
    t.run()
    second = "i2/rollback/3/1"
    assert (t.phase(second), t.registry.pointers().serving) == ("verify", "3")
    worker.release()
    t.run()
    assert (t.phase(second), t.servers.serving()) == ("done", {"server 0": "1"})


class Unreadable(MemoryRegistry):
    """Its pointers cannot be read."""

    def pointers(self) -> Pointers:
        raise RegistryError("serving: is no symbolic link")


def test_while_the_pointers_cannot_be_read_nothing_is_decided_and_the_watch_goes_on(
    theatre: Callable[..., Theatre],
) -> None:
    t = theatre(policy=ALONE)
    t.responder.consider(POISONED)
    t.run()
    whole, broken = t.charge, Unreadable("nids", Keys.of(new_signing_key()), lambda: t.now)
    t.charge = replace(t.charge, target=Target(broken, t.servers))
    t.start()
    t.responder.seen("nids", "1", t.now + 1)
    t.responder.probed("nids", "1", "server 0: serves 2", t.now + 1)
    t.responder.consider(replace(POISONED, incident="i2", version="1"))
    t.run()
    assert {key: case.phase for key, case in t.responder.cases.items()} == {ROLLBACK: "done"}
    t.charge = whole
    t.start()
    t.responder.seen("nids", "1", t.now + 1)
    assert t.phase(ROLLBACK) == "served"
