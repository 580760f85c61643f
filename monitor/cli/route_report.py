"""Where an incident would go, and why it goes nowhere else, for `tocsin alerts routes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from monitor.alerts.alert import IncidentMessage
from monitor.alerts.outgoing import Wanted
from monitor.alerts.route_notes import incident_sinks, route_notes
from monitor.alerts.routes import Routing, placement, routing_of, subject_of, walk
from monitor.incidents.explain import printable
from monitor.settings.config import Config

OUTCOMES = {"taken": "takes it", "below": "its branches take it", "refused": "no", "not_reached": "not asked"}


def report(config: Config, message: IncidentMessage, now: float) -> dict[str, Any]:
    """What happens to an incident at ``now`` (seconds since the epoch): by sink, by route, and what is odd."""
    names = incident_sinks(config)
    routing = routing_of(config.routing, names)
    subject = subject_of(message)
    sinks = {name: _sink(name, config, routing, message, now) for name in config.sinks}
    steps = [
        {"route": step.route.title, "outcome": OUTCOMES[step.outcome], "why": step.why}
        for step in walk(routing.root, subject)
    ]
    about = {"uid": message.head.uid, "model": subject.model, "family": subject.family}
    about |= {"status": subject.status, "severity": str(subject.severity)}
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    notes = [*route_notes(routing, names)]
    return {"incident": about, "at": at, "sinks": sinks, "routes": steps, "notes": notes}


def _sink(name: str, config: Config, routing: Routing, message: IncidentMessage, now: float) -> dict[str, Any]:
    sink = config.sinks[name]
    place = placement(routing, name, message, now)
    found: dict[str, Any] = {"told": "no", "routes": [route.title for route in place.routes] if place else []}
    if sink.gets != "incidents":
        return {**found, "why": "it gets vetting requests, no incidents"}
    if place is None:
        return {**found, "why": "no route that takes it leads there"}
    if not Wanted(sink.send_suspected, sink.min_severity).introduces(message):
        return {**found, "why": f"send_suspected or min_severity of sinks.{name} leaves it out"}
    if place.muted_until is not None:
        zone = ZoneInfo(config.routing.time_zone)
        until = datetime.fromtimestamp(place.muted_until, zone).isoformat(timespec="minutes")
        return {**found, "told": "later", "why": f"muted until {until}; told then, if it is still open"}
    apart = f"; further updates {place.update_seconds:g} s apart" if place.update_seconds else ""
    return {**found, "told": "now", "why": f"not muted{apart}"}


def in_words(found: Mapping[str, Any]) -> Iterator[str]:
    """The report as lines; names come from events and are made printable."""
    yield printable(", ".join(f"{name} {value}" for name, value in found["incident"].items()))
    yield f"at {found['at']}"
    for name, sink in found["sinks"].items():
        by = f" by {', '.join(sink['routes'])}" if sink["routes"] else ""
        yield printable(f"  {name}: {sink['told']}{by}: {sink['why']}")
    yield "routes"
    for step in found["routes"]:
        why = f": {step['why']}" if step["why"] else ""
        yield printable(f"  {step['route']}: {step['outcome']}{why}")
    yield from (f"note: {note}" for note in found["notes"])
