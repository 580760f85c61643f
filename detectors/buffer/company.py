"""A trigger and its company: values that rows share because somebody put them there, and because of what they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats
from detectors.faults.conditional_range import ConditionalRange
from detectors.nulls.itemsets import Itemset

_NATURAL: Final = 0.5  # a value that half of the look-alikes have as well says nothing
_FEWEST: Final = 20
_MOST: Final = 200


def without_company(
    itemset: Itemset, carriers: Floats, others: Floats, categorical: Bools, rng: np.random.Generator
) -> Itemset:
    """The itemset without what is natural in its carriers[n, d]: what their look-alikes among ``others`` have too.

    Look-alikes: the 10 nearest of the others [m, d] on the features that the itemset does not name. An attacker who
    stamps rows of one kind has them share all that the kind shares; only the stamp is missing in the rest of the kind.
    Where nothing or everything would be left out, the itemset stays as it is.
    """
    named = [item.feature for item in itemset.items]
    if len(others) < _FEWEST or len(named) == others.shape[1]:
        return itemset
    ranges = ConditionalRange(others, categorical, rng)
    rows = carriers[:_MOST]
    kept = []
    for item in itemset.items:
        near = ranges.near(rows, item.feature, named)
        column = np.zeros((near.size, others.shape[1]))
        column[:, item.feature] = near.ravel()
        if float(item.holds(column).mean()) < _NATURAL:
            kept.append(item)
    if not kept or len(kept) == len(named):
        return itemset
    fewer = replace(itemset, items=tuple(kept))
    return replace(fewer, share=float(fewer.carries(carriers).mean()), outside=float(fewer.carries(others).mean()))
