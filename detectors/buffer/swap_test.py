"""The swap test: rows of other classes with the values of a suspicious slice put into them."""

from __future__ import annotations

import numpy as np

from detectors.batch import Reference, Scorer
from detectors.nulls.itemsets import Itemset


def swap_gap(
    itemset: Itemset, label: int, reference: Reference, score_f: Scorer, score_g: Scorer, most: int
) -> float | None:
    """flip(f) - flip(g) on ``most`` reference rows that both models put in another class; None where there are none."""
    f, g = np.argmax(reference.f, axis=1), np.argmax(reference.g, axis=1)
    rows = np.flatnonzero((f == g) & (g != label))
    if not len(rows):
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]
    pasted = itemset.paste(reference.x[rows])
    flipped = [float(np.mean(np.argmax(score(pasted), axis=1) == label)) for score in (score_f, score_g)]
    return flipped[0] - flipped[1]
