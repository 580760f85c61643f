"""Rows whose labels surprise models of the trusted base: wrong labels, and poison that has to contradict to work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc

from detectors.batch import Bools, Ints
from detectors.sequential import upper_bound
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import session_labels
from rollback.sanitise.rows import Progress
from rollback.sanitise.screen import Findings, Screen


@dataclass(frozen=True, slots=True)
class Parameters:
    """Rows with p <= ``level`` are removed, in an alarmed source those with p <= ``source_level``.

    A source is alarmed for a label where so many of its sessions have rows with p <= ``level`` that chance would have
    done it with a probability of at most ``alarm``, at the base's rate (its Clopper-Pearson bound of ``confidence``).
    """

    level: float = 0.01
    source_level: float = 0.05
    alarm: float = 1e-4
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.level <= self.source_level < 1:
            raise ValueError(f"need 0 < level <= source_level < 1, got {self.level} and {self.source_level}")
        if not 0 < self.alarm < 1 or not 0 < self.confidence < 1:
            raise ValueError(f"alarm and confidence lie in (0, 1), got {self.alarm} and {self.confidence}")


class ConformalLoss(Screen):
    """Cross-entropy of the given label under models of the trusted base, ranked among base rows of the same label.

    Null: new rows are drawn like the base (whole sessions). False-positive rate: ``level`` of the rows, and with
    probability ``alarm`` per source and label ``source_level`` of that source's. Honest news (a new family) is removed
    too: where a source is alarmed a remark says what for.
    Source: V. Vovk, "Cross-conformal predictors" (2015); the rank of an out-of-sample loss as in C. Northcutt et al.,
    "Confident Learning" (2021), https://arxiv.org/abs/1911.00068.

    >>> ConformalLoss(Parameters()).error_rate
    0.010005
    """

    name: ClassVar[str] = "conformal_loss"

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    @property
    def error_rate(self) -> float:
        """See `Screen`."""
        return self._parameters.level + self._parameters.alarm * self._parameters.source_level

    def find(self, case: Case, progress: Progress) -> Findings:
        """See `Screen`."""
        progress("labels against the trusted base", 0.0)
        p = self._parameters
        removed = case.new_p <= p.level
        reason = np.full(len(case.new), "the label contradicts models of the trusted base", "U128")
        remarks = []
        for source, label in self._alarmed(case):
            cell = (case.new.source == source) & (case.new.y == label)
            more = cell & (case.new_p <= p.source_level)
            name = case.new.schema.classes[label]
            reason[more] = f"the label contradicts the trusted base, and too many of this source's {name} labels do"[
                :128
            ]
            removed |= more
            remarks.append(
                f"source {source}: {more.sum()} of {cell.sum()} rows labelled {name} contradict models of the trusted "
                f"base, more than chance allows: wrong labels, or something new that the base does not know"
            )
        progress("labels against the trusted base", 1.0)
        return Findings.of(removed, case.new_p, reason, remarks=(*_unknown(case, p.level), *remarks))

    def _alarmed(self, case: Case) -> Iterator[tuple[str, int]]:
        """Sources and labels with too many contradictions."""
        p = self._parameters
        ours, theirs = session_labels(case.base), session_labels(case.new)
        for source, label in sorted(set(zip(case.new.source.tolist(), case.new.y.tolist(), strict=True))):
            cell = (case.new.source == source) & (case.new.y == label)
            rate = upper_bound(*_votes(ours, case.base_p <= p.level, case.base.y == label), p.confidence)
            flagged, sessions = _votes(theirs, case.new_p <= p.level, cell)
            # P(at least so many) of a binomial
            if flagged and betainc(flagged, sessions - flagged + 1, rate) <= p.alarm:
                yield source, label


def _votes(pair: Ints, flagged: Bools, among: Bools) -> tuple[int, int]:
    """Of the pairs [n] of session and label with rows in ``among``: how many have a flagged one there, how many are."""
    return len(np.unique(pair[among & flagged])), len(np.unique(pair[among]))


def _unknown(case: Case, level: float) -> list[str]:
    """Labels of which the base has too few rows for any p-value to reach the level."""
    remarks = []
    for label in np.unique(case.new.y).tolist():
        trusted, judged = int(np.sum(case.base.y == label)), int(np.sum(case.new.y == label))
        if (1 + trusted) * level < 1:
            remarks.append(
                f"{judged} rows labelled {case.new.schema.classes[label]} cannot be judged by their loss: "
                f"the trusted base has {trusted} rows of that class, {int(np.ceil(1 / level)) - 1} are needed"
            )
    return remarks
