"""Rows as points: one scale for numbers and categories, so that a distance between mixed rows means something."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Places
from detectors.bursts.rank_table import RankTable
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
        self._numbers = np.array([j for j, kind in enumerate(kinds) if kind != "categorical"], np.int64)
        self._ranks = RankTable(x[:, self._numbers])
        named = [(j, len(f.vocabulary)) for j, f in enumerate(schema.features) if f.kind == "categorical"]
        self._few = np.array([j for j, size in named if size <= _MOST_CODES], np.int64)
        self._sizes = np.array([size for _, size in named if size <= _MOST_CODES], np.int64)
        self._many = [(j, _signs(size, rng)) for j, size in named if size > _MOST_CODES]
        self._first = len(self._numbers) + np.cumsum(self._sizes) - self._sizes
        self._width = len(self._numbers) + int(self._sizes.sum()) + _MOST_CODES * len(self._many)
        self._project = (
            (rng.normal(size=(self._width, _MOST_WIDTH)) / np.sqrt(_MOST_WIDTH)).astype(np.float32)
            if self._width > _MOST_WIDTH
            else None
        )

    def place(self, x: Floats) -> Places:
        """Coordinates [n, m] of rows x[n, d], as float32."""
        out = np.zeros((len(x), self._width), np.float32)
        out[:, : len(self._numbers)] = self._ranks.of(x[:, self._numbers])
        code, known = _codes(x[:, self._few], self._sizes)
        one = self._first + code + self._width * np.arange(len(x))[:, None]
        out.ravel()[one[known]] = np.sqrt(_CATEGORY / 2)
        start = self._width - _MOST_CODES * len(self._many)
        for i, (j, signs) in enumerate(self._many):
            begin, last = start + i * _MOST_CODES, np.array([len(signs) - 1])
            code, known = _codes(x[:, j : j + 1], last)
            out[:, begin : begin + _MOST_CODES] = signs[np.where(known, code, last)[:, 0]]
        return out if self._project is None else np.asarray(out @ self._project, np.float32)


def _codes(values: Floats, sizes: Ints) -> tuple[Ints, Bools]:
    """Categories [n, c] as whole numbers (0 where not known), and which are known: neither missing nor unseen."""
    known = (values >= 0) & (values < sizes)
    return np.where(known, values, 0).astype(np.int64), known


def _signs(size: int, rng: np.random.Generator) -> Places:
    """A point for each category and, last, one for what is missing or unseen."""
    signs = rng.choice([-1.0, 1.0], size=(size + 1, _MOST_CODES))
    return np.asarray(signs * np.sqrt(_CATEGORY / (2 * _MOST_CODES)), np.float32)
