"""Confirmed benign rows that are not trained on, because the slice that they were asked about stays out.

A labeller sees that such a row is benign, which the rows of a clean-label attack and of a feature collision are: 16 of
them, confirmed and trained on, bring back a part of what was taken out. They wait with their slice for a person.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detectors.batch import Bools
from rollback.retraining.data import Data
from rollback.retraining.vetting import covered, members
from rollback.sanitise.rows import Sanitised


def withheld(data: Data, found: Sanitised) -> Bools:
    """Which rows of the base are confirmed ones that hold the values of a slice labelled benign of which rows go."""
    out = np.zeros(len(data.base), np.bool_)
    if data.unproven is None:
        return out
    benign = data.schema.classes[int(np.bincount(data.base.y).argmax())]
    for piece in found.slices:
        if piece.label == benign and piece.valued and members(piece, found, data.new).any():
            out |= data.unproven & covered(piece, data.base)
    return out


def without(data: Data, rows: Bools) -> Data:
    """The same without these rows of the base."""
    unproven = None if data.unproven is None else data.unproven[~rows]
    return replace(data, base=data.base.take(~rows), base_id=data.base_id[~rows], unproven=unproven)
