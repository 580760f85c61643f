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
    that margin to one of the six nearest events, divided by their distance (plus .1).
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
        filled = np.nan_to_num(x, nan=-1e300)
        for rows in _blocks(code):
            links[rows], steep[rows] = self._block(at[rows], filled[rows], f[rows])
        return links, steep

    def _block(self, at: Places, x: Floats, f: Floats) -> tuple[Ints, Floats]:
        n = len(at)
        k = min(_NEAREST, n - 1)
        if k < 1:
            return np.zeros(n, np.int64), np.zeros(n)
        norm = np.einsum("ij,ij->i", at, at)
        square = norm[:, None] + norm - 2 * (at @ at.T)
        square[square < _ALIKE] = np.inf  # itself, and what is alike: no step
        near, apart = nearest(square, k)
        fall = np.where(np.isfinite(apart), _falls(f, near), 0.0)
        steep = np.max(fall / (np.sqrt(np.where(np.isfinite(apart), apart, 1.0)) + _SMOOTH), axis=1)
        differing = (x[:, None, :] != x[near]).sum(axis=2)
        linked = (differing >= 1) & (differing <= self._features) & (fall >= self._large)
        return np.minimum(linked.sum(axis=1), _MOST_LINKS), np.maximum(steep, 0.0)


def _blocks(code: Ints) -> list[Ints]:
    """Rows of each block."""
    number = code // _SESSIONS
    order = np.argsort(number, kind="stable")
    whole = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return [rows[start : start + _EVENTS] for rows in whole for start in range(0, len(rows), _EVENTS)]


def _falls(f: Floats, near: Ints) -> Floats:
    """How much the margin of the class that row i is called changes, either way, from i to each of ``near`` [n, k]."""
    logs, called = log_scores(f), np.argmax(f, axis=1)
    each = np.arange(len(f))
    others = logs.copy()
    others[each, called] = -np.inf
    own = logs[each, called] - others.max(axis=1)
    there = logs[near]
    mine = np.take_along_axis(there, called[:, None, None], axis=2)[..., 0]
    barred: Bools = np.arange(logs.shape[1]) == called[:, None]
    rest = np.where(barred[:, None, :], -np.inf, there).max(axis=2)
    return np.asarray(np.abs(own[:, None] - (mine - rest)), np.float64)
