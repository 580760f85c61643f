"""How much the rows of one session may count in the training: as many as a session usually has.

Screens give a session one vote, because its rows go together. Whoever puts all of his rows into one session has one
vote with them: no slice of it is found. So it is to have no more influence than a session has.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import session_labels
from rollback.sanitise.rows import Rows

USUAL: Final = 0.9
"""This share of the new sessions is no larger than what is usual, whoever has sent the others."""
TIMES: Final = 2
"""So many times the usual size is still let be."""


def session_share(base: Rows, new: Rows) -> tuple[Floats, tuple[str, ...]]:
    """The weight [n] of the new rows, and remarks on those that weigh less than 1.

    A session with m rows of a label has weight min(1, 2 M / m) each. M is the most that a trusted session has of that
    label, or what 90% of the other new sessions with it have at most, whichever is larger: clean rows lose no weight
    unless their session is more than twice as large as any that is trusted.

    >>> from detectors.schema import Feature, Schema
    >>> schema = Schema((Feature("n"),), ("benign", "attack"))
    >>> def rows(session):
    ...     n = len(session)
    ...     return Rows(schema, np.zeros((n, 1)), np.zeros(n, np.int64), np.full(n, "s"), np.array(session))
    >>> session_share(rows(["a", "b"]), rows(["c", "d", "e", "e", "e", "e"]))[0].tolist()
    [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]
    """
    weight, remarks = np.ones(len(new)), []
    for label in np.unique(new.y).tolist():
        own = new.y == label
        size, of = _sizes(new.take(own))
        trusted, _ = _sizes(base.take(base.y == label))
        others = np.sort(size)[:-1]  # the largest says nothing of itself
        usual = int(others[int(USUAL * (len(others) - 1))]) if len(others) else 1
        most = TIMES * max(usual, int(trusted.max(initial=1)))
        weight[own] = np.minimum(1.0, most / size[of])
        if large := int(np.count_nonzero(size > most)):
            remarks.append(
                f"{large} sessions with more than {most} rows labelled {new.schema.classes[label]} each (up to "
                f"{size.max()}) weigh as if they had {most}: no trusted session has half as many"
            )
    return weight, tuple(remarks)


def _sizes(rows: Rows) -> tuple[Ints, Ints]:
    """The number of rows of each session, and the session of each row, of rows of one label."""
    _, of, size = np.unique(session_labels(rows), return_inverse=True, return_counts=True)
    return size, of
