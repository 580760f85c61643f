"""The training weight of rows: low trust, low influence on the gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from detectors.batch import Floats, Strings
from rollback.retraining.about import About
from rollback.sanitise.rows import Rows, Sanitised
from rollback.trust.consistency import consistency
from rollback.trust.reputation import Reputation

NOBODY: Final = "-"
DISPUTED: Final = 0.5
"""The weight of a row whose labels contradict each other."""


def event_time(about: About, reputation: Reputation) -> float:
    """Now, as far as trust is concerned: the median time of the rows; one without a time is as old as the last outcome.

    Times are the suppliers' own word: one row of the far future must not make everybody's record fade.
    """
    if not len(about):
        return reputation.latest
    return float(np.median(np.where(np.isnan(about.ts), reputation.latest, about.ts)))


def supplier_trust(about: About, reputation: Reputation, now: float) -> Floats:
    """Of each row the least trust among its source and its origin; a part that is not known ("-") says nothing.

    A row of which neither is known is trusted like a new supplier.
    """
    unknown = reputation.trust("source", "", now)
    trust = np.full(len(about), np.inf)
    for kind, column in (("source", about.source), ("origin", about.origin)):
        names, of = np.unique(column, return_inverse=True)
        each = [np.inf if name == NOBODY else reputation.trust(kind, name, now) for name in names.tolist()]
        trust = np.minimum(trust, np.array(each)[of])
    return np.where(np.isinf(trust), unknown, trust)


def weigh(found: Sanitised, base: Rows, new: Rows, about: About, reputation: Reputation) -> tuple[Sanitised, Strings]:
    """The same findings with the weights of rows that stay multiplied by trust; and for each row in words why.

    weight = supplier trust x consistency x (a half where its labels are disputed).
    """
    now = event_time(about, reputation)
    trust, looks = supplier_trust(about, reputation, now), consistency(base, new)
    history = np.where(about.disputed, DISPUTED, 1.0)
    why = [
        f"trust {t:.2f}, consistency {c:.2f}{', disputed label' if d else ''}"
        for t, c, d in zip(trust.tolist(), looks.tolist(), about.disputed.tolist(), strict=True)
    ]
    return replace(found, weight=found.weight * trust * looks * history), np.array(why, dtype=np.str_)
