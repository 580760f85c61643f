"""Everything that a candidate is judged by. What is not given is not checked, and the gate says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from detectors.batch import Bools, Columns, Floats, Ints, Scorer, Strings
from rollback.canary.canaries import Canaries
from rollback.gates.pattern import Pattern
from rollback.sanitise.rows import Rows

FALSE_IF_POISON: Final = 0.9
FALSE_IF_HONEST: Final = 0.1
"""So often a label is false where the rows are poison, and where they are honest news."""
DECISIVE: Final = 20.0
"""Answers count once they make one of the two so many times as likely as the other."""


class GateError(Exception):
    """There is too little to judge a candidate by; the message says what is missing and how to give it."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """``error_budget``: how often all checks together fail a clean candidate.

    ``tolerance`` says how far the score of an exported model may be off. The budget is shared over the checks that run,
    in proportion to the ``share`` of each requirement.
    """

    error_budget: float = 0.02
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.error_budget < 0.5:  # noqa: PLR2004 - at one half the gate would be a coin
            raise ValueError(f"an error rate must be above 0 and below 0.5, got {self.error_budget}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be above 0, got {self.tolerance}")


@dataclass(frozen=True, slots=True)
class Live(Columns):
    """Recent events x[n,d] with their session[n]; ``y`` [n] is the trusted class index, -1 where nobody gave one."""

    x: Floats
    y: Ints
    session: Strings

    def labelled(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which events have a trusted label."""
        return np.asarray(self.y >= 0, np.bool_)


def undecided(answered: int, false: int) -> bool:
    """Whether so many answers, of which some say that a label is false, leave poison and honest news both likely.

    >>> undecided(1, 1), undecided(2, 2), undecided(4, 2)
    (True, False, True)
    """
    odds = math.log(FALSE_IF_POISON / FALSE_IF_HONEST) * (2 * false - answered)
    return abs(odds) < math.log(DECISIVE)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Rows of the candidate's own training buffer that a screen takes for poison.

    ``rows`` of them share the values of ``pattern`` (None where there is none); of the ``asked`` that a trusted
    labeller was asked about, ``answered`` have an answer and ``false`` of these contradict the label in the buffer,
    the class ``label``.
    """

    name: str
    rows: int
    what: str
    pattern: Pattern | None = None
    answered: int = 0
    false: int = 0
    label: int | None = None

    @property
    def open(self) -> bool:
        """Whether the answers leave it open."""
        return undecided(self.answered, self.false)


@dataclass(frozen=True, slots=True)
class Campaign:
    """One rehearsal: known poison was planted into new rows, and the same pipeline ran over them.

    ``before`` is the attack's success on a model that was trained on all of them, ``after`` on what the pipeline made
    of them, ``clean`` on a model that has never seen it. ``caught`` of the ``planted`` rows were removed. ``attack`` is
    what it was of, ``what`` says it in words. Where nothing could be planted, ``what`` says why.
    """

    name: str
    planted: int
    caught: int
    before: float
    after: float
    clean: float
    attack: str = ""
    what: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is judged, all in the terms of the holdout's schema.

    ``reseeds`` (two at least, better eight) are models of the trusted base alone that differ in their seed, ``parts``
    models of other parts of it each. No model was trained on ``holdout``. ``patterns`` were found in removed rows or by
    an incident, ``held_back`` are more of them that the candidate was not trained against. ``answers`` are what the
    trained model itself said of some rows, ``canaries`` those of the last known good version (LKG). ``probe`` is a
    model of the candidate's rows without counterexamples: one that was trained against the found patterns may obey
    them less than its other rows would have made it. ``buffer`` are the rows that the candidate was trained on where
    nothing has sanitised them, without those of ``suspects``, which screens find in them (None: nobody looked);
    ``told`` are the true classes of its rows by trusted labellers (-1: not known; empty: none is). Rows ``aside``
    (empty: none) the candidate was not trained on with that label: what was answered about them tells of the others.
    ``kin`` says that
    the candidate, ``lkg_kin`` that LKG was trained by the recipe of the reseeds: then they share its noise.
    ``benign`` is the class that lets things pass (None: not known).
    ``removed_values`` are unions of values that stand out in rows which screens have removed one by one.
    """

    candidate: Scorer
    lkg: Scorer
    reseeds: Sequence[Scorer]
    holdout: Rows
    parts: Sequence[Scorer] = ()
    patterns: Sequence[Pattern] = ()
    answers: Canaries | None = None
    probe: Scorer | None = None
    held_back: Sequence[Pattern] = ()
    canaries: Canaries | None = None
    live: Live | None = None
    buffer: Rows | None = None
    told: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    aside: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))
    suspects: Sequence[Suspect] | None = None
    campaigns: Sequence[Campaign] = ()
    kin: bool = True
    lkg_kin: bool = True
    benign: int | None = None
    removed_values: Sequence[Pattern] = ()
