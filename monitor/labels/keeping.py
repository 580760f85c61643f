"""Keeps events with their labels for later training: what was joined goes into the model's training store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from detectors.batch import Labels
from detectors.schema import Schema
from monitor.settings.config import Config
from rollback.signing.keys import TRIAL_FOLDER, Keys
from rollback.signing.trust_list import keys_from_files
from rollback.store.fill import rows_of_labels
from rollback.store.row import Row
from rollback.store.store import Store


class Keeping(Protocol):
    """Where labels go that were joined with their events."""

    def labels(self, model: str, schema: Schema, labels: Labels) -> None:
        """Take them; they need not be on the disk before `flush`."""

    def flush(self) -> None:
        """All that was taken is on the disk afterwards. Called before the checkpoint that has it behind is saved."""


class NotKept:
    """No store is configured."""

    def labels(self, model: str, schema: Schema, labels: Labels) -> None:
        """See `Keeping`."""

    def flush(self) -> None:
        """See `Keeping`."""


class StoreKeeping:
    """Into the training store of each model. After a crash labels come again: a store has a statement once.

    A label of a class that the model does not know is kept too. ``clock`` dates the store's entries.
    """

    def __init__(self, stores: Mapping[str, Store], clock: Callable[[], float]) -> None:
        self._stores = stores
        self._clock = clock
        self._taken: dict[str, list[Row]] = {}

    def labels(self, model: str, schema: Schema, labels: Labels) -> None:
        """See `Keeping`."""
        self._taken.setdefault(model, []).extend(rows_of_labels(labels, schema))

    def flush(self) -> None:
        """See `Keeping`. Raises `rollback.store.segments.StoreError`."""
        for model, rows in sorted(self._taken.items()):
            if rows:
                self._stores[model].append(rows, self._clock)
        self._taken.clear()


def open_keeping(config: Config, clock: Callable[[], float]) -> Keeping:
    """The stores that the configuration asks for, signed with its key, or else the registry's trial key.

    Raises `rollback.signing.keys.KeyFileError`.
    """
    if config.store is None:
        return NotKept()
    keys: Keys | None = None
    if config.signing.key_file is not None:
        keys = keys_from_files(config.signing.trusted_keys, config.signing.key_file)
    elif (config.registry / TRIAL_FOLDER / "signing.pem").exists():
        keys = Keys.trial(config.registry, make=True)
    return StoreKeeping({name: Store(config.store / name, keys) for name in config.models}, clock)
