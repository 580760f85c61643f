"""Splits rows by whole sessions: near-duplicates of a training row must not count as independent evidence."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Ints, Strings

REFERENCE_ROWS = 12_000
REFERENCE_SHARE = 0.25


def reference_size(rows: int) -> int:
    """How many rows are held out as the reference: a quarter, at most 12,000."""
    return min(REFERENCE_ROWS, int(rows * REFERENCE_SHARE))


def hold_out(session: Strings, y: Ints, rows: int, rng: np.random.Generator) -> Bools:
    """A mask of about ``rows`` rows to hold out: whole sessions, the same share of every class.

    A session counts with the class of its first row. Of every class at least one session is left; the mask holds at
    most ``rows`` rows unless sessions mix classes. ``session`` is [n] and never empty, ``y`` [n] are class indices.
    """
    _, first, of, sizes = np.unique(session, return_index=True, return_inverse=True, return_counts=True)
    held = np.zeros(len(first), dtype=np.bool_)
    for label in np.unique(y):
        own = rng.permutation(np.flatnonzero(y[first] == label))
        upto = np.cumsum(sizes[own])
        held[own] = upto <= rows / len(y) * upto[-1] if len(own) > 1 else False
    mask: Bools = held[of]
    return mask


def hold_out_trusted(session: Strings, y: Ints, trusted: Bools | None, share: float, rng: np.random.Generator) -> Bools:
    """A mask of about ``share`` of all rows to hold out; of trusted sessions alone, at most a quarter of these.

    A session is trusted when all of its rows are: what is held out must not be learned from a neighbour of it.
    """
    if trusted is None:
        return hold_out(session, y, int(share * len(y)), rng)
    among = ~np.isin(session, session[~trusted])
    held = np.zeros(len(y), dtype=np.bool_)
    if among.any():
        size = min(int(share * len(y)), int(among.sum()) // 4)
        held[among] = hold_out(session[among], y[among], size, rng)
    return held
