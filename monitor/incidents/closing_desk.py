"""Where operators put their orders to close an incident, for the daemon to follow: a file each, below state_dir."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from monitor.incidents.dismissals import Dismissal
from rollback.durable import read_plain, replace_file
from rollback.signing.envelope import SignatureError, seal, unseal
from rollback.signing.keys import PublicKey, SigningKey

CLOSINGS: Final = "closings"
"""Folder of the orders, below state_dir."""
MOST_BYTES: Final = 1_048_576
PAYLOAD_TYPE: Final = "application/vnd.tocsin.dismissal+json"

# made once, at import: msgspec may crash where two threads are the first to decode a type
_ORDER: Final = msgspec.json.Decoder(Dismissal)


class ClosingDesk:
    """Orders in a folder; they stay there, and a new process reads them again: a crash must not undo one.

    Where ``approvers`` (public keys by name) are configured, an order counts only with the signature of whom it names.
    ``complain`` hears once of each file that is no order, and why.
    """

    def __init__(
        self,
        folder: Path,
        approvers: Mapping[str, PublicKey] | None = None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._approvers = approvers or {}
        self._complain = complain
        self._read: set[str] = set()

    def give(self, order: Dismissal, key: SigningKey | None = None) -> None:
        """Put an order down. Raises `OSError`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = msgspec.json.encode(order)
        replace_file(self._path(order), content if key is None else seal(content, PAYLOAD_TYPE, key))

    def new(self) -> list[Dismissal]:
        """What has come since the last time, oldest first. Asked at every turn; none costs one system call."""
        found = [order for name in self._names() if (order := self._order(name)) is not None]
        return sorted(found, key=lambda order: (order.given_at, order.id))

    def _names(self) -> list[str]:
        try:
            return [e.name for e in os.scandir(self._folder) if e.name.endswith(".json") and e.name not in self._read]
        except FileNotFoundError:
            return []
        except OSError as error:
            if "" not in self._read:
                self._complain(f"{self._folder}: cannot be read: {error.strerror}")
            self._read.add("")
            return []

    def _order(self, name: str) -> Dismissal | None:
        path = self._folder / name
        self._read.add(name)
        try:
            order = self._named(path, self._signed(read_plain(path, MOST_BYTES)))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, SignatureError, RecursionError) as error:
            self._complain(f"{path}: holds no order to close an incident: {error}")
            return None
        return order

    def _named(self, path: Path, order: Dismissal) -> Dismissal:
        if path != self._path(order):
            raise SignatureError("is not called as its order would be: only tocsin incidents close puts them here")
        return order

    def _signed(self, raw: bytes) -> Dismissal:
        if not self._approvers:
            return _ORDER.decode(raw)
        content, key = unseal(raw, PAYLOAD_TYPE, {key.key_id: key for key in self._approvers.values()})
        order = _ORDER.decode(content)
        if self._approvers.get(order.by) != key:
            raise SignatureError(f"is signed by key {key.key_id}, which is not that of {order.by!r}")
        return order

    def _path(self, order: Dismissal) -> Path:
        return self._folder / f"{hashlib.sha256(order.id.encode()).hexdigest()[:32]}.json"
