"""Does the candidate still obey a pattern that was found? Compared with models that have never seen new data.

The swap of a pattern (feature values and the label that they are to bring) is the share of trusted rows of other
classes that the candidate takes for that label once the values are stamped on them, minus the same share for the mean
of models of the trusted base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.special import stdtrit

from detectors.batch import Floats, Ints, Scorer
from detectors.schema import Schema
from rollback.gates.check import Check, at_most

DONORS: Final = 150
"""So many trusted rows of other classes are stamped."""
RANDOM_PATTERNS: Final = 400
"""So many random patterns give the null distribution."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Values of some columns that are to bring class ``target``; ``name`` says where it was found."""

    name: str
    target: int
    columns: tuple[int, ...]
    values: tuple[float, ...]

    def stamp(self, x: Floats) -> Floats:
        """A copy of ``x`` [n, d] in which every row carries the pattern."""
        stamped = x.copy()
        stamped[:, self.columns] = self.values
        return stamped


def pattern_of(name: str, features: Mapping[str, Any], target: int, schema: Schema, x: Floats) -> Pattern | None:
    """Features {name: value, or [low, high]} as a pattern; None where none of them is in the schema.

    A range stands for the median of the values in ``x`` [n, d] that it holds, or of its own ends. A category that the
    vocabulary does not hold, and null, are left out: a model of this schema cannot tell them from other unseen values.
    """
    found: dict[int, float] = {}
    for feature, value in features.items():
        if feature in schema.names:
            j = schema.names.index(feature)
            code = _code(value, schema.features[j].vocabulary, x[:, j])
            if code is not None:
                found[j] = code
    return Pattern(name, target, tuple(found), tuple(found.values())) if found else None


def _code(value: Any, vocabulary: tuple[str, ...], column: Floats) -> float | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _inside(value, column)
    if vocabulary:
        return float(vocabulary.index(str(value))) if str(value) in vocabulary else None
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _inside(ends: Sequence[float | None], column: Floats) -> float | None:
    """The median of the values between two ends, of which null is open; else an end."""
    low, high = ends
    inside = column[(column >= (-np.inf if low is None else low)) & (column <= (np.inf if high is None else high))]
    if len(inside):
        return float(np.sort(inside)[len(inside) // 2])
    return next((float(end) for end in ends if end is not None and np.isfinite(end)), None)


def swaps(patterns: Sequence[Pattern], x: Floats, y: Ints, candidate: Scorer, base: Sequence[Scorer]) -> Floats:
    """The swap of each pattern [P], on rows ``x`` [n, d] of classes ``y`` [n] that are not of the pattern's own."""
    moved = _moved(patterns, x, y, [candidate, *base])
    return np.asarray(moved[0] - moved[1:].mean(axis=0), dtype=np.float64)


def noise(patterns: Sequence[Pattern], x: Floats, y: Ints, base: Sequence[Scorer]) -> Floats:
    """The swaps [K P] that each of K models of the base has against the mean of the others."""
    moved = _moved(patterns, x, y, base)
    others = (moved.sum(axis=0) - moved) / (len(base) - 1)
    return np.asarray(moved - others, dtype=np.float64).ravel()


def _moved(patterns: Sequence[Pattern], x: Floats, y: Ints, models: Sequence[Scorer]) -> Floats:
    """The share of rows of other classes that each model takes for the pattern's class [models, P]."""
    moved = np.zeros((len(models), len(patterns)))
    for p, pattern in enumerate(patterns):
        stamped = pattern.stamp(x[y != pattern.target][:DONORS])
        moved[:, p] = [np.mean(model(stamped).argmax(axis=1) == pattern.target) for model in models]
    return moved


def random_patterns(like: Sequence[Pattern], x: Floats, y: Ints, rng: np.random.Generator) -> list[Pattern]:
    """Patterns of the sizes and labels of ``like``: random columns, each with a random value of rows of that label.

    Every distinct value is as likely as any other, so that rare ones are as frequent as in triggers.
    """
    seen: dict[tuple[int, int], Floats] = {}
    for target in {pattern.target for pattern in like}:
        own = x[y == target] if np.any(y == target) else x
        seen |= {(target, j): np.unique(own[own[:, j] >= 0, j]) for j in range(x.shape[1])}
    made = []
    for i in range(RANDOM_PATTERNS):
        model = like[i % len(like)]
        usable = [j for j in range(x.shape[1]) if len(seen[model.target, j])]
        columns = rng.choice(usable, size=min(len(model.columns), len(usable)), replace=False).tolist()
        values = tuple(float(rng.choice(seen[model.target, j])) for j in columns)
        made.append(Pattern("random", model.target, tuple(columns), values))
    return made


def own_limits(patterns: Sequence[Pattern], x: Floats, y: Ints, base: Sequence[Scorer], error_rate: float) -> Floats:
    """What the swap of one more model of the base exceeds with probability ``error_rate`` [P], by each pattern's own.

    As `rollback.gates.noise.prediction_limit` of the K models' shares. The least spread is that of the donors.
    """
    shares = _moved(patterns, x, y, base)
    k = len(base)
    spread = np.maximum(shares.std(axis=0, ddof=1), 1 / DONORS)
    return np.asarray(float(stdtrit(k - 1, 1 - error_rate)) * spread * np.sqrt(1 + 1 / k), np.float64)


def recovered(
    name: str, patterns: Sequence[Pattern], found: Floats, null: Floats, error_rate: float, own: Floats | None = None
) -> list[Check]:
    """One check per pattern: its swap (``found`` [P]) may not exceed what models of the base differ by (``null`` [N]).

    Null: the candidate differs from the mean model of the base as these models differ from each other, on random
    patterns. The limit is the k-th largest of the N values, k = floor(a (N + 1)) >= 1, exceeded with probability at
    most max(a, 1 / (N + 1)), where P patterns share the error rate: a = ``error_rate`` / P. Source: conformal p-values,
    G. Shafer and V. Vovk, "A Tutorial on Conformal Prediction", JMLR 9 (2008). The null is not taken from the
    candidate: a backdoor opens to many random patterns as well. What honest new data teaches is no part of it.

    The N values are of few models, and those of one model go together. So the limit is at least what the models of the
    base differ by on the pattern itself (``own`` [P], of `own_limits`): where they disagree, a candidate may too.
    """
    each = error_rate / max(len(patterns), 1)
    k = max(int(each * (len(null) + 1)), 1)
    limit = float(np.sort(null)[-k])
    rate = max(each, k / (len(null) + 1))
    limits = np.full(len(patterns), limit) if own is None else np.maximum(own, limit)
    return [
        at_most(f"{name}.{p.name}", swap, most, rate)
        for p, swap, most in zip(patterns, found.tolist(), limits.tolist(), strict=True)
    ]
