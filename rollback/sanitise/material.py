"""What suspicion scores are computed from: the rows of a case, and what several scores need of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer, Strings
from detectors.sequential import sessions_of
from rollback.sanitise.case import Case
from rollback.sanitise.conformal import Suspicion, cross_entropy, session_folds
from rollback.sanitise.early_training import EarlyTraining, train_early
from rollback.sanitise.encoding import components, encode, plain
from rollback.sanitise.rows import Rows

COMPONENTS: Final = 16

Rate: TypeAlias = Callable[[Ints], Floats]
"""Suspicion [r] of r rows of the pool, by their places in it; or [r, d], of each of their cells."""


@dataclass(frozen=True)
class Material:
    """m trusted rows (``base``) and n rows to judge (``new``); the pool is both in this order.

    ``base_scorers[k]`` was fitted on the base without its rows of ``fold`` [m] k, ``current`` on the whole pool.
    All that is derived is made when it is first asked for, and kept. ``seed`` fixes all that is drawn.
    """

    base: Rows
    new: Rows
    base_scorers: tuple[Scorer, ...]
    fold: Ints
    current: Scorer
    benign: int
    seed: int

    @classmethod
    def of(cls, case: Case) -> Material:
        """The same rows and models as a case's."""
        fold = case.fold
        if fold is None:
            fold = session_folds(case.base, len(case.base_scorers), case.rng("folds"))
        return cls(case.base, case.new, case.base_scorers, fold, case.current, case.benign, case.seed)

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of a score's own, by its name."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    @cached_property
    def x(self) -> Floats:
        """x[m + n, d] of the pool."""
        return np.concatenate([self.base.x, self.new.x])

    @cached_property
    def y(self) -> Ints:
        """The given labels [m + n] of the pool."""
        return np.concatenate([self.base.y, self.new.y])

    @cached_property
    def source(self) -> Strings:
        """The sources [m + n] of the pool."""
        return np.concatenate([self.base.source, self.new.source])

    @cached_property
    def session(self) -> Ints:
        """A number for the session of each row of the pool."""
        base, count = sessions_of(self.base.session)
        new, _ = sessions_of(self.new.session)
        return np.concatenate([base, count + new])

    @cached_property
    def is_base(self) -> Bools:
        """[m + n]: which rows of the pool are trusted."""
        return np.arange(len(self.base) + len(self.new)) < len(self.base)

    @property
    def classes(self) -> int:
        """How many classes the schema has."""
        return len(self.base.schema.classes)

    @cached_property
    def points(self) -> Floats:
        """The pool as points [m + n, D]: `encoding.encode`. Base and new rows have the same part in it."""
        return encode(self.base.schema, self.x)

    @cached_property
    def plain(self) -> Floats:
        """The pool as numbers [m + n, d] for trees: `encoding.plain`."""
        return plain(self.x)

    @cached_property
    def embedded(self) -> Floats:
        """The pool's embedding [m + n, <= 16]: principal components of ``points``; it needs no model."""
        return components(self.points, COMPONENTS)

    @cached_property
    def early(self) -> EarlyTraining:
        """A tiny network in its first epochs on the pool."""
        return train_early(self.points, self.y, self.classes, self.rng("early training"))

    @cached_property
    def loss(self) -> Suspicion:
        """Cross-entropy of the given labels: of base rows by the model that has not seen them, of new ones by each."""
        base = np.zeros(len(self.base))
        for k, out, _ in self.folds():
            base[out] = cross_entropy(self.base_scorers[k](self.base.x[out]), self.base.y[out])
        new = [cross_entropy(scorer(self.new.x), self.new.y) for scorer in self.base_scorers if len(self.new)]
        return Suspicion(base, np.array(new).reshape(len(self.base_scorers), len(self.new)))

    def folds(self) -> Iterator[tuple[int, Ints, Ints]]:
        """Of each fold that has rows: its number, its places in the base, and the places of all other base rows."""
        for k in range(len(self.base_scorers)):
            out = self.fold == k
            if out.any():
                yield k, np.flatnonzero(out), np.flatnonzero(~out)

    def crossed(self, fit: Callable[[Ints], Rate]) -> Suspicion:
        """Fit to the base without each fold in turn (its places are given), and rate that fold and the new rows."""
        m, n = len(self.base), len(self.new)
        base, new = np.zeros(m), []
        for _, out, known in self.folds():
            rate = fit(known)
            base[out] = rate(out)
            new.append(rate(m + np.arange(n)))
        return Suspicion(base, np.array(new).reshape(len(new), n))

    def crossed_cells(self, fit: Callable[[Ints], Rate], row: Callable[[Floats], Floats]) -> Suspicion:
        """`crossed` for cells: ``row`` makes a row's suspicion [r] of its cells' [r, d]. The worst cell is named."""
        m, columns = len(self.base), self.base.x.shape[1]
        total = np.zeros((len(self.new), columns))

        def fit_rows(known: Ints) -> Rate:
            rate = fit(known)

            def rate_rows(rows: Ints) -> Floats:
                cells = rate(rows)
                judged = rows >= m
                total[rows[judged] - m] += cells[judged]
                return row(cells)

            return rate_rows

        rated = self.crossed(fit_rows)
        return Suspicion(rated.base, rated.new, np.where(total.max(axis=1) > 0, total.argmax(axis=1), -1))

    def pooled(self, rated: Floats) -> Suspicion:
        """A score [m + n] in which base and new rows had the same part."""
        return Suspicion(rated[: len(self.base)], rated[None, len(self.base) :])
