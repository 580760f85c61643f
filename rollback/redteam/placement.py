"""From where poison comes: a few sources, or all of them."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Strings
from rollback.redteam.backdoor import pick_rows


def of_sources(source: Strings, count: int, rng: np.random.Generator) -> Bools:
    """The rows bool[n] of ``count`` random sources.

    >>> of_sources(np.array(["a", "b", "a"]), 1, np.random.default_rng(0)).tolist()
    [True, False, True]
    """
    names = np.unique(source)
    return np.isin(source, rng.permutation(names)[:count])


def spread(source: Strings, among: Bools, count: int, rng: np.random.Generator) -> Bools:
    """``count`` random rows of those in ``among`` [n], as evenly over the sources as there are rows.

    Raises `ValueError` where there are too few rows.
    """
    if count > np.count_nonzero(among):
        return pick_rows(among, count, rng)  # says how many there are
    order = rng.permutation(np.flatnonzero(among))
    _, of = np.unique(source[order], return_inverse=True)
    turn = np.empty(len(order), np.int64)
    for i in range(of.max(initial=-1) + 1):
        turn[of == i] = np.arange(np.count_nonzero(of == i))
    mask = np.zeros(len(source), np.bool_)
    mask[order[np.argsort(turn, kind="stable")[:count]]] = True
    return mask
