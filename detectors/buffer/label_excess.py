"""Sources and origins whose labels in a retraining buffer contradict last known good more than honest error does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Buffer, Ints, Reference
from detectors.buffer.contradictions import strength
from detectors.nulls.margins import certainty
from detectors.sequential import sessions_of, upper_bound


@dataclass(frozen=True, slots=True)
class Excess:
    """``sessions`` sessions of a scope (all, a source, an origin) contradict, where honest error gives ``expected``."""

    scope: str
    name: str
    log_p: float
    sessions: int
    expected: float
    rows: Ints


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is honest: a label in ``noise`` is wrong over all, one in ``sloppy`` at a single source or origin.

    A label contradicts where it lies ``quantile`` deep (of the reference's labels) under g's class, at least ``floor``
    times the median margin of g. ``level`` is the confidence of the rate of such labels on the reference.
    """

    noise: float = 0.03
    sloppy: float = 0.06
    quantile: float = 0.995
    floor: float = 0.1
    level: float = 0.95

    def __post_init__(self) -> None:
        if not all(0 < s < 1 for s in (self.noise, self.sloppy, self.quantile, self.level)) or self.floor < 0:
            raise ValueError("noise, sloppy, quantile and level lie in (0, 1), floor must not be negative")


def excesses(buffer: Buffer, reference: Reference, allowance: Allowance) -> list[Excess]:
    """Scopes with more contradicting sessions than the reference's own rate and the allowance explain, strongest first.

    Null: a row contradicts with probability at most the bound on the reference plus the allowance. The number of
    contradicting sessions O then has P(O >= o) <= exp(-(o ln(o/E) - o + E)) (Chernoff), E = rows times that rate;
    ``log_p`` counts all scopes as tested.
    """
    known = np.flatnonzero(reference.y >= 0)
    if not len(known) or not len(buffer):
        return []
    own = strength(reference.g[known], reference.y[known])
    floor = allowance.floor * float(np.median(certainty(reference.g)))
    threshold = max(float(np.quantile(own, allowance.quantile)), floor, 1e-9)
    honest = float(upper_bound((own >= threshold).sum(), len(known), allowance.level))
    labelled = buffer.y >= 0
    against = np.where(labelled, strength(buffer.g, np.maximum(buffer.y, 0)), 0.0)
    flagged = against >= threshold
    scopes = list(_scopes(buffer, labelled))
    found = []
    for scope, name, inside in scopes:
        rate = honest + (allowance.noise if scope == "all" else allowance.sloppy)
        rows = np.flatnonzero(inside & flagged)
        sessions, expected = sessions_of(buffer.session[rows])[1], float(inside.sum() * rate)
        log_p = _chernoff(sessions, expected) + float(np.log(len(scopes)))
        found.append(Excess(scope, name, log_p, sessions, expected, rows))
    return sorted(found, key=lambda e: e.log_p)


def _scopes(buffer: Buffer, labelled: Bools) -> Iterator[tuple[str, str, Bools]]:
    yield "all", "", labelled
    for scope, column in (("source", buffer.source), ("origin", buffer.origin)):
        names = np.unique(column).tolist()
        for name in names if len(names) > 1 else []:
            yield scope, name, labelled & (column == name)


def _chernoff(observed: float, expected: float) -> float:
    if observed <= expected:
        return 0.0
    return float(-(observed * np.log(observed / expected) - observed + expected))
