"""Classifiers of three families, as scorers of coded rows: what a SOC might serve."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from detectors.batch import Floats, Ints
from detectors.schema import Schema

Family = Literal["mlp", "boosting", "forest"]
FAMILIES: Final[tuple[Family, ...]] = ("mlp", "boosting", "forest")


class Coding:
    """Numbers through asinh and standardised, missing at the mean; categories as ones and zeros, unseen none."""

    def __init__(self, schema: Schema, x: Floats) -> None:
        self._vocabulary = [len(f.vocabulary) if f.kind == "categorical" else 0 for f in schema.features]
        squeezed = np.arcsinh(x)
        self._mean, self._scale = np.nanmean(squeezed, axis=0), np.maximum(np.nanstd(squeezed, axis=0), 1e-6)

    def __call__(self, x: Floats) -> Floats:
        """The model's inputs."""
        parts = []
        for j, size in enumerate(self._vocabulary):
            column = x[:, j]
            if size:
                parts.append((column[:, None] == np.arange(size)).astype(np.float64))
            else:
                scaled = (np.arcsinh(column) - self._mean[j]) / self._scale[j]
                parts.append(np.clip(np.nan_to_num(scaled), -8, 8)[:, None])
        return np.concatenate(parts, axis=1)


class Fitted:
    """A trained model as a scorer; ``model`` is scikit-learn's, for scenarios that tamper with it."""

    def __init__(self, model: Any, code: Callable[[Floats], Floats], classes: int) -> None:
        self.model, self._code, self._classes = model, code, classes

    def __call__(self, x: Floats) -> Floats:
        """Probabilities[n, k]; classes that the model never saw have 0."""
        scores = np.zeros((len(x), self._classes))
        if len(x):
            scores[:, self.model.classes_.astype(np.int64)] = self.model.predict_proba(self._code(x))
        return scores


def fit(family: Family, schema: Schema, x: Floats, y: Ints, seed: int) -> Fitted:
    """Train a model on the rows."""
    code: Callable[[Floats], Floats]
    if family == "boosting":
        model, code = HistGradientBoostingClassifier(max_iter=80, random_state=seed), _as_is
    elif family == "forest":
        model, code = RandomForestClassifier(60, min_samples_leaf=2, random_state=seed), _filled
    else:
        model = MLPClassifier((64, 32), batch_size=256, max_iter=25, learning_rate_init=2e-3, random_state=seed)
        code = Coding(schema, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(code(x), y)
    return Fitted(model, code, len(schema.classes))


def _as_is(x: Floats) -> Floats:
    return x


def _filled(x: Floats) -> Floats:
    return np.nan_to_num(x, nan=-2.0)
