"""The seam to repairs: one file each in `rollback.repair.repairs`, found by its name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from detectors.batch import Bools, Floats
from rollback.repair.batches import Pair


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would undo a fault of feature ``feature`` in a batch of n rows.

    ``fault`` says what it makes of honest values. ``touched`` bool[n] are the rows to change, ``after`` [n] the values
    then. ``all_rows``: a fault of this kind touches (nearly) all rows. ``why`` describes it.
    """

    repair: str
    feature: int
    fault: Callable[[Floats], Floats]
    touched: Bools
    after: Floats
    all_rows: bool
    why: str


class Repair(ABC):
    """Knows one kind of fault. A module ``NAME.py`` with a repair has a dataclass ``Parameters`` too.

    The constructor takes those parameters. A repair looks at values only, never at labels to choose rows, and proposes:
    whether it is a fault at all is judged for all repairs alike (`rollback.repair.diagnosis`).
    """

    name: ClassVar[str]
    """The file's name."""
    looks: ClassVar[bool] = False
    """Whether it looks for faults of few rows, also where the batch tests find no difference."""

    @abstractmethod
    def propose(self, pair: Pair, feature: int, rng: np.random.Generator) -> Proposal | None:
        """How to undo this fault in a feature of a batch; None where it does not look like it."""


def repair_classes() -> dict[str, tuple[type[Repair], type[Any]]]:
    """Every repair: name -> (class, its ``Parameters``), sorted by name."""
    import rollback.repair.repairs as package  # noqa: PLC0415 - its modules import this one

    found: dict[str, tuple[type[Repair], type[Any]]] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for _, item in inspect.getmembers(module, inspect.isclass):
            if issubclass(item, Repair) and item is not Repair and item.__module__ == module.__name__:
                found[info.name] = (item, module.Parameters)
    return found


def make_repairs(parameters: Mapping[str, Any]) -> list[Repair]:
    """All repairs; those in ``parameters`` with theirs, the others with their defaults."""
    # the ABC states this constructor in words
    return [cls(parameters.get(name) or defaults()) for name, (cls, defaults) in repair_classes().items()]  # type: ignore[call-arg]
