"""Servers that read the registry's folder themselves (a shared volume): the move of the pointer is atomic already.

They may watch the pointer, or be told by a POST to a hook of theirs that it has moved. Endpoints are only needed to see
what they serve: without any, that shows in the events, which name the version.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from rollback.canary.canaries import Canaries
from rollback.reload.adapter import STRICT, Site
from rollback.reload.endpoints import GRACE_SECONDS, MAX_ENDPOINTS, Endpoints, ask_all, tell_all, trouble_of
from rollback.reload.exchange import Server, split_url
from rollback.reload.reloader import Observation, Reloader
from rollback.reload.settle import settle

ASKS_BY_ITSELF: Final = False
NEEDS_SETTINGS: Final = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Whom to tell that the pointer has moved."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    hooks: tuple[str, ...] = ()
    """URL for every server, with its path: told by a POST of `{"model": ..., "version": ...}`; any 2xx will do."""

    def __post_init__(self) -> None:
        if len(self.hooks) > MAX_ENDPOINTS or len(set(self.hooks)) != len(self.hooks):
            raise ValueError(f"hooks: at most {MAX_ENDPOINTS} different ones, got {len(self.hooks)}")
        for url in self.hooks:
            split_url(url)


def make(settings: Settings, site: Site) -> Reloader:
    """The servers of ``site``."""
    return PointerReloader(settings, site)


class PointerReloader:
    """Nobody is told but the hooks, nobody asked but the endpoints; by default there are none.

    `start` takes at most ``load_timeout_seconds`` and one second. Endpoints are waited for as long as time is left,
    and one look: they may be about to read the pointer.
    """

    def __init__(self, settings: Settings | None = None, site: Site | None = None) -> None:
        self._site = site or Site("")
        self._urls = (settings or Settings()).hooks
        self._hooks = [_Hook(url) for url in self._urls]
        self._endpoints = Endpoints(self._site.endpoints, self._site.model, self._site.asking)

    def start(self, expected: str | None, target: str) -> None:  # noqa: ARG002 - they replace whatever they serve
        """See `Reloader.start`: moving the pointer was all that there is to do, and the hooks are told of it."""
        ends = time.monotonic() + self._site.asking.load_timeout_seconds
        seconds, message = self._site.asking.load_timeout_seconds, {"model": self._site.model, "version": target}
        tell_all(self._hooks, self._urls, lambda hook: hook.tell(message, seconds), seconds + GRACE_SECONDS)
        settle(lambda: self.observe(target, None), ends)

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`: the endpoints, if any."""
        return self._endpoints.observe(version, canaries)

    def obstacles(self) -> tuple[str, ...]:
        """See `Reloader.obstacles`: whether each hook takes a connection; more cannot be tried without using it."""
        seconds = self._site.asking.timeout_seconds
        late = f"no answer within {seconds:g} s"
        found = ask_all(self._hooks, lambda hook: hook.unreachable(seconds), seconds + GRACE_SECONDS, late)
        return tuple(f"{url}: {trouble}" for url, trouble in zip(self._urls, found, strict=True) if trouble)


class _Hook:
    def __init__(self, url: str) -> None:
        base, self._path = split_url(url)
        self._server = Server(base)

    def unreachable(self, seconds: float) -> str:
        """Why no connection can be made, "" where one can. Nothing is sent."""
        trouble = trouble_of(lambda: self._server.reach(seconds))
        return "" if trouble is None else str(trouble)

    def tell(self, message: Mapping[str, str], seconds: float) -> None:
        self._server.demand("POST", self._path, message, seconds)
