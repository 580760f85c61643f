"""The slice that an incident names: looked at before any other, and removed only where the model answers to it."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools
from rollback.sanitise.case import Case, Hint
from rollback.sanitise.conformal import session_weights
from rollback.sanitise.pair_excess import excess
from rollback.sanitise.pattern import Pattern, Swap, SwapTest, hinted_pattern
from rollback.sanitise.rows import Slice
from rollback.sanitise.slice_judge import Found, Limits, describe

UNCONFIRMED = "the incident's pattern was not confirmed: no new row carries it, or the model does not answer to it"


def find_hinted(case: Case, limits: Limits, match: float, remarks: list[str]) -> list[Found]:
    """The incident's pattern, for each label to which the current model moves rows by it and that carriers have.

    A row carries it with the share ``match`` of its values. Where the carriers are more than a slice may remove, those
    of the incident's sources are taken.
    """
    pattern = None if case.hint is None else hinted_pattern(case.hint.features, case.new.schema)
    if case.hint is None or pattern is None:
        return []
    test = SwapTest(case.base, case.current, case.base_scorers, case.seed)
    found, confirmed = [], False
    for label in _labels(case, case.hint):
        carriers = pattern.carried_by(case.new.x, match) & (case.new.y == label)
        swap = test.swap(pattern, label)
        if not carriers.any() or swap is None or swap.least < limits.swap:
            continue
        confirmed = True
        rows = _few_enough(case, case.hint, carriers, limits)
        one = _slice(case, pattern, swap, carriers if rows is None else rows, label, match)
        if rows is None:
            remarks.append(f"not removed, because too many rows carry the incident's pattern: {describe(one)}")
        else:
            found.append(Found(one, pattern, rows, swap.mean, hinted=True))
    if not confirmed:
        remarks.append(UNCONFIRMED)
    return found


def _labels(case: Case, hint: Hint) -> list[int]:
    classes = case.new.schema.classes
    return [classes.index(hint.label)] if hint.label in classes else list(range(len(classes)))


def _few_enough(case: Case, hint: Hint, carriers: Bools, limits: Limits) -> Bools | None:
    """All carriers, or those of the incident's sources, or none (None)."""
    for rows in (carriers, carriers & np.isin(case.new.source, hint.sources)):
        if rows.any() and rows.sum() <= limits.most * len(case.new):
            return rows
    return None


def _slice(case: Case, pattern: Pattern, swap: Swap, rows: Bools, label: int, match: float) -> Slice:
    """The slice, with the excess of its rows over what the base lets expect of the label."""
    new, base = session_weights(case.new), session_weights(case.base)
    known = case.base.y == label
    exposure = new[case.new.y == label].sum() / max(base[known].sum(), 1.0)
    expected = (base[known & pattern.carried_by(case.base.x, match)].sum() + 0.5) * exposure
    score = float(excess(np.array([new[rows].sum()]), np.array([expected]))[0])
    names = np.unique(case.new.source[rows])
    source = str(names[0]) if len(names) == 1 else None
    values = pattern.named(case.new.schema)
    return Slice(case.new.schema.classes[label], source, values, score, int(rows.sum()), swap.mean, values)
