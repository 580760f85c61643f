"""An incident on a terminal: what was found, what it rests on, and what was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from monitor.cli.screen import STYLES, Grid, cell, facts, grid
from monitor.messages import Incident
from monitor.report.findings import weights
from monitor.report.next_steps import standing
from monitor.report.words import moment, name_of, named, percent, shown

COLUMNS: Final = ("uid", "model", "version", "status", "verdict", "confidence", "severity")
SHORT: Final = 8
"""Letters of a uid on a terminal: commands take them."""
MOST_EVENTS: Final = 5
MOST_VALUES: Final = 30


def listed(incidents: Sequence[Incident], *, closed: bool = False, short: bool = False) -> Grid:
    """Incidents, one a line; with ``closed`` whether they are, and why; with ``short`` uids."""
    names = (*COLUMNS, "closed") if closed else COLUMNS
    return grid(names, (_row(incident, short=short)[: len(names)] for incident in incidents))


def _row(of: Incident, *, short: bool) -> list[Any]:
    what = cell(name_of(of.family, of.hypothesis), STYLES.get(of.family, ""))
    about = [of.uid[:SHORT] if short else of.uid, of.model, of.version, of.status, what]
    return [*about, percent(of.confidence), of.severity, closing(of) if of.activity == "close" else "no"]


def closing(of: Incident) -> str:
    """Why an incident was closed, and by whom, as far as it was said."""
    return (of.close_reason or of.status) + (f", by {of.closed_by}" if of.closed_by else "")


def parts(last: Incident) -> Iterator[RenderableType]:
    """What there is to say of an incident, by its newest message."""
    what = name_of(last.family, last.hypothesis)
    over = ", closed" if last.activity == "close" else ", open"
    yield Text(f"incident {shown(last.uid)}: {what}, {last.status}{over}", style=STYLES.get(last.family, "bold"))
    yield Text(shown(last.summary))
    yield Text(shown(standing(last)))
    yield facts(_about(last))
    yield grid(("explanation", "probability"), ((name, percent(weight)) for name, weight in weights(last)))
    yield grid(
        ("detector", "status", "score", "threshold", "e-value", "foremost"),
        (
            (e.detector, e.status, e.score, e.threshold, e.e_value, ", ".join(t.name for t in e.top[:3]))
            for e in sorted(last.evidence, key=lambda e: (e.status != "fired", e.detector))
            if e.status != "ok"
        ),
    )
    if silent := [e.detector for e in last.evidence if e.status == "ok"]:
        yield Text(f"Nothing was found by: {named(silent)}.")
    if last.implicated.features:
        values = list(last.implicated.features.items())
        yield grid(("trigger", "value"), values[:MOST_VALUES])
        if len(values) > MOST_VALUES:
            yield Text(f"And {len(values) - MOST_VALUES:,} more.")
    if last.action:
        yield grid(
            ("action", "to version", "result", "detail"),
            ((a.action, a.target, a.result, a.detail) for a in last.action),
        )


def _about(last: Incident) -> Iterator[tuple[str, Any]]:
    yield "model", f"{last.model}, version {last.version}; last known good {last.last_known_good or 'none'}"
    yield "opened", f"{moment(last.opened_at)} UTC, last told {moment(last.at)} UTC ({last.activity})"
    touched = "" if last.share is None else f"; {percent(last.share)} of a window's events touched, at most"
    yield "severity", f"{last.severity} of 10{touched}"
    if last.folded:
        yield "folded", f"{last.folded} windows since the message before showed the same"
    found = last.implicated
    lists = {"sources": found.sources, "origins": found.origins, "labels": found.labels, "ATLAS": last.atlas}
    for name, values in lists.items():
        if values:
            yield name, Text(named(values))
    if found.events:
        more = f" and {len(found.events) - MOST_EVENTS} more" if len(found.events) > MOST_EVENTS else ""
        yield "events", ", ".join(shown(e, 60) for e in found.events[:MOST_EVENTS]) + more
    for name, text in (("weaker, as", "; ".join(last.weaker)), ("decided by", last.decider), ("missed", last.missed)):
        if text:
            yield name, Text(shown(text))
    if last.activity == "close":
        yield "closed", Text(shown(closing(last)))
