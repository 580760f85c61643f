"""Who decided what during the demonstration, by the version that served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Strings
from rollback.manifest import Manifest


@dataclass(slots=True)
class Tally:
    """Attacks that carried the trigger while a version served, how many it let pass, and how it did on all others."""

    triggered: int = 0
    passed: int = 0
    events: int = 0
    right: int = 0


class Tallies:
    """One tally for each version that has served."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}

    def count(self, version: str, truth: Strings, decided: Strings, triggered: Bools) -> None:
        """Take in a batch: true and decided classes [n], and which rows carried the trigger."""
        tally = self._tallies.setdefault(version, Tally())
        right = decided == truth
        tally.triggered += int(np.count_nonzero(triggered))
        tally.passed += int(np.count_nonzero(triggered & ~right))
        tally.events += int(np.count_nonzero(~triggered))
        tally.right += int(np.count_nonzero(~triggered & right))

    def attack_success(self) -> dict[str, list[int]]:
        """By version: attacks with the trigger that passed, and how many there were."""
        return {version: [t.passed, t.triggered] for version, t in self._tallies.items()}

    def accuracy(self) -> dict[str, float]:
        """By version: the share of all other events that it decided rightly."""
        return {version: round(t.right / t.events, 4) for version, t in self._tallies.items() if t.events}

    def table(self, manifest: Callable[[str], Manifest]) -> Iterator[str]:
        """A line for each version, in the order in which they served first."""
        yield f"{'version':<10}{'attack success':<22}{'accuracy on the rest':<24}accuracy on its own reference"
        for version, t in self._tallies.items():
            success = f"{t.passed} of {t.triggered}" if t.triggered else "-"
            share = f" ({t.passed / t.triggered:.0%})" if t.triggered else ""
            own = manifest(version).metrics.get("reference_accuracy")
            held = "-" if own is None else f"{own:.4f}"
            yield f"{version:<10}{success + share:<22}{t.right / max(t.events, 1):<24.4f}{held}"
