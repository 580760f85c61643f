"""Where an event lies between the classes: its distances to the reference's own class and to the others."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Places, Reference
from detectors.bursts.embedding import Embedding
from detectors.nulls.margins import certainty
from detectors.sequential import sessions_of

NEIGHBOURS: Final = 3
MEASURES: Final = (
    "distance to own class",
    "distance to other class",
    "nearer to the other class",
    "sparseness among own",
    "sparseness among others",
    "certainty of f",
    "certainty of g",
    "differs from own",
    "differs from other",
    "like neither",
    "like other only",
    "like own only",
)
"""Columns of `Neighbourhood.measure`."""

_NEAR: Final = 0.02  # ranks closer than this are the same value for the eye
_SMOOTH: Final = 0.1  # distances well below this are alike


class Neighbourhood:
    """A bounded sample of the reference, by class, that rows are measured against.

    The class of a reference row is its true label, g's where that is not known (f's without g). Cost of `measure`: one
    matrix product of n rows with at most ``rows`` points.
    """

    def __init__(self, reference: Reference, rows: int, rng: np.random.Generator) -> None:
        judge = np.where(np.isnan(reference.g).any(axis=1, keepdims=True), reference.f, reference.g)
        y = np.where(reference.y >= 0, reference.y, np.argmax(np.nan_to_num(judge), axis=1))
        code, count = sessions_of(reference.session)
        picked = _spread(y, code, count, rows, rng)
        self.embedding = Embedding(reference.schema, reference.x, rng)
        self.x = reference.x[picked]
        self.y = y[picked]
        self.session = code[picked]
        self.points = self.embedding.place(self.x)
        norm = np.einsum("ij,ij->i", self.points, self.points)
        # |a - b|^2 = (-2 a, |a|^2, 1) (b, 1, |b|^2): one matrix product, and no pass over what it gives
        self._turned = np.ascontiguousarray(np.column_stack([self.points, np.ones_like(norm), norm]).T)
        start = np.searchsorted(self.y, np.arange(len(reference.schema.classes) + 1))
        self._blocks = [(c, slice(a, b)) for c, (a, b) in enumerate(pairwise(start.tolist())) if b > a]
        scale = np.array([max(_spread_of(self.x[:, j]), 1e-12) for j in range(self.x.shape[1])])
        self.categorical = np.array([f.kind == "categorical" for f in reference.schema.features])
        self._filled = _filled(self.x)
        near = _NEAR * scale + 0.05 * np.abs(np.nan_to_num(self.x))
        self._alike = np.where(self.categorical | np.isnan(self.x), 0.0, near)
        self._radius = self._own_radius()

    def __len__(self) -> int:
        return len(self.y)

    def squares(self, at: Places) -> Places:
        """Squared distances [n, len(self)] of places [n, m], as float32."""
        norm = np.einsum("ij,ij->i", at, at)
        return np.asarray(np.column_stack([-2 * at, norm, np.ones_like(norm)]) @ self._turned)

    def measure(self, x: Floats, f: Floats, g: Floats, squares: Places) -> Floats:
        """The `MEASURES` [n, 12] of rows with their scores.

        ``squares`` are those of `squares`, inf where a point is barred; they are used up.
        """
        called = np.argmax(f, axis=1)
        mean, at = self._by_class(squares)
        column = {c: i for i, (c, _) in enumerate(self._blocks)}
        own_column = np.array([column.get(c, -1) for c in called.tolist()], np.int64)
        each = np.arange(len(x))
        masked = mean.copy()
        has_own = own_column >= 0
        masked[each[has_own], own_column[has_own]] = np.inf
        other_column = np.argmin(masked, axis=1)
        far = float(np.sqrt(self.points.shape[1]))
        own = np.where(has_own, mean[each, own_column], far)
        other = masked[each, other_column]
        own, other = np.minimum(own, far), np.minimum(other, far)
        own_row = np.where(has_own, at[each, own_column], 0)
        other_row = at[each, other_column]
        filled = _filled(x)
        apart, beside = self._differs(filled, own_row), self._differs(filled, other_row)
        return np.column_stack(
            [
                own,
                other,
                (own - other) / (own + other + _SMOOTH),
                np.log((own + _SMOOTH) / (self._radius[own_row] + _SMOOTH)),
                np.log((other + _SMOOTH) / (self._radius[other_row] + _SMOOTH)),
                certainty(f),
                certainty(g),
                apart.mean(axis=1),
                beside.mean(axis=1),
                (apart & beside).mean(axis=1),
                (apart & ~beside).mean(axis=1),
                (~apart & beside).mean(axis=1),
            ]
        )

    def _by_class(self, squares: Places) -> tuple[Places, Ints]:
        """Mean distance to the three nearest points of each class, and the nearest point."""
        mean = np.full((len(squares), len(self._blocks)), np.inf, np.float32)
        at = np.zeros((len(squares), len(self._blocks)), np.int64)
        for i, (_, block) in enumerate(self._blocks):
            row, square = nearest(squares[:, block], NEIGHBOURS)
            at[:, i] = row[:, 0] + block.start
            mean[:, i] = np.sqrt(square).mean(axis=1)
        return mean, at

    def _differs(self, filled: Floats, row: Ints) -> Bools:
        with np.errstate(invalid="ignore"):
            return np.asarray(~(np.abs(filled - self._filled[row]) <= self._alike[row]), np.bool_)

    def _own_radius(self) -> Floats:
        out = np.zeros(len(self))
        for _, block in self._blocks:
            part = self.squares(self.points[block])[:, block]
            part[self.session[block, None] == self.session[block]] = np.inf
            mean = np.sqrt(nearest(part, NEIGHBOURS)[1]).mean(axis=1)
            out[block] = np.where(np.isfinite(mean), mean, 0.5)
        return out


def _filled(x: Floats) -> Floats:
    """Missing as a number that is like no other: missing is like missing."""
    return np.where(np.isnan(x), -1e300, x)


def nearest(squares: Places, most: int) -> tuple[Ints, Places]:
    """Columns [n, k] of the k smallest entries of each row and these, smallest first, at least 0; k = ``most`` at most.

    ``squares`` is used up. A few passes of argmin take a third of the time of a partition.
    """
    each, k = np.arange(len(squares)), min(most, squares.shape[1])
    column, value = np.zeros((len(squares), k), np.int64), np.zeros((len(squares), k), squares.dtype)
    for i in range(k):
        column[:, i] = np.argmin(squares, axis=1)
        value[:, i] = squares[each, column[:, i]]
        squares[each, column[:, i]] = np.inf
    return column, np.maximum(value, 0.0)


def _spread(y: Ints, code: Ints, count: int, rows: int, rng: np.random.Generator) -> Ints:
    """At most ``rows`` rows sorted by class: first one of every session, and of each class alike."""
    order = rng.permutation(len(y))
    seen = np.zeros(count, np.int64)
    turn = np.zeros(len(y), np.int64)
    for i in order.tolist():
        turn[i] = seen[code[i]]
        seen[code[i]] += 1
    classes = np.unique(y)
    share = max(rows // max(len(classes), 1), 1)
    picked = []
    for c in classes.tolist():
        of_class = order[y[order] == c]
        picked.append(of_class[np.argsort(turn[of_class], kind="stable")][:share])
    return np.concatenate(picked) if picked else np.zeros(0, np.int64)


def _spread_of(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, 0.95) - np.quantile(finite, 0.05)) if len(finite) else 0.0
