"""Routes that do not do what their author may think: never reached, or leading nowhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Final

from monitor.alerts.routes import Route, Routing, routing_of
from monitor.settings.config import Config
from monitor.settings.route_sections import MatchConfig
from rollback.response.maintenance import over_at

WEEK_SECONDS: Final = 7 * 86_400
LISTS: Final = ("models", "families", "statuses", "atlas", "sources")


def incident_sinks(config: Config) -> list[str]:
    """The names of the sinks that get incidents."""
    return [name for name, sink in config.sinks.items() if sink.gets == "incidents"]


def configured_routing(config: Config) -> Routing | None:
    """The configuration's tree; None where every sink gets everything at once."""
    return None if config.routing.routes_nothing else routing_of(config.routing, incident_sinks(config))


def routing_notes(config: Config) -> list[str]:
    """What is worth saying about the configuration's tree."""
    routing = configured_routing(config)
    return [] if routing is None else [*route_notes(routing, incident_sinks(config))]


def route_notes(routing: Routing, sinks: Collection[str]) -> Iterator[str]:
    """Sentences about what is probably not meant, each with the field path."""
    yield from _unreachable(routing.root, [routing.root.match])
    yield from _silent(routing)
    reached = {sink for route in _every(routing.root) for sink in route.sinks}
    for sink in sinks:
        if sink not in reached:
            yield f"sinks.{sink}: no route leads there, so that it gets nothing"


def _unreachable(route: Route, above: Sequence[MatchConfig]) -> Iterator[str]:
    for index, branch in enumerate(route.below):
        before = [earlier for earlier in route.below[:index] if not earlier.goes_on]
        taker = next((earlier for earlier in before if _covers(earlier.match, branch.match)), None)
        if taker is not None:
            yield f"{branch.path}: is never reached: {taker.title} takes all that it matches"
        elif any(_exclude(outer, branch.match) for outer in above):
            yield f"{branch.path}: never matches: what is above it takes nothing of the kind"
        yield from _unreachable(branch, [*above, branch.match])


def _silent(routing: Routing) -> Iterator[str]:
    for route in _every(routing.root):
        windows = [window for name in route.mute for window in routing.mutes.get(name, ())]
        if (over_at(windows, 0.0) or 0.0) > WEEK_SECONDS:
            yield f"{route.path}: is muted at all times, so that it tells nobody anything: leave out its sinks instead"


def _covers(earlier: MatchConfig, later: MatchConfig) -> bool:
    """Whether everything that ``later`` matches is matched by ``earlier``, as far as names without `*` tell."""
    within = all(_subset(getattr(earlier, name), getattr(later, name)) for name in LISTS)
    return within and earlier.min_severity <= later.min_severity and earlier.max_severity >= later.max_severity


def _subset(allowed: Sequence[str], asked: Sequence[str]) -> bool:
    return not allowed or (bool(asked) and set(asked) <= set(allowed))


def _exclude(one: MatchConfig, other: MatchConfig) -> bool:
    """Whether nothing can match both."""
    if one.min_severity > other.max_severity or other.min_severity > one.max_severity:
        return True
    fixed = ((one.families, other.families), (one.statuses, other.statuses))
    return any(a and b and all(x != y for x, y in product(a, b)) for a, b in fixed)


def _every(route: Route) -> Iterator[Route]:
    """Those that can take something themselves."""
    if not any(_covers(branch.match, MatchConfig()) for branch in route.below):
        yield route
    for branch in route.below:
        yield from _every(branch)
