"""Ranks among rows of which those of one session have one vote together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from detectors.batch import Floats, Ints
from detectors.sequential import sessions_of
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.rows import Rows

DIGITS = 9
"""Votes are sums of fractions: rounded, so that they do not depend on the order in which they were added."""


@dataclass(frozen=True, slots=True)
class SessionRank:
    """Sorted ``value`` [m] of rows; ``votes`` [m + 1] of each and those behind it, a row's being 1/(its session's)."""

    value: Floats
    votes: Floats
    sessions: int

    @classmethod
    def of(cls, value: Floats, session: Ints) -> Self:
        """Of rows with these values and numbers of sessions."""
        _, at, sizes = np.unique(session, return_inverse=True, return_counts=True)
        order = np.argsort(value, kind="stable")
        behind = np.cumsum((1 / sizes[at])[order][::-1])[::-1].round(DIGITS)
        return cls(value[order], np.append(behind, 0.0), len(sizes))

    def at_least(self, value: Floats) -> Floats:
        """How many votes have a value that is at least as large as each of these.

        >>> rank = SessionRank.of(np.array([3.0, 1.0, 2.0]), np.array([0, 0, 1]))
        >>> rank.at_least(np.array([1.0, 2.0, 3.0, 4.0])).tolist()
        [2.0, 1.5, 0.5, 0.0]
        """
        return np.asarray(self.votes[np.searchsorted(self.value, value, side="left")], np.float64)


def own_share(value: Floats, session: Ints) -> Floats:
    """The share of the rows of its own session that have a value at least as large as a row's.

    >>> own_share(np.array([3.0, 1.0, 1.0, 5.0]), np.array([0, 0, 0, 1])).round(3).tolist()
    [0.333, 1.0, 1.0, 1.0]
    """
    _, at, sizes = np.unique(session, return_inverse=True, return_counts=True)
    order = np.lexsort((value, at))
    sorted_at, sorted_value = at[order], value[order]
    first = np.ones(len(order), np.bool_)  # of the rows of a session that have the same value
    first[1:] = (sorted_at[1:] != sorted_at[:-1]) | (sorted_value[1:] != sorted_value[:-1])
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    share = np.empty(len(order))
    share[order] = (np.cumsum(sizes)[sorted_at] - start) / sizes[sorted_at]
    return share


def calibrate_sessions(score: Suspicion, base: Rows, new: Rows) -> tuple[Floats, Floats]:
    """Conformal p-values as `conformal.calibrate`, of m base rows and n new rows, in which a session has one vote.

    p_k(x, y) = (c + sum of the c of base sessions) / (1 + S), where c is the share of a session's rows labelled y with
    s_i >= s_k(x), the first one that of the row's own session, and S the number of base sessions with such rows. p is
    the geometric mean over k; a base row's is the same among the S. Where every row is a session it is `calibrate`.

    Null: a new row's session is drawn like those of the base; its rows may depend on each other in any way. Then a
    session's expected share of rows with p <= a is at most a where K = 1: of S + 1 exchangeable sessions with a vote
    each, rows with so small a p have at most a (S + 1) votes. The mean of K ranks strays less than one, so that for
    small a the share may be less. Ranks among rows hold no such rate: a few long sessions make up the tail of the base,
    and each further one is more than one row more. A label without base rows has p = 1.
    Source: Y. Lee, R. Barber and R. Willett, "Distribution-free inference with hierarchical data" (2023),
    https://arxiv.org/abs/2306.06342, for one vote a group.
    """
    base_p, new_p = np.ones(len(base)), np.ones(len(new))
    (trusted, _), (judged, _) = sessions_of(base.session), sessions_of(new.session)
    for label in np.unique(base.y).tolist():
        own, coming = base.y == label, new.y == label
        rank = SessionRank.of(score.base[own], trusted[own])
        base_p[own] = rank.at_least(score.base[own]) / rank.sessions
        logs = [
            np.log((own_share(one[coming], judged[coming]) + rank.at_least(one[coming])) / (1 + rank.sessions))
            for one in score.new
        ]
        # rounded, so that a p-value at a level is not above it by an error of the last digit
        new_p[coming] = np.exp(np.mean(logs, axis=0)).round(12) if logs else 1.0
    return base_p, new_p
