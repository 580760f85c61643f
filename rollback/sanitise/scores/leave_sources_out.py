"""Rows that models of the other sources contradict."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from detectors.batch import Ints, Strings
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import Score

GROUPS: Final = 5
TREES: Final = 40
PSEUDO: Final = 0.01


class LeaveSourcesOut(Score):
    """-ln of the probability of the given label by trees fitted to the rows of other sources, base and new alike.

    Sources are left out in at most 5 groups of near equal size. With a single source nothing can be said: all rows have
    0. Poison that is spread over all sources is not found. Source: leave-one-group-out as in A. Paudice et al., "Label
    Sanitization against Label Flipping Poisoning Attacks" (2018), https://arxiv.org/abs/1803.00992, by supplier.
    """

    name: ClassVar[str] = "leave_sources_out"
    says: ClassVar[str] = "models of the other sources contradict the label"

    def rate(self, material: Material) -> Suspicion:
        """See `Score`."""
        rated = np.zeros(len(material.y))
        group = _groups(material.source)
        for g in np.unique(group).tolist():
            out = np.flatnonzero(group == g)
            known = np.flatnonzero(group != g)
            if len(known):
                seed = int(material.rng(f"{self.name} {g}").integers(2**31))
                trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, random_state=seed)
                trees.fit(material.plain[known], material.y[known])
                given = np.zeros(len(out))
                scores = trees.predict_proba(material.plain[out])
                for column, label in enumerate(trees.classes_.tolist()):
                    own = material.y[out] == label
                    given[own] = scores[own, column]
                rated[out] = -np.log((given + PSEUDO) / (1 + PSEUDO))
        return material.pooled(rated)


def _groups(source: Strings) -> Ints:
    """The group of each row: the largest source first, each into the smallest group so far."""
    _, of, counts = np.unique(source, return_inverse=True, return_counts=True)
    size = np.zeros(GROUPS, np.int64)
    group = np.zeros(len(counts), np.int64)
    for s in np.argsort(-counts, kind="stable").tolist():
        group[s] = size.argmin()
        size[group[s]] += counts[s]
    return group[of]
