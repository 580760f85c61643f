"""A version that the registry has and no event has come of: its detectors are fitted, its training buffer searched.

Done beside the loop, as it takes long; what is `Prepared` comes into the loop by `monitor.inbox`, as input of a turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from detectors.evidence import Detector
from monitor.panel import Panel, compare_versions
from monitor.training_buffer import FindBuffer, no_buffer
from rollback.registry.registry import Pointers, Registry

MOST_AHEAD: Final = 4
"""Of versions that wait to serve, so many are looked into, the newest: each costs a panel and labels."""

MakeDetectors = Callable[[], Sequence[Detector]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """``panel`` compares ``version`` of ``model`` with ``known_good``; it was registered ``at`` (seconds, epoch)."""

    model: str
    version: str
    known_good: str
    at: float
    panel: Panel


class Preparation:
    """Fits panels of one model's versions. It shares nothing with the loop, and may be used by another thread."""

    def __init__(
        self, model: str, registry: Registry, make_detectors: MakeDetectors, find_buffer: FindBuffer = no_buffer
    ) -> None:
        self._model = model
        self._registry = registry
        self._make_detectors = make_detectors
        self._find_buffer = find_buffer

    def ahead(self) -> tuple[str | None, list[str]]:
        """The last known good version, and those to be looked into; see `ahead`. Raises `RegistryError`."""
        pointers = self._registry.pointers()
        return pointers.last_known_good, ahead(self._registry.versions(), pointers)

    def prepared(self, version: str, known_good: str) -> Prepared | None:
        """None where there is no training buffer to look into. Raises `RegistryError` and `IntegrityError`."""
        watched, good = self._registry.load(version), self._registry.load(known_good)
        if watched.manifest.shadow is not None:
            return None
        versions = compare_versions(watched, good, self._find_buffer)
        if versions.reference is None or versions.reference.buffer is None:
            return None
        panel = Panel(versions, self._make_detectors())
        return Prepared(self._model, version, known_good, self._registered_at(version), panel)

    def _registered_at(self, version: str) -> float:
        adds = [move.at for move in self._registry.history() if (move.action, move.version) == ("add", version)]
        return adds[-1] if adds else 0.0


def ahead(versions: Sequence[str], pointers: Pointers) -> list[str]:
    """What serves, or was registered after it, and is not the last known good version; oldest first.

    >>> ahead(["1", "2", "3"], Pointers("2", "1"))
    ['2', '3']
    >>> ahead(["1", "2", "3"], Pointers("1", "1"))
    ['2', '3']
    >>> ahead(["1", "2", "3"], Pointers("3", "3"))
    []
    """
    first = versions.index(pointers.serving) if pointers.serving in versions else len(versions)
    return [version for version in versions[first:] if version != pointers.last_known_good][-MOST_AHEAD:]
