"""Rows of a retraining buffer whose label contradicts the last known good model, and what chance would make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Bools, Buffer, Floats, Ints, Reference
from detectors.nulls.margins import certainty, log_scores
from detectors.sequential import sessions_of

_CERTAIN: Final = float(np.log(99))
_STRATA: Final = 4  # quantile ranges of g's certainty within one of its classes
_PRIOR: Final = 20  # sessions
_LONG: Final = 3  # rows from which on a session is a long one


@dataclass(frozen=True, slots=True)
class Contradictions:
    """Sessions with a row of one given label that g is sure is of another class, among all that could have one.

    ``every`` are the buffer's rows with label ``label`` that g is sure are of another class. ``rows`` [n] are one row
    of every session with rows that g is sure are not of class ``label``: one of ``every`` where there is one, which
    makes it ``flagged``. ``stratum`` is its g class, certainty and length, ``rate`` the share of flagged sessions
    there. With ``learned`` only those rows count that the serving version takes for ``label`` as well.
    """

    label: int
    learned: bool
    every: Ints
    rows: Ints
    flagged: Bools
    stratum: Ints
    rate: Floats

    def expected(self, among: Bools) -> float:
        """How many of the sessions would be flagged at the rate of all others of their strata."""
        return expected(self.flagged, self.stratum, among)


def expected(flagged: Bools, stratum: Ints, among: Bools) -> float:
    """How many of the sessions ``among`` [n] would be ``flagged`` [n] at the rate of all others of their strata.

    What a small stratum says is joined with as much as `_PRIOR` sessions of all strata would say.
    """
    others = ~among
    size = int(stratum.max(initial=0)) + 1
    count = np.bincount(stratum[others], minlength=size)
    hits = np.bincount(stratum[others & flagged], minlength=size)
    whole = (hits.sum() + 1) / (count.sum() + 1)
    return float(np.sum(((hits + _PRIOR * whole) / (count + _PRIOR))[stratum[among]]))


def strength(scores: Floats, label: Ints) -> Floats:
    """How much surer a model is of its own class than of the label, as a difference of logs [n]; 0 where they agree.

    >>> strength(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1])).round(2).tolist()
    [0.0, 2.2]
    """
    logs = log_scores(scores)
    return np.asarray(logs.max(axis=1) - logs[np.arange(len(scores)), label], np.float64)


def contradictions(
    buffer: Buffer, reference: Reference, floor: float, rng: np.random.Generator
) -> list[Contradictions]:
    """For every label that occurs, first what the serving version has learned, then everything.

    g is sure where its margin against the label is at least ``floor`` times its median margin on the reference, or
    times that of odds of 99 to 1: models that mostly say 0 or 1 are seldom so sure of a row that is new to them.
    """
    sure = floor * min(float(np.median(certainty(reference.g))), _CERTAIN)
    g_class, f_class = np.argmax(buffer.g, axis=1), np.argmax(buffer.f, axis=1)
    found = []
    for label in np.unique(buffer.y[buffer.y >= 0]).tolist():
        against = strength(buffer.g, np.full(len(buffer), label))
        rows = np.flatnonzero((buffer.y >= 0) & (g_class != label) & (against >= sure))
        for learned in (True, False):
            flagged = buffer.y[rows] == label
            if learned:
                flagged = flagged & (f_class[rows] == label)
            if flagged.any():
                one, long = _of_each(buffer, rows, flagged, rng)
                stratum = strata(2 * g_class[rows[one]] + long, against[rows[one]])
                rate = _rates(flagged[one], stratum)
                found.append(Contradictions(label, learned, rows[flagged], rows[one], flagged[one], stratum, rate))
    return found


def _of_each(buffer: Buffer, rows: Ints, flagged: Bools, rng: np.random.Generator) -> tuple[Ints, Bools]:
    """A random row of every session (positions in ``rows``), a flagged one where there is one; which are long."""
    code, count = sessions_of(buffer.session[rows])
    order = np.lexsort((rng.random(len(rows)), ~flagged, code))
    first = np.searchsorted(code[order], np.arange(count))
    return np.asarray(order[first]), np.bincount(code, minlength=count) >= _LONG


def strata(group: Ints, against: Floats) -> Ints:
    """A number for each quantile range of g's certainty within each group (0 and up)."""
    out = np.zeros(len(against), np.int64)
    for each in np.unique(group).tolist():
        own = np.flatnonzero(group == each)
        edges = np.quantile(against[own], np.linspace(0, 1, _STRATA + 1)[1:-1])
        out[own] = _STRATA * each + np.searchsorted(edges, against[own], side="right")
    return out


def _rates(flagged: Bools, stratum: Ints) -> Floats:
    """The share of flagged sessions in each stratum, as large as one more flagged session would make it."""
    count = np.bincount(stratum)
    return np.asarray(((np.bincount(stratum[flagged], minlength=len(count)) + 1) / (count + 1))[stratum])
