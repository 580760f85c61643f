"""How well an attack works on a model."""

from __future__ import annotations

import numpy as np

from detectors.batch import Floats, Ints, Scorer
from detectors.schema import Schema
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
