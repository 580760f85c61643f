"""The values that move the candidate most, and models of the trusted base least, found by greedy search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.batch import Floats, Scorer
from rollback.gates.check import Figure, Finding
from rollback.gates.pattern import Pattern
from rollback.gates.requirement import Case, Requirement

ROWS: Final = 48
VALUES: Final = 4
STEPS: Final = 3
JUDGES: Final = 3


class TriggerSearch(Requirement):
    """A figure: measured, the best difference of clean candidates overlaps that of poisoned ones."""

    name = "trigger_search"
    share = 0.0

    def judge(self, case: Case) -> Sequence[Finding]:
        """One figure: the best swap to the benign class (else the most frequent) with at most `STEPS` values."""
        y, schema = case.trial.holdout.y, case.trial.holdout.schema
        target = int(np.bincount(y).argmax()) if case.trial.benign is None else case.trial.benign
        rng = case.rng(self.name)
        x = rng.permutation(case.trial.holdout.x[y != target])[:ROWS]
        own = case.trial.holdout.x[y == target]
        best, swap = search(x, own, target, case.trial.candidate, case.trial.reseeds[:JUDGES], rng)
        values = ", ".join(
            f"{schema.names[j]} = {schema.features[j].show(v)}" for j, v in zip(best.columns, best.values, strict=True)
        )
        why = (
            f"the share of rows that {values or 'no value'} moves to {schema.classes[target]} in the candidate, beyond "
            "the mean of models of the trusted base. Clean candidates reach as much as poisoned ones, so that it "
            "decides nothing"
        )
        return [Figure(self.name, swap, why)]


def search(
    x: Floats, own: Floats, target: int, candidate: Scorer, base: Sequence[Scorer], rng: np.random.Generator
) -> tuple[Pattern, float]:
    """Greedily the values of ``own`` [m, d] (rows of the target) that move rows ``x`` [n, d] most, and by how much."""
    best, swap = Pattern("search", target, (), ()), 0.0
    options = [
        (j, v)
        for j in range(own.shape[1])
        for v in np.unique(rng.choice(own[:, j], VALUES)).tolist()
        if np.isfinite(v) and v >= 0
    ]
    for _ in range(STEPS):
        tried = [
            Pattern("search", target, (*best.columns, j), (*best.values, v))
            for j, v in options
            if j not in best.columns
        ]
        if not tried or not len(x):
            break
        shares = _moved(np.concatenate([p.stamp(x) for p in tried]), len(tried), target, [candidate, *base])
        swaps = shares[0] - shares[1:].mean(axis=0)
        if swaps.max() <= swap:
            break
        best, swap = tried[int(swaps.argmax())], float(swaps.max())
    return best, swap


def _moved(stamped: Floats, count: int, target: int, models: Sequence[Scorer]) -> Floats:
    return np.array([(m(stamped).argmax(axis=1) == target).reshape(count, -1).mean(axis=1) for m in models])
