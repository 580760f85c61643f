"""Tocsin never goes back and forth between versions: every way that the phase table allows is gone to its end.

Time is taken as long as every budget wants it, so that nothing but the rules themselves holds anything back, and mode
is act with automatic release: the boldest that can be configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from theatre import Theatre

from rollback.audit.verification import verify
from rollback.registry import moves
from rollback.registry.registry import Move, Pointers, RegistryError
from rollback.reload.memory import Behaviour
from rollback.response.cases import TABLE, Case, Event, Tries, advance, answerable
from rollback.response.desk import Answer
from rollback.response.policy import DAY, Finding, PolicySettings, Standing, decide, follow
from rollback.response.steps import ACTOR
from rollback.train.trainer import Retrained

BOLD = PolicySettings(release="automatic", cooldown_seconds=0.0, rollbacks_per_day=1000)
TRIES = Tries(attempts=1, trainings=1, retry_seconds=1.0, reopens=1)
PERSONS: frozenset[Event] = frozenset({"approve", "decline", "again"})
EVENTS = sorted({event for _, event in TABLE} - {"withdraw"})
"""What is withdrawn has touched nothing."""
GOOD, POISONED, CANDIDATE = "1", "2", "3"
CANDIDATES = {POISONED: CANDIDATE, CANDIDATE: "4"}
MOST = 5
"""Cases in a story: two rollbacks, what follows from the first, and a second retraining; then all begins anew."""


@dataclass(frozen=True)
class World:
    """Pointers, what was moved (in order), and every case."""

    serving: str = POISONED
    history: tuple[Move, ...] = ()
    cases: tuple[Case, ...] = ()

    @property
    def pointers(self) -> Pointers:
        return Pointers(self.serving, GOOD)

    def tell(self, version: str) -> World:
        """A confirmed poisoning of the version, in an incident of its own name each time."""
        finding = Finding(f"i{version}", "nids", version, "poisoning", "confirmed", 0.99)
        known = {case.key: case for case in self.cases}
        case = decide(finding, Standing(self.pointers), known, "act", BOLD, now=0.0)
        return self if case is None or len(self.cases) >= MOST else self.keep(case)

    def keep(self, case: Case) -> World:
        """With the case as it is now, and what follows from it."""
        others = tuple(c for c in self.cases if c.key != case.key)
        place = {c.key: n for n, c in enumerate(self.cases)}
        ordered = sorted((*others, case), key=lambda c: place.get(c.key, len(place)))
        after = replace(self, cases=tuple(ordered))
        follower = follow(case, self.pointers, "act", BOLD, now=0.0)
        known = follower is None or any(c.key == follower.key for c in others)
        return after if follower is None or known or len(after.cases) >= MOST else after.keep(follower)

    def happen(self, case: Case, event: Event) -> World | None:
        """What the event makes of the world; None where it cannot happen."""
        if event in PERSONS and not answerable(replace(case, due=1.0), event, 0.0):
            return None
        if event in {"seen", "stale"} and case != self._newest():
            return None
        world = self
        if (case.phase, event) == ("swap", "ok"):
            moved = self._moved(case)
            if moved is None:
                return None
            world = moved
        if case.phase == "train" and event in {"ok", "doubted"}:
            case = replace(case, target=CANDIDATES[case.expected])
        after = advance(case, event, 0.0, "", TRIES)
        reopened = 0 if after.phase in {"halted", "declined"} else after.reopened  # what follows begins at 0 again
        plain = replace(after, due=0.0, detail="", attempt=0, reopened=reopened, approved=False, doubted=False)
        return None if after is case else world.keep(plain)

    def _newest(self) -> Case | None:
        """The move that events and probes are held against."""
        over = [c for c in self.cases if c.phase in {"done", "served"} and c.kind != "retraining"]
        return next((c for c in reversed(over) if c.target == self.serving), None)

    def _moved(self, case: Case) -> World | None:
        kind = "rollback" if case.kind == "rollback" else "promote"
        wanted = Move(0.0, kind, case.target, case.expected, ACTOR, "")
        try:
            if case.kind == "rollback":
                made = moves.rollback(self.pointers, self.history, wanted)
            else:
                made = moves.promotion(self.pointers, self.history, wanted, known_good=case.known_good)
        except RegistryError:
            return None
        return replace(self, serving=case.target, history=(*self.history, *made))

    def next(self) -> Iterator[World]:
        """Everything that can come next."""
        for version in (POISONED, CANDIDATE):
            yield self.tell(version)
        for case in self.cases:
            for event in EVENTS:
                after = self.happen(case, event)
                if after is not None:
                    yield after


def served(world: World) -> list[str]:
    """Which versions Tocsin made to serve, one after the other."""
    return [move.version for move in world.history if moves.SERVING in moves.MOVED.get(move.action, ())]


@pytest.fixture(scope="module")
def reachable() -> set[World]:
    found, ahead = set(), [World()]
    while ahead:
        world = ahead.pop()
        if world not in found:
            found.add(world)
            ahead += [after for after in world.next() if after not in found]
    return found


def test_every_reachable_world_was_looked_at(reachable: set[World]) -> None:
    assert len(reachable) > 1000
    phases = {(case.kind, case.phase) for world in reachable for case in world.cases}
    assert {phase for _, phase in phases} >= {phase for _, phase in TABLE.items() if phase != "withdrawn"}


def test_no_version_serves_again_after_it_was_rolled_back_from(reachable: set[World]) -> None:
    for world in reachable:
        left: set[str] = set()
        for move in world.history:
            if move.action == "quarantine":
                left.add(move.version)
            assert not (moves.MOVED.get(move.action) and move.version in left), world.history


def test_the_serving_pointer_comes_back_to_last_known_good_only_and_never_goes_round(reachable: set[World]) -> None:
    ways = {tuple(served(world)) for world in reachable}
    assert ways == {(), (GOOD,), (GOOD, CANDIDATE), (GOOD, CANDIDATE, GOOD)}


def test_nobody_but_a_person_makes_a_version_last_known_good(reachable: set[World]) -> None:
    assert not any(move.action == "known-good" for world in reachable for move in world.history)


class Response(RuleBasedStateMachine):
    """The responder itself, between people, crashes, servers of any conduct and findings of any kind."""

    @initialize(count=st.integers(1, 2))
    def begin(self, count: int) -> None:
        assert isinstance(self.folder, object)
        self.theatre = Theatre(self.folder(), *[Behaviour()] * count, policy=BOLD)
        self.theatre.will(Retrained("passed", CANDIDATE, "passed the gate"))
        self.vouched: set[str] = set()

    folder: Any = None

    @rule(version=st.sampled_from("123"), family=st.sampled_from(["poisoning", "drift", "inconclusive"]))
    def find(self, version: str, family: str) -> None:
        self.theatre.responder.consider(Finding(f"i{version}", "nids", version, family, "confirmed", 0.99))

    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        self.theatre.run(turns)

    @rule()
    def wait(self) -> None:
        self.theatre.now += DAY

    @rule()
    def crash(self) -> None:
        self.theatre.start()

    @rule(conduct=st.sampled_from(["honest", "says_new_serves_old", "half_right", "hangs", "busy", "refuses"]))
    def behave(self, conduct: Any) -> None:
        self.theatre.servers.behave("server 0", Behaviour(conduct))

    @rule(version=st.sampled_from("123"))
    def see(self, version: str) -> None:
        self.theatre.responder.seen("nids", version, self.theatre.now + 100.0)

    @rule(decision=st.sampled_from(["approve", "decline", "again"]), good=st.booleans(), pick=st.integers(0, 5))
    def answer(self, decision: Any, good: bool, pick: int) -> None:  # noqa: FBT001 - drawn
        keys = list(self.theatre.responder.cases)
        if keys:
            key = keys[pick % len(keys)]
            self.theatre.desk.give(Answer(key, decision, "ann", known_good=good))
            if good and decision == "approve":
                self.vouched.add(key)

    @rule()
    def go_to_the_promotion(self) -> None:
        """Often enough that what comes after it is seen, too."""
        self.theatre.servers.behave("server 0", Behaviour())
        self.find("2", "poisoning")
        self.theatre.run(20)

    @rule(version=st.sampled_from("123"))
    def release(self, version: str) -> None:
        held = moves.quarantined(self.theatre.registry.history())
        if version in held:
            self.theatre.registry.release(version, by="ann", reason="refuted")

    @rule(version=st.sampled_from("123"))
    def promote_by_hand(self, version: str) -> None:
        registry = self.theatre.registry
        try:
            registry.promote(version, expected=registry.pointers().serving, known_good=False, by="pipeline", reason="")
        except RegistryError:
            assert version in moves.quarantined(registry.history())

    @invariant()
    def never_back_into_quarantine(self) -> None:
        left: set[str] = set()
        for move in self.theatre.registry.history():
            if move.action == "quarantine":
                left.add(move.version)
            elif move.action == "release":
                left.discard(move.version)
            assert not (moves.MOVED.get(move.action) and move.version in left)

    @invariant()
    def only_people_make_good(self) -> None:
        made = [m for m in self.theatre.registry.history() if m.action == "known-good"]
        assert all(any(f"[{key}]" in m.reason for key in self.vouched) for m in made)

    def teardown(self) -> None:
        if hasattr(self, "theatre"):
            self.theatre.close()
            verify(self.theatre.path)


def test_no_story_of_people_crashes_and_lying_servers_goes_back_into_quarantine(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    class Here(Response):
        folder = staticmethod(lambda: tmp_path_factory.mktemp("theatre"))

    case = Here.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
    case("runTest").runTest()
