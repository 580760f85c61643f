"""Model servers that speak the Open Inference Protocol (V2) over HTTP: told by a reload hook, asked for canaries.

The hook is the protocol's model repository extension: MLServer, Triton with explicit model control, and others have it.
What a load does is the server's affair: most read again what lies in their repository, so that the version that they
find there must be the one that the registry's pointer names (see docs/rollback.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from rollback.canary.canaries import Canaries
from rollback.reload.adapter import STRICT, Site
from rollback.reload.endpoints import GRACE_SECONDS, MAX_ENDPOINTS, Endpoints, ask_all, tell_all, trouble_of
from rollback.reload.reloader import Observation, Reloader, ReloadRefusedError
from rollback.reload.v2_client import V2Client, V2Settings

ASKS_BY_ITSELF: Final = False
NEEDS_SETTINGS: Final = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What the load hook is sent, besides what is said of all servers of the model."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = STRICT

    load_parameters: Mapping[str, str] = field(default_factory=lambda: {"version": "{version}"})
    """Parameters of the load request; `{version}` and `{model}` in their values are filled in. Triton knows `config`
    and `file:...` only, and refuses any other."""
    unload_first: bool = False
    """Whether the model is unloaded before it is loaded, for a server that would go on with what it has; nothing
    serves in between."""


def make(settings: Settings, site: Site) -> Reloader:
    """The servers of ``site``."""
    asking = replace(site.asking, load_parameters=settings.load_parameters, unload_first=settings.unload_first)
    return V2Reloader(site.endpoints, site.model, asking)


class V2Reloader:
    """Every server that serves ``model``: ``endpoints`` are base addresses such as `http://models.soc:8080`.

    All are told and asked at the same time. `start` takes at most ``load_timeout_seconds`` and one second (with
    ``unload_first``, ``timeout_seconds`` more), `observe` three times ``timeout_seconds`` and one second, whatever the
    endpoints do. Raises `ValueError` for no endpoint, more than 32, a repeated one, and an address that is none.
    """

    def __init__(self, endpoints: Sequence[str], model: str, settings: V2Settings | None = None) -> None:
        if not endpoints:
            raise ValueError(f"endpoints: between 1 and {MAX_ENDPOINTS} different ones, got 0")
        self._settings = settings or V2Settings()
        self._endpoints = Endpoints(endpoints, model, self._settings)

    def start(self, expected: str | None, target: str) -> None:  # noqa: ARG002 - servers replace whatever they serve
        """See `Reloader.start`. Of several failures a refusal is raised; the message names every endpoint."""
        chosen, clients = self._settings, self._endpoints.clients
        seconds = chosen.load_timeout_seconds + chosen.unload_first * chosen.timeout_seconds + GRACE_SECONDS
        tell_all(clients, [client.url for client in clients], lambda client: client.load(target), seconds)

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:
        """See `Reloader.observe`."""
        return self._endpoints.observe(version, canaries)

    def obstacles(self) -> tuple[str, ...]:
        """See `Reloader.obstacles`: whether every endpoint that answers has the repository extension, by its index.

        Only asked where a load is the extension's: another hook cannot be tried without being used.
        """
        if not self._settings.load_path.startswith("/v2/repository/"):
            return ()
        seconds = self._settings.timeout_seconds + GRACE_SECONDS
        found = ask_all(self._endpoints.clients, _refused_index, seconds, "")
        clients = zip(self._endpoints.clients, found, strict=True)
        return tuple(f"{client.url}: {trouble}" for client, trouble in clients if trouble)


def _refused_index(client: V2Client) -> str:
    """Why a server will not list its repository, "" where it does, and where it is away: `observe` says that."""
    trouble = trouble_of(lambda: _list(client))
    return f"it does not list its model repository: {trouble}" if isinstance(trouble, ReloadRefusedError) else ""


def _list(client: V2Client) -> None:
    client.index()
