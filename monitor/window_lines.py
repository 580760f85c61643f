"""The lines of `windows.ndjson` as later readers see them: whatever older versions did not write has a default."""

from __future__ import annotations

from typing import Any

import msgspec


class DetectorLine(msgspec.Struct, frozen=True):
    """One detector's part; older records lack some of it."""

    status: str = ""
    answers: int = 0
    top: list[dict[str, Any]] = []
    gauges: dict[str, float | None] = {}
    facts: dict[str, Any] = {}


class VerdictLine(msgspec.Struct, frozen=True):
    """The verdict on a window."""

    family: str = ""
    hypothesis: str | None = None
    confidence: float | None = None
    reasons: list[str] = []


class PointersLine(msgspec.Struct, frozen=True):
    """Where the registry's pointers were."""

    serving: str | None = None
    last_known_good: str | None = None


class WindowLine(msgspec.Struct, frozen=True):
    """One line of `windows.ndjson`, as far as reports and `tocsin status` read it."""

    model: str = ""
    version: str = ""
    index: int = 0
    at: float = 0.0
    events: int = 0
    incident: str | None = None
    verdict: VerdictLine = VerdictLine()
    registry: PointersLine = PointersLine()
    detectors: dict[str, DetectorLine] = {}

    def gauge(self, detector: str, name: str) -> float | None:
        """A gauge of a detector, None where it was not measured."""
        found = self.detectors.get(detector)
        return None if found is None else found.gauges.get(name)

    def status(self, detector: str) -> str:
        """What a detector said, empty where it said nothing."""
        found = self.detectors.get(detector)
        return "" if found is None else found.status

    def fired(self) -> list[str]:
        """The detectors that fired."""
        return [name for name, found in self.detectors.items() if found.status == "fired"]
