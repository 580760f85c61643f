"""What every screen is given: the rows, models of the trusted base, and what is known of an incident."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer
from rollback.sanitise.rows import Rows


@dataclass(frozen=True, slots=True)
class Hint:
    """What an incident implicates. It is looked at first, and tested like everything else: it is never believed.

    ``features`` {name: value, or [low, high]} (a category's name, a number, None for missing), ``sources``, the class
    ``label`` that the served model gave (None where not known), ``origins`` of labels, and ``ids`` of events.
    """

    features: Mapping[str, Any]
    sources: tuple[str, ...] = ()
    label: str | None = None
    origins: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def implicates(self, rows: Rows) -> Bools:
        """The rows bool[n] of its sources, its origins or its ids; what rows do not say is passed over."""
        said = ((rows.source, self.sources), (rows.origin, self.origins), (rows.id, self.ids))
        found = np.zeros(len(rows), np.bool_)
        for column, named in said:
            if column is not None and named:
                found |= np.isin(column, named)
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """m trusted rows (``base``), n rows to judge (``new``), and what models say of them. Screens change nothing of it.

    ``base_scorers`` were fitted on parts of the base, ``current`` on base and new rows together. ``base_p`` [m] and
    ``new_p`` [n] are the conformal p-values of the given labels (`conformal.p_values`). ``benign`` is the class that
    lets things pass. ``seed`` fixes all that a screen draws. ``fold`` [m] is the one of the ``base_scorers`` that has
    not seen a base row (None: none of them has seen any). ``explained`` [n] are rows that screens before this one have
    found in slices (None: there are none).
    """

    base: Rows
    new: Rows
    base_scorers: tuple[Scorer, ...]
    current: Scorer
    base_p: Floats
    new_p: Floats
    benign: int
    seed: int
    hint: Hint | None = None
    fold: Ints | None = None
    explained: Bools | None = None

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of a screen's own, by its name."""
        return np.random.default_rng([self.seed, *purpose.encode()])
