"""The model servers: whether they answer, and as the version that the registry's pointer names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from monitor.doctor.check import Result, ok, problem, warning
from monitor.doctor.registry import open_registry
from monitor.jobs.canary_probe import serves_otherwise
from monitor.reloaders import reloader
from monitor.settings.config import Config
from rollback.bundle import IntegrityError
from rollback.canary.canaries import Canaries
from rollback.reload.endpoints import ASKS
from rollback.reload.reloader import Observation

MARGIN: Final = 10.0
"""Beyond the requests' own timeouts: the version's canaries are read first."""


def seconds_for(config: Config, name: str) -> float:
    """How long asking all endpoints of a model may take."""
    return 2 * ASKS * config.model(name).serving.timeout_seconds + MARGIN


def check_servers(config: Config, name: str) -> Iterator[Result]:
    """What would keep a rollback from reaching the servers; then every endpoint, asked for what it serves."""
    subject = f"servers {name}"
    serving = config.model(name).serving
    servers = reloader(name, serving, os.environ)
    obstacles = servers.obstacles()
    for obstacle in obstacles:
        yield problem(subject, f"{serving.chosen}: {obstacle}", "a rollback would not get through: mend what it names")
    if not serving.observable:
        yield warning(
            subject,
            "no endpoint is named: a rollback moves the pointer, and what is served shows only in the events",
            f"set models.{name}.serving.endpoints, unless the servers watch the registry's pointer themselves",
        )
        return
    registry = open_registry(config, name)
    version = registry.pointers().serving
    if version is None:
        return
    canaries: Canaries | None = None
    try:
        canaries = registry.load(version).canaries()
    except IntegrityError as error:
        yield problem(subject, f"version {version} cannot be asked for: {error}", "mend the registry first")
    for seen in servers.observe(version, canaries):
        if not seen.problem or not any(seen.problem in obstacle for obstacle in obstacles):  # else it is said already
            yield _told(subject, seen, version)


def _told(subject: str, seen: Observation, version: str) -> Result:
    if serves_otherwise(seen, version):
        advice = f"make it load what the pointer names, version {version}; or promote what is meant to serve"
        return problem(subject, f"{seen.endpoint}: {seen.problem}", advice)
    if seen.problem:
        return problem(subject, f"{seen.endpoint}: {seen.problem}", "see that it runs, its address and the network")
    if seen.note:
        advice = "name endpoints that speak V2, and versions with canaries of their own: then they are asked"
        return warning(subject, f"{seen.endpoint} says that it serves version {version}; {seen.note}", advice)
    return ok(subject, f"{seen.endpoint} serves version {version}, by its answers to the canaries")
