"""Wrong labels: random noise, or one class given as another; anywhere, or where a mask (a source, a family) says.

Source: H. Xiao, H. Xiao, C. Eckert, "Adversarial Label Flips Attack on Support Vector Machines", ECAI 2012.
"""

from __future__ import annotations

import math

import numpy as np

from detectors.batch import Bools, Ints
from rollback.redteam.backdoor import pick_rows


def flip_random(
    y: Ints, *, classes: int, rate: float, rng: np.random.Generator, among: Bools | None = None
) -> tuple[Ints, Bools]:
    """Give ceil(``rate`` m) of the m labelled rows (in ``among``) another class at random: new y, which rows changed.

    >>> y, flipped = flip_random(np.zeros(8, dtype=np.int64), classes=2, rate=0.25, rng=np.random.default_rng(0))
    >>> int(y.sum()), int(flipped.sum())
    (2, 2)
    """
    eligible = y >= 0 if among is None else among & (y >= 0)
    rows = pick_rows(eligible, math.ceil(rate * np.count_nonzero(eligible)), rng)
    flipped = y.copy()
    flipped[rows] = (y[rows] + rng.integers(1, classes, np.count_nonzero(rows))) % classes
    return flipped, rows


def flip_targeted(
    y: Ints, *, victim: int, target: int, rate: float, rng: np.random.Generator, among: Bools | None = None
) -> tuple[Ints, Bools]:
    """Label ceil(``rate`` m) of the m rows of class ``victim`` (in ``among``) as ``target``: new y, which changed.

    Raises `ValueError` where victim and target are the same class.
    """
    if victim == target:
        raise ValueError(f"victim and target are both class {victim}: nothing would be flipped")
    eligible = y == victim if among is None else among & (y == victim)
    rows = pick_rows(eligible, math.ceil(rate * np.count_nonzero(eligible)), rng)
    flipped = y.copy()
    flipped[rows] = target
    return flipped, rows
