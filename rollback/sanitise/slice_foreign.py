"""Whether the rows of a slice have cells that somebody put in: they do not fit the rest of their own rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy.stats import binom

from detectors.batch import Bools, Floats, Strings
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import calibrate
from rollback.sanitise.material import Material
from rollback.sanitise.scores.score import make_scores

LOW_P: Final = 0.05
CHANCE: Final = 0.05


@dataclass(frozen=True)
class ForeignCells:
    """How the cells of new rows fit each other, worked out when it is first asked for: clean buffers never ask."""

    case: Case

    @cached_property
    def p(self) -> Floats:
        """Conformal p-values [n] of the new rows by `replaced_cells`."""
        rated = make_scores(["replaced_cells"])[0].rate(Material.of(self.case))
        return calibrate(rated, self.case.base.y, self.case.new.y)[1]

    def beyond_chance(self, rows: Bools) -> bool:
        """Whether more sessions of these new rows bool[n] than chance explains have cells that do not fit the row.

        See `low_sessions`. Rows of known kinds in other numbers (natural drift) fit themselves as those of the base do,
        so that this tells them from rows that carry planted values, also under the right label; and from rows of
        a new kind only by what a person says.
        """
        return low_sessions(self.p[rows], self.case.new.session[rows])


def low_sessions(p: Floats, session: Strings) -> bool:
    """Whether more sessions have low p-values [r] than chance explains.

    A session does where half of its rows have p <= .05, of which the probability is at most .1 (Markov), however its
    rows depend on each other: P(Bin(sessions, .1) >= low ones) <= .05.

    >>> low_sessions(np.array([0.01, 0.02, 0.5]), np.array(["a", "b", "c"]))
    True
    >>> low_sessions(np.array([0.01, 0.5, 0.5]), np.array(["a", "b", "c"]))
    False
    """
    _, of = np.unique(session, return_inverse=True)
    rows = np.bincount(of)
    low = np.bincount(of, weights=p <= LOW_P)
    count = int(np.count_nonzero(low >= rows / 2))
    return bool(binom.sf(count - 1, len(rows), 2 * LOW_P) <= CHANCE)
