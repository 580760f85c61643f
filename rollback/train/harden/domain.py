"""What rows can be in the domain: whole numbers stay whole, what is not an attacker's to change stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.batch import Bools, Floats
from detectors.schema import Schema
from rollback.manifest import Bounds
from rollback.train.recipe import RecipeError, TrainingRows

HOLDS: Final = 1e-3
"""A dependent feature that is off by more than this share was not computed as its bounds say: it is left alone."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """Column ``of`` follows from the columns ``parts`` by ``relation`` (positions among the numeric columns)."""

    of: int
    parts: tuple[int, ...]
    relation: str

    def value(self, raw: Tensor) -> Tensor:
        """What it is in rows raw[n,m]."""
        parts = [raw[:, j] for j in self.parts]
        if self.relation == "difference":
            return parts[0] - parts[1]
        if self.relation == "ratio":
            return torch.where(parts[1] == 0, torch.nan, parts[0] / parts[1])
        stacked = torch.stack(parts)
        return stacked.sum(dim=0) if self.relation == "sum" else stacked.prod(dim=0)


@dataclass(frozen=True, slots=True)
class Domain:
    """``low``, ``high``, ``integer`` and ``fixed`` [m] of the numeric columns, and those that follow from others."""

    low: Floats
    high: Floats
    integer: Bools
    fixed: Bools
    dependents: tuple[Dependent, ...] = ()

    def within(self, original: Tensor, moved: Tensor) -> Tensor:
        """Rows moved[n,m] brought back into the domain of the rows original[n,m] that they were made from.

        What is immutable or missing stays; other numbers stay within their bounds (or no further outside of them than
        they were), whole ones are rounded towards where they came from; dependent ones are computed anew. A row whose
        dependent number would leave its bounds stays as it was, and so do parts of relations that do not hold in it.
        """
        low = torch.minimum(_like(self.low, original), original)
        high = torch.maximum(_like(self.high, original), original)
        moved = torch.maximum(torch.minimum(moved, high), low)
        whole = torch.where(moved >= original, moved.floor(), moved.ceil())
        moved = torch.where(_like(self.integer, original).bool(), _towards(original, whole, moved), moved)
        stays = original.isnan() | moved.isnan() | _like(self.fixed, original).bool()
        moved = torch.where(stays, original, moved)
        for dependent in self.dependents:  # first, for two relations may share a part
            moved = _let_alone(dependent, original, moved)
        follows, inside = moved, torch.ones(len(moved), dtype=torch.bool, device=moved.device)
        for dependent in self.dependents:
            follows, within = _follow(dependent, original, follows, low, high)
            inside = inside & within
        return torch.where(inside[:, None], follows, original)


def _towards(original: Tensor, whole: Tensor, moved: Tensor) -> Tensor:
    """``whole`` unless it lies beyond where the number came from (which was no whole one)."""
    beyond = (whole - original).sign() * (moved - original).sign() < 0
    return torch.where(beyond, original, whole)


def _let_alone(dependent: Dependent, original: Tensor, moved: Tensor) -> Tensor:
    """The rows with the parts of the relation as they were where it does not hold."""
    changed = [dependent.of, *dependent.parts]
    back = moved.clone()
    back[:, changed] = original[:, changed]
    return torch.where(_holds(dependent, original)[:, None], moved, back)


def _follow(dependent: Dependent, original: Tensor, moved: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The rows with one dependent column computed anew where the relation holds, and whether it is within bounds."""
    j, holds = dependent.of, _holds(dependent, original)
    value = torch.where(holds, dependent.value(moved), original[:, j])
    follows = moved.clone()
    follows[:, j] = value
    return follows, ~holds | ((value >= low[:, j]) & (value <= high[:, j]))


def _holds(dependent: Dependent, original: Tensor) -> Tensor:
    """In which rows the column is what the relation says; in none where something is missing."""
    column = original[:, dependent.of]
    return (dependent.value(original) - column).abs() <= HOLDS * column.abs().clamp(min=1.0)


def _like(values: NDArray[np.generic], rows: Tensor) -> Tensor:
    return torch.tensor(values, dtype=rows.dtype, device=rows.device)


def domain_of(rows: TrainingRows) -> Domain:
    """The bounds that were said, and where none were, those of the rows (trusted ones alone where some are marked).

    Raises `RecipeError` for bounds that contradict the schema.
    """
    columns = [j for j, f in enumerate(rows.schema.features) if f.kind != "categorical"]
    names = [rows.schema.features[j].name for j in columns]
    said = _checked(rows.bounds, rows.schema, names)
    believed = rows.x if rows.trusted is None or not rows.trusted.any() else rows.x[rows.trusted]
    values = np.ma.masked_invalid(believed[:, columns])
    low, high = values.min(axis=0).filled(0.0), values.max(axis=0).filled(0.0)
    integer = np.all(values == np.round(values), axis=0).filled(fill_value=False)
    fixed = np.zeros(len(columns), dtype=np.bool_)
    dependents = []
    for i, name in enumerate(names):
        own = said.get(name)
        if own is None:
            continue
        low[i] = low[i] if own.low is None else own.low
        high[i] = high[i] if own.high is None else own.high
        integer[i] = integer[i] if own.integer is None else own.integer
        fixed[i] = own.immutable or own.relation is not None
        if own.relation is not None:
            dependents.append(Dependent(i, tuple(names.index(part) for part in own.depends_on), own.relation))
    return Domain(low, high, np.asarray(integer, dtype=np.bool_), fixed, tuple(dependents))


def _checked(said: Mapping[str, Bounds], schema: Schema, numeric: list[str]) -> Mapping[str, Bounds]:
    dependents = {name for name, own in said.items() if own.relation is not None}
    for name, own in said.items():
        if name not in schema.names:
            raise RecipeError(f"bounds: {name!r} is no feature; there are: {', '.join(schema.names)}")
        if name not in numeric and (own.relation or own.low is not None or own.high is not None or own.integer):
            raise RecipeError(f"bounds: {name!r} is categorical, and can be immutable alone")
        for part in own.depends_on:
            if part not in numeric or part in dependents:
                raise RecipeError(f"bounds: {name!r} depends on {part!r}, which is no number that stands for itself")
    return said
