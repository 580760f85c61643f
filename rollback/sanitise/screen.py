"""The seam to screens: one file each in this package, found by its name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from detectors.batch import Bools, Floats, Strings
from rollback.sanitise.case import Case
from rollback.sanitise.rows import Progress, Rows, Slice, Suspects


@dataclass(frozen=True, slots=True)
class Findings:
    """What one screen says of n new rows: ``removed`` bool[n], ``score`` and ``reason`` [n] of those it removes.

    ``held_back`` are slices that no counterexamples were made of. ``suspects`` are rows that it would remove if it knew
    that rows like those it removes are poison.
    """

    removed: Bools
    score: Floats
    reason: Strings
    slices: tuple[Slice, ...] = ()
    counterexamples: Rows | None = None
    remarks: tuple[str, ...] = ()
    held_back: tuple[Slice, ...] = ()
    suspects: Suspects | None = None

    @classmethod
    def of(cls, removed: Bools, score: Floats, reason: Strings, **more: Any) -> Findings:
        """The same; score and reason are blanked for rows that stay."""
        return cls(removed, np.where(removed, score, np.nan), np.where(removed, reason, ""), **more)


class Screen(ABC):
    """Finds rows to remove. A module ``NAME.py`` of this package with a screen has a dataclass ``Parameters`` too.

    The constructor takes those parameters. The same case gives the same findings, whatever the order of the rows.
    """

    name: ClassVar[str]
    """The file's name; also its name in the settings."""

    @property
    @abstractmethod
    def error_rate(self) -> float:
        """The stated share of clean new rows that it removes on average, when they are drawn like the base."""

    @abstractmethod
    def find(self, case: Case, progress: Progress) -> Findings:
        """Judge the new rows."""


def screen_classes() -> dict[str, tuple[type[Screen], type[Any]]]:
    """Every screen in this package: name -> (class, its ``Parameters``), sorted by name."""
    import rollback.sanitise as package  # noqa: PLC0415 - the package that holds this module

    found: dict[str, tuple[type[Screen], type[Any]]] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for _, item in inspect.getmembers(module, inspect.isclass):
            if issubclass(item, Screen) and item is not Screen and item.__module__ == module.__name__:
                found[info.name] = (item, module.Parameters)
    return found


def make_screens(parameters: Mapping[str, Any]) -> list[Screen]:
    """All screens; those in ``parameters`` with theirs, the others with their defaults."""
    # the ABC states this constructor in words
    return [cls(parameters.get(name) or defaults()) for name, (cls, defaults) in screen_classes().items()]  # type: ignore[call-arg]
