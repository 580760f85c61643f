"""An alias in an MLflow model registry says what serves; whoever serves the model follows the alias.

The MLflow version that stands for a version of ours carries its name in the tag `tocsin.version`. Its REST interface is
spoken directly: MLflow's own client takes its times and its server from the process's environment, tries again for
minutes, and reports its use to its makers.

Compare-and-set as far as MLflow has it: the alias is read, compared, set, and read back. That is not atomic: who sets
the alias between our reading and our setting is overwritten, which the registry's own pointer, moved by compare-and-set
before, makes unlikely; who sets it between our setting and our reading back is seen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from rollback.canary.canaries import Canaries
from rollback.reload.adapter import STRICT, Site
from rollback.reload.endpoints import GRACE_SECONDS, Endpoints, trouble_of, within
from rollback.reload.exchange import Address, Credentials
from rollback.reload.mlflow_client import Alias, MlflowClient
from rollback.reload.reloader import Observation, Reloader, ReloadRefusedError, ReloadRetryableError
from rollback.reload.settle import settle

ASKS_BY_ITSELF: Final = True
NEEDS_SETTINGS: Final = True
REQUESTS: Final = 4
"""How many `start` makes at most."""
NOTE: Final = "the alias names it; whether it is served, only endpoints and events can tell"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the alias is, and who may move it."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    tracking_uri: str
    """Base address of the MLflow server, http or https."""
    alias: str = "serving"
    """The alias that servers follow; it must be there already."""
    registered_model: str | None = None
    """Its name in MLflow; the model's own name unless said."""
    token_file: Path | None = None
    """File that holds a bearer token."""
    ca_file: Path | None = None
    """Certificates of the authorities to believe (PEM); by default the system's."""

    def __post_init__(self) -> None:
        Address.of(self.tracking_uri)
        for field, name in (("alias", self.alias), ("registered_model", self.registered_model or "x")):
            if not re.fullmatch(r"[\w.-]([\w. -]*[\w.-])?", name, re.ASCII):
                raise ValueError(f"{field}: may hold letters, digits, space, and ._- only, got {name!r}")


def make(settings: Settings, site: Site) -> Reloader:
    """The servers of ``site``."""
    return MlflowReloader(settings, site)


class MlflowReloader:
    """`start` takes at most four times ``timeout_seconds`` and one second.

    Endpoints, which follow the alias, are waited for: ``load_timeout_seconds`` and as long as one look takes.
    What the alias names is observed like an endpoint; those that are named are asked by V2.
    """

    def __init__(self, settings: Settings, site: Site) -> None:
        self._settings = settings
        self._seconds = site.asking.timeout_seconds
        self._load_seconds = site.asking.load_timeout_seconds
        name = settings.registered_model or site.model
        credentials = Credentials(settings.ca_file, settings.token_file)
        self._client = MlflowClient(settings.tracking_uri, name, credentials, self._seconds)
        self._name = f"{settings.tracking_uri} {name}@{settings.alias}"
        self._endpoints = Endpoints(site.endpoints, site.model, site.asking)

    def start(self, expected: str | None, target: str) -> None:
        """See `Reloader.start`."""
        within(self._name, REQUESTS * self._seconds + GRACE_SECONDS, lambda: self._move(expected, target))
        settle(lambda: self._endpoints.observe(target, None), time.monotonic() + self._load_seconds)

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`: the alias, then the endpoints."""
        return (self._look(version), *self._endpoints.observe(version, canaries))

    def obstacles(self) -> tuple[str, ...]:
        """See `Reloader.obstacles`: whether the alias can be read; whether it may be set shows when it is."""
        found: list[Alias] = []
        trouble = self._trouble(found)
        return () if trouble is None else (f"{self._name}: {trouble}",)

    def _move(self, expected: str | None, target: str) -> None:
        number = self._client.number_of(target)
        self._compare(self._client.alias(self._settings.alias), expected, target)
        self._client.set_alias(self._settings.alias, number)
        found = self._client.alias(self._settings.alias)
        if found.number != number:
            raise ReloadRetryableError(f"it was set to {number}, and names {found.number}: somebody else moved it")

    def _compare(self, found: Alias, expected: str | None, target: str) -> None:
        if expected is not None and found.version not in {expected, target}:
            raise ReloadRefusedError(
                f"it names {found}, neither version {expected!r} nor {target!r}: somebody moved it"
            )

    def _look(self, version: str) -> Observation:
        found: list[Alias] = []
        if trouble := self._trouble(found):
            return Observation(self._name, None, None, str(trouble))
        alias = found[0]
        if alias.version != version:
            return Observation(self._name, alias.version, None, f"it names {alias}, not version {version!r}")
        return Observation(self._name, version, None, "", NOTE)

    def _trouble(self, found: list[Alias]) -> ReloadRetryableError | ReloadRefusedError | None:
        """Reads the alias into ``found``; what kept it from that."""
        read = lambda: found.append(self._client.alias(self._settings.alias))  # noqa: E731 - it is handed on once
        return trouble_of(lambda: within("", self._seconds + GRACE_SECONDS, read))
