"""Rows as points: one scale for numbers and categories, so that a distance between mixed rows means something."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Floats, Places
from detectors.schema import Schema

_CATEGORY: Final = 0.35  # squared distance of two categories; two binary values lie 0.25 apart at most, ranks up to 1
_MOST_CODES: Final = 16  # vocabularies beyond this get random codes of so many signs, nearly as far apart
_MOST_WIDTH: Final = 128  # wider rows are projected (Johnson & Lindenstrauss 1984): distances stay within about 10 %


class Embedding:
    """Numeric and binary features by their mid-rank in the reference (0 to 1), categories as codes, missing at -0.5.

    Ranks make distances indifferent to units and heavy tails, and a value that the reference hardly ever has lies half
    a unit away from the usual one.

    >>> from detectors.schema import Feature
    >>> x = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> schema = Schema((Feature("n"), Feature("c", "categorical", ("a", "b"))), ("good", "bad"))
    >>> Embedding(schema, x, np.random.default_rng(0)).place(x).shape
    (3, 3)
    """

    def __init__(self, schema: Schema, x: Floats, rng: np.random.Generator) -> None:
        kinds = [f.kind for f in schema.features]
        self._numbers = [j for j, kind in enumerate(kinds) if kind != "categorical"]
        self._sorted = [np.sort(x[np.isfinite(x[:, j]), j]) for j in self._numbers]
        self._codes = [
            (j, _codes(len(f.vocabulary), rng)) for j, f in enumerate(schema.features) if f.kind == "categorical"
        ]
        width = len(self._numbers) + sum(codes.shape[1] for _, codes in self._codes)
        self._project = (
            (rng.normal(size=(width, _MOST_WIDTH)) / np.sqrt(_MOST_WIDTH)).astype(np.float32)
            if width > _MOST_WIDTH
            else None
        )

    def place(self, x: Floats) -> Places:
        """Coordinates [n, m] of rows x[n, d], as float32."""
        parts = [self._rank(x[:, j], known)[:, None] for j, known in zip(self._numbers, self._sorted, strict=True)]
        parts += [_look_up(x[:, j], codes) for j, codes in self._codes]
        out = np.concatenate(parts, axis=1).astype(np.float32)
        return out if self._project is None else np.asarray(out @ self._project, np.float32)

    @staticmethod
    def _rank(values: Floats, known: Floats) -> Floats:
        finite = np.isfinite(values)
        if not len(known):
            return np.where(finite, 0.5, -0.5)
        safe = np.where(finite, values, known[0])
        below = np.searchsorted(known, safe, "left")
        up_to = below.copy()
        tied = np.flatnonzero(known[np.minimum(below, len(known) - 1)] == safe)  # few: a second search only for these
        up_to[tied] = np.searchsorted(known, safe[tied], "right")
        return np.asarray(np.where(finite, (below + up_to) / (2 * len(known)), -0.5), np.float64)


def _codes(size: int, rng: np.random.Generator) -> Floats:
    """A point for each category and, last, one for what is missing or unseen."""
    if size <= _MOST_CODES:
        return np.asarray(np.concatenate([np.eye(size), np.zeros((1, size))]) * np.sqrt(_CATEGORY / 2), np.float64)
    signs = rng.choice([-1.0, 1.0], size=(size + 1, _MOST_CODES))
    return np.asarray(signs * np.sqrt(_CATEGORY / (2 * _MOST_CODES)), np.float64)


def _look_up(values: Floats, codes: Floats) -> Floats:
    last = len(codes) - 1
    known = np.isfinite(values) & (values >= 0) & (values < last)
    return np.asarray(codes[np.where(known, np.nan_to_num(values), last).astype(np.int64)], np.float64)
