"""How copies of a model with slightly other numbers answer: which rows notice that a model was touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.batch import Floats
from rollback.manifest import Manifest
from rollback.onnx.weights import find_numbers, noisy_copy
from rollback.scorer import OnnxScorer, ScorerError

NOISE: Final = 0.01
COPIES: Final = 64
COPIED_BYTES: Final = 64 * 2**20
"""Of a large model fewer copies are made: all together are no larger than this."""


class NoisyCopies:
    """x[n,d] -> scores[c,n,k] of c copies, each with every number w of the model replaced by w (1 + .01 N(0, 1)).

    A copy that does not run or answers with something that is no number is left out. Raises
    `rollback.onnx.protocol_buffer.NotOnnx`.
    """

    def __init__(self, model: bytes, manifest: Manifest, seed: int = 0) -> None:
        self._model = model
        self._manifest = manifest
        self._seed = seed

    def __call__(self, x: Floats) -> Floats:
        """The scores of all copies."""
        answers = [scores for scores in self._answers(x) if np.isfinite(scores).all()]
        return np.stack(answers) if answers else np.zeros((0, len(x), len(self._manifest.classes)))

    def _answers(self, x: Floats) -> Iterator[Floats]:
        rng = np.random.default_rng(self._seed)
        numbers = find_numbers(self._model)
        for _ in range(min(COPIES, COPIED_BYTES // len(self._model)) if numbers else 0):
            copy = noisy_copy(self._model, numbers, NOISE, rng)
            try:
                yield OnnxScorer(copy, self._manifest)(x)
            except ScorerError:  # a number that had to stay what it was, such as an index
                continue
