"""Another unit: one number of one source is larger or smaller by a factor that units differ by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats
from detectors.sequential import sessions_of
from rollback.repair.batches import Pair
from rollback.repair.change import log_ratios
from rollback.repair.profiles import tidy, whole
from rollback.repair.repair import Proposal, Repair
from rollback.repair.touched import FEWEST, misfit

WIDEST: Final = 1.0
CLOSE: Final = 0.1
"""Factors that differ by no more (on that scale) are hardly told apart by quantiles."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``factors`` that units differ by (and their inverses), the likelier of close ones first.

    A quotient may be one of them if it is nearer than ``tolerance`` (and two standard errors) on the natural
    logarithmic scale. ``fewest``
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
    """Of the factors that it may be, the one after which the base is most like the batch.

    Which it may be is said by the median quotient of nine quantiles of the magnitudes, label by label (mixes differ).
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
        factor = self._factor(pair, feature)
        if factor is None:
            return None
        after = np.where(touched, tidy(now / factor, 12), now)
        why = f"{factor:.7g} times as large" if factor > 1 else f"{1 / factor:.7g} times as small"
        return Proposal(self.name, feature, lambda x: x * factor, touched, after, all_rows=True, why=f"{why}: a unit")

    def _factor(self, pair: Pair, j: int) -> float | None:
        """The known factor, of those near the quotient, after which the base is most like the batch."""
        quotient, error = _quotient(pair, j)
        if not np.isfinite(quotient):
            return None
        known = np.array([f for c in self._parameters.factors for f in (c, 1 / c)])
        near = known[np.abs(np.log(known) - quotient) <= min(self._parameters.tolerance + 2 * error, WIDEST)]
        if not len(near):
            return None
        misfits = np.array([misfit(pair, j, lambda x, f=f: x * f) for f in near])  # type: ignore[misc]  # a bound number
        best = near[misfits.argmin()]
        close = near[np.abs(np.log(near / best)) <= CLOSE]
        exact = [f for f in close if whole(tidy(pair.now.x[:, j] / f, 12))] if whole(pair.past.x[:, j]) else []
        return float((exact or close.tolist())[0])


def _quotient(pair: Pair, j: int) -> tuple[float, float]:
    """The logarithm of how many times as large, and its standard error; NaN where no label has enough rows."""
    found, error, weight = [], [], []
    for label in np.unique(pair.now.y).tolist():
        now, past = pair.now.take(pair.now.y == label), pair.past.take(pair.past.y == label)
        log = log_ratios(now.x[:, j], past.x[:, j])
        sessions = [sessions_of(rows.session)[1] for rows in (now, past)]
        if len(log) and min(sessions) >= FEWEST:
            found.append(float(np.median(log)))
            error.append(_spread(past.x[:, j]) * np.sqrt(1 / sessions[0] + 1 / sessions[1]))
            weight.append(len(now))
    if not found:
        return float("nan"), float("nan")
    share = np.array(weight) / sum(weight)
    return float(share @ found), float(np.sqrt(share**2 @ np.square(error)))


def _spread(values: Floats) -> float:
    """The standard deviation of logarithms of magnitudes."""
    sizes = np.abs(values[(values != 0) & ~np.isnan(values)])
    return float(np.log(sizes).std()) if len(sizes) else 0.0
