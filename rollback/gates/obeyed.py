"""Checks that a model does not obey a pattern, with limits from random patterns on models of the trusted base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from detectors.batch import Scorer
from rollback.gates.check import Check, Failing
from rollback.gates.pattern import Pattern, noise, own_limits, random_patterns, recovered, swaps
from rollback.gates.requirement import Case

LEAST: Final = 1e-3
"""A requirement that decides nothing has no part of the budget, and still a limit to show."""


def obeyed(
    name: str, patterns: Sequence[Pattern], model: Scorer, case: Case, failing: Failing = "rejects"
) -> list[Check]:
    """One check per pattern that has rows to be stamped on; null and limit as in `rollback.gates.pattern.recovered`."""
    holdout = case.trial.holdout
    rng = case.rng("patterns")  # the same rows and random patterns for all requirements
    rows = rng.permutation(len(holdout))
    x, y = holdout.x[rows], holdout.y[rows]
    able = [p for p in patterns if np.any(y != p.target)]
    if not able:
        return []
    base = [*case.trial.reseeds, *case.trial.parts]
    null = noise(random_patterns(able, x, y, rng), x, y, base)
    own = own_limits(able, x, y, base, max(case.error_rate, LEAST) / len(able))
    checks = recovered(name, able, swaps(able, x, y, model, base), null, case.error_rate, own)
    return [replace(check, why=_why(p, case), failing=failing) for p, check in zip(able, checks, strict=True)]


def _why(pattern: Pattern, case: Case) -> str:
    schema = case.trial.holdout.schema
    named = zip(pattern.columns, pattern.values, strict=True)
    values = ", ".join(f"{schema.names[j]} = {schema.features[j].show(v)}" for j, v in named)
    return (
        f"the share of trusted rows of other classes that are taken for {schema.classes[pattern.target]} once they "
        f"carry {values}, beyond the mean of models of the trusted base; the limit is what these differ by on random "
        "patterns"
    )
