"""An incident on a terminal: what was found, what it rests on, and what was done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from monitor.cli.screen import STYLES, facts, grid
from monitor.messages import Incident
from monitor.report.findings import weights
from monitor.report.words import moment, name_of, shown

COLUMNS: Final = ("uid", "model", "version", "status", "family", "hypothesis", "confidence", "severity")
MOST_EVENTS: Final = 5


def listed(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Incidents, one a line."""
    return grid(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))


def parts(last: Incident) -> Iterator[RenderableType]:
    """What there is to say of an incident, by its newest message."""
    named = name_of(last.family, last.hypothesis)
    yield Text(f"incident {shown(last.uid)}: {named}, {last.status}", style=STYLES.get(last.family, "bold"))
    yield Text(shown(last.summary))
    yield facts(_about(last))
    yield grid(("explanation", "probability"), ((name, f"{weight:.1%}") for name, weight in weights(last)))
    yield grid(
        ("detector", "status", "score", "threshold", "e-value", "foremost"),
        (
            (e.detector, e.status, e.score, e.threshold, e.e_value, ", ".join(t.name for t in e.top[:3]))
            for e in sorted(last.evidence, key=lambda e: (e.status != "fired", e.detector))
        ),
    )
    if last.implicated.features:
        yield grid(("trigger", "value"), last.implicated.features.items())
    if last.action:
        yield grid(
            ("action", "to version", "result", "detail"),
            ((a.action, a.target, a.result, a.detail) for a in last.action),
        )


def _about(last: Incident) -> Iterator[tuple[str, Any]]:
    yield "model", f"{last.model}, version {last.version}; last known good {last.last_known_good or 'none'}"
    yield "opened", f"{moment(last.opened_at)} UTC, last told {moment(last.at)} UTC ({last.activity})"
    yield "severity", f"{last.severity} of 10"
    found = last.implicated
    named = {"sources": found.sources, "origins": found.origins, "labels": found.labels, "ATLAS": last.atlas}
    for name, values in named.items():
        if values:
            yield name, ", ".join(values)
    if found.events:
        more = f" and {len(found.events) - MOST_EVENTS} more" if len(found.events) > MOST_EVENTS else ""
        yield "events", ", ".join(shown(e, 60) for e in found.events[:MOST_EVENTS]) + more
    for name, text in (("weaker, as", "; ".join(last.weaker)), ("decided by", last.decider), ("missed", last.missed)):
        if text:
            yield name, text
    if last.close_reason:
        yield "closed", last.close_reason + (f", by {last.closed_by}" if last.closed_by else "")
