"""Events that differ by a small step of the inputs and a large one of the score: walks to a boundary."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Places, Reference
from detectors.bursts.embedding import Embedding
from detectors.bursts.neighbourhood import nearest
from detectors.nulls.margins import certainty, log_scores

_SESSIONS: Final = 100
_EVENTS: Final = 500
"""Sessions, and events, that are compared with one another: the more there are, the closer honest ones lie."""

_NEAREST: Final = 6
_LARGE: Final = 0.5  # of the median certainty: a jump of the score
_SMOOTH: Final = 0.1
_ALIKE: Final = 1e-6  # squared distance of events that are the same
_MOST_LINKS: Final = 6


class SmallSteps:
    """Links and steepness of events within blocks of 100 sessions and 500 events, in the order in which they came.

    Two events are *linked* where at most ``features`` inputs differ (and one does), and the margin of the class that
    one is called falls by half the median certainty of f on the reference or more. *Steepness* is the largest fall of
    that margin to one of the nearest events, divided by their distance (plus .1). Nearest are six of its own session,
    and six of the first events of other sessions: how near these lie does not depend on how long sessions are.
    """

    def __init__(self, reference: Reference, features: int, rng: np.random.Generator) -> None:
        self._embedding = Embedding(reference.schema, reference.x, rng)
        self._features = features
        self._large = max(_LARGE * float(np.median(certainty(reference.f))), 1e-6)

    def place(self, x: Floats) -> Places:
        """Coordinates [n, m] of rows x[n, d]."""
        return self._embedding.place(x)

    def of(self, x: Floats, f: Floats, at: Places, code: Ints) -> tuple[Ints, Floats]:
        """Number of links [n], six at most, and steepness [n] of rows x[n, d] with scores f[n, k] that lie ``at``.

        ``code`` numbers their sessions in order of appearance.
        """
        links, steep = np.zeros(len(x), np.int64), np.zeros(len(x))
        margin, called = _margins(f), np.argmax(f, axis=1)
        for rows in _blocks(code):
            links[rows], steep[rows] = self._block(at[rows], x[rows], margin[rows], called[rows], code[rows])
        return np.minimum(links, _MOST_LINKS), steep

    def _block(self, at: Places, x: Floats, margin: Floats, called: Ints, code: Ints) -> tuple[Ints, Floats]:
        """Links and steepness within a block: among events of one session, and to the first events of others."""
        squares, own = _squares(at), code[:, None] == code
        first = np.unique(code, return_index=True)[1]
        others = np.where(own[:, first], np.inf, squares[:, first])
        parts = [self._steps(others, first, x, margin, called)]
        if len(first) < len(code):
            parts.append(self._steps(np.where(own, squares, np.inf), np.arange(len(code)), x, margin, called))
        links, steep = zip(*parts, strict=True)
        return np.sum(links, axis=0), np.max(steep, axis=0)

    def _steps(self, squares: Places, columns: Ints, x: Floats, margin: Floats, called: Ints) -> tuple[Ints, Floats]:
        """Links and steepness of rows x[n, d] to the nearest of ``columns``, rows of x as well, at squares[n, m]."""
        n = len(x)
        column, apart = nearest(squares, _NEAREST)
        near = columns[column]
        there = margin[near, called[:, None]]
        fall = np.where(np.isfinite(apart), np.abs(margin[np.arange(n), called][:, None] - there), 0.0)
        steep = np.max(fall / (np.sqrt(np.where(np.isfinite(apart), apart, 1.0)) + _SMOOTH), axis=1)
        one, place = np.nonzero(fall >= self._large)  # few pairs: only these are compared
        differing = _differing(x[one], x[near[one, place]])
        linked = one[(differing >= 1) & (differing <= self._features)]
        return np.bincount(linked, minlength=n), np.maximum(steep, 0.0)


def _squares(at: Places) -> Places:
    """Squared distances [n, n] of places [n, m]; infinite from itself and what is alike: that is no step."""
    norm = np.einsum("ij,ij->i", at, at)
    square = at @ at.T  # a product with itself takes half the time of another
    square *= -2
    square += norm
    square += norm[:, None]
    square[square < _ALIKE] = np.inf
    return np.asarray(square)


def _blocks(code: Ints) -> list[Ints]:
    """Rows of each block."""
    number = code // _SESSIONS
    order = np.argsort(number, kind="stable")
    whole = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return [rows[start : start + _EVENTS] for rows in whole for start in range(0, len(rows), _EVENTS)]


def _margins(f: Floats) -> Floats:
    """By how much the log of each class lies above the highest of the others [n, k]."""
    logs = log_scores(f)
    ordered = np.sort(logs, axis=1)
    highest: Bools = np.arange(logs.shape[1]) == np.argmax(logs, axis=1)[:, None]
    return np.asarray(logs - np.where(highest, ordered[:, -2:-1], ordered[:, -1:]), np.float64)


def _differing(a: Floats, b: Floats) -> Ints:
    """In how many columns rows [n, d] differ; missing is like missing."""
    return np.asarray(((a != b) & ~(np.isnan(a) & np.isnan(b))).sum(axis=1), np.int64)
