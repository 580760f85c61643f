"""What the release gate says of a candidate: checks that decide, figures that are shown, and what could not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Failing: TypeAlias = Literal["rejects", "holds"]
"""What a failed check means: the candidate may not serve, or a person has to decide first."""


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement: ``value`` may not exceed ``limit``.

    ``error_rate`` is the stated chance that a candidate trained on clean data fails it; None where nothing is left to
    chance. ``why`` says in a sentence what was compared with what.
    """

    name: str
    passed: bool
    value: float
    limit: float
    error_rate: float | None
    why: str = ""
    failing: Failing = "rejects"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured ``value`` that is shown and decides nothing; ``why`` says what it is and why it does not decide."""

    name: str
    value: float
    why: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A requirement that did not run: the reason, and what to give so that it runs."""

    name: str
    reason: str
    give: str


Finding: TypeAlias = Check | Figure | Skipped


def at_most(
    name: str, value: float, limit: float, error_rate: float | None, why: str = "", failing: Failing = "rejects"
) -> Check:
    """The check that ``value`` <= ``limit``; a value that is no number fails.

    >>> at_most("loss", 0.2, 0.1, 0.01).passed
    False
    """
    return Check(name, bool(value <= limit), float(value), float(limit), error_rate, why, failing)
