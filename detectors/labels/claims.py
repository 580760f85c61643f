"""Labels that contradict the model, as claims to be checked, and what trusted labellers answered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.asking.answers import DECISIVE, weighed
from detectors.batch import Columns, Floats, Ints, Labels, Strings
from detectors.evidence import State

UNKNOWN, TRUE, FALSE = -1, 0, 1
"""What trusted labellers say of a claim; `UNKNOWN` also where they contradict each other."""

_SHORT: Final = 0.999 * DECISIVE


@dataclass(frozen=True, slots=True)
class Claims(Columns):
    """Contradicting labels, one a session: ``label`` is claimed, ``g_class`` predicted; ``number`` is the session's."""

    id: Strings
    session: Strings
    source: Strings
    origin: Strings
    label: Ints
    g_class: Ints
    strength: Floats
    number: Ints

    @staticmethod
    def none() -> Claims:
        """No claims."""
        text, number = np.zeros(0, "<U1"), np.zeros(0, np.int64)
        return Claims(text, text.copy(), text.copy(), text.copy(), number, number.copy(), np.zeros(0), number.copy())

    def joined(self, new: Claims, size: int) -> Claims:
        """The ``size`` latest of both."""
        both = Claims.concat([self, new])
        return both.take(slice(max(len(both) - size, 0), None))

    def state(self) -> State:
        """The columns, for a checkpoint."""
        return {name: getattr(self, name).copy() for name in self.arrays()}

    @staticmethod
    def restored(state: State) -> Claims:
        """The claims that `state` described."""
        return Claims(**{name: np.array(column) for name, column in state.items()})


class Verdicts:
    """Was the claimed label false? A ledger of trusted answers, one a session, the latest ``most`` of them.

    Of the contradictions a share ``noise`` is expected to be false and a share 1 - rho - noise true (g errs), whatever
    goes on; the rest rho is false under poisoning and true after an honest change. With a = .9 and h = .1 a claim is
    false with a (rho + noise) + h (1 - rho - noise) or a noise + h (1 - noise): the ratio of the two counts for each
    false claim, that of their complements for each true one. An origin may correct itself; a claim about which origins
    contradict each other counts for neither side, and where whole origins do (each decisive for itself), nothing is
    decided.

    A labeller who errs: with 5% wrong answers, 16 at most and a look after each, claims of which 0, .02, .05 are false
    honestly are held against their makers with probability .0005, .0013, .0037 at most (rho = 1).
    """

    def __init__(self, false_poisoned: float, false_honest: float, most: int) -> None:
        self._poisoned, self._honest, self._most = false_poisoned, false_honest, most
        self._said: dict[str, dict[str, bool]] = {}

    @property
    def sessions(self) -> set[str]:
        """The sessions that have been answered for."""
        return set(self._said)

    @property
    def disputed(self) -> int:
        """How many claims trusted origins contradict each other about."""
        return sum(len(set(said.values())) > 1 for said in self._said.values())

    def take(self, claims: Claims, labels: Labels) -> None:
        """Enter trusted labels of events about which there is a claim."""
        claimed = dict(zip(claims.id.tolist(), range(len(claims)), strict=True))
        for i in np.flatnonzero(labels.trusted).tolist():
            claim = claimed.get(str(labels.id[i]))
            if claim is None:
                continue
            false = int(labels.label[i]) != int(claims.label[claim])
            self._said.setdefault(str(claims.session[claim]), {})[str(labels.origin[i])] = false
        for _ in range(len(self._said) - self._most):
            del self._said[next(iter(self._said))]

    def of(self, claims: Claims) -> Ints:
        """`UNKNOWN`, `TRUE` or `FALSE` for each claim."""
        said = [set(self._said.get(session, {}).values()) for session in claims.session.tolist()]
        return np.array([int(next(iter(s))) if len(s) == 1 else UNKNOWN for s in said], np.int64)

    def judged(self, rho: float, noise: float = 0.0, among: Collection[str] | None = None) -> tuple[float, int, int]:
        """Log likelihood ratio of poisoning against honest change, number of answers, how many claims were false.

        ``among``: only answers for these sessions count.
        """
        said = [s for session, s in self._said.items() if among is None or session in among]
        agreed = [next(iter(s.values())) for s in said if len(set(s.values())) == 1]
        false = sum(agreed)
        llr = weighed(self._llr(rho, noise, len(agreed), false), len(agreed))
        return (float(np.clip(llr, -_SHORT, _SHORT)) if self.opposed(rho, noise) else llr), len(agreed), false

    def opposed(self, rho: float, noise: float = 0.0) -> tuple[str, ...]:
        """Origins of which each has decided for itself, and not all alike; empty where there are none."""
        by_origin: dict[str, list[bool]] = {}
        for said in self._said.values():
            for origin, false in said.items():
                by_origin.setdefault(origin, []).append(false)
        decided = {o: weighed(self._llr(rho, noise, len(said), sum(said)), len(said)) for o, said in by_origin.items()}
        sure = {origin: llr > 0 for origin, llr in decided.items() if abs(llr) >= DECISIVE}
        return tuple(sorted(sure)) if len(set(sure.values())) > 1 else ()

    def _llr(self, rho: float, noise: float, answers: int, false: int) -> float:
        poisoned = self._poisoned * (rho + noise) + self._honest * (1 - rho - noise)
        honest = self._poisoned * noise + self._honest * (1 - noise)
        return float(false * np.log(poisoned / honest) + (answers - false) * np.log((1 - poisoned) / (1 - honest)))

    def state(self) -> State:
        """What `take` has changed."""
        return {"said": {session: dict(said) for session, said in self._said.items()}}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        said = {str(s): {str(origin): bool(false) for origin, false in by.items()} for s, by in state["said"].items()}
        self._said = said
