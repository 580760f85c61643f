"""The seam to requirements: one file each in `rollback.gates.requirements`, found by its name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rollback.gates.answers import Answers
from rollback.gates.check import Finding, Skipped
from rollback.gates.trial import GateSettings, Trial


@dataclass(frozen=True, slots=True)
class Case:
    """One trial as every requirement sees it. Requirements change nothing of it.

    ``held`` are the answers of all models to the holdout. ``error_rate`` is this requirement's part of the budget: all
    of its checks together may fail a clean candidate so often. ``seed`` fixes all that it draws.
    """

    trial: Trial
    held: Answers
    error_rate: float
    seed: int
    settings: GateSettings

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of a requirement's own, by its name."""
        return np.random.default_rng([self.seed, *purpose.encode()])


class Requirement(ABC):
    """A family of checks on one candidate. The same case gives the same findings."""

    name: ClassVar[str]
    """The file's name. Its findings are named like it, or like it with a dot and more behind."""
    share: ClassVar[float]
    """Its part of the error budget, in proportion to those of the others that run; 0 where nothing is left to chance.
    More is given to those that find what nothing else does."""
    of_learning: ClassVar[bool] = False
    """Whether its checks say how well the candidate answers: rows that its training lacks can fail them."""

    def missing(self, trial: Trial) -> Skipped | None:
        """What the trial lacks for this requirement; None where it can run, as wherever a holdout is enough."""
        del trial
        return None

    @abstractmethod
    def judge(self, case: Case) -> Sequence[Finding]:
        """Judge; only where nothing is missing."""


def requirement_classes() -> dict[str, type[Requirement]]:
    """Every requirement, by the names of the files, sorted."""
    from rollback.gates import requirements  # noqa: PLC0415 - its modules import this one

    found: dict[str, type[Requirement]] = {}
    for info in sorted(pkgutil.iter_modules(requirements.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{requirements.__name__}.{info.name}")
        for _, item in inspect.getmembers(module, inspect.isclass):
            if issubclass(item, Requirement) and not inspect.isabstract(item) and item.__module__ == module.__name__:
                found[info.name] = item
    return found
