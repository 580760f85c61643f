"""What incidents tell of the response, though the process is killed at the worst moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from telling import Process
from theatre import PASSED, POISONED, Theatre

from detectors.evidence import Evidence, Implicated
from detectors.verdict import Verdict
from monitor.incidents.dismissals import Dismissal
from monitor.incidents.fields import Sighting
from monitor.messages import WindowItem
from monitor.sources.memory import MemoryLog
from monitor.sources.source import Partition
from rollback.audit.log import AuditError, read_records
from rollback.reload.memory import Behaviour
from rollback.response.policy import PolicySettings

POISON = Verdict("poisoning", "backdoor", 0.99, implicated=Implicated({"urgent": 2.0}, ("s1",)))
EVIDENCE = (Evidence("version_disagreement", "fired", 1.0, 2.0, float("inf")),)
AUTOMATIC = PolicySettings(release="automatic")

Start = Callable[[Theatre], Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process for a theatre, on the same log every time; one that ran is to be killed before."""
    log = MemoryLog({"events": "inference"}, messages={Partition("events", 0): []})
    with ExitStack() as over:

        def begin(theatre: Theatre) -> Process:
            process = Process(theatre, log)
            over.callback(process.kill)
            return process

        yield begin


def open_incident(process: Process, theatre: Theatre) -> str:
    """Have a poisoning of version 2 found, and its incident told; a checkpoint is made. Returns the incident's uid."""
    seen = Sighting("nids", "2", "1", 100.0, WindowItem(0, "first", "last"), POISON, EVIDENCE, asking=False)
    process.run(1)
    (created,) = process.book.consider(seen)
    theatre.responder.consider(replace(POISONED, incident=created.uid))
    process.run(1)
    process.loop.settle()
    return created.uid


def test_a_halt_before_a_crash_is_told_after_it(theatre: Callable[..., Theatre], start: Start) -> None:
    t = theatre(Behaviour("refuses"))
    first = start(t)
    uid = open_incident(first, t)
    t.run()  # the responder halts and writes that down; nothing is published any more
    assert [case.phase for case in t.responder.of(uid)] == ["halted"]
    first.kill()
    t.start()
    second = start(t)
    second.run(3)
    assert [(i["uid"], i["activity"], [a["result"] for a in i["action"]]) for i in second.told] == [
        (uid, "update", ["halted"])
    ]


def test_what_was_told_before_a_crash_and_its_checkpoint_is_not_told_again(
    theatre: Callable[..., Theatre], start: Start
) -> None:
    t = theatre(Behaviour("refuses"))
    first = start(t)
    open_incident(first, t)
    first.run()
    first.loop.settle()
    assert first.told[-1]["action"][0]["result"] == "halted"
    first.kill()
    t.start()
    second = start(t)
    second.run()
    assert second.told == []


def test_an_incident_whose_remedy_was_seen_before_a_crash_is_closed_after_it(
    theatre: Callable[..., Theatre], start: Start
) -> None:
    t = theatre(policy=AUTOMATIC)
    t.will(PASSED)
    first = start(t)
    uid = open_incident(first, t)
    first.run()
    first.loop.settle()
    assert first.book.open_for("nids") == 1
    t.responder.seen("nids", "3", t.now + 1)  # in the audit log, not in the checkpoint
    first.kill()
    t.start()
    second = start(t)
    second.run(3)
    assert [(i["uid"], i["activity"], i["status"]) for i in second.told] == [(uid, "close", "resolved")]
    assert second.book.open_for("nids") == 0


def test_a_remedy_that_came_undone_and_was_done_over_closes_its_incident_again(
    theatre: Callable[..., Theatre], start: Start
) -> None:
    t = theatre(policy=AUTOMATIC)
    t.will(PASSED)
    process = start(t)
    uid = open_incident(process, t)
    process.run()
    t.responder.seen("nids", "3", t.now + 1)
    process.run(3)
    before = len(process.told)
    assert (process.told[-1]["activity"], process.told[-1]["status"]) == ("close", "resolved")
    t.responder.probed("nids", "3", "server 0: serves 1", t.now + 2)
    process.run()
    t.responder.seen("nids", "3", t.now + 1)
    process.run(3)
    later = process.told[before:]
    assert {i["uid"] for i in later} == {uid}
    assert "running" in {a["result"] for a in later[0]["action"]}
    assert (later[-1]["activity"], later[-1]["status"]) == ("close", "resolved")


def test_without_retraining_an_incident_is_closed_once_the_good_version_serves(
    theatre: Callable[..., Theatre], start: Start
) -> None:
    t = theatre(policy=PolicySettings(retrain=False))
    process = start(t)
    uid = open_incident(process, t)
    process.run()
    assert process.book.open_for("nids") == 1
    t.responder.seen("nids", "1", t.now + 1)
    process.run(1)
    assert t.phase(f"{uid}/rollback/2/1") == "served"
    assert (process.told[-1]["activity"], process.book.open_for("nids")) == ("close", 0)


def test_an_audit_log_that_was_cut_off_is_found_before_anything_is_done(
    theatre: Callable[..., Theatre], start: Start
) -> None:
    t = theatre(policy=PolicySettings(retrain=False))
    first = start(t)
    open_incident(first, t)
    first.run()
    first.loop.settle()
    first.kill()
    t.close()
    lines = t.path.read_bytes().splitlines(keepends=True)
    t.path.write_bytes(b"".join(lines[:2]))  # the plan, and that it was verified: the swap would come next
    t.registry.release("2", by="intruder", reason="a lie")
    t.registry.promote("2", expected="1", known_good=False, by="intruder", reason="once more")
    moves = t.moves()
    t.start()
    second = start(t)
    with pytest.raises(AuditError, match="the end of the log was cut off or it was replaced"):
        second.run()
    assert (t.moves(), second.told, len(list(read_records(t.path)))) == (moves, [], 2)


def test_an_operators_order_is_followed_also_where_a_crash_took_it_back_and_once(
    theatre: Callable[..., Theatre], start: Start
) -> None:
    t = theatre(Behaviour("honest"), mode="observe")
    first = start(t)
    uid = open_incident(first, t)
    message = first.book.message(uid)
    assert message is not None
    order = Dismissal("order-1", message, "ada", "a test of ours", 1.0)
    first.news.append(order)
    first.run(1)
    first.kill()  # before the next checkpoint
    t.start()
    second = start(t)
    second.news.append(order)  # as the next process reads the folder again
    second.run(2)
    second.loop.settle()
    second.kill()
    t.start()
    third = start(t)
    third.news.append(order)
    third.run(2)
    closes = [[i for i in process.told if i["activity"] == "close"] for process in (first, second, third)]
    assert [len(each) for each in closes] == [1, 1, 0]
    assert closes[0] == closes[1]
    assert (closes[0][0]["uid"], closes[0][0]["close_reason"], closes[0][0]["closed_by"]) == (
        uid,
        "a test of ours",
        "ada",
    )
