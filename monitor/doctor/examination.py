"""Everything that is looked at for a configuration, and what it comes to for each model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from monitor.charges import house
from monitor.doctor.act import would_do
from monitor.doctor.check import Check, Result, Status, problem, run_checks
from monitor.doctor.clock import check_clock
from monitor.doctor.configuration import check_configuration
from monitor.doctor.gpu import SECONDS as GPU_SECONDS
from monitor.doctor.gpu import check_gpu
from monitor.doctor.kafka import SECONDS as KAFKA_SECONDS
from monitor.doctor.kafka import check_kafka
from monitor.doctor.level import Level, level_of
from monitor.doctor.packages import check_packages
from monitor.doctor.registry import check_models, open_registry
from monitor.doctor.servers import check_servers, seconds_for
from monitor.doctor.sinks import SECONDS as SINK_SECONDS
from monitor.doctor.sinks import check_sink
from monitor.doctor.state import check_audit, check_seal, check_state
from monitor.settings.config import Config
from rollback.audit.log import AuditError
from rollback.registry.registry import RegistryError
from rollback.signing.keys import KeyFileError

DISK_SECONDS: Final = 120.0
"""Reading and hashing every version may take long."""
CLOCK_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a model's deployment can tell, and what `mode: act` would do now."""

    level: Level
    act: str


@dataclass(frozen=True, slots=True)
class Examination:
    """The results in a stable order, and what follows for each model."""

    results: list[Result]
    prospects: dict[str, Prospect]

    @property
    def status(self) -> Status:
        """The worst of all."""
        found = {result.status for result in self.results}
        return "problem" if "problem" in found else "warning" if "warning" in found else "ok"


def examine(config: Config, path: Path) -> Examination:
    """Look at everything; takes as long as the two slowest checks may, at most. Never raises for what is found."""
    prospects: dict[str, Prospect] = {}
    results = run_checks([*first_checks(config, path)]) + run_checks([*second_checks(config, prospects)])
    return Examination(results, prospects)


def first_checks(config: Config, path: Path) -> Iterator[Check]:
    """What is looked at, in the order in which it is told.

    The registry is read by one thread only: msgspec 0.22 can crash where two threads are the first to decode a type.
    """
    yield Check("configuration", partial(check_configuration, config, path))
    yield Check("packages", check_packages)
    yield Check("state", partial(check_state, config.state_dir, house(config)))
    yield Check("audit", partial(check_audit, config.state_dir), DISK_SECONDS)
    yield Check("seal", partial(check_seal, config))
    yield Check("registry", partial(check_models, config), DISK_SECONDS * max(1, len(config.models)))
    yield Check("kafka", partial(check_kafka, config), KAFKA_SECONDS)
    endpoints = [url for model in config.models.values() for url in model.serving.endpoints]
    yield Check("clock", partial(check_clock, endpoints, CLOCK_SECONDS), CLOCK_SECONDS * (len(endpoints) + 1))
    yield Check("retraining", partial(check_gpu, config), GPU_SECONDS)
    for name, sink in config.sinks.items():
        yield Check(f"sink {name}", partial(check_sink, name, sink), SINK_SECONDS)


def second_checks(config: Config, prospects: dict[str, Prospect]) -> Iterator[Check]:
    """What takes a registry that has been read once; ``prospects`` is filled."""
    for name in config.models:
        yield Check(f"servers {name}", partial(check_servers, config, name), seconds_for(config, name))
    yield Check("outlook", partial(_outlook, config, prospects), DISK_SECONDS)


def _outlook(config: Config, prospects: dict[str, Prospect]) -> Iterator[Result]:
    for name in config.models:
        try:
            prospects[name] = _prospect(config, name)
        except (RegistryError, AuditError, KeyFileError) as error:
            yield problem(f"outlook {name}", str(error), "mend what it names first")


def _prospect(config: Config, name: str) -> Prospect:
    registry = open_registry(config, name)
    level = level_of(config, name, registry)
    act = would_do(config, name, registry.pointers(), retrainable=3 not in level.missing)  # noqa: PLR2004 - the level
    return Prospect(level, act)
