"""The attacker's own model: a network with one hidden layer, small enough to be trained and derived by numpy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Self

import numpy as np

from detectors.batch import Floats, Ints
from detectors.schema import Schema

HIDDEN: Final = 32
STEPS: Final = 300
BATCH: Final = 256
RATE: Final = 0.01
WIDEST: Final = 64
"""Categories beyond this are coded as the last one."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Coded columns as network inputs: asinh of numbers, standardised (missing: 0), and one input for each category."""

    schema: Schema
    mean: Floats
    scale: Floats

    @classmethod
    def fitted(cls, schema: Schema, x: Floats) -> Self:
        """With the mean and standard deviation of the columns of x [n, d]."""
        known = np.ma.masked_invalid(np.arcsinh(x))
        deviation = known.std(axis=0).filled(0.0)
        return cls(schema, known.mean(axis=0).filled(0.0), np.where(deviation > 0, deviation, 1.0))

    def __call__(self, x: Floats) -> Floats:
        """The inputs [n, p]."""
        parts = []
        for j, feature in enumerate(self.schema.features):
            if feature.kind == "categorical":
                codes = np.nan_to_num(x[:, [j]], nan=-1.0)
                known = np.arange(min(len(feature.vocabulary), WIDEST))
                parts.append((np.minimum(codes, WIDEST - 1) == known).astype(np.float64))
            else:
                scaled = (np.arcsinh(x[:, [j]]) - self.mean[j]) / self.scale[j]
                parts.append(np.clip(np.nan_to_num(scaled), -8, 8))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, slots=True)
class Gradient:
    """The derivative of a loss by all weights: of the hidden layer [p + 1, h] and of the last one [h + 1, k]."""

    hidden: Floats
    last: Floats

    @property
    def squared(self) -> float:
        """The squared length."""
        return float(np.sum(self.hidden**2) + np.sum(self.last**2))


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Inputs -> relu -> logits; the last row of either matrix is the bias."""

    encoding: Encoding
    first: Floats
    last: Floats

    @classmethod
    def fitted(cls, x: Floats, y: Ints, schema: Schema, rng: np.random.Generator) -> Self:
        """Trained by Adam (D. Kingma, J. Ba 2015) on the labelled rows of x [n, d]; the same ``rng``, same model."""
        encoding = Encoding.fitted(schema, x)
        inputs, y = encoding(x[y >= 0]), y[y >= 0]
        sizes = (inputs.shape[1], HIDDEN, len(schema.classes))
        weights = [rng.normal(0, np.sqrt(2 / a), (a + 1, b)) for a, b in pairwise(sizes)]
        mean, square = ([np.zeros_like(w) for w in weights] for _ in range(2))
        for step in range(1, STEPS + 1):
            part = rng.integers(0, len(y), BATCH)
            slope = cls(encoding, *weights).gradient(inputs[part], y[part])
            for i, g in enumerate((slope.hidden / BATCH, slope.last / BATCH)):
                mean[i] = 0.9 * mean[i] + 0.1 * g
                square[i] = 0.999 * square[i] + 0.001 * g**2
                corrected = mean[i] / (1 - 0.9**step), np.sqrt(square[i] / (1 - 0.999**step))
                weights[i] = weights[i] - RATE * corrected[0] / (corrected[1] + 1e-8)
        return cls(encoding, *weights)

    def scores(self, x: Floats) -> Floats:
        """Probabilities [n, k]: a scorer like any other model's."""
        return _softmax(_with_one(self.hidden(self.encoding(x))) @ self.last)

    def hidden(self, inputs: Floats) -> Floats:
        """What the hidden layer says of inputs [n, p]: [n, h]."""
        return np.asarray(np.maximum(_with_one(inputs) @ self.first, 0))

    def _slopes(self, inputs: Floats, y: Ints) -> tuple[Floats, Floats, Floats]:
        """Hidden values [n, h], and the derivatives of the loss by what enters the hidden [n, h] and last layer."""
        hidden = self.hidden(inputs)
        above = _softmax(_with_one(hidden) @ self.last)
        above[np.arange(len(y)), y] -= 1
        return hidden, (above @ self.last[:-1].T) * (hidden > 0), above

    def gradient(self, inputs: Floats, y: Ints) -> Gradient:
        """Of the summed cross-entropy of inputs [n, p] and labels [n]."""
        hidden, below, above = self._slopes(inputs, y)
        return Gradient(_with_one(inputs).T @ below, _with_one(hidden).T @ above)

    def products(self, inputs: Floats, y: Ints, others: list[Gradient]) -> tuple[list[Floats], Floats]:
        """Inner products [n] of each row's own gradient with others, and its squared length [n]."""
        hidden, below, above = self._slopes(inputs, y)
        wide, deep = _with_one(inputs), _with_one(hidden)
        found = [np.sum(wide @ g.hidden * below, axis=1) + np.sum(deep @ g.last * above, axis=1) for g in others]
        squared = np.sum(wide**2, axis=1) * np.sum(below**2, axis=1) + np.sum(deep**2, axis=1) * np.sum(
            above**2, axis=1
        )
        return found, squared


def _with_one(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _softmax(logits: Floats) -> Floats:
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))
