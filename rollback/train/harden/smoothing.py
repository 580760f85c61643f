"""Randomised smoothing (Cohen et al. 2019, arXiv 1902.02918): a radius within which a prediction cannot be changed.

The smoothed classifier says what the model says most often of a row whose numbers have Gaussian noise of ``sigma``
standard deviations of asinh(x). If the model says class A of a noisy row with probability at least p > 1/2, then the
smoothed classifier says A of every row that is closer than sigma * Phi^-1(p) in the Euclidean norm, in those units.
The bound on p is one-sided, by Clopper and Pearson (1934): with probability 1 - alpha over the noise a radius holds.

It says nothing of categories, which have no noise, and nothing of the model itself, which is not smoothed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, norm

from detectors.batch import Bools, Floats, Ints, Scorer
from detectors.schema import Schema

SELECTION = 100
"""So many noisy rows say which class is looked at; they are not counted again."""


@dataclass(frozen=True, slots=True)
class Scale:
    """``mean`` and ``scale`` [m] of asinh of the numeric ``columns`` [m]: what the noise is measured in."""

    columns: Ints
    mean: Floats
    scale: Floats


@dataclass(frozen=True, slots=True)
class Certificates:
    """``prediction`` [n] (class indices, -1 where it abstains), ``radius`` [n] (0 there), and whether it ``abstains``.

    ``low`` and ``high`` [n,m] are how far each number may go by itself, in its own unit.
    """

    prediction: Ints
    radius: Floats
    abstains: Bools
    low: Floats
    high: Floats


def lower_bound(hits: Ints, samples: int, alpha: float) -> Floats:
    """The p of which so many ``hits`` of ``samples`` are surprising at the level alpha: the exact lower bound.

    >>> lower_bound(np.array([0, 990, 1000]), 1000, 0.001).round(4).tolist()
    [0.0, 0.976, 0.9931]
    """
    bound = np.asarray(beta.ppf(alpha, np.maximum(hits, 1), samples - hits + 1), dtype=np.float64)
    return np.where(hits == 0, 0.0, bound)


def certify(
    score: Scorer,
    x: Floats,
    scale: Scale,
    *,
    sigma: float,
    samples: int,
    alpha: float,
    rng: np.random.Generator,
    progress: Callable[[int], None] = lambda _: None,
) -> Certificates:
    """The smoothed prediction and radius of each row x[n,d]; ``progress`` is told how many rows are done."""
    prediction = np.full(len(x), -1, dtype=np.int64)
    radius = np.zeros(len(x))
    for i, row in enumerate(x):
        chosen = _counts(score, row, scale, sigma, SELECTION, rng).argmax()
        hits = _counts(score, row, scale, sigma, samples, rng)[chosen]
        p = float(lower_bound(np.array([hits]), samples, alpha)[0])
        if p > 1 / 2:
            prediction[i], radius[i] = chosen, sigma * norm.ppf(p)
        progress(i + 1)
    low, high = in_own_units(x, radius, scale)
    return Certificates(prediction, radius, prediction < 0, low, high)


def in_own_units(x: Floats, radius: Floats, scale: Scale) -> tuple[Floats, Floats]:
    """How far each number alone may go within the radius: sinh(asinh(x) -+ radius * scale); NaN where it is missing."""
    middle = np.arcsinh(x[:, scale.columns])
    reach = radius[:, None] * scale.scale
    return np.sinh(middle - reach), np.sinh(middle + reach)


def _counts(score: Scorer, row: Floats, scale: Scale, sigma: float, samples: int, rng: np.random.Generator) -> Ints:
    """How often each class is the most probable one of noisy copies of a row; one with equal scores counts for none."""
    noisy = np.repeat(row[None, :], samples, axis=0)
    noise = rng.standard_normal((samples, len(scale.columns))) * sigma * scale.scale
    noisy[:, scale.columns] = np.sinh(np.arcsinh(row[scale.columns]) + noise)
    scores = score(noisy)
    said = scores[scores.max(axis=1) > scores.min(axis=1)]  # an ensemble that abstains says no class
    return np.bincount(said.argmax(axis=1), minlength=scores.shape[1])


def scale_of(schema: Schema, mean: Floats, scale: Floats) -> Scale:
    """With the positions of the numeric columns."""
    columns = [j for j, f in enumerate(schema.features) if f.kind != "categorical"]
    return Scale(np.array(columns, dtype=np.int64), mean, scale)
