"""An incident is suspected only while labels are asked for or on their way."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry
from session_stream import window
from telling import Lines, Surroundings

from detectors.batch import Batch
from detectors.evidence import Ask, Evidence
from detectors.verdict import judge
from monitor.incidents.book import IncidentBook
from monitor.incidents.dismissals import Dismissal
from monitor.messages import Incident
from monitor.response import NoResponse
from monitor.state.checkpoint import decode, encode
from monitor.teller import Outlets, Teller
from monitor.vetting import VettingDesk, VettingSettings
from monitor.watch import Judged
from monitor.watching.metrics import Metrics
from monitor.window import ClosedWindow
from rollback.response.cases import Case


def suspicious(asks: int, asked: int) -> Evidence:
    """Suspicion below the alarm: ``asks`` in this window, ``asked`` altogether, none of it answered."""
    wanted = tuple(Ask(f"{asked}-{i}", "is it?") for i in range(asks))
    return Evidence("version_disagreement", "ok", suspects=True, asks=wanted, llr=0.0, facts={"asked": asked})


def test_incidents_of_a_model_that_was_taken_out_of_the_configuration_are_closed_at_the_next_start() -> None:
    around: Any = Surroundings()
    metrics = Metrics(CollectorRegistry(), "test", lambda: 0.0)

    def teller(*models: str) -> tuple[Teller, Lines]:
        incidents = Lines()
        desk = VettingDesk({model: VettingSettings() for model in models})
        book = IncidentBook(models=frozenset(models))
        return Teller(book, desk, NoResponse(), Outlets(Lines(), incidents, Lines()), metrics, around), incidents

    before, told = teller("m", "gone")
    batch: Batch = window(np.random.default_rng(0), 0, 20).batch
    made = window(np.random.default_rng(0), 0, 20)
    evidence = [suspicious(8, 8)]
    for model in ("m", "gone"):
        before.tell(
            ClosedWindow(model, "2", 0, batch, {}, "count", 0, 0), Judged(made, evidence, judge(evidence)), around
        )
    assert len(told.lines) == 2
    after, told = teller("m")
    after.restore(decode(encode(before.state())))
    assert after.respond()
    (line,) = told.lines
    assert b'"close_reason":"model gone is not watched any more"' in line
    assert not after.respond()


def test_what_is_not_told_is_counted_by_why_it_is_not() -> None:
    around: Any = Surroundings()
    registry, incidents = CollectorRegistry(), Lines()
    desk = VettingDesk({"m": VettingSettings(budget=100)})
    metrics = Metrics(registry, "test", lambda: 0.0)
    metrics.features("m", [])
    teller = Teller(IncidentBook(), desk, NoResponse(), Outlets(Lines(), incidents, Lines()), metrics, around)
    made = window(np.random.default_rng(0), 0, 20)
    evidence = [suspicious(8, 8)]
    judged = Judged(made, evidence, judge(evidence))

    def counts() -> tuple[float | None, ...]:
        names = ("tocsin_incident_findings_folded_total", "tocsin_incident_findings_dismissed_total")
        return tuple(registry.get_sample_value(name, {"model": "m"}) for name in names)

    closed = ClosedWindow("m", "2", 0, made.batch, {}, "count", 0, 0)
    teller.tell(closed, judged, around)
    teller.tell(closed, judged, around)
    assert counts() == (1.0, 0.0)
    first = msgspec.json.decode(incidents.lines[0], type=Incident)
    assert teller.dismissed(Dismissal("order-1", first, "ada", "a test of ours", 5.0))
    teller.tell(closed, judged, around)
    assert counts() == (1.0, 1.0)


def test_suspicion_that_asks_no_more_and_waits_for_nothing_is_retracted_once_and_opens_no_second_incident() -> None:
    around: Any = Surroundings()
    desk = VettingDesk({"m": VettingSettings(budget=4, patience=1.0)})
    incidents = Lines()
    outlets = Outlets(Lines(), incidents, Lines())
    metrics = Metrics(CollectorRegistry(), "test", lambda: 0.0)
    teller = Teller(IncidentBook(), desk, NoResponse(), outlets, metrics, around)
    batch: Batch = window(np.random.default_rng(0), 0, 20).batch
    for index in range(8):
        made = window(np.random.default_rng(index), index, 20)
        later = batch.take(np.arange(20))
        object.__setattr__(later, "ts", batch.ts + 1000.0 * index)  # so that what was asked expires
        closed = ClosedWindow("m", "2", index, later, {}, "count", 0, 0)
        evidence = [suspicious(8 if index == 0 else 0, 8)]
        teller.tell(closed, Judged(made, evidence, judge(evidence)), around)
    told = [line for line in incidents.lines if b'"activity":"create"' in line or b'"activity":"close"' in line]
    assert [b"retracted" in line for line in told] == [False, True]


class Halted(NoResponse):
    """A rollback that has failed for good, and of which all has been told."""

    def step(self) -> list[str]:
        return ["uid"]

    def of(self, incident: str) -> list[Case]:  # noqa: ARG002 - there is one
        return [Case("k", "rollback", "uid", "m", "2", "1", "poisoned", "halted", since=0.0)]

    def waiting(self, model: str) -> int:  # noqa: ARG002 - there is one
        return 1


def test_what_is_open_and_what_waits_for_a_person_is_shown_after_a_start_as_before() -> None:
    around: Any = Surroundings()

    def teller() -> tuple[Teller, CollectorRegistry]:
        registry = CollectorRegistry()
        metrics = Metrics(registry, "test", lambda: 0.0)
        metrics.features("m", [])
        desk = VettingDesk({"m": VettingSettings()})
        return Teller(IncidentBook(), desk, Halted(), Outlets(Lines(), Lines(), Lines()), metrics, around), registry

    before, _ = teller()
    made = window(np.random.default_rng(0), 0, 20)
    evidence = [suspicious(8, 8)]
    before.tell(
        ClosedWindow("m", "2", 0, made.batch, {}, "count", 0, 0), Judged(made, evidence, judge(evidence)), around
    )
    after, registry = teller()
    after.restore(decode(encode(before.state())))
    assert registry.get_sample_value("tocsin_incidents_open", {"model": "m"}) == 1.0
    after.respond()
    assert registry.get_sample_value("tocsin_responses_waiting", {"model": "m"}) == 1.0
