"""Many trees, each on other sessions and other features: what those say that have not seen a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from detectors.batch import Bools, Floats
from rollback.sanitise.material import Material

TREES: Final = 60
SHARE: Final = 0.5
"""A tree sees so many of the sessions."""


@dataclass(frozen=True, slots=True)
class OutOfBag:
    """``unseen`` [t, N]: whether a tree has not seen a row. ``given`` [t, N]: its probability of the row's label.

    ``used`` [t, d]: the features that the tree was given.
    """

    unseen: Bools
    given: Floats
    used: Bools


def out_of_bag(material: Material, features: float, rng: np.random.Generator) -> OutOfBag:
    """Trees on random halves of all sessions (base and new alike) and this share of the features."""
    x, y = material.plain, material.y
    sessions = int(material.session.max(initial=-1)) + 1
    unseen, used = np.zeros((TREES, len(y)), np.bool_), np.zeros((TREES, x.shape[1]), np.bool_)
    given = np.zeros((TREES, len(y)))
    for t in range(TREES):
        seen = (rng.random(sessions) < SHARE)[material.session]
        unseen[t] = ~seen
        chosen = np.sort(rng.permutation(x.shape[1])[: max(round(features * x.shape[1]), 1)])
        used[t, chosen] = True
        seed = int(rng.integers(2**31))
        if seen.any() and not seen.all():
            tree = DecisionTreeClassifier(max_features="sqrt", random_state=seed)
            tree.fit(x[np.ix_(seen, chosen)], y[seen])
            out = np.flatnonzero(~seen)
            scores = tree.predict_proba(x[np.ix_(~seen, chosen)])
            for column, label in enumerate(tree.classes_.tolist()):
                own = y[out] == label
                given[t, out[own]] = scores[own, column]
    return OutOfBag(unseen, given, used)
