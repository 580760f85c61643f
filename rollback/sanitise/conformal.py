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


def p_values(base: Rows, fitted: CrossFit, new: Rows) -> tuple[Floats, Floats]:
    """Conformal p-values of the given labels: of the base rows [m], and of the new rows [n].

    p(x, y) = (1 + sum over k of |{i in fold k, y_i = y: loss_k(x_i) >= loss_k(x)}|) / (1 + |{i: y_i = y}|), the
    label-conditional cross-conformal p-value; a base row counts itself. Null: a new row's session is drawn like those
    of the base. Then P(p <= a) is about a, and at most 2a. A label without trusted rows has p = 1.
    Source: V. Vovk, "Cross-conformal predictors" (2015), Annals of Mathematics and Artificial Intelligence 74.
    """
    folds = range(len(fitted.scorers))
    losses = [cross_entropy(scorer(new.x), new.y) if len(new) else np.zeros(0) for scorer in fitted.scorers]
    base_p, new_p = np.ones(len(base)), np.ones(len(new))
    for label in range(len(base.schema.classes)):
        own, judged = base.y == label, new.y == label
        count = np.count_nonzero(own)
        if not count:
            continue
        base_p[own] = _at_least(fitted.loss[own], fitted.loss[own]) / count
        larger = sum(
            (_at_least(fitted.loss[own & (fitted.fold == k)], losses[k][judged]) for k in folds), np.zeros(judged.sum())
        )
        new_p[judged] = (1 + larger) / (1 + count)
    return base_p, new_p


def _at_least(known: Floats, value: Floats) -> Floats:
    """How many of the known numbers are at least as large as each value."""
    return np.asarray(len(known) - np.searchsorted(np.sort(known), value, side="left"), np.float64)


def session_weights(rows: Rows) -> Floats:
    """One vote for the rows of one session and label together: 1/(number of them) each."""
    _, of, sizes = np.unique(session_labels(rows), return_inverse=True, return_counts=True)
    return np.asarray(1 / sizes[of], np.float64)


def session_labels(rows: Rows) -> Ints:
    """A number for each pair of session and label."""
    session, _ = sessions_of(rows.session)
    return session * len(rows.schema.classes) + rows.y
