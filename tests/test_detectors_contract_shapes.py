"""Every detector works on models of every shape, and stays quiet where nothing happens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from eventful_stream import plain
from session_stream import labelled, reference, window

from detectors.batch import Batch, Floats, Labels, Reference, Window
from detectors.evidence import Budget, Detector, detector_classes
from detectors.schema import Feature, Schema

FOUND = detector_classes()
NAMES = sorted(FOUND)


@dataclass(frozen=True)
class Shape:
    """``scores``: smooth; saturated (0 or 1 in float32); coarse (five values, as of a small tree)."""

    numeric: int
    categorical: int
    classes: int = 2
    scores: str = "smooth"

    def schema(self) -> Schema:
        numbers = [Feature(f"n{j}") for j in range(self.numeric)]
        names = [Feature(f"c{j}", "categorical", tuple("abcd")) for j in range(self.categorical)]
        return Schema((*numbers, *names), tuple(f"k{c}" for c in range(self.classes)))

    def x(self, like: Floats, rng: np.random.Generator) -> Floats:
        """Rows that are equal where rows of ``like`` belong to one session, told by its categorical columns."""
        hidden = np.nan_to_num(np.arcsinh(like[:, :4]))
        weights = np.random.default_rng(3)
        numbers = hidden @ weights.normal(size=(4, self.numeric)) + 0.05 * rng.normal(size=(len(like), self.numeric))
        turned = hidden @ weights.normal(size=(4, self.categorical))
        return np.column_stack([numbers, np.clip(np.round(turned / 3), -1, 2) + 1])

    def model(self, churn: float) -> Any:
        weights = np.random.default_rng(4).normal(size=(self.numeric + self.categorical, self.classes))
        weights += churn * np.random.default_rng(5).normal(size=weights.shape)
        steepness = (20.0 if self.scores == "saturated" else 1.0) / np.sqrt(len(weights))

        def score(x: Floats) -> Floats:
            logits = np.nan_to_num(np.clip(x, -20, 20)) @ weights * steepness
            if self.scores == "coarse":
                logits = np.clip(np.round(logits), -2, 2)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            return np.asarray((odds / odds.sum(axis=1, keepdims=True)).astype(np.float32), np.float64)

        return score


SHAPES = {
    "five features": Shape(3, 2),
    "numbers only": Shape(8, 0),
    "categories only": Shape(0, 6),
    "five classes": Shape(6, 2, classes=5),
    "saturated scores": Shape(6, 2, scores="saturated"),
    "coarse scores": Shape(6, 2, classes=3, scores="coarse"),
    "a thousand features": Shape(700, 300),
}


def held(shape: Shape, n: int) -> Reference:
    rng = np.random.default_rng(21)
    known = reference(rng, n)
    x = shape.x(known.x, rng)
    f, g = shape.model(0.02)(x), shape.model(0.0)(x)
    return Reference(shape.schema(), x, g.argmax(axis=1).astype(np.int64), known.source, known.session, f, g)


def calm(shape: Shape, index: int) -> Window:
    rng = np.random.default_rng([22, index])
    one = window(rng, index, 300)
    x = shape.x(one.batch.x, rng)
    f, g = shape.model(0.02), shape.model(0.0)
    batch: Batch = replace(one.batch, x=x, scores=f(x))
    return replace(one, batch=batch, f=f(x), g=g(x), has_bundle=True, score_f=f, score_g=g)


def feedback(about: Window) -> Labels:
    """What LKG says of every fourth event."""
    rows = slice(0, len(about), 4)
    return labelled(about, rows, np.array(about.g)[rows].argmax(axis=1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_quiet_on_calm_traffic_of_a_model_of_any_shape(name: str, shape: str) -> None:
    wide = shape == "a thousand features"
    cls, parameters = FOUND[name]
    build: Any = cls
    detector: Detector = build(parameters(), Budget(), np.random.default_rng(1))
    detector.fit(held(SHAPES[shape], 900 if wide else 2400))
    before: Window | None = None
    for index in range(2 if wide else 8):
        one = calm(SHAPES[shape], index)
        evidence = detector.observe(one, None if before is None else feedback(before))
        plain(evidence)
        assert evidence.status in {"ok", "warming"}
        assert not evidence.suspects
        before = one
