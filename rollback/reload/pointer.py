"""Servers that watch the registry's pointer by themselves: nobody is told, and nobody can be asked."""

from __future__ import annotations

from rollback.canaries import Canaries
from rollback.reload.reloader import Observation


class PointerReloader:
    """No endpoint is known. What is really served shows only in the events, which name the version."""

    def start(self, expected: str | None, target: str) -> None:
        """Nothing: moving the pointer was all that there is to do."""

    def observe(self, version: str, canaries: Canaries | None) -> tuple[Observation, ...]:  # noqa: ARG002 - the seam's
        """No observation."""
        return ()
