"""What the evidence of a window amounts to: the record that the verdict table fills."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from detectors.evidence import Implicated

Family = Literal["poisoning", "evasion", "fault", "drift", "inconclusive", "stable"]
GRAVITY: Final[tuple[Family, ...]] = ("poisoning", "evasion", "fault", "drift", "inconclusive", "stable")
"""Families, gravest first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence of a window amounts to.

    ``confidence`` is the probability of the family: the posterior of the labels' likelihood ratio at even odds before,
    or a value of the table (of the likelier alternative where the family is inconclusive; for stable the share of
    detectors that could see: quiet means no evidence, never health). ``attribution`` divides all of the probability
    over hypotheses, the verdict's ``hypothesis`` first, and ``alternatives`` are its others, likeliest first.
    ``reasons`` are plain sentences: what changed, what stayed fixed. ``suspected``: true labels are wanted and
    outstanding. ``detectors`` are those whose evidence counts.

    ``level``: what the evidence looked at (0 events alone, 1 labels too, 2 both checkpoints, 3 the training buffer as
    well). ``weaker`` says what makes it weaker than usual. ``tentative``: it rests on a shadow model, and is never more
    than a suspicion. ``decider``: what would decide it, where it is inconclusive or tentative. ``also``: milder
    families, with their hypotheses, that hold beside it (a drift beside a poisoning).
    """

    family: Family
    hypothesis: str | None
    confidence: float
    alternatives: tuple[tuple[str, float], ...] = ()
    implicated: Implicated = field(default_factory=Implicated)
    reasons: tuple[str, ...] = ()
    suspected: bool = False
    detectors: tuple[str, ...] = ()
    attribution: tuple[tuple[str, float], ...] = ()
    level: int = 0
    weaker: tuple[str, ...] = ()
    tentative: bool = False
    decider: str = ""
    also: tuple[tuple[Family, str], ...] = ()
