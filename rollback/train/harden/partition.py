"""How many poisoned rows a vote of models withstands that were each trained on another part of the rows.

Deep partition aggregation (Levine & Feizi 2021, arXiv 2006.14768). A row's part is decided by its content alone, so
that a row more or less, or another label on it, changes one part and with it one vote. Rows of the same content are in
the same part, however many there are.
"""

from __future__ import annotations

import hashlib

import numpy as np

from detectors.batch import Floats, Ints, Strings
from rollback.train.recipe import TrainingRows


def content_digests(x: Floats) -> Strings:
    """A digest of the features of each row x[n,d]; the label has no part in it."""
    plain = np.where(np.isnan(x), np.nan, x + 0.0)  # one NaN, and no -0.0
    return np.array(
        [hashlib.sha256(row.tobytes()).hexdigest()[:32] for row in np.ascontiguousarray(plain)], dtype="U32"
    )


def parts_of(digests: Strings, parts: int) -> Ints:
    """The part [n] of each row."""
    return np.array([int(digest[:15], 16) % parts for digest in digests], dtype=np.int64)


def in_one_order(rows: TrainingRows, digests: Strings) -> TrainingRows:
    """The rows in an order that does not depend on the one they came in: a part is a set."""
    keys = [digests, rows.y, rows.session]
    keys += [column for column in (rows.weight, rows.trusted) if column is not None]
    return rows.take(np.lexsort(keys[::-1]))


def certified_poisons(votes: Ints) -> Ints:
    """How many rows may be put in, taken out or labelled otherwise without changing the vote's outcome, [n].

    With n(c) votes [n,k] and ties going to the first class c, this is floor((n(c) - max over c' != c of (n(c') +
    [c' < c])) / 2). A row whose features are changed is one taken out and one put in.

    >>> certified_poisons(np.array([[7, 3], [3, 7], [5, 5], [4, 6]])).tolist()
    [2, 1, 0, 0]
    """
    best = votes.argmax(axis=1)
    rival = votes + (np.arange(votes.shape[1])[None, :] < best[:, None])
    rows = np.arange(len(votes))
    rival[rows, best] = -1
    margin: Ints = (votes[rows, best] - rival.max(axis=1)) // 2
    return margin
