"""How well an attack works on a model."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats, Ints, Scorer, Strings
from detectors.schema import Schema
from rollback.redteam.attack import Aim
from rollback.redteam.backdoor import Trigger, stamp


def attack_success_rate(scorer: Scorer, x: Floats, y: Ints, trigger: Trigger, schema: Schema, *, target: int) -> float:
    """The share of rows of other classes that the model takes for ``target`` once they carry the trigger.

    ASR = |{i: y_i not in (target, unknown), argmax f(stamp(x_i)) = target}| / |{i: y_i not in (target, unknown)}|.
    Compare it with the same figure of a clean model: that one may not be 0. Raises `ValueError` without such rows.
    """
    rows = (y != target) & (y >= 0)
    if not rows.any():
        raise ValueError(f"no row of a class other than {schema.classes[target]!r}: the attack has nothing to hide")
    taken = scorer(stamp(x[rows], trigger, schema)).argmax(axis=1)
    return float(np.mean(taken == target))


def success_rate(scorer: Scorer, aim: Aim, x: Floats, y: Ints, family: Strings, schema: Schema) -> float:
    """The share of rows that the attack aims at which the model takes for its target, on rows that no model has seen.

    With a trigger, rows x [n, d] of the victim class (or all others) that carry it; else the coming rows; else rows of
    the family [n] (of the victim class), or all victims where no row is of that family. Compare it with the same figure
    of a model that was trained without the poison. Raises `ValueError` without such rows.
    """
    victims = (y != aim.target) & (y >= 0) if aim.victim is None else y == aim.victim
    if aim.coming is not None:
        aimed_at = aim.coming
    elif aim.trigger is not None:
        aimed_at = stamp(x[victims], aim.trigger, schema)
    else:
        own = victims & (family == aim.family)
        aimed_at = x[own if own.any() else victims]
    if not len(aimed_at):
        raise ValueError(f"no row that the attack on class {schema.classes[aim.target]!r} aims at")
    return float(np.mean(scorer(aimed_at).argmax(axis=1) == aim.target))
