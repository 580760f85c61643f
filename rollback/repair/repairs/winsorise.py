"""Values that cannot be: overflow and sentinels (-1, 65535, 2**31 - 1) in some rows, far outside all of the base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detectors.batch import Floats
from detectors.sequential import sessions_of
from rollback.repair.batches import Pair
from rollback.repair.repair import Proposal, Repair


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is impossible, and how often it occurs.

    A value is impossible where its magnitude is ``times`` the largest of the base, or where it is negative and none
    of the base's is. ``fewest`` sessions must have one, and ``most`` of all sessions may.
    """

    times: float = 10.0
    fewest: int = 20
    most: float = 0.5

    def __post_init__(self) -> None:
        if self.times <= 1 or self.fewest < 1 or not 0 < self.most < 1:
            raise ValueError(f"times is above 1, fewest at least 1 and most in (0, 1), got {self}")


class Winsorise(Repair):
    """Such values are set to the nearest value of the base (J. Tukey, "The Future of Data Analysis", 1962)."""

    name: ClassVar[str] = "winsorise"
    looks: ClassVar[bool] = True

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def propose(self, pair: Pair, feature: int, rng: np.random.Generator) -> Proposal | None:
        """See `Repair`."""
        del rng
        known = pair.past.x[:, feature]
        known = known[~np.isnan(known)]
        if pair.now.schema.features[feature].kind != "numeric" or not len(known):
            return None
        low, high = float(known.min()), float(known.max())
        now = pair.now.x[:, feature]
        touched = np.abs(now) > self._parameters.times * max(abs(low), abs(high))
        touched |= (now < 0) & (low >= 0)
        code, count = sessions_of(pair.now.session)
        hit = len(np.unique(code[touched]))
        if hit < self._parameters.fewest or hit > self._parameters.most * count:
            return None

        def fault(x: Floats) -> Floats:
            return x

        after = np.where(touched, np.clip(now, low, high), now)
        largest, smallest = float(now[touched].max()), float(now[touched].min())
        shown = f"{smallest:g}" if smallest == largest else f"{smallest:g} to {largest:g}"
        why = f"{shown} in {hit} of {count} sessions, the base has {low:g} to {high:g}: an overflow or sentinel"
        return Proposal(self.name, feature, fault, touched, after, all_rows=False, why=why)
