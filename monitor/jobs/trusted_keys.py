"""Reads the files of keys again: who was trusted, or revoked, while the daemon runs is kept in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from monitor.inbox import Inbox, KeysRead
from monitor.key_use import key_ids
from monitor.settings.config import Config


class TrustedKeys:
    """Puts the keys in the inbox at the first look, and when they have changed; ``clock``: seconds since the epoch."""

    def __init__(self, config: Config, inbox: Inbox, clock: Callable[[], float]) -> None:
        self._config = config
        self._inbox = inbox
        self._clock = clock
        self._seen: dict[str, Any] | None = None

    def __call__(self) -> None:
        """Look. Raises `KeyFileError` where a file cannot be read."""
        now = key_ids(self._config, datetime.fromtimestamp(self._clock(), UTC))
        if now != self._seen:
            self._inbox.put(KeysRead(now))
            self._seen = now
