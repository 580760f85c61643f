"""The model server: a registry's serving version behind HTTP."""

from __future__ import annotations

from typing import Self

from monitor.demo.server.http import JsonServer
from monitor.demo.server.protocol import Protocol
from monitor.demo.server.store import ModelStore
from rollback.registry.registry import Registry


class ModelServer:
    """Serves what the registry's `serving` pointer names, until told to load what it names then; a context manager.

    ``address`` is host and port (0: a free one), ``release`` what the server says of itself. Raises what
    `monitor.demo.server.store.ModelStore.load` raises, and `OSError` for an address that cannot be taken.
    """

    def __init__(
        self, registry: Registry, name: str, address: tuple[str, int] = ("127.0.0.1", 0), release: str = "0"
    ) -> None:
        self._store = ModelStore(registry, name)
        self.respond = Protocol(self._store, release).respond
        self._server = JsonServer(address, self.respond)

    @property
    def url(self) -> str:
        """Where it answers, without a path."""
        return self._server.url

    @property
    def version(self) -> str:
        """What it serves now."""
        return self._store.current.version

    def close(self) -> None:
        """Answer nothing any more and free the port."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
