"""The seam to suspicion scores: one file each in this package, found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from rollback.sanitise import scores
from rollback.sanitise.conformal import Suspicion
from rollback.sanitise.material import Material


class Score(ABC):
    """Says how suspicious rows are. A module ``NAME.py`` of this package holds one class, which needs no arguments.

    Higher is more suspicious. Base rows are rated as if they were new: by what has not seen them, or with the same part
    in it as the new rows have. Then `conformal.calibrate` turns any score into p-values. The same material gives the
    same scores.
    """

    name: ClassVar[str]
    """The file's name."""
    says: ClassVar[str]
    """What it says against a row, as the reason of a removal."""

    judges_label: ClassVar[bool] = True
    """Whether it rates the label of a row. If not, it rates how unusual the values are, which honest news is too."""

    @abstractmethod
    def rate(self, material: Material) -> Suspicion:
        """Suspicion of every base row and every new row."""


def score_names() -> list[str]:
    """Every score, by the names of the files; nothing is imported (some need scikit-learn)."""
    return sorted(m.name for m in pkgutil.iter_modules(scores.__path__) if m.name != "score")


def make_scores(names: Iterable[str]) -> list[Score]:
    """The scores of these names, in this order. Raises `ValueError` for a name that no file has."""
    return [_class(name)() for name in names]


def _class(name: str) -> type[Score]:
    if name not in score_names():
        raise ValueError(f"no score {name!r}; there are {', '.join(score_names())}")
    module = importlib.import_module(f"{scores.__name__}.{name}")
    found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Score) and c is not Score]
    return found[0]
