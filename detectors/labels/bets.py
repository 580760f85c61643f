"""Bets that some labels are flipped: by cell, by who, by how many and since when; and what they are worth together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints

EXTRA: Final = np.array([0.03, 0.1, 0.3, 0.75])
"""Shares of a scope's labels that are flipped, on which bets are laid."""

INVOLVED: Final = (0.06, 0.2, 0.5)
"""Shares of the sources (or origins) that take part, on which bets are laid."""

_LARGE = 700.0  # exp(700) is still finite
_TOGETHER, _BY_SOURCE, _BY_ORIGIN = 0.3, 0.35, 0.35


@dataclass(frozen=True, slots=True)
class Alone:
    """Labellers of sessions: in ``row``[p], slot ``origin``[p] contradicts with ``share``, expected with ``null``."""

    row: Ints
    origin: Ints
    share: Floats
    null: Floats


@dataclass(frozen=True, slots=True)
class Votes:
    """Labelled sessions: ``share``[n] in [0, 1] contradicts, ``null``[n] is expected to; ``cells``[n, grains].

    ``source`` is a slot, -1 for none. ``epoch``[n] is the number of the last start that is not after the row, -1 where
    there is none. ``share`` is that of all labellers together, ``alone`` that of each without his colleagues.
    """

    share: Floats
    null: Floats
    cells: Ints
    source: Ints
    epoch: Ints
    alone: Alone


def log_steps(share: Floats, null: Floats) -> Floats:
    """Log of 1 + (extra / null)(share - null) for each of `EXTRA`: [n, k].

    For shares of 0 and 1 it is the likelihood ratio of null + (1 - null) extra against null; for those between it keeps
    mean 1 where the share has mean ``null``, however the labels of a session hang together.
    """
    return np.asarray(np.log1p(EXTRA / null[:, None] * (share - null)[:, None]), np.float64)


def by_scope(votes: Votes, starts: int, cells: int, sources: int, origins: int) -> Floats:
    """Log e-values [starts, cells, 1 + sources + origins] since each start: the mean over `EXTRA` of the products.

    The last axis: everybody, each source, each origin.
    """
    width, n, alone = 1 + sources + origins, len(votes.share), votes.alone
    known = np.flatnonzero(votes.source >= 0)
    row = np.concatenate([np.arange(n), known, alone.row])
    who = np.concatenate([np.zeros(n, np.int64), 1 + votes.source[known], 1 + sources + alone.origin])
    share = np.concatenate([votes.share, votes.share[known], alone.share])
    null = np.concatenate([votes.null, votes.null[known], alone.null])
    since = votes.epoch[row] >= 0
    row, who, share, null = row[since], who[since], share[since], null[since]
    # a share of zero is the same step whatever the null: these are only counted, and the few others weighed one by one
    index = votes.epoch[row][:, None] * (cells * width) + votes.cells[row] * width + who[:, None]
    counts = np.bincount(index.ravel(), minlength=starts * cells * width).reshape(starts, -1)
    counts = np.cumsum(counts[::-1], axis=0)[::-1]
    kept = np.arange(int(counts.max(initial=0)) + 1)[:, None] * np.log1p(-EXTRA)
    log_e = (log_sum(kept, axis=1) - np.log(len(EXTRA)))[counts]
    some = np.flatnonzero(share > 0)
    if len(some):
        scope, column = np.unique(index[some] % (cells * width), return_inverse=True)
        flat = (votes.epoch[row[some]][:, None] * len(scope) + column.reshape(len(some), -1)).ravel()
        gained = np.repeat(log_steps(share[some], null[some]) - np.log1p(-EXTRA), votes.cells.shape[1], axis=0)
        size = starts * len(scope)
        won = np.stack([np.bincount(flat, gained[:, k], size) for k in range(len(EXTRA))], axis=1)
        won = np.cumsum(won.reshape(starts, len(scope), -1)[::-1], axis=0)[::-1]
        log_e[:, scope] = log_sum(won + kept[counts[:, scope]], axis=2) - np.log(len(EXTRA))
    return np.asarray(log_e.reshape(starts, cells, width), np.float64)


def by_cell(log_e: Floats, sources: int) -> Floats:
    """Log e-values [starts, cells]: of everybody, or of some sources, or of some origins, in a fixed mixture.

    Of some: the product over the groups of 1 - w + w e, mean over `INVOLVED` w. Sessions of different sources are
    different votes, and of the labellers of one session at most one contradicts alone, so that their votes are
    negatively dependent: products of their e-values are e-values again.
    """
    parts = [np.log(_TOGETHER) + log_e[..., 0]]
    gain = np.expm1(np.minimum(log_e, _LARGE))
    for share, own in ((_BY_SOURCE, gain[..., 1 : 1 + sources]), (_BY_ORIGIN, gain[..., 1 + sources :])):
        parts += [np.log(share / len(INVOLVED)) + np.log1p(w * own).sum(axis=-1) for w in INVOLVED]
    return log_sum(np.stack(parts, axis=-1), axis=-1)


def log_sum(logs: Floats, axis: int) -> Floats:
    """Log of the sum of exp(logs) along an axis.

    >>> log_sum(np.log([[1.0, 3.0]]), axis=1).round(6).tolist() == [round(float(np.log(4)), 6)]
    True
    """
    top = logs.max(axis=axis, keepdims=True)
    return np.asarray(np.squeeze(top, axis) + np.log(np.sum(np.exp(logs - top), axis=axis)), np.float64)
