"""Looks into versions that were registered, before any event of them comes."""

from __future__ import annotations

import structlog

from monitor.inbox import Inbox
from monitor.new_version import Preparation
from rollback.bundle import IntegrityError
from rollback.registry.registry import RegistryError

log = structlog.get_logger()


class NewVersions:
    """One model's; used by one thread at a time.

    Each version is looked into once, and again when the last known good one has moved, also back; or where the registry
    could not be read. Nothing is kept: after a restart the loop knows which of them it has seen.
    """

    def __init__(self, preparation: Preparation, inbox: Inbox) -> None:
        self._preparation = preparation
        self._inbox = inbox
        self._seen: set[tuple[str, str]] = set()

    def __call__(self) -> None:
        """Look into what is new. Raises `RegistryError` where it cannot be told what is."""
        known_good, versions = self._preparation.ahead()
        if known_good is None:
            return
        self._seen = {seen for seen in self._seen if seen[1] == known_good}
        for version in versions:
            if (version, known_good) not in self._seen:
                self._look_into(version, known_good)

    def _look_into(self, version: str, known_good: str) -> None:
        self._seen.add((version, known_good))
        try:
            prepared = self._preparation.prepared(version, known_good)
        except (RegistryError, IntegrityError) as error:
            if isinstance(error, RegistryError):
                self._seen.discard((version, known_good))  # it may be readable next time
            log.warning("a new version cannot be looked into", version=version, reason=str(error))
            return
        if prepared is not None:
            self._inbox.put(prepared)
