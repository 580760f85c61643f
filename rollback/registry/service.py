"""When a version served, and what was made from it, as the registry's history says. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from rollback.registry.moves import MOVED, SERVING
from rollback.registry.registry import Move


class Period(NamedTuple):
    """From when (included) to when the pointer named a version, in seconds by the registry's clock.

    ``end`` None: it still does.
    """

    start: float
    end: float | None


def served_periods(history: Sequence[Move], version: str) -> list[Period]:
    """When `serving` named the version, oldest first; empty where it never did.

    >>> moves = [
    ...     Move(1.0, "assume", "1", None, "a", ""),
    ...     Move(5.0, "promote", "2", "1", "a", ""),
    ...     Move(9.0, "rollback", "1", "2", "a", ""),
    ... ]
    >>> served_periods(moves, "1"), served_periods(moves, "2")
    ([Period(start=1.0, end=5.0), Period(start=9.0, end=None)], [Period(start=5.0, end=9.0)])
    """
    moved = [move for move in history if SERVING in MOVED.get(move.action, ())]
    changes = [now for last, now in pairwise([None, *moved]) if now and (last is None or now.version != last.version)]
    ends = [*(move.at for move in changes[1:]), None]
    return [Period(move.at, end) for move, end in zip(changes, ends, strict=True) if move.version == version]


def made_from(history: Sequence[Move], versions: Collection[str]) -> list[str]:
    """The versions that were made from these, or from what was made from them, oldest first.

    >>> made_from([Move(1.0, "add", "3", "2", "a", ""), Move(2.0, "add", "4", "3", "a", "")], ["2"])
    ['3', '4']
    """
    found: list[str] = []
    for move in history:
        if move.action == "add" and move.previous in {*versions, *found} and move.version not in versions:
            found.append(move.version)
    return found
