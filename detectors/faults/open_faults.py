"""Faults that were found, and whether they are still there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from detectors.batch import Floats
from detectors.faults.signs import Sign

_OVER: Final = np.log(1e4)  # likelihood ratio of the past's rate against the fault's
_ALSO: Final = np.log(1e3)
_FEWEST: Final = 20  # sessions that must have come before a fault is over


@dataclass(slots=True)
class OpenFault:
    """A fault of one feature in one scope, found in window ``since``.

    ``past`` and ``broken`` are the rates of values as the fault makes them, before and during it. ``repaired`` is the
    log likelihood ratio of the past's rate against the fault's, from when it last spoke for the fault, and ``quiet``
    the sessions since then.
    """

    scope: int
    feature: int
    sign: Sign
    since: int
    past: float
    broken: float
    repaired: float = 0.0
    quiet: int = 0

    @staticmethod
    def found(scope: int, feature: int, sign: Sign, since: int, now: Floats, past: Floats) -> OpenFault:
        """One that is seen in ``now`` [m] against ``past`` [n], the feature's values."""
        rates = [(sign.hits(v).sum() + 1) / (len(v) + 2) for v in (past, now)]
        return OpenFault(scope, feature, sign, since, float(rates[0]), float(rates[1]))

    def observe(self, column: Floats) -> None:
        """Take the feature's values in a window, one a session of the scope."""
        self.repaired = float(max(self.repaired - self._for_it(column, self.past).sum(), 0.0))
        self.quiet = self.quiet + len(column) if self.repaired > 0 else 0

    def seen_in(self, now: Floats, past: Floats) -> bool:
        """Whether another scope's latest values ``now`` [m] have the fault as well, which its ``past`` [n] did not."""
        if len(now) == 0 or len(past) == 0:
            return False
        usual = float((self.sign.hits(past).sum() + 1) / (len(past) + 2))
        evidence = self._for_it(now, usual)[::-1].cumsum().max()
        return bool(usual < self.broken and evidence >= _ALSO)

    def _for_it(self, column: Floats, past: float) -> Floats:
        """Log likelihood ratios [m] of the fault's rate against the past's."""
        hit, other = np.log(self.broken / past), np.log((1 - self.broken) / (1 - past))
        return np.asarray(np.where(self.sign.hits(column), hit, other), np.float64)

    @property
    def over(self) -> bool:
        """Whether the feature has been as before for long enough: 10,000 to 1 and at least 20 sessions."""
        return self.repaired >= _OVER and self.quiet >= _FEWEST

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @staticmethod
    def restored(state: dict[str, Any]) -> OpenFault:
        """Take back what `state` gave."""
        return OpenFault(**(state | {"sign": Sign(**state["sign"])}))
