"""Scores as margins: how sure a model is of its class, and how deep two models disagree."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints

_LEAST: Final = 1e-7  # about float32's epsilon: models that output 0 or 1 mean no more than that


def log_scores(scores: Floats) -> Floats:
    """Natural logs of probabilities[n, k], bounded below."""
    return np.asarray(np.log(np.clip(scores, _LEAST, 1.0)), np.float64)


def certainty(scores: Floats) -> Floats:
    """Margin[n] between the first and the second class, as a difference of logs (|logit| for two classes).

    >>> certainty(np.array([[0.9, 0.1], [0.5, 0.5]])).round(3).tolist()
    [2.197, 0.0]
    """
    ordered = np.sort(log_scores(scores), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2], np.float64)


def disagreement(f: Floats, g: Floats) -> tuple[Floats, Ints, Ints]:
    """Depth[n] of the disagreement of two models, and the classes that each predicts.

    The depth is min(log f[a] - log f[b], log g[b] - log g[a]) where f predicts a, g predicts b != a, else 0: both have
    to be sure for it to be large. For two classes it is min(|logit f|, |logit g|) where the signs differ.

    >>> f, g = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[0.2, 0.8], [0.7, 0.3]])
    >>> depth, a, b = disagreement(f, g)
    >>> depth.round(3).tolist(), a.tolist(), b.tolist()
    ([1.386, 0.0], [0, 0], [1, 0])
    """
    a, b = np.argmax(f, axis=1), np.argmax(g, axis=1)
    depth = np.zeros(len(f))
    rows = np.flatnonzero(a != b)
    if len(rows):
        log_f, log_g, own, other = log_scores(f[rows]), log_scores(g[rows]), a[rows], b[rows]
        each = np.arange(len(rows))
        depth[rows] = np.minimum(log_f[each, own] - log_f[each, other], log_g[each, other] - log_g[each, own])
    return depth, a, b


def deeper(depth: Floats, thresholds: Floats) -> Bools:
    """Which depths[n] reach each of the thresholds[m]: [n, m]. Agreement (depth 0) reaches none.

    Reaching is enough: models that answer 0 or 1 part at one depth only, which no event exceeds.

    >>> deeper(np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0])).tolist()
    [[False, False], [True, False], [True, True]]
    """
    return np.asarray((depth[:, None] >= thresholds) & (depth[:, None] > 0), np.bool_)
