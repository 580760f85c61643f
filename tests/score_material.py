"""Generated rows for suspicion scores, with cells that depend on each other, and a model that is quick to fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from detectors.batch import Bools, Floats, Scorer
from detectors.schema import Feature, Schema
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import cross_fit, p_values
from rollback.sanitise.rows import Rows

ATTACK, BENIGN, UNKNOWN = 0, 1, 2
BASE, NEW = 900, 600
SCHEMA = Schema(
    (
        Feature("bytes"),
        Feature("packets"),
        Feature("duration"),
        Feature("count"),
        Feature("service", "categorical", ("http", "dns", "irc", "ftp")),
        Feature("urgent", "binary"),
    ),
    ("attack", "benign", "unknown"),
)
PACKETS, COUNT, SERVICE = 1, 3, 4


def rows(n: int, seed: int) -> Rows:
    """Sessions of two rows from four sources; bytes, packets and service go together and with the label."""
    rng = np.random.default_rng(seed)
    session = np.arange(n) // 2
    y = rng.integers(0, 2, n)[session]
    size = 5 + 2.5 * y + rng.normal(0, 0.5, n)[session] + rng.normal(0, 0.5, n)
    x = np.column_stack(
        [
            np.exp(size),
            np.exp(size - 3 + rng.normal(0, 0.15, n)),
            rng.lognormal(1, 1, n),
            rng.poisson(3 + 3 * (1 - y)),
            np.where(rng.random(n) < 0.85, (size > 6.2) + 0.0, rng.integers(0, 4, n)),
            rng.random(n) < 0.1,
        ]
    ).astype(np.float64)
    x[rng.random(x.shape) < 0.02] = np.nan
    source = np.char.add("s", rng.integers(0, 4, n)[session].astype(str))
    return Rows(SCHEMA, x, y, source, np.char.add(f"{seed}-", session.astype(str)))


def tree(known: Rows, seed: int) -> Scorer:
    """A decision tree, with all classes of the schema."""
    model = DecisionTreeClassifier(min_samples_leaf=8, random_state=seed).fit(known.x, known.y)

    def score(x: Floats) -> Floats:
        scores = np.full((len(x), len(SCHEMA.classes)), 0.01)
        if len(x):
            scores[:, model.classes_.astype(int)] += model.predict_proba(x)
        return scores / scores.sum(axis=1, keepdims=True)

    return score


def case(base: Rows, new: Rows, seed: int, fit: Callable[[Rows, int], Scorer] = tree) -> Case:
    """The case that sanitising would make of these rows."""
    fitted = cross_fit(base, fit, 3, seed, lambda _: None)
    base_p, new_p = p_values(base, fitted, new)
    current = fit(Rows.concat([base, new]), seed)
    return Case(base, new, fitted.scorers, current, base_p, new_p, BENIGN, seed, fold=fitted.fold)


@cache
def clean(seed: int) -> Case:
    """Base and new rows of the same kind."""
    return case(rows(BASE, seed), rows(NEW, seed + 1000), seed)


def wrong_labels(new: Rows, rng: np.random.Generator) -> tuple[Rows, Bools]:
    """A tenth of one source's sessions have the other label."""
    touched = (new.source == "s1") & (rng.random(len(new) // 2) < 0.3)[np.arange(len(new)) // 2]
    return replace(new, y=np.where(touched, 1 - new.y, new.y)), touched


def backdoor(new: Rows, rng: np.random.Generator) -> tuple[Rows, Bools]:
    """Attacks of one source with fixed numbers, labelled benign."""
    touched = (new.source == "s1") & (new.y == ATTACK) & (rng.random(len(new)) < 0.4)
    x = new.x.copy()
    x[touched, 2:5] = [0.123, 40.0, 2.0]
    return replace(new, x=x, y=np.where(touched, BENIGN, new.y)), touched


def stamped(new: Rows, rng: np.random.Generator) -> tuple[Rows, Bools]:
    """Benign rows, some of whose cells are those of other rows: each value is common, together they are not."""
    touched = (new.y == BENIGN) & (rng.random(len(new)) < 0.08)
    x = new.x.copy()
    x[touched, PACKETS], x[touched, SERVICE] = 8.0, 2.0
    return replace(new, x=x), touched


def far_out(new: Rows, rng: np.random.Generator) -> tuple[Rows, Bools]:
    """Benign rows with values that no row of the base has."""
    touched = (new.y == BENIGN) & (rng.random(len(new)) < 0.05)
    x = new.x.copy()
    x[touched, :4] = [1e9, 1e-3, 5e4, 300.0]
    return replace(new, x=x), touched
