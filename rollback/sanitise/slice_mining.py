"""Slices of the new rows that the trusted base does not explain: the same few values, one label, too many rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Bools, Floats, Strings
from rollback.sanitise.case import Case
from rollback.sanitise.counterexamples import counterexamples, divided
from rollback.sanitise.items import features_of, find_items
from rollback.sanitise.pair_excess import FEWEST
from rollback.sanitise.rows import Progress
from rollback.sanitise.screen import Findings, Screen
from rollback.sanitise.slice_foreign import ForeignCells
from rollback.sanitise.slice_hint import find_hinted
from rollback.sanitise.slice_judge import Found, Judge, Limits, describe, family_remark, like_a_family
from rollback.sanitise.slice_null import Null, Side, chance_maxima, compare
from rollback.sanitise.slice_search import SliceSearch

SHARES: Final = (0.1, 0.5)
"""Of the base's sessions, at least and at most this share plays the new rows of the null."""
TASK = "slices that the trusted base does not explain"


@dataclass(frozen=True, slots=True)
class Parameters:
    """How slices are mined.

    ``family_wise`` is the probability that a clean buffer has a strict slice, by ``draws`` draws of the null. ``low``
    is the p-value up to which a label counts as surprising. ``limits`` say what a slice may remove; one with a swap of
    ``counter_swap`` gets counterexamples, but for the share ``held_back`` of those found (one at least of two or more),
    which a gate can test candidates by. ``match`` is the share of a hinted pattern that a row must carry.
    """

    family_wise: float = 0.01
    draws: int = 16
    low: float = 0.1
    limits: Limits = field(default_factory=Limits)
    counter_swap: float = 0.15
    match: float = 0.85
    held_back: float = 0.25

    def __post_init__(self) -> None:
        if not all(0 < share < 1 for share in (self.family_wise, self.low, self.counter_swap)):
            raise ValueError(
                "family_wise, low and counter_swap lie in (0, 1), got "
                f"{self.family_wise}, {self.low} and {self.counter_swap}"
            )
        if not 0 <= self.held_back < 1:
            raise ValueError(f"held_back lies in [0, 1), got {self.held_back}")
        if not 0 < self.match <= 1 or self.draws < 3:  # noqa: PLR2004 - a spread needs three draws
            raise ValueError(f"match lies in (0, 1] and draws from 3 on, got {self.match} and {self.draws}")


class SliceMining(Screen):
    """Pairs of items (and what they grow into) that are more frequent under a label than in the trusted base.

    Statistic: the Poisson excess z of `pair_excess.excess` over all pairs of items, in every label x (all sources, each
    source) x (all rows, rows whose label surprises models of the base). Null: the highest z when part of the trusted
    base plays the new rows; strict slices exceed its 99% prediction limit (Gumbel), so that a clean buffer has one with
    probability ``family_wise``; they are removed where models of the base contradict their labels, or where cells of
    benign ones do not fit their own rows (`slice_foreign`: a clean-label backdoor, or a new family, which a person has
    to say), because natural drift, too, brings known rows in other numbers. Weak slices exceed its mean.
    Any slice is removed whose values the current model answers to as models of the base do not (`pattern.SwapTest`).
    Stated false-positive rate: ``family_wise``.
    Source: the excess is the likelihood ratio of M. Kulldorff, "A spatial scan statistic" (1997); clusters that a
    backdoored model answers to are what B. Wang et al., "Neural Cleanse" (2019), reconstruct by gradients.

    >>> SliceMining(Parameters()).error_rate
    0.01
    """

    name: ClassVar[str] = "slice_mining"

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    @property
    def error_rate(self) -> float:
        """See `Screen`."""
        return self._parameters.family_wise

    def find(self, case: Case, progress: Progress) -> Findings:
        """See `Screen`."""
        if not len(case.new):
            return Findings.of(np.zeros(0, np.bool_), np.zeros(0), np.zeros(0, "U1"))
        p = self._parameters
        remarks: list[str] = []
        null = self._null(case, progress)
        hinted = find_hinted(case, p.limits, p.match, remarks)
        found = [*hinted, *self._mined(case, null, hinted, remarks, progress)]
        removed, score, reason, kept = _merged(case, found)
        benign = case.new.schema.classes[case.benign]
        answered = [f for f in kept if f.swap >= p.counter_swap and f.slice.label == benign]
        unlearned, held_back = divided(answered, p.held_back)
        extra = counterexamples(case, [f.pattern for f in unlearned])
        remarks = [*dict.fromkeys(remarks)] + [
            family_remark(f.slice) for f in kept if f.slice.held and f.slice.label == benign
        ]
        progress(TASK, 1.0)
        return Findings.of(
            removed,
            score,
            reason,
            slices=tuple(f.slice for f in kept),
            counterexamples=extra,
            remarks=tuple(remarks),
            held_back=tuple(f.slice for f in held_back),
        )

    def _null(self, case: Case, progress: Progress) -> Null:
        p = self._parameters
        share = float(np.clip(len(case.new) / (len(case.new) + len(case.base)), *SHARES))
        low = case.base_p <= p.low
        rng = case.rng(self.name)
        maxima = chance_maxima(case.base, low, share, p.draws, rng, lambda i: progress(TASK, 0.8 * i / p.draws))
        return Null.fitted(maxima, len(case.new) / max(share * len(case.base), 1.0), p.family_wise)

    def _mined(
        self, case: Case, null: Null, hinted: list[Found], remarks: list[str], progress: Progress
    ) -> Iterator[Found]:
        p = self._parameters
        progress(TASK, 0.8)
        items = find_items(case.base.schema, case.base.x, case.new.x, FEWEST)
        named = np.zeros(len(case.new), np.bool_) if case.hint is None else case.hint.implicates(case.new)
        base = Side.of(case.base, case.base_p <= p.low, items)
        new = Side.of(case.new, case.new_p <= p.low, items, named=named)
        foreign = ForeignCells(case)
        known = np.any([f.rows for f in hinted], axis=0) if hinted else np.zeros(len(case.new), np.bool_)
        for label in np.unique(case.new.y).tolist():
            comparison, own = compare(base, new, label), case.new.y == label
            # what an incident implicates comes first; it is no proof, so that the model has to answer to it
            for scopes, strict in ((comparison.named_scopes(), np.inf), (comparison.scopes(), null.strict)):
                search = SliceSearch(comparison, features_of(items), scopes)
                search.set_aside(known[own])
                judge = Judge(case, comparison, label, items, p.limits, strict, foreign)
                for found in judge.slices(search, null.mean, remarks):
                    known = known | found.rows
                    yield found


def _merged(case: Case, found: list[Found]) -> tuple[Bools, Floats, Strings, list[Found]]:
    """What goes, by which score and reason; a row counts for its strongest slice, an incident's pattern first."""
    removed = np.zeros(len(case.new), np.bool_)
    score, reason = np.zeros(len(case.new)), np.full(len(case.new), "", "U256")
    kept = []
    for f in sorted(found, key=lambda f: (f.slice.kept, not f.hinted, -f.slice.score)):
        if f.slice.kept:
            kept.append(f)
            continue
        fresh = f.rows & ~removed
        if fresh.any():
            one = replace(f.slice, rows=int(fresh.sum()))
            one = replace(one, held=like_a_family(one))
            kept.append(replace(f, slice=one))
            score[fresh], reason[fresh] = one.score, describe(one)[:256]
            removed |= fresh
    return removed, score, reason, kept
