"""Since which version: the oldest one that already decided as the poisoned one does where it parts from LKG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from detectors.batch import Floats, Scorer, Window

MOST_BETWEEN: Final = 16
"""Versions that are asked at most, those next to last known good: each has to be loaded and to score."""

_FEWEST: Final = 5
_MOST_ROWS: Final = 500
_ALIKE: Final = 0.5


def parted(window: Window) -> Floats | None:
    """Events of the window on which the version parts from last known good; None where they are too few to tell."""
    if window.g is None:
        return None
    scored = ~(np.isnan(window.f).any(axis=1) | np.isnan(window.g).any(axis=1))
    rows = np.flatnonzero(scored & (np.argmax(window.f, axis=1) != np.argmax(window.g, axis=1)))
    return window.batch.x[rows[:_MOST_ROWS]] if len(rows) >= _FEWEST else None


def between(versions: Sequence[str], known_good: str, version: str) -> list[str]:
    """The versions that were registered after last known good and before ``version``, oldest first.

    >>> between(["1", "2", "3", "4"], "1", "4")
    ['2', '3']
    >>> between(["1", "2"], "2", "1")
    []
    """
    if known_good not in versions or version not in versions:
        return []
    return list(versions[versions.index(known_good) + 1 : versions.index(version)])[:MOST_BETWEEN]


def first_alike(x: Floats, own: Scorer, earlier: Iterable[tuple[str, Scorer]]) -> str | None:
    """The first of the earlier versions that puts at least half of the events in the class that the own one does."""
    decided = np.argmax(own(x), axis=1)
    for version, score in earlier:
        if np.mean(np.argmax(score(x), axis=1) == decided) >= _ALIKE:
            return version
    return None
