"""Another unit: one number of one source is larger or smaller by a factor that units differ by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats
from rollback.repair.batches import Pair
from rollback.repair.change import log_ratios
from rollback.repair.profiles import tidy
from rollback.repair.repair import Proposal, Repair
from rollback.repair.touched import FEWEST

CLOSE: Final = 0.1
"""Factors that differ by no more (on that scale) are hardly told apart by quantiles."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``factors`` that units differ by (and their inverses), the likelier of close ones first.

    A quotient is one of them if it is nearer than ``tolerance`` on the natural logarithmic scale. ``fewest``
    numbers other than 0 are needed on each side.
    """

    factors: tuple[float, ...] = (
        8.0, 60.0, 100.0, 1000.0, 1024.0, 3600.0, 8000.0, 60_000.0, 86_400.0, 1e6, 1024.0**2, 1e9, 1024.0**3,
    )  # fmt: skip
    tolerance: float = 0.4
    fewest: int = 20

    def __post_init__(self) -> None:
        if min(self.factors, default=0.0) <= 1 or self.fewest < 1:
            raise ValueError("factors are above 1 and fewest is at least 1")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance lies in (0, 1), got {self.tolerance}")


class Unit(Repair):
    """The factor is the median quotient of nine quantiles of the magnitudes, label by label (mixes of labels differ).

    Between factors that lie close (1000 and 1024) the one that leads back to whole numbers decides, where the base has
    only those; else the one that is named first. It cannot know an honest jump by just such a factor from a changed
    unit; an honest jump by any other factor is left alone.
    """

    name: ClassVar[str] = "unit"

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def propose(self, pair: Pair, feature: int, rng: np.random.Generator) -> Proposal | None:
        """See `Repair`."""
        del rng
        if pair.now.schema.features[feature].kind != "numeric":
            return None
        now, past = pair.now.x[:, feature], pair.past.x[:, feature]
        touched = (now != 0) & ~np.isnan(now)
        if min(touched.sum(), np.sum((past != 0) & ~np.isnan(past))) < self._parameters.fewest:
            return None
        factor = self._factor(_quotient(pair, feature), now[touched], past)
        if factor is None:
            return None
        after = np.where(touched, tidy(now / factor, 12), now)
        why = f"{factor:.7g} times as large" if factor > 1 else f"{1 / factor:.7g} times as small"
        return Proposal(self.name, feature, lambda x: x * factor, touched, after, all_rows=True, why=f"{why}: a unit")

    def _factor(self, quotient: float, now: Floats, past: Floats) -> float | None:
        """The known factor nearest to e^quotient."""
        known = np.array([f for c in self._parameters.factors for f in (c, 1 / c)])
        away = np.abs(np.log(known) - quotient)
        near = known[away <= min(self._parameters.tolerance, float(away.min()) + CLOSE)]
        if len(near) > 1 and _whole(past):
            whole = np.array([_whole(tidy(now / f, 12)) for f in near])
            near = near[whole] if whole.any() else near
        return float(near[0]) if len(near) else None


def _quotient(pair: Pair, j: int) -> float:
    """The logarithm of how many times as large; NaN where no label has enough rows."""
    found, weight = [], []
    for label in np.unique(pair.now.y).tolist():
        log = log_ratios(pair.now.x[pair.now.y == label, j], pair.past.x[pair.past.y == label, j])
        rows = int(min(np.sum(pair.now.y == label), np.sum(pair.past.y == label)))
        if len(log) and rows >= FEWEST:
            found.append(float(np.median(log)))
            weight.append(rows)
    return float(np.average(found, weights=weight)) if found else float("nan")


def _whole(values: Floats) -> bool:
    known = values[~np.isnan(values)]
    return bool(np.all(known == np.round(known)))
