"""Ids are the sender's: several rows may have the same one, and an answer for one of them is none for the others."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats, Strings


def clear_answers(vetted: dict[str, str], ids: Strings, x: Floats) -> tuple[dict[str, str], list[str]]:
    """The answers {row id: label} that say which row they are for, and the ids that rows x[n, d] of other values share.

    A labeller has seen one row. Whoever gives his poison the id of an honest row would have it believed.
    """
    unclear = []
    for ident in vetted:
        rows = x[ids == ident]
        if len(rows) > 1 and not all(np.array_equal(rows[0], row, equal_nan=True) for row in rows[1:]):
            unclear.append(ident)
    return {ident: label for ident, label in vetted.items() if ident not in unclear}, unclear
