"""The first epochs of a tiny network: what is learned early, and which rows pull against it.

Written in numpy: a second of work, the same on every machine with the same BLAS, and no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints

HIDDEN: Final = 32
BATCH: Final = 256
EPOCHS: Final = 2
RATE: Final = 3e-3
CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """At the end of an epoch, of N rows: ``error`` [N, k] = probabilities - one-hot label, ``hidden`` [N, h].

    ``loss`` [N] is the cross-entropy, ``inner`` [N] the norm of the gradient by the first layer's weights.
    """

    error: Floats
    hidden: Floats
    loss: Floats
    inner: Floats


@dataclass(frozen=True, slots=True)
class EarlyTraining:
    """One checkpoint for each epoch."""

    checkpoints: tuple[Checkpoint, ...]


def train_early(points: Floats, y: Ints, classes: int, rng: np.random.Generator) -> EarlyTraining:
    """Adam on the mean cross-entropy of points [N, D]; all rows have the same part in it."""
    network = _Network(points.shape[1], classes, rng)
    checkpoints = []
    for _ in range(EPOCHS):
        order = rng.permutation(len(points))
        for start in range(0, len(points), BATCH):
            part = order[start : start + BATCH]
            network.learn(points[part], y[part])
        checkpoints.append(network.checkpoint(points, y))
    return EarlyTraining(tuple(checkpoints))


class _Network:
    """points -> ReLU -> softmax."""

    def __init__(self, width: int, classes: int, rng: np.random.Generator) -> None:
        self._classes = classes
        self._weights = [
            rng.normal(0, np.sqrt(2 / width), (width, HIDDEN)),
            np.zeros(HIDDEN),
            rng.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, classes)),
            np.zeros(classes),
        ]
        self._mean = [np.zeros_like(w) for w in self._weights]
        self._square = [np.zeros_like(w) for w in self._weights]
        self._steps = 0

    def learn(self, points: Floats, y: Ints) -> None:
        error, hidden, _ = self._forward(points, y)
        error = error / len(y)
        back = (error @ self._weights[2].T) * (hidden > 0)
        gradients = [points.T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
        self._steps += 1
        for w, g, mean, square in zip(self._weights, gradients, self._mean, self._square, strict=True):
            np.add(mean, 0.1 * (g - mean), out=mean)
            np.add(square, 0.001 * (g * g - square), out=square)
            step = (mean / (1 - 0.9**self._steps)) / (np.sqrt(square / (1 - 0.999**self._steps)) + 1e-8)
            np.subtract(w, RATE * step, out=w)

    def checkpoint(self, points: Floats, y: Ints) -> Checkpoint:
        parts = [self._judge(points[i : i + CHUNK], y[i : i + CHUNK]) for i in range(0, max(len(y), 1), CHUNK)]
        return Checkpoint(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _judge(self, points: Floats, y: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        error, hidden, loss = self._forward(points, y)
        back = (error @ self._weights[2].T) * (hidden > 0)
        inner = np.linalg.norm(back, axis=1) * np.sqrt(1 + np.sum(points * points, axis=1))
        return error, hidden, loss, inner

    def _forward(self, points: Floats, y: Ints) -> tuple[Floats, Floats, Floats]:
        hidden = np.maximum(points @ self._weights[0] + self._weights[1], 0)
        logits = hidden @ self._weights[2] + self._weights[3]
        logits -= logits.max(axis=1, keepdims=True)
        scores = np.exp(logits)
        scores /= scores.sum(axis=1, keepdims=True)
        given = np.arange(len(y)), y
        loss = -np.log(np.maximum(scores[given], 1e-12))
        scores[given] -= 1
        return scores, hidden, loss
