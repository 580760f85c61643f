"""Model families for `canaries.py`, each as its ONNX file and, where there is one, as its own library scores it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import msgspec
import numpy as np
import onnxmltools
import torch
from canaries_data import Rows, Sample
from onnxmltools.convert.common.data_types import FloatTensorType as LightGbmFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from detectors.batch import Floats, Scorer
from rollback.manifest import FeatureSpec, Manifest, OnnxSpec
from rollback.onnx.adopt import import_onnx
from rollback.scorer import OnnxScorer
from rollback.train.onnx_graph import build_model, onnx_spec
from rollback.train.recipe import TrainingRows
from rollback.train.recipes import mlp

OPSETS = {"": 17, "ai.onnx.ml": 3}
"""Old enough for older versions of ONNX Runtime."""


@dataclass(frozen=True, slots=True)
class Model:
    """``exact`` scores the same rows in another library, in float64; ``rounded`` with factors in TF32 (10 bits)."""

    manifest: Manifest
    content: bytes
    exact: Scorer
    rounded: Scorer | None = None

    def scorer(self) -> Scorer:
        """As Tocsin scores it."""
        return OnnxScorer(self.content, self.manifest)

    def altered(self, content: bytes) -> Model:
        """The same version with another file."""
        return replace(self, content=content)


def network(rows: Rows, sample: Sample, seed: int) -> Model:
    """The recipe ``mlp``, with at most twelve epochs."""
    session = np.char.add("s", np.arange(len(rows.x)).astype(np.str_))
    data = TrainingRows(sample.schema, rows.x, rows.y, session)
    trained = mlp.train(data, seed=seed, device="cpu", progress=_untold, parameters=mlp.Parameters(epochs=12))
    twin = mlp.Network(sample.schema, trained.weights["mean"], trained.weights["scale"], mlp.Parameters().hidden)
    twin.load_state_dict({name: torch.tensor(value) for name, value in trained.weights.items()})
    twin.eval()
    content = build_model(trained.weights, sample.schema)
    return Model(_manifest(sample, onnx_spec(sample.schema), sample.specs), content, _exact(twin), _rounded(twin))


def _exact(twin: mlp.Network) -> Scorer:
    """The network in float64."""
    precise = copy.deepcopy(twin).double()
    return lambda x: _probabilities(precise, x)


def _rounded(twin: mlp.Network) -> Scorer:
    """The network as hardware multiplies that keeps ten bits of each factor (TF32), with sums in float64."""
    coarse = copy.deepcopy(twin).double()
    for layer in coarse.layers:
        layer.weight.data = _ten_bits(layer.weight.data)
        layer.register_forward_pre_hook(lambda _, inputs: (_ten_bits(inputs[0]),))
    return lambda x: _probabilities(coarse, x)


def _ten_bits(values: torch.Tensor) -> torch.Tensor:
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(mantissa * 2**11) / 2**11, exponent)


def _probabilities(module: mlp.Network, x: Floats) -> Floats:
    with torch.no_grad():
        return np.asarray(torch.softmax(module(torch.tensor(x, dtype=torch.float64)), dim=1), dtype=np.float64)


def linear(rows: Rows, sample: Sample, seed: int) -> Model:
    """Logistic regression on standardised columns."""
    return _sklearn(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, random_state=seed)), rows, sample)


def forest(rows: Rows, sample: Sample, seed: int) -> Model:
    """50 trees of scikit-learn's random forest."""
    return _sklearn(RandomForestClassifier(50, max_depth=12, random_state=seed, n_jobs=1), rows, sample)


def boosting(rows: Rows, sample: Sample, seed: int) -> Model:
    """100 trees of scikit-learn's gradient boosting, each on 80% of the rows."""
    return _sklearn(GradientBoostingClassifier(n_estimators=100, subsample=0.8, random_state=seed), rows, sample)


def light_gbm(rows: Rows, sample: Sample, seed: int) -> Model:
    """100 trees of LightGBM, each on 80% of the rows and columns."""
    settings = {"subsample": 0.8, "subsample_freq": 1, "colsample_bytree": 0.8, "n_jobs": 1, "verbose": -1}
    model = lightgbm.LGBMClassifier(n_estimators=100, random_state=seed, **settings)
    model.fit(np.nan_to_num(rows.x), rows.y)
    kind = [("input", LightGbmFloats([None, rows.x.shape[1]]))]
    content = onnxmltools.convert_lightgbm(model, initial_types=kind, zipmap=False).SerializeToString()
    return _foreign(content, lambda x: np.asarray(model.booster_.predict(np.nan_to_num(x))), rows, sample)


FAMILIES: dict[str, Callable[[Rows, Sample, int], Model]] = {
    "mlp": network,
    "linear": linear,
    "forest": forest,
    "boosting": boosting,
    "lightgbm": light_gbm,
}


def _sklearn(model: Any, rows: Rows, sample: Sample) -> Model:
    model.fit(np.nan_to_num(rows.x), rows.y)
    kind = [("input", FloatTensorType([None, rows.x.shape[1]]))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {id(model): {"zipmap": False}}
        content = to_onnx(model, initial_types=kind, options=options, target_opset=OPSETS).SerializeToString()
    return _foreign(content, lambda x: np.asarray(model.predict_proba(np.nan_to_num(x))), rows, sample)


def _foreign(content: bytes, library: Scorer, rows: Rows, sample: Sample) -> Model:
    """A model of another library, taken in as `tocsin registry add` does."""
    specs = tuple(FeatureSpec(f.name, f.kind, f.vocabulary, 0.0) for f in sample.schema.features)
    numbers = tuple(replace_codes(spec) for spec in specs)
    classes = sample.schema.classes
    found = import_onnx(content, numbers, rows.x, np.array(classes)[rows.y], classes)

    def exact(x: Floats) -> Floats:
        scores = library(x)
        return scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])

    return Model(_manifest(sample, found.spec, found.features), content, exact)


def replace_codes(spec: FeatureSpec) -> FeatureSpec:
    """A category as the number that the table codes it by."""
    if spec.kind != "categorical":
        return spec
    return msgspec.structs.replace(spec, codes=tuple(float(i) for i in range(len(spec.vocabulary))), unseen=-1.0)


def _manifest(sample: Sample, spec: OnnxSpec, features: tuple[FeatureSpec, ...]) -> Manifest:
    return Manifest(name="m", version="1", created_at="", classes=sample.schema.classes, features=features, onnx=spec)


def _untold(epoch: int, epochs: int, loss: float) -> None:
    pass
