"""A KServe InferenceService: what serves is what its `spec.predictor.model.storageUri` names, and KServe rolls it out.

The URI is changed by a JSON merge patch that names the `resourceVersion` that was read: the API server refuses it
where anything about the object has changed since (409), so compare and set are one. A URI that stands for neither the
expected nor the target version is left alone.

It is seen to be done when the object's status says `Ready` of the generation that holds the target's URI. That is
KServe's word: what the servers answer, their endpoints say, where some are named.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from rollback.canary.canaries import Canaries
from rollback.reload.adapter import STRICT, Site
from rollback.reload.endpoints import GRACE_SECONDS, Endpoints, trouble_of, within
from rollback.reload.exchange import Address, Credentials, plain
from rollback.reload.kserve_api import NAME, Found, KserveApi
from rollback.reload.reloader import Observation, Reloader, ReloadRefusedError
from rollback.reload.settle import settle
from rollback.reload.template import fill, read_back

ASKS_BY_ITSELF: Final = True
NEEDS_SETTINGS: Final = True
REQUESTS: Final = 2
"""How many `start` makes at most, and how many the look for obstacles."""
SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NOTE: Final = "KServe says that it is ready; what its servers answer, only endpoints and events can tell"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the InferenceService is, and what its URI looks like. The defaults are those of a Pod of the cluster."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    storage_uri: str
    """Where a version lies, such as `s3://models/{model}/{version}`; `{version}` and `{model}` are filled in."""
    name: str | None = None
    """The InferenceService's name; the model's own name unless said."""
    namespace: str | None = None
    """Its namespace; that of the service account unless said."""
    api_server: str = "https://kubernetes.default.svc"
    """Base address of the API server."""
    token_file: Path | None = SERVICE_ACCOUNT / "token"
    """File that holds a bearer token, read at every request; none where the address asks for none (kubectl proxy)."""
    ca_file: Path | None = SERVICE_ACCOUNT / "ca.crt"
    """Certificates of the authorities to believe (PEM); none: the system's."""

    def __post_init__(self) -> None:
        Address.of(self.api_server)
        if "{version}" not in self.storage_uri or "://" not in self.storage_uri.partition("{")[0]:
            raise ValueError(f"storage_uri: must be a URI with {{version}} in its path, got {self.storage_uri!r}")
        for field, name in (("name", self.name), ("namespace", self.namespace)):
            if name is not None and not NAME.fullmatch(name):
                raise ValueError(f"{field}: is no name of Kubernetes: {name!r}")


def make(settings: Settings, site: Site) -> Reloader:
    """The servers of ``site``."""
    return KserveReloader(settings, site)


class KserveReloader:
    """`start` takes at most two times ``timeout_seconds`` and one second.

    The roll-out is waited for: ``load_timeout_seconds`` and as long as one look takes.
    The InferenceService is observed like an endpoint; those that are named are asked by V2. Raises `ValueError` where
    the model's name is none of Kubernetes and no other is set.
    """

    def __init__(self, settings: Settings, site: Site) -> None:
        name = settings.name or site.model
        if not NAME.fullmatch(name):
            raise ValueError(f"name: the model's name is no name of Kubernetes, set kserve.name: {name!r}")
        self._seconds = site.asking.timeout_seconds
        self._load_seconds = site.asking.load_timeout_seconds
        self._template = fill(settings.storage_uri, {"{model}": site.model})
        credentials = Credentials(settings.ca_file, settings.token_file)
        space = settings.namespace or SERVICE_ACCOUNT / "namespace"
        self._api = KserveApi(settings.api_server, space, name, credentials, self._seconds)
        self._name = f"InferenceService {settings.namespace + '/' if settings.namespace else ''}{name}"
        self._endpoints = Endpoints(site.endpoints, site.model, site.asking)

    def start(self, expected: str | None, target: str) -> None:
        """See `Reloader.start`."""
        within(self._name, REQUESTS * self._seconds + GRACE_SECONDS, lambda: self._move(expected, target))
        settle(lambda: self.observe(target, None), time.monotonic() + self._load_seconds)

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`: the InferenceService, then the endpoints."""
        return (self._look(version), *self._endpoints.observe(version, canaries))

    def obstacles(self) -> tuple[str, ...]:
        """See `Reloader.obstacles`: whether it can be read, and the API server would let us patch it."""
        trouble = trouble_of(lambda: within(self._name, REQUESTS * self._seconds + GRACE_SECONDS, self._check))
        return () if trouble is None else (str(trouble),)

    def _move(self, expected: str | None, target: str) -> None:
        found = self._api.read()
        served = self._version_of(found)
        if served == target:
            return
        if expected is not None and served != expected:
            neither = f"neither version {expected!r} nor {target!r}: somebody changed it"
            raise ReloadRefusedError(f"its storageUri is {plain(found.uri)}, {neither}")
        self._api.point(found, fill(self._template, {"{version}": target}))

    def _check(self) -> None:
        self._version_of(self._api.read())
        self._api.may_patch()

    def _version_of(self, found: Found) -> str | None:
        """Which version the URI stands for; raises `ReloadRefusedError` where a part of the traffic goes elsewhere."""
        if found.canary_percent not in {None, 100}:
            raise ReloadRefusedError(
                f"canaryTrafficPercent is {found.canary_percent}: the rest would stay where it is; remove it"
            )
        return read_back(self._template, found.uri)

    def _look(self, version: str) -> Observation:
        seen: list[Found] = []
        read = lambda: seen.append(self._api.read())  # noqa: E731 - it is handed on once
        trouble = trouble_of(lambda: within("", self._seconds + GRACE_SECONDS, read))
        if trouble is not None:
            return Observation(self._name, None, None, str(trouble))
        try:
            served = self._version_of(seen[0])
        except ReloadRefusedError as error:
            return Observation(self._name, None, None, str(error))
        if served != version:
            return Observation(
                self._name, served, None, f"its storageUri is {plain(seen[0].uri)}, not version {version!r}"
            )
        return Observation(self._name, served, None, seen[0].unready, "" if seen[0].unready else NOTE)
