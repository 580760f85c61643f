"""Who said what about a session: each labeller errs for himself, the model errs for all of them at once."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints

SHARED: Final = 0.1
"""Of a session's honest errors, the share that all who label it have in common, at most: a tenth of a labeller's wrong
labels is repeated by every colleague, a tenth of the model's errors is missed by every one of them."""


def by_labeller(wrong: Floats, session: Ints, sessions: int, slot: Ints, slots: int) -> Floats:
    """Share [sessions, slots + 1] of each labeller's labels that contradict; NaN where he gave none.

    Labellers without a slot (-1) count as one, in the last column.

    >>> by_labeller(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1]), 2, np.array([0, 0, -1]), 1).tolist()
    [[0.5, nan], [nan, 1.0]]
    """
    width = slots + 1
    index = session * width + np.where(slot < 0, slots, slot)
    count = np.bincount(index, minlength=sessions * width)
    total = np.bincount(index, wrong, sessions * width)
    share = np.full(sessions * width, np.nan)
    np.divide(total, count, out=share, where=count > 0)
    return share.reshape(sessions, width)


def together(by: Floats) -> Floats:
    """Whether all who labelled a session contradict: the product of their shares [n].

    >>> together(np.array([[1.0, 0.5, np.nan], [1.0, 0.0, 1.0]])).tolist()
    [0.5, 0.0]
    """
    return np.asarray(np.prod(np.where(np.isnan(by), 1.0, by), axis=1), np.float64)


def alone(by: Floats) -> Floats:
    """Whether a labeller contradicts and all his colleagues do not [n, labellers]; 0 where he gave no label.

    >>> alone(np.array([[1.0, 0.0, np.nan], [1.0, 0.5, np.nan]])).tolist()
    [[1.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    """
    share = np.nan_to_num(by)
    agree = 1 - share
    before = np.cumprod(np.column_stack([np.ones(len(by)), agree[:, :-1]]), axis=1)
    after = np.cumprod(np.column_stack([np.ones(len(by)), agree[:, :0:-1]]), axis=1)[:, ::-1]
    return np.asarray(share * before * after, np.float64)


def noise_together(noise: Floats) -> Floats:
    """How often all of a session's labellers err alike [n], from the rate of each (NaN: gave no label).

    The product of the rates, but `SHARED` of the lowest one at least; of one labeller, his own.

    >>> noise_together(np.array([[0.02, np.nan], [0.02, 0.05], [0.5, 0.5]])).round(6).tolist()
    [0.02, 0.002, 0.25]
    """
    known = ~np.isnan(noise)
    product = np.prod(np.where(known, noise, 1.0), axis=1)
    least = np.min(np.where(known, noise, np.inf), axis=1)
    return np.asarray(np.maximum(product, np.where(known.sum(axis=1) > 1, SHARED * least, 0.0)), np.float64)


def error_alone(error: Floats, labelled: Ints) -> Floats:
    """How often the model errs [n] while all colleagues side with it: as ever where there are none.

    >>> error_alone(np.array([0.1, 0.1]), np.array([1, 3])).round(3).tolist()
    [0.1, 0.01]
    """
    return np.where(labelled > 1, SHARED * error, error)
