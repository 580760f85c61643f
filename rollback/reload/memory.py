"""Endpoints in memory that behave as well or as badly as they are told: for tests of what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rollback.canary.canaries import Canaries
from rollback.reload.reloader import Observation, ReloadRefusedError, ReloadRetryableError

Conduct = Literal["honest", "says_new_serves_old", "half_right", "hangs", "busy", "refuses"]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What an endpoint does when it is told to load a version.

    ``honest``: it loads it, and is seen to serve it after it has been asked ``asks`` times. ``says_new_serves_old``:
    it only says so. ``half_right``: half of its answers are those of the old version. ``hangs`` and ``busy``: it may
    be tried again. ``refuses``: it goes on with the old one.
    """

    conduct: Conduct = "honest"
    asks: int = 0


@dataclass(slots=True)
class _Endpoint:
    behaviour: Behaviour
    says: str
    serves: str
    loading: str | None = None
    asks_left: int = 0


class MemoryReloader:
    """Endpoints by name, all of which serve ``serving`` at first; see `Reloader`.

    Canaries are not scored: an endpoint agrees on all rows if it really serves the version, on none if it does not.
    """

    def __init__(self, behaviours: Mapping[str, Behaviour], serving: str) -> None:
        self._endpoints = {name: _Endpoint(each, serving, serving) for name, each in behaviours.items()}

    def behave(self, endpoint: str, behaviour: Behaviour) -> None:
        """From now on; what it serves stays as it is."""
        self._endpoints[endpoint].behaviour = behaviour

    def serving(self) -> dict[str, str]:
        """What each endpoint really serves."""
        return {name: endpoint.serves for name, endpoint in self._endpoints.items()}

    def start(self, expected: str | None, target: str) -> None:  # noqa: ARG002 - servers replace whatever they serve
        """See `Reloader.start`."""
        for endpoint in self._endpoints.values():
            _tell(endpoint, target)
        conducts = {name: endpoint.behaviour.conduct for name, endpoint in self._endpoints.items()}
        if refused := [name for name, conduct in conducts.items() if conduct == "refuses"]:
            raise ReloadRefusedError(f"{', '.join(refused)}: refuses")
        if away := [f"{name}: {conduct}" for name, conduct in conducts.items() if conduct in {"hangs", "busy"}]:
            raise ReloadRetryableError("; ".join(away))

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`."""
        return tuple(_look(name, endpoint, version, canaries) for name, endpoint in self._endpoints.items())

    def obstacles(self) -> tuple[str, ...]:
        """See `Reloader.obstacles`: who refuses says so."""
        return tuple(
            f"{name}: refuses" for name, each in self._endpoints.items() if each.behaviour.conduct == "refuses"
        )


def _tell(endpoint: _Endpoint, target: str) -> None:
    match endpoint.behaviour.conduct:
        case "honest" if target == endpoint.serves:
            endpoint.loading, endpoint.says = None, target
        case "honest" if target != endpoint.loading:
            endpoint.loading, endpoint.asks_left = target, endpoint.behaviour.asks
        case "says_new_serves_old" | "half_right":
            endpoint.says = target


def _look(name: str, endpoint: _Endpoint, version: str, canaries: Canaries | None) -> Observation:
    if endpoint.behaviour.conduct == "hangs":
        return Observation(name, None, None, "no answer in time")
    _go_on_loading(endpoint)
    share = None if canaries is None else _share(endpoint, version)
    problems = []
    if endpoint.says != version:
        problems.append(f"version {endpoint.says!r} answers, not {version!r}")
    if share is not None and share < 1.0:
        problems.append(f"it answers {share:.0%} of the canaries as version {version!r} does")
    note = "the version has no canaries: it is believed" if share is None and not problems else ""
    return Observation(name, endpoint.says, share, "; ".join(problems), note)


def _go_on_loading(endpoint: _Endpoint) -> None:
    if endpoint.loading is None:
        return
    if endpoint.asks_left <= 0:
        endpoint.says = endpoint.serves = endpoint.loading
        endpoint.loading = None
    endpoint.asks_left -= 1


def _share(endpoint: _Endpoint, version: str) -> float:
    if endpoint.serves == version:
        return 1.0
    return 0.5 if endpoint.behaviour.conduct == "half_right" and endpoint.says == version else 0.0
