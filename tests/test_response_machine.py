"""The step machine against servers that lie, hang and refuse, and through crashes at every moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollback.audit import FILE_NAME, AuditError, AuditLog, read_records, verify
from rollback.bundle import CANARIES
from rollback.canaries import Canaries
from rollback.keys import Keys, new_signing_key
from rollback.manifest import Draft, FeatureSpec
from rollback.registry.memory import MemoryRegistry
from rollback.registry.registry import Buffer
from rollback.reload.memory import Behaviour, MemoryReloader
from rollback.response.cases import Case, Tries
from rollback.response.desk import Answer, MemoryDesk
from rollback.response.policy import Finding, Mode, PolicySettings
from rollback.response.responder import Charge, Responder
from rollback.response.steps import ACTOR, Target
from rollback.response.worker import Inline
from rollback.train.memory import MemoryTrainer
from rollback.train.trainer import Retrained

POISONED = Finding("i1", "nids", "2", "poisoning", "confirmed", 0.99, '{"uid": "i1"}')
ROLLBACK, RETRAINING, PROMOTION = "i1/rollback/2/1", "i1/retraining/2", "i1/promotion/3"
BUFFER = Buffer(Path("buffer.csv"), "label")
PASSED = Retrained("passed", "3", "passed the gate")


class Theatre:
    """What outlives a crash of the responder: registry, servers, trainer, desk and audit log."""

    def __init__(
        self,
        folder: Path,
        *endpoints: Behaviour,
        mode: Mode = "act",
        policy: PolicySettings | None = None,
        buffer: Buffer | None = BUFFER,
    ) -> None:
        self.now = 1000.0
        self.folder = folder
        self.mode = mode
        self.registry = MemoryRegistry("nids", Keys.of(new_signing_key()), lambda: self.now)
        draft = Draft(classes=("attack", "benign"), features=(FeatureSpec("bytes"),))
        canaries = Canaries(draft.manifest("", "", "").schema, np.array([[1.0]]), np.array([[0.3, 0.7]]))
        for _ in range(3):
            self.registry.add(draft, {CANARIES: canaries.to_npz()}, by="test", reason="test")
        self.registry.promote("2", expected="1", known_good=False, by="release", reason="retrain")
        servers = endpoints or (Behaviour(),)
        self.servers = MemoryReloader({f"server {i}": b for i, b in enumerate(servers)}, "2")
        self.trainer = MemoryTrainer()
        self._result: Retrained | None = None
        self.desk = MemoryDesk()
        self.charge = Charge(
            Target(self.registry, self.servers),
            self.trainer,
            lambda _: buffer,
            policy or PolicySettings(),
            Tries(attempts=3, retry_seconds=5.0),
            grace_seconds=60.0,
        )
        self.path = folder / FILE_NAME
        self._log: AuditLog | None = None
        self.start()

    def start(self) -> Responder:
        """Begin, also after a crash: whatever was in memory is gone."""
        self.close()
        self._log = AuditLog(self.path, lambda: self.now)
        self.responder = Responder(
            self.mode, {"nids": self.charge}, self.desk, Inline(), self._log, self.path, self.folder, lambda: self.now
        )
        return self.responder

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def run(self, turns: int = 40) -> None:
        for _ in range(turns):
            self.step()

    def will(self, result: Retrained) -> None:
        """What is going to become of every retraining."""
        self._result = result

    def step(self) -> None:
        """A turn of the loop, and what goes on elsewhere meanwhile."""
        self.now += 1.0
        self.responder.step()
        for order in self.trainer.orders:
            with suppress(KeyError):  # it does not run
                if self._result is not None:
                    self.trainer.finish(order.key, self._result)

    def phase(self, key: str) -> str | None:
        case = self.case(key)
        return case.phase if case else None

    def case(self, key: str) -> Case | None:
        return self.responder.cases.get(key)

    def kinds(self, kind: str) -> list[str]:
        """The phases of the audit's records of a kind."""
        bodies = [r.body for r in read_records(self.path) if r.kind == kind]
        return [body.get("phase") or body.get("step") or body["case"]["kind"] for body in bodies]

    def moves(self) -> list[tuple[str, str | None]]:
        return [(m.version, m.previous) for m in self.registry.history() if m.by == ACTOR]


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Callable[..., Theatre]]:
    made: list[Theatre] = []

    def make(*endpoints: Behaviour, **how: Any) -> Theatre:
        made.append(Theatre(tmp_path, *endpoints, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


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
    assert verify(t.path) > 0


def test_each_turn_takes_at_most_one_step_and_intents_come_before_acts(theatre: Callable[..., Theatre]) -> None:
    t = theatre()
    t.responder.consider(POISONED)
    for _ in range(12):
        before = len(t.kinds("intent")) + len(t.kinds("outcome"))
        t.responder.step()
        assert len(t.kinds("intent")) + len(t.kinds("outcome")) - before <= 1
        assert t.registry.pointers().serving == "2" or "swap" in t.kinds("intent")


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
    assert verify(t.path) > 0
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


def tamper(registry: MemoryRegistry, version: str) -> None:
    registry._bundles[version]["manifest.json"] += b" "
