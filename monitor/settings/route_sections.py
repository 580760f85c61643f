"""The section `routing`: which incidents go to which sinks, how often, and when not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from monitor.settings.problems import Problem, unknown
from monitor.settings.section import Section, Strings, split_list
from monitor.settings.sink_sections import SinkConfig, SinkName
from rollback.response.maintenance import maintenance

Family = Literal["drift", "poisoning", "evasion", "fault", "inconclusive"]
Status = Literal["suspected", "confirmed", "retracted", "resolved"]
Grade = Annotated[int, Field(ge=0, le=10)]
Names = Annotated[list[SinkName], BeforeValidator(split_list, json_schema_input_type=list[str] | str)]
MuteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


class MatchConfig(Section):
    """What an incident must be; all that is said must hold, of a list one. `*` in a name stands for any characters."""

    models: Strings = Field(default_factory=list)
    """Names of models."""
    families: Annotated[list[Family], BeforeValidator(split_list)] = Field(default_factory=list)
    """Families."""
    statuses: Annotated[list[Status], BeforeValidator(split_list)] = Field(default_factory=list)
    """Statuses."""
    atlas: Strings = Field(default_factory=list)
    """MITRE ATLAS techniques; `AML.T0018` stands for its sub-techniques, too."""
    sources: Strings = Field(default_factory=list)
    """Sources or origins that are implicated."""
    min_severity: Grade = 0
    """The least severity ..."""
    max_severity: Grade = 10
    """... and the greatest."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_severity > self.max_severity:
            raise ValueError(f"min_severity {self.min_severity} is above max_severity {self.max_severity}")
        return self


class RouteConfig(Section):
    """A branch of the tree. What it does not say it takes over from the one above."""

    name: str = Field(default="", max_length=64)
    """For people: `tocsin alerts routes` shows it."""
    match: MatchConfig = MatchConfig()
    """Which incidents take it; all of them unless said."""
    sinks: Names | None = None
    """Where they go; an empty list is nowhere."""
    update_seconds: float | None = Field(default=None, ge=0)
    """An update that changes neither family, hypothesis, status, severity nor action follows the last message of its
    incident so much later at the earliest."""
    mute: Strings | None = None
    """Mute times by name: what comes then is held back, and told at the end if it is still open."""
    go_on: bool = Field(default=False, alias="continue")
    """Whether the routes beside it that follow are asked as well."""
    routes: list[RouteConfig] = Field(default_factory=list)
    """Branches below: the first that matches takes it, and this one only what none of them does."""


class RoutingConfig(Section):
    """The root, which every incident takes. Without it every sink gets everything."""

    time_zone: str = "UTC"
    """Of mute times, such as `Europe/Berlin`."""
    mute_times: dict[MuteName, list[str]] = Field(default_factory=dict)
    """Windows by name, such as `nights: ["daily 22:00-06:00", "Sat,Sun 06:00-22:00"]`."""
    sinks: Names | None = None
    """Where what no route takes goes; to every sink unless said."""
    update_seconds: float = Field(default=0.0, ge=0)
    """As of a route."""
    routes: list[RouteConfig] = Field(default_factory=list)
    """The branches; the first that matches takes an incident, unless it says `continue: true`."""

    @model_validator(mode="after")
    def _windows(self) -> Self:
        maintenance("daily 00:00-01:00", self.time_zone)
        for windows in self.mute_times.values():
            for text in windows:
                maintenance(text, self.time_zone)
        return self

    @property
    def routes_nothing(self) -> bool:
        """Whether every sink gets everything at once."""
        return self.sinks is None and not self.routes and self.update_seconds == 0


def routing_problems(routing: RoutingConfig, sinks: Mapping[str, SinkConfig]) -> Iterator[Problem]:
    """Names that stand for nothing, each with its field path."""
    known = {name for name, sink in sinks.items() if sink.gets == "incidents"}
    yield from _sinks("routing.sinks", routing.sinks, known, sinks)
    for index, route in enumerate(routing.routes):
        yield from _of_route(f"routing.routes.{index}", route, routing, known, sinks)


def _of_route(
    path: str, route: RouteConfig, routing: RoutingConfig, known: set[str], sinks: Mapping[str, SinkConfig]
) -> Iterator[Problem]:
    yield from _sinks(f"{path}.sinks", route.sinks, known, sinks)
    for name in route.mute or ():
        if name not in routing.mute_times:
            yield Problem(f"{path}.mute", f"{name}: {unknown(name, routing.mute_times)} (see routing.mute_times)")
    for index, below in enumerate(route.routes):
        yield from _of_route(f"{path}.routes.{index}", below, routing, known, sinks)


def _sinks(path: str, names: list[str] | None, known: set[str], sinks: Mapping[str, SinkConfig]) -> Iterator[Problem]:
    for name in names or ():
        if name in known:
            continue
        why = "gets vetting requests, no incidents" if name in sinks else unknown(name, known)
        yield Problem(path, f"{name}: {why}")
