"""The models of the bench: the recipe ``mlp``, as `tocsin retrain` trains it, averaged over initialisations."""

from __future__ import annotations

import numpy as np

from detectors.batch import Bools, Floats, Scorer
from rollback.manifest import FeatureSpec, Manifest
from rollback.retraining.model import Learner
from rollback.sanitise.rows import Rows
from rollback.scorer import open_session, run_session
from rollback.train.recipe import TrainingRows, load_recipe

RECIPE = "mlp"


def manifest_of(rows: Rows) -> Manifest:
    """That of a version 1 with this schema."""
    features = tuple(FeatureSpec(f.name, f.kind, f.vocabulary) for f in rows.schema.features)
    recipe = {"name": RECIPE, "seed": 0}
    return Manifest(
        name="bench", version="1", created_at="", classes=rows.schema.classes, features=features, recipe=recipe
    )


def learner(rows: Rows, seed: int) -> Learner:
    """What `tocsin retrain` trains with."""
    return Learner(manifest_of(rows), RECIPE, seed, "cpu", _silent)


def fit(rows: Rows, seed: int, weight: Floats | None = None, trusted: Bools | None = None) -> Scorer:
    """A model of the rows, of one seed; early stopping looks at ``trusted`` rows [n] alone (None: at any)."""
    data = TrainingRows(rows.schema, rows.x, rows.y, rows.session, weight, trusted)
    trained = load_recipe(RECIPE).train(data, seed=seed, device="cpu", progress=_untold)
    session = open_session(trained.model)

    def score(x: Floats) -> Floats:
        feed = {trained.onnx.inputs[0]: x.astype(np.float32)}
        return np.asarray(run_session(session, [trained.onnx.output], feed)[0], np.float64)

    return score


def accuracy(models: list[Scorer], rows: Rows) -> float:
    """The mean over models of the share of rows that they decide rightly."""
    return float(np.mean([model(rows.x).argmax(axis=1) == rows.y for model in models]))


def _silent(what: str, share: float) -> None:
    del what, share


def _untold(epoch: int, epochs: int, loss: float) -> None:
    del epoch, epochs, loss
