"""Nothing there: one feature of one source is missing, or has one and the same value, in (nearly) every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats
from detectors.schema import UNSEEN
from rollback.repair.batches import Pair
from rollback.repair.change import most_common, same, weighted
from rollback.repair.donors import donated
from rollback.repair.profiles import votes
from rollback.repair.repair import Proposal, Repair

SURELY: Final = 0.99


@dataclass(frozen=True, slots=True)
class Parameters:
    """One value is in at least ``share`` of the rows, and in less than ``usual`` of the base's.

    That is by ``more`` a larger share than the base's most common value has.
    """

    share: float = 0.9
    usual: float = 0.5
    more: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.usual < self.share <= 1:
            raise ValueError(f"need 0 < usual < share <= 1, got {self.usual} and {self.share}")


class Impute(Repair):
    """The value is taken from the trusted row that is most alike in the other features, whatever its label.

    A single value instead would be a mark of its source. A category that the model does not know is not touched: it may
    be news.
    """

    name: ClassVar[str] = "impute"

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def propose(self, pair: Pair, feature: int, rng: np.random.Generator) -> Proposal | None:
        """See `Repair`."""
        column = pair.now.schema.features[feature]
        now = pair.now.x[:, feature]
        value, share = most_common(now, votes(pair.now))
        usual = weighted(same(pair.past.x[:, feature], value), votes(pair.past))
        if share < self._parameters.share or usual >= self._parameters.usual:
            return None
        _, before = most_common(pair.past.x[:, feature], votes(pair.past))
        if share < before + self._parameters.more and share < SURELY:  # the most common value has moved, others with it
            return None
        if column.kind == "categorical" and value == UNSEEN:
            return None
        touched = same(now, value)
        after = now.copy()
        after[touched] = donated(pair, feature, touched, rng)

        def fault(x: Floats) -> Floats:
            return np.full(len(x), value)

        shown = "missing" if np.isnan(value) else f"always {column.show(value)}"
        return Proposal(self.name, feature, fault, touched, after, all_rows=True, why=f"{shown} in {share:.0%} of rows")
