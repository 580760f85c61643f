"""A linear support vector machine, one against the rest, with probabilities by Platt's sigmoid (1999).

The sigmoid is fitted on whole sessions that the machine has not learned from: trusted ones alone, where rows say which
are trusted. It is trained in one go: checkpoints are not used.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, softmax
from sklearn.svm import LinearSVC

from detectors.batch import Bools, Floats, Scorer
from detectors.schema import Schema
from rollback.train.dense import Dense, Matrix, numeric_statistics
from rollback.train.graph import OUTPUT, Graph, onnx_spec
from rollback.train.recipe import Device, Progress, Trained, TrainingRows, Weights, answers_of
from rollback.train.split import hold_out_trusted
from rollback.train.weighing import heavy_rows

WIDEST = 30.0
"""Log-odds are cut off here, so that there is always something to divide by."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``cost`` is what a row on the wrong side costs (C)."""

    cost: float = 0.1
    iterations: int = 2000
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        if self.cost <= 0 or self.iterations < 1 or not 0 <= self.validation_share < 1:
            raise ValueError("cost must be above 0, iterations at least 1, validation_share between 0 and 1")


def train(
    rows: TrainingRows,
    *,
    seed: int,
    device: Device,  # noqa: ARG001 - it needs none
    progress: Progress,
    parameters: Parameters | None = None,
    checkpoints: Path | None = None,  # noqa: ARG001 - trained in one go
) -> Trained:
    """Train on the rows; see `rollback.train.recipe.Recipe`."""
    p = parameters or Parameters()
    used = heavy_rows(rows)
    held = hold_out_trusted(used.session, used.y, used.trusted, p.validation_share, np.random.default_rng(seed))
    if not held.any():
        held = np.ones(len(used), dtype=np.bool_)
    learn = used if held.all() else used.take(~held)
    dense = Dense(rows.schema, *numeric_statistics(rows.schema, learn.x))
    matrix, seen = dense(learn.x), used.take(held)
    pieces = [
        _one(matrix, learn.y == c, learn.weight, (dense(seen.x), seen.y == c, seen.weight), p, seed)
        for c in range(len(rows.schema.classes))
    ]
    slope = np.stack([piece[0] for piece in pieces]).astype(np.float32)
    offset = np.array([piece[1] for piece in pieces], dtype=np.float32)
    progress(1, 1, float("nan"))
    own = _own(dense, slope, offset)
    weights: Weights = {**dense.weights(), "slope": slope, "offset": offset}
    content = _graph(dense, slope, offset, rows.schema)
    return Trained(content, onnx_spec(rows.schema), weights, asdict(p), {}, answers_of(own, rows), own)


def _one(
    x: Matrix, y: Bools, weight: Floats | None, seen: tuple[Matrix, Bools, Floats | None], p: Parameters, seed: int
) -> tuple[Floats, float]:
    """Slope and offset of the log-odds that a row is of one class."""
    if y.all() or not y.any():
        return np.zeros(x.shape[1]), 10.0 if y.all() else -10.0
    machine = LinearSVC(C=p.cost, dual=False, max_iter=p.iterations, tol=1e-5, random_state=seed % 2**31)
    machine.fit(x.astype(np.float64), y, sample_weight=weight)
    x_seen, y_seen, weight_seen = seen
    a, b = _sigmoid(machine.decision_function(x_seen), y_seen, weight_seen)
    return a * machine.coef_[0], a * float(machine.intercept_[0]) + b


def _sigmoid(decision: Floats, y: Bools, weight: Floats | None) -> tuple[float, float]:
    """The a and b of P(y) = 1 / (1 + exp(-(a f + b))) by maximum likelihood, with Platt's cautious targets."""
    share = np.ones(len(y)) if weight is None else weight
    positive, negative = float(share[y].sum()), float(share[~y].sum())
    target = np.where(y, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(ab: Floats) -> tuple[float, Floats]:
        odds = ab[0] * decision + ab[1]
        value = -(share * (target * log_expit(odds) + (1 - target) * log_expit(-odds))).sum()
        error = share * (expit(odds) - target)
        return float(value), np.array([(error * decision).sum(), error.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(1e-3, 1e3), (-50, 50)])
    return float(found.x[0]), float(found.x[1])


def _own(dense: Dense, slope: Matrix, offset: Matrix) -> Scorer:
    def own(x: Floats) -> Floats:
        odds = dense(x).astype(np.float64) @ slope.astype(np.float64).T + offset
        scores: Floats = softmax(log_expit(np.clip(odds, -WIDEST, WIDEST)), axis=1)
        return scores

    return own


def _graph(dense: Dense, slope: Matrix, offset: Matrix, schema: Schema) -> bytes:
    graph = Graph()
    odds = graph.add(
        "Gemm", [dense.nodes(graph), graph.constant(slope, "slope"), graph.constant(offset, "offset")], transB=1
    )
    bounded = graph.add("Clip", [odds, graph.number(-WIDEST), graph.number(WIDEST)])
    # by logarithms: where every class is unlikely, probabilities have too few digits to be divided
    known = graph.add("Neg", [graph.add("Softplus", [graph.add("Neg", [bounded])])])
    graph.add("Softmax", [known], output=OUTPUT, axis=1)
    return graph.finish(len(schema.features), len(schema.classes), "linear_svm")
