"""The reputation of sources and origins: a Beta posterior over audited outcomes, which fade with event time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Parameters:
    """``good`` and ``bad`` are the prior's counts: a supplier of whom nothing is known is trusted good / (good + bad).

    An outcome counts half after ``half_life`` seconds of event time, and at most as ``most`` sessions, however many
    rows or sessions it is about: nobody buys trust with volume.
    """

    good: float = 2.0
    bad: float = 2.0
    half_life: float = 90 * DAY
    most: float = 8.0

    def __post_init__(self) -> None:
        for name in ("good", "bad", "half_life", "most"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: must be above 0, got {getattr(self, name)}")


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an audited decision says of a supplier: so many of its sessions were ``good`` and ``bad``, at event time.

    ``ref`` names the decision: decided anew, it replaces what was said before. Agreement that nobody has audited is no
    outcome: a supplier cannot raise its own trust.
    """

    kind: Literal["source", "origin"]
    name: str
    at: float
    good: int
    bad: int
    ref: str
    why: str


@dataclass(frozen=True, slots=True)
class Reputation:
    """Every outcome. Trust in a supplier is the mean of Beta(good + sum g d, bad + sum b d).

    g and b are an outcome's sessions, scaled down to ``most`` together, and d = 2 ** -(age / half_life). Josang and
    Ismail, The Beta Reputation System (2002).

    >>> Reputation().trust("source", "new", 0.0)
    0.5
    >>> round(Reputation((Outcome("source", "s", 0.0, 0, 100, "1", ""),)).trust("source", "s", 0.0), 3)
    0.167
    """

    outcomes: tuple[Outcome, ...] = ()
    parameters: Parameters = field(default_factory=Parameters)

    def trust(self, kind: str, name: str, now: float) -> float:
        """Between 0 and 1; ``now`` is event time. An outcome that is later than ``now`` has not faded."""
        p = self.parameters
        good, bad = p.good, p.bad
        for outcome in self.outcomes:
            if (outcome.kind, outcome.name) == (kind, name) and (count := outcome.good + outcome.bad):
                faded = 0.5 ** (max(now - outcome.at, 0.0) / p.half_life)
                each = faded * min(1.0, p.most / count)
                good += each * outcome.good
                bad += each * outcome.bad
        return good / (good + bad)

    def learned(self, outcomes: Iterable[Outcome]) -> Reputation:
        """With more outcomes; those of a decision that was taken before replace what it said."""
        new = tuple(outcomes)
        refs = {outcome.ref for outcome in new}
        kept = tuple(outcome for outcome in self.outcomes if outcome.ref not in refs)
        return Reputation(kept + new, self.parameters)

    def suppliers(self) -> list[tuple[str, str]]:
        """Kind and name of everybody of whom something is known."""
        return sorted({(outcome.kind, outcome.name) for outcome in self.outcomes})

    @property
    def latest(self) -> float:
        """The event time of the last outcome; 0 where there is none."""
        return max((outcome.at for outcome in self.outcomes), default=0.0)
