"""Counts by names that anybody may make up: the largest ones, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

Counts = tuple[int, ...]


class TopNames:
    """Adds up counts for each name; forgets the smallest ones whenever there are twice ``kept`` names.

    What was forgotten and comes again starts at 0, so a first count may be too low by ``too_low_by`` at most (Misra &
    Gries 1982, in batches).

    >>> top = TopNames(kept=1)
    >>> for name, count in (("a", 5), ("b", 1), ("a", 5)):
    ...     top.add(name, (count,))
    >>> top.largest(3), top.too_low_by, top.names
    ([('a', (10,))], 1, 2)
    """

    def __init__(self, kept: int = 20_000) -> None:
        self._kept = kept
        self._counts: dict[str, Counts] = {}
        self._forgotten = 0
        self.too_low_by = 0

    @property
    def names(self) -> int:
        """How many names there were; those that were forgotten and came again count twice."""
        return len(self._counts) + self._forgotten

    def add(self, name: str, counts: Counts) -> None:
        """Add ``counts``, of which the first is what names are kept by."""
        before = self._counts.get(name)
        if before is not None:
            self._counts[name] = tuple(a + b for a, b in zip(before, counts, strict=True))
            return
        self._counts[name] = counts
        if len(self._counts) >= 2 * self._kept:
            kept = dict(self.largest(self._kept))
            self._forgotten += len(self._counts) - len(kept)
            self.too_low_by += max(c[0] for n, c in self._counts.items() if n not in kept)
            self._counts = kept

    def largest(self, number: int) -> list[tuple[str, Counts]]:
        """The names with the largest first counts, ties by name."""
        items: Iterable[tuple[str, Counts]] = self._counts.items()
        return heapq.nsmallest(number, items, key=lambda item: (-item[1][0], item[0]))
