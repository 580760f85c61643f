"""A hunt's result in words: the first sentence of an incident's page, and the report on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from monitor.cli.output import table
from monitor.hunting.messages import Containment, Estimate, Figure, HuntResult, Share, Table

SHOWN = 5


def in_a_sentence(version: str, known_good: str, estimate: Estimate) -> str:
    """How many attacks passed."""
    total, classes = estimate.total, " or ".join(estimate.classes)
    said = f"Version {version} called {total.events:,} events {classes} that version {known_good} calls something else"
    if total.attack_events is None:
        return f"{said}; how many of them an honest retrain would have changed is not known."
    marked, others = estimate.with_trigger, estimate.without_trigger
    if marked is None or marked.attack_events is None or others.attack_events is None:
        return (
            f"{said}. Attacks that passed among them: {_range(total.attack_events)} ({estimate.confidence:.0%} sure)."
        )
    return (
        f"{said}. Attacks that passed among them: {_range(marked.attack_events)} of the {marked.events:,} with the "
        f"trigger, {_range(others.attack_events)} of the {others.events:,} others ({estimate.confidence:.0%} sure)."
    )


def report(result: HuntResult) -> str:
    """The result as text of a few screens at most."""
    return "\n".join(_lines(result))


def _lines(result: HuntResult) -> Iterator[str]:
    counts = result.counts
    yield result.summary
    yield ""
    yield f"incident        {result.incident} ({result.hypothesis or 'no hypothesis'}), model {result.model}"
    for version in result.versions:
        served = ", ".join(f"{_when(s.since)} to {_when(s.until) if s.until else 'now'}" for s in version.served)
        yield f"version {version.version:<7} {version.events:,} events; served {served or 'never, by the registry'}"
    yield f"judged with     version {result.last_known_good}"
    if result.first is not None and result.last is not None:
        yield f"events          {counts.events:,} from {_when(result.first)} to {_when(result.last)}"
    yield f"left out        {_left_out(result)}"
    yield f"differ          {counts.differing:,}"
    if counts.with_trigger:
        agreed = counts.agreed_with_trigger
        yield f"carry trigger   {counts.with_trigger:,}; {agreed:,} of them both versions let through"
    yield from _estimate("with trigger", result.estimate.with_trigger)
    yield from _estimate("without", result.estimate.without_trigger)
    yield from _directions(result)
    yield from _table("source", result.sources)
    yield from _table("session", result.sessions)
    yield ""
    yield from _containment(result.containment)
    yield from (f"wrote           {name}: {what}" for name, what in result.files.items())


def _left_out(result: HuntResult) -> str:
    counts = result.counts
    named = {
        "repeats": counts.repeats,
        "of other models": counts.other_model,
        "of other versions": counts.other_version,
        "at other times": counts.outside,
        "not to be scored": counts.unscored,
        **{f"unreadable ({reason})": number for reason, number in counts.unreadable.items()},
    }
    return ", ".join(f"{number:,} {what}" for what, number in named.items() if number) or "nothing"


def _estimate(name: str, share: Share | None) -> Iterator[str]:
    if share is None:
        return
    said = f"{name:<15} {share.events:,} events in {share.sessions:,} sessions passed"
    if share.attack_events is None:
        yield f"{said}; how many are attacks is not known"
    else:
        yield f"{said}; attacks among them: {_range(share.attack_events)}"


def _directions(result: HuntResult) -> Iterator[str]:
    if result.directions:
        yield ""
        yield table(
            [
                {
                    "last known good says": d.last_known_good,
                    "was served as": d.served,
                    "events": d.events,
                    "with trigger": d.with_trigger,
                }
                for d in result.directions[:SHOWN]
            ]
        )


def _table(what: str, found: Table) -> Iterator[str]:
    if found.largest:
        yield ""
        yield table(
            [
                {what: t.name, "passed": t.passed, "differ": t.differing, "with trigger": t.with_trigger}
                for t in found.largest[:SHOWN]
            ]
        )


def _containment(found: Containment) -> Iterator[str]:
    if found.reason:
        yield f"rule            {found.reason}"
    if found.stix is None:
        return
    shown = ", ".join(f"{name} = {value}" for name, value in found.features.items())
    yield f"trigger         {shown}"
    if found.trusted:
        yield f"false alarms    {found.matched:,} of {found.trusted:,} trusted rows match, at most {found.bound:.2%}"


def _range(figure: Figure) -> str:
    low, high = round(figure.low), round(figure.high)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
