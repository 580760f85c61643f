"""Self-play: rows of the reference attacked until both models are fooled, to know what evasion looks like here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Scorer

_STEPS: Final = 10
_TRIES: Final = 8
_SCALES: Final = (0.03, 0.1, 0.3, 1.0)

Fooled = Callable[[Floats], Bools]


class SelfPlay:
    """Attacks on rows x[n, d] of known class with values of rows of another one.

    Every class is a target in turn, so that it need not be known which one is benign. Only attacks that succeed are
    kept: all models must call the row the target class.
    """

    def __init__(self, models: tuple[Scorer, ...], x: Floats, y: Ints, categorical: Bools, seed: int) -> None:
        self._models, self._x, self._y, self._categorical = models, x, y, categorical
        self._rng = np.random.default_rng(seed)
        called = [np.argmax(m(x), axis=1) for m in models]
        self._sound = np.all([c == y for c in called], axis=0)

    def play(self, count: int) -> Floats:
        """About ``count`` successful attacks [m, d], by three methods and over all pairs of classes."""
        present = np.unique(self._y[self._sound]).tolist()
        pairs = [(truth, target) for truth in present for target in present if truth != target]
        if not pairs:
            return self._x[:0]
        pairs = [pairs[i] for i in self._rng.permutation(len(pairs))[:_TRIES].tolist()]
        each = max(count // (3 * len(pairs)), 4)
        methods = (self._donor, self._greedy, self._noise)
        return np.asarray(np.concatenate([m(t, a, each) for t, a in pairs for m in methods]), np.float64)

    def _fooled(self, target: int) -> Fooled:
        return lambda x: np.asarray(np.all([np.argmax(m(x), axis=1) == target for m in self._models], axis=0), np.bool_)

    def _draw(self, label: int, count: int) -> Floats:
        rows = self._rng.choice(np.flatnonzero(self._sound & (self._y == label)), count)
        return np.array(self._x[rows], np.float64)

    def _donor(self, truth: int, target: int, count: int) -> Floats:
        """Values of one donor row in random order, until fooled."""
        x, donor = self._draw(truth, count), self._draw(target, count)
        fooled, d = self._fooled(target), x.shape[1]
        order = np.argsort(self._rng.random(x.shape), axis=1)
        open_rows = np.arange(count)
        for chunk in np.array_split(np.arange(d), min(d, 4 * _STEPS)):
            columns = order[open_rows][:, chunk]
            x[open_rows[:, None], columns] = donor[open_rows[:, None], columns]
            open_rows = open_rows[~fooled(x[open_rows])]
            if not len(open_rows):
                break
        done = np.ones(count, np.bool_)
        done[open_rows] = False
        return np.asarray(x[done & np.any(x != donor, axis=1)], np.float64)

    def _greedy(self, truth: int, target: int, count: int) -> Floats:
        """The best of some random features at each step, with values of any rows of the target class."""
        x = self._draw(truth, count)
        fooled, open_rows = self._fooled(target), np.arange(count)
        for _ in range(_STEPS):
            trial = np.repeat(x[open_rows], _TRIES, axis=0)
            each = np.arange(len(trial))
            column = self._rng.integers(0, x.shape[1], len(trial))
            trial[each, column] = self._draw(target, len(trial))[each, column]
            score = np.min([m(trial)[:, target] for m in self._models], axis=0).reshape(-1, _TRIES)
            best = np.arange(len(open_rows)) * _TRIES + np.argmax(score, axis=1)
            x[open_rows] = trial[best]
            open_rows = open_rows[~fooled(x[open_rows])]
            if not len(open_rows):
                break
        done = np.ones(count, np.bool_)
        done[open_rows] = False
        return x[done]

    def _noise(self, truth: int, target: int, count: int) -> Floats:
        """Numbers off by a growing factor; where there are none, some values of other rows."""
        base = self._draw(truth, count)
        fooled, numeric = self._fooled(target), ~self._categorical
        two_valued = np.all((base == np.floor(base)) & (np.abs(base) <= 1), axis=0)
        numeric = numeric & ~two_valued
        x, open_rows = base.copy(), np.arange(count)
        for scale in np.repeat(_SCALES, 3):
            if not len(open_rows):
                break
            x[open_rows] = base[open_rows]
            part = x[open_rows]
            if numeric.any():
                factor = np.exp(scale * 2 * self._rng.normal(size=part.shape))
                part = np.where(numeric, part * factor, part)
            swap = self._rng.random(part.shape) < (0.02 if numeric.any() else 0.3) * scale
            other = self._x[self._rng.integers(0, len(self._x), part.shape), np.arange(part.shape[1])]
            x[open_rows] = np.where(swap, other, part)
            open_rows = open_rows[~fooled(x[open_rows])]
        done = np.ones(count, np.bool_)
        done[open_rows] = False
        return x[done]
