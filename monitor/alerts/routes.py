"""Where an incident goes: a tree of routes after Alertmanager's habits, as pure functions.

https://prometheus.io/docs/alerting/latest/configuration/#route: the first branch that matches takes an incident, unless
it goes on; a branch keeps what none below it takes; what a branch does not say it has from above.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Final, Literal

from monitor.alerts.alert import IncidentMessage
from monitor.alerts.reading import implicated
from monitor.settings.route_sections import MatchConfig, RouteConfig, RoutingConfig
from rollback.response.maintenance import Maintenance, maintenance, over_at

ROOT: Final = "routing"


@dataclass(frozen=True, slots=True)
class Subject:
    """What routes ask about an incident."""

    model: str
    family: str
    status: str
    severity: int
    atlas: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A branch with everything it has from above. ``path`` is its place in the configuration."""

    path: str
    name: str
    match: MatchConfig
    sinks: tuple[str, ...]
    update_seconds: float
    mute: tuple[str, ...]
    goes_on: bool
    below: tuple[Route, ...] = ()

    @property
    def title(self) -> str:
        """For people: its path, and its name if it has one."""
        return f"{self.path} ({self.name})" if self.name else self.path


@dataclass(frozen=True, slots=True)
class Step:
    """What became of an incident at a route: `taken`, `below` (by a branch), `refused`, `not_reached`; and ``why``."""

    route: Route
    outcome: Literal["taken", "below", "refused", "not_reached"]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Placement:
    """One sink's part: by which routes, how far apart updates are, and until when it is muted (None: it is not)."""

    routes: tuple[Route, ...]
    update_seconds: float = 0.0
    muted_until: float | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """The tree with its mute times by name."""

    root: Route
    mutes: Mapping[str, tuple[Maintenance, ...]] = field(default_factory=dict)


def routing_of(config: RoutingConfig, sinks: Collection[str]) -> Routing:
    """The tree of a configuration; ``sinks`` are all that get incidents."""
    everywhere = tuple(sinks if config.sinks is None else config.sinks)
    root = Route(ROOT, "", MatchConfig(), everywhere, config.update_seconds, (), goes_on=False)
    below = tuple(_route(f"{ROOT}.routes.{i}", each, root) for i, each in enumerate(config.routes))
    mutes = {
        name: tuple(maintenance(text, config.time_zone) for text in windows)
        for name, windows in config.mute_times.items()
    }
    return Routing(_with(root, below), mutes)


def subject_of(message: IncidentMessage) -> Subject:
    """What routes ask about it."""
    head, fields = message.head, message.fields
    named = (*implicated(message, "sources"), *implicated(message, "origins"))
    sources = tuple(str(name) for name in named)
    return Subject(head.model, head.family, head.status, head.severity, tuple(fields.get("atlas", ())), sources)


def walk(route: Route, subject: Subject) -> Iterator[Step]:
    """What becomes of ``subject`` at every route, in the order of the configuration."""
    if why := refusal(route.match, subject):
        yield Step(route, "refused", why)
        return
    steps: list[Step] = []
    taker: Route | None = None
    for branch in route.below:
        if taker is not None:
            steps.append(Step(branch, "not_reached", f"{taker.title} took it, and does not say continue"))
            continue
        found = [*walk(branch, subject)]
        steps += found
        if found[0].outcome != "refused" and not branch.goes_on:
            taker = branch
    taken = any(step.outcome == "taken" for step in steps)
    yield Step(route, "below" if taken else "taken")
    yield from steps


def taken(route: Route, subject: Subject) -> list[Route]:
    """The routes that an incident takes; never none, of the root."""
    return [step.route for step in walk(route, subject) if step.outcome == "taken"]


def placements(routing: Routing, subject: Subject, now: float) -> dict[str, Placement]:
    """Each sink that gets it, with how; ``now`` is seconds since the epoch.

    A sink that several routes lead to is muted while all of them are, and gets updates as often as any of them allows.
    """
    by_sink: dict[str, list[Route]] = {}
    for route in taken(routing.root, subject):
        for sink in route.sinks:
            by_sink.setdefault(sink, []).append(route)
    return {sink: _placement(routes, routing.mutes, now) for sink, routes in by_sink.items()}


def refusal(match: MatchConfig, subject: Subject) -> str:
    """Why a route is not for ``subject``; empty where it is.

    >>> subject = Subject("nids", "drift", "confirmed", 3)
    >>> refusal(MatchConfig(families=["poisoning"]), subject)
    'family drift is none of poisoning'
    >>> refusal(MatchConfig(models=["ni*"], max_severity=3), subject)
    ''
    """
    return next(_refusals(match, subject), "")


def _refusals(match: MatchConfig, subject: Subject) -> Iterator[str]:
    if match.models and not _any(match.models, [subject.model]):
        yield f"model {subject.model} is none of {', '.join(match.models)}"
    if match.families and subject.family not in match.families:
        yield f"family {subject.family} is none of {', '.join(match.families)}"
    if match.statuses and subject.status not in match.statuses:
        yield f"status {subject.status} is none of {', '.join(match.statuses)}"
    if subject.severity < match.min_severity:
        yield f"severity {subject.severity} is below min_severity {match.min_severity}"
    if subject.severity > match.max_severity:
        yield f"severity {subject.severity} is above max_severity {match.max_severity}"
    if match.atlas and not any(_technique(wanted, found) for wanted in match.atlas for found in subject.atlas):
        yield f"ATLAS {', '.join(subject.atlas) or 'none'} is none of {', '.join(match.atlas)}"
    if match.sources and not _any(match.sources, subject.sources):
        yield f"none of its {len(subject.sources)} sources and origins is one of {', '.join(match.sources)}"


def _route(path: str, config: RouteConfig, above: Route) -> Route:
    route = Route(
        path,
        config.name,
        config.match,
        above.sinks if config.sinks is None else tuple(config.sinks),
        above.update_seconds if config.update_seconds is None else config.update_seconds,
        above.mute if config.mute is None else tuple(config.mute),
        config.go_on,
    )
    return _with(route, tuple(_route(f"{path}.routes.{i}", each, route) for i, each in enumerate(config.routes)))


def _with(route: Route, below: tuple[Route, ...]) -> Route:
    return replace(route, below=below)


BEFORE: Final = {"resolved": "confirmed", "retracted": "suspected"}
"""What an incident was before it was closed: its end goes the same way."""


def placement(routing: Routing, sink: str, message: IncidentMessage, now: float) -> Placement | None:
    """How a sink gets a message; None where no route leads there."""
    subject = subject_of(message)
    found = placements(routing, subject, now).get(sink)
    if found is None and message.head.activity == "close" and subject.status in BEFORE:
        found = placements(routing, replace(subject, status=BEFORE[subject.status]), now).get(sink)
    return found


def _placement(routes: Sequence[Route], mutes: Mapping[str, tuple[Maintenance, ...]], now: float) -> Placement:
    ends = [over_at([window for name in route.mute for window in mutes.get(name, ())], now) for route in routes]
    muted = [end for end in ends if end is not None]
    until = min(muted) if len(muted) == len(routes) else None
    return Placement(tuple(routes), min(route.update_seconds for route in routes), until)


def _any(patterns: Sequence[str], names: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _technique(wanted: str, found: str) -> bool:
    return found == wanted or found.startswith(f"{wanted}.")
