"""What a classifier's columns mean: feature names and kinds, vocabularies and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["numeric", "categorical", "binary"]

UNSEEN: Final = -1.0
"""The code of a categorical value that the vocabulary does not hold: evidence, not an error. Missing is NaN."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column.

    ``kind`` is numeric, binary (a number with two values) or categorical (coded by position in ``vocabulary``).
    """

    name: str
    kind: Kind = "numeric"
    vocabulary: tuple[str, ...] = ()

    def show(self, value: float) -> str | float | None:
        """The value as a person writes it: a category's name, a number, None where it is missing.

        >>> Feature("service", "categorical", ("http", "dns")).show(1.0)
        'dns'
        >>> Feature("service", "categorical", ("http", "dns")).show(UNSEEN)
        '<unseen>'
        """
        if value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
            return None
        if self.kind != "categorical":
            return float(value)
        code = int(value)
        return self.vocabulary[code] if 0 <= code < len(self.vocabulary) else "<unseen>"


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one model version, in the order in which the model reads them."""

    features: tuple[Feature, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [f.name for f in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"feature names repeat: {sorted(n for n in names if names.count(n) > 1)}")
        if len(self.classes) < 2:  # noqa: PLR2004 - a classifier tells at least two classes apart
            raise ValueError(f"a classifier has at least two classes, got {list(self.classes)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in order."""
        return tuple(f.name for f in self.features)
