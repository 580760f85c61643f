"""Rows with cells that do not fit the rest of their row, as the cells of a trigger do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from detectors.batch import Floats, Ints
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.encoding import bins
from rollback.sanitise.material import Material, Rate
from rollback.sanitise.scores.score import Score

BINS: Final = 12
LEAVES: Final = 64
FEWEST: Final = 5
"""Rows in a leaf of a tree."""
WORST: Final = 0.25
"""A row has the mean of this share of its cells, those that fit worst (at least three)."""


class ReplacedCells(Score):
    """Mean surprise of the worst quarter of a row's cells, each given all others and the label.

    Surprise of a cell: -ln of the probability of its bin by a decision tree that knows the other cells and the label,
    fitted to base rows of other folds. A backdoor's features are set to what does not depend on the row, also where the
    label is right, and where each row carries a part of the trigger. The cell that fits worst is named.
    Source: pseudo-likelihood of J. Besag (1975), "Statistical Analysis of Non-Lattice Data"; errors of predicting each
    attribute from the others as in H. Paulheim and R. Meusel, "A decomposition of the outlier detection problem into a
    set of supervised learning problems" (2015), Machine Learning 100.
    """

    name: ClassVar[str] = "replaced_cells"
    says: ClassVar[str] = "cells do not fit the rest of the row"
    judges_label: ClassVar[bool] = False

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        columns = material.plain.shape[1]
        cells = np.column_stack([material.plain, material.y])
        coded = [bins(material.x[:, j], BINS) for j in range(columns)]

        def fit(known: Ints) -> Rate:
            models = [_Cell.fitted(cells, j, code, count, known) for j, (code, count) in enumerate(coded)]

            def rate(rows: Ints) -> Floats:
                surprise = [model.surprise(cells[rows], coded[model.column][0][rows]) for model in models]
                return np.asarray(np.column_stack(surprise), np.float64)

            return rate

        return material.crossed_cells(fit, _worst)


def _worst(surprise: Floats) -> Floats:
    count = min(max(3, round(WORST * surprise.shape[1])), surprise.shape[1])
    return np.asarray(np.sort(surprise, axis=1)[:, -count:].mean(axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A model of one column. ``share`` [bins] is how often each bin is, whatever the other cells are."""

    column: int
    share: Floats
    tree: DecisionTreeClassifier | None

    @classmethod
    def fitted(cls, cells: Floats, column: int, code: Ints, bins: int, known: Ints) -> _Cell:
        counts = np.bincount(code[known], minlength=bins)
        share = (counts + 1 / bins) / (len(known) + 1)
        if np.count_nonzero(counts) < 2:  # noqa: PLR2004 - a constant has nothing to learn
            return cls(column, share, None)
        tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=FEWEST, random_state=0)
        return cls(column, share, tree.fit(np.delete(cells[known], column, axis=1), code[known]))

    def surprise(self, cells: Floats, code: Ints) -> Floats:
        """-ln of the bin's share in the leaf, in which the share among all rows counts as one row more."""
        if self.tree is None or not len(cells):
            return -np.log(self.share[code])
        others = np.delete(cells, self.column, axis=1)
        size = self.tree.tree_.n_node_samples[self.tree.apply(others)]
        place = np.full(len(self.share), -1)
        place[self.tree.classes_] = np.arange(len(self.tree.classes_))
        at = place[code]
        given = np.where(at >= 0, self.tree.predict_proba(others)[np.arange(len(code)), at], 0.0)
        return np.asarray(-np.log((size * given + self.share[code]) / (size + 1)), np.float64)
