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

_TOGETHER, _BY_SOURCE, _BY_ORIGIN = 0.3, 0.35, 0.35


@dataclass(frozen=True, slots=True)
class Votes:
    """Labelled sessions: ``share``[n] in [0, 1] contradicts, ``null``[n] is expected to; ``cells``[n, grains].

    ``source`` and ``origin`` are slots below ``sources`` and ``origins``, -1 for none. ``epoch``[n] is the number of
    the last start that is not after the row, -1 where there is none.
    """

    share: Floats
    null: Floats
    cells: Ints
    source: Ints
    origin: Ints
    epoch: Ints


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
    width = 1 + sources + origins
    who = np.stack([
        np.zeros_like(votes.source),
        np.where(votes.source >= 0, 1 + votes.source, -1),
        np.where(votes.origin >= 0, 1 + sources + votes.origin, -1),
    ], axis=1)  # fmt: skip
    index = (votes.epoch[:, None, None] * cells + votes.cells[:, :, None]) * width + who[:, None, :]
    counts = (votes.epoch[:, None, None] >= 0) & (who[:, None, :] >= 0) & (votes.cells[:, :, None] >= 0)
    row, flat = np.nonzero(counts.reshape(len(votes.share), -1))[0], index[counts]
    steps = log_steps(votes.share, votes.null)
    size = starts * cells * width
    total = np.stack([np.bincount(flat, steps[row, k], size) for k in range(len(EXTRA))], axis=-1).astype(np.float64)
    since = np.cumsum(total.reshape(starts, cells, width, -1)[::-1], axis=0)[::-1]
    return np.asarray(log_sum(since, axis=-1) - np.log(len(EXTRA)), np.float64)


def by_cell(log_e: Floats, sources: int) -> Floats:
    """Log e-values [starts, cells]: of everybody, or of some sources, or of some origins, in a fixed mixture.

    Of some: the product over the groups of 1 - w + w e, mean over `INVOLVED` w. Sessions of different groups are
    different votes, so products of their e-values are e-values again.
    """
    parts = [np.log(_TOGETHER) + log_e[..., 0]]
    for share, logs in ((_BY_SOURCE, log_e[..., 1 : 1 + sources]), (_BY_ORIGIN, log_e[..., 1 + sources :])):
        for w in INVOLVED:
            some = np.logaddexp(np.log1p(-w), np.log(w) + logs).sum(axis=-1)
            parts.append(np.log(share / len(INVOLVED)) + some)
    return log_sum(np.stack(parts, axis=-1), axis=-1)


def log_sum(logs: Floats, axis: int) -> Floats:
    """Log of the sum of exp(logs) along an axis.

    >>> log_sum(np.log([[1.0, 3.0]]), axis=1).round(6).tolist() == [round(float(np.log(4)), 6)]
    True
    """
    top = logs.max(axis=axis, keepdims=True)
    return np.asarray(np.squeeze(top, axis) + np.log(np.sum(np.exp(logs - top), axis=axis)), np.float64)
