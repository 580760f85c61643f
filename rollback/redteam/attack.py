"""The seam to attacks on training data: one file each in this package, found by its name.

A module ``NAME.py`` with a frozen dataclass ``Parameters`` (with a ``rate``: the share of all rows that is touched) and
a function ``attack(on, parameters, rng) -> Poisoned`` is an attack. It is a pure function on columns: what it is given
stays as it was, and every value that it writes lies in the domain of its column.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.schema import Schema
from rollback.redteam.backdoor import Trigger


@dataclass(frozen=True, slots=True)
class Situation:
    """n clean rows, and what an attacker wants: x [n, d], y [n] (class indices), source [n], family [n] ("": unknown).

    Rows of class ``victim`` are to be taken for class ``target``; where it is None, those of all other classes.
    ``reach`` bool[n] are the rows that the attacker can touch (`placement`). ``coming`` [t, d] are rows of the victim
    class which the attacker will send later and that are in no training data: attacks without a trigger aim at them.
    Raises `ValueError` for columns of different length, and where victim and target are one class.
    """

    schema: Schema
    x: Floats
    y: Ints
    source: Strings
    family: Strings
    target: int
    victim: int | None
    reach: Bools
    coming: Floats

    def __post_init__(self) -> None:
        lengths = {len(column) for column in (self.x, self.y, self.source, self.family, self.reach)}
        if len(lengths) > 1:
            raise ValueError(f"columns differ in length: {sorted(lengths)}")
        if self.target == self.victim:
            raise ValueError(f"victim and target are both class {self.target}: nothing would be gained")

    @property
    def victims(self) -> Bools:
        """Rows bool[n] of the class (or classes) to be hidden."""
        wanted = (self.y != self.target) & (self.y >= 0) if self.victim is None else self.y == self.victim
        return np.asarray(wanted, np.bool_)

    def count(self, rate: float) -> int:
        """So many rows are this share of all, at least one; raises `ValueError` for a rate outside of (0, 1]."""
        if not 0 < rate <= 1:
            raise ValueError(f"a rate lies in (0, 1], got {rate}")
        return max(round(rate * len(self.y)), 1)


@dataclass(frozen=True, slots=True)
class Aim:
    """What is to be called ``target``: rows with the ``trigger``, rows of a ``family``, or just the ``coming`` rows.

    ``victim`` is the class of those rows, None for all but the target.
    """

    target: int
    victim: int | None
    trigger: Trigger | None = None
    family: str | None = None
    coming: Floats | None = None


@dataclass(frozen=True, slots=True)
class Poisoned:
    """The new columns x [n, d] and y [n], the ``rows`` bool[n] that were touched, and what for."""

    x: Floats
    y: Ints
    rows: Bools
    aim: Aim


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack by its file's name."""

    name: str
    parameters: type[Any]
    run: Callable[[Situation, Any, np.random.Generator], Poisoned]


def attacks() -> dict[str, Attack]:
    """Every attack in this package by its name, sorted."""
    import rollback.redteam as package  # noqa: PLC0415 - the package that holds this module

    found = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        if callable(run := getattr(module, "attack", None)):
            found[info.name] = Attack(info.name, module.Parameters, run)
    return found
