"""How surprising the given label of a row is to models of the trusted base, as a p-value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.batch import Floats, Ints, Scorer
from detectors.sequential import sessions_of
from rollback.sanitise.rows import Fit, Rows

LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Models of a base, each fitted without one of K folds. ``fold`` [m] says which model has not seen a row."""

    scorers: tuple[Scorer, ...]
    fold: Ints
    loss: Floats
    """loss[m] of the base rows' labels, each by the model that has not seen the row."""


def cross_fit(base: Rows, fit: Fit, folds: int, seed: int, told: Callable[[int], None]) -> CrossFit:
    """Fit a model without each fold in turn; ``told`` hears which fold begins."""
    fold = session_folds(base, folds, np.random.default_rng([seed, folds]))
    loss = np.empty(len(base))
    scorers = []
    for k in range(folds):
        told(k)
        scorers.append(fit(base.take(fold != k), seed + k))
        out = fold == k
        loss[out] = cross_entropy(scorers[k](base.x[out]), base.y[out])
    return CrossFit(tuple(scorers), fold, loss)


def session_folds(rows: Rows, folds: int, rng: np.random.Generator) -> Ints:
    """The fold of each row: whole sessions, near the same number of every class (by a session's first row)."""
    session, count = sessions_of(rows.session)
    _, first = np.unique(session, return_index=True)
    fold = np.empty(count, np.int64)
    start = 0
    for label in np.unique(rows.y):
        own = rng.permutation(np.flatnonzero(rows.y[first] == label))
        fold[own] = (start + np.arange(len(own))) % folds
        start += len(own)
    return fold[session]


def cross_entropy(scores: Floats, y: Ints) -> Floats:
    """-ln of the probability[n] that scores[n, k] give to the labels."""
    given = scores[np.arange(len(y)), y]
    return np.asarray(-np.log(np.maximum(given, LEAST_PROBABILITY)), np.float64)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """How suspicious rows are, higher is more: ``base`` [m], each by what has not seen it, and ``new`` [K, n].

    Row k of ``new`` is what was fitted without the k-th part of the base says; K = 1 where base and new rows had the
    same part in the score. ``cell`` [n] is the feature of a new row that speaks most against it (-1 or None: unknown).
    """

    base: Floats
    new: Floats
    cell: Ints | None = None


def calibrate(score: Suspicion, base: Ints, new: Ints) -> tuple[Floats, Floats]:
    """Conformal p-values of any score: of base rows [m] and new rows [n] with these given labels.

    p_k(x, y) = (1 + |{i: y_i = y, s_i >= s_k(x)}|) / (1 + |{i: y_i = y}|), and p is the geometric mean over k; a base
    row counts itself. Null: a new row's session is drawn like those of the base. Then P(p <= a) is about a: it is a
    where K = 1, and the mean of K ranks strays less than one, so that for small a it may be less. (A plain mean of K
    scores would be less noisy than the base's scores, which breaks the comparison.) A label without base rows has p=1.
    Sources: V. Vovk, "Cross-conformal predictors" (2015), Annals of Mathematics and Artificial Intelligence 74; V. Vovk
    and R. Wang, "Combining p-values via averaging" (2020), Biometrika 107.

    >>> score = Suspicion(np.arange(9.0), np.array([[9.0, 4.0, 0.0]]))
    >>> calibrate(score, np.zeros(9, int), np.zeros(3, int))[1].tolist()
    [0.1, 0.6, 1.0]
    """
    base_p, new_p = np.ones(len(base)), np.ones(len(new))
    for label in np.unique(base).tolist():
        own, judged = base == label, new == label
        known = np.sort(score.base[own])
        base_p[own] = _at_least(known, score.base[own]) / len(known)
        logs = [np.log((1 + _at_least(known, one[judged])) / (1 + len(known))) for one in score.new]
        # rounded, so that a p-value at a level is not above it by an error of the last digit
        new_p[judged] = np.exp(np.mean(logs, axis=0)).round(12) if logs else 1.0
    return base_p, new_p


def p_values(base: Rows, fitted: CrossFit, new: Rows) -> tuple[Floats, Floats]:
    """Conformal p-values of the given labels by their loss: of the base rows [m], and of the new rows [n]."""
    losses = [cross_entropy(scorer(new.x), new.y) for scorer in fitted.scorers if len(new)]
    score = Suspicion(fitted.loss, np.array(losses).reshape(len(fitted.scorers), len(new)))
    return calibrate(score, base.y, new.y)


def _at_least(known: Floats, value: Floats) -> Floats:
    """How many of the sorted known numbers are at least as large as each value."""
    return np.asarray(len(known) - np.searchsorted(known, value, side="left"), np.float64)


def session_weights(rows: Rows) -> Floats:
    """One vote for the rows of one session and label together: 1/(number of them) each."""
    _, of, sizes = np.unique(session_labels(rows), return_inverse=True, return_counts=True)
    return np.asarray(1 / sizes[of], np.float64)


def session_labels(rows: Rows) -> Ints:
    """A number for each pair of session and label."""
    session, _ = sessions_of(rows.session)
    return session * len(rows.schema.classes) + rows.y
