"""Scores coded rows with `model.onnx` in ONNX Runtime, as the manifest says the model is to be fed and read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Floats
from rollback.manifest import FeatureSpec, Manifest, OnnxSpec

# ONNX Runtime gives the machine an id and keeps events for its maker, unless this stands when it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

BATCH_ROWS: Final = 16_384
UNSEEN_TEXT: Final = "<unseen>"
REST: Final = -1
"""In `OnnxSpec.columns`: this class has what the other column leaves of 1 (a model with one probability)."""

Feed: TypeAlias = dict[str, NDArray[Any]]

NUMBER_TYPES: Final[dict[str, tuple[type[np.generic], float]]] = {
    "tensor(float)": (np.float32, float(np.finfo(np.float32).max)),
    "tensor(double)": (np.float64, float(np.finfo(np.float64).max)),
    "tensor(int64)": (np.int64, 2.0**62),
    "tensor(int32)": (np.int32, 2.0**30),
}
"""Types of input tensors that take numbers, each with the largest number that is fed."""
TEXT_TYPE: Final = "tensor(string)"


class ScorerError(Exception):
    """ONNX Runtime cannot load or run the model, or it does not answer as the manifest says."""


def open_session(model: bytes, threads: int = 1) -> Any:
    """A session on the CPU that logs nothing below errors. Raises `ScorerError` with ONNX Runtime's reason."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal: errors come back as exceptions
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception types are not public
        raise ScorerError(f"ONNX Runtime cannot load the model: {first_line(error)}") from error


def run_session(session: Any, outputs: Sequence[str], feed: Feed) -> list[Any]:
    """The named outputs for one batch. Raises `ScorerError` with ONNX Runtime's reason."""
    try:
        answers: list[Any] = session.run(list(outputs), feed)
    except Exception as error:  # its exception types are not public
        raise ScorerError(f"ONNX Runtime cannot run the model: {first_line(error)}") from error
    return answers


def first_line(error: Exception) -> str:
    """The first line of an error's text: the rest of ONNX Runtime's is a stack."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]


class OnnxScorer:
    """x[n,d] (codes, UNSEEN, NaN missing) -> probabilities float64[n,k] in the manifest's class order.

    Missing entries, categories and unseen values are fed as the manifest's `FeatureSpec` says.
    Raises `ScorerError` where the model cannot be loaded or run, or has other columns than the manifest says.
    """

    def __init__(self, model: bytes, manifest: Manifest, threads: int = 1) -> None:
        if manifest.onnx is None:
            raise ScorerError("the manifest does not say how the model is fed")
        self._spec = manifest.onnx
        self._classes = len(manifest.classes)
        self._session = open_session(model, threads)
        self._feeder = Feeder(self._session, manifest.onnx, manifest.features)
        self._try_out(len(manifest.features))

    def __call__(self, x: Floats) -> Floats:
        """Score any number of rows, in batches of at most 16384."""
        scores = np.empty((len(x), self._classes))
        for start in range(0, len(x), BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            answer = run_session(self._session, [self._spec.output], self._feeder.feed(x[rows]))[0]
            scores[rows] = in_class_order(answer, self._spec)
        return scores

    def _try_out(self, features: int) -> None:
        """Score one row of zeros: whether the answer has the columns that the manifest names shows only then."""
        try:
            width = self(np.zeros((1, features))).shape[1]
        except (IndexError, KeyError, ValueError, TypeError) as error:
            raise ScorerError(f"the model's answer is not as the manifest says: {error!r}") from error
        if width != self._classes:
            raise ScorerError(f"the manifest names {self._classes} classes, and reads {width} from the model")


def in_class_order(answer: Any, spec: OnnxSpec) -> Floats:
    """The model's answer (tensor, or list of dictionaries) as probabilities[n,k] in the manifest's class order."""
    if spec.zipmap:
        return np.array([[row[key] for key in spec.keys] for row in answer], dtype=np.float64)
    table = np.asarray(answer, dtype=np.float64)
    table = table.reshape(len(table), -1)
    scores = table[:, [max(column, 0) for column in spec.columns]]
    for position, column in enumerate(spec.columns):
        if column == REST:
            scores[:, position] = 1.0 - scores[:, position]
    return scores


class Feeder:
    """Turns x[n,d] into the model's input tensors."""

    def __init__(self, session: Any, spec: OnnxSpec, features: Sequence[FeatureSpec]) -> None:
        self._inputs = {i.name: i for i in session.get_inputs()}
        self._layout = spec.layout
        self._names = spec.inputs
        self._features = features
        self._filler = np.array([_number(f.missing, np.nan) for f in features])
        self._coded = [(j, f) for j, f in enumerate(features) if f.kind == "categorical"]
        if set(self._names) != set(self._inputs):
            raise ScorerError(
                f"the model's inputs are {sorted(self._inputs)}, the manifest names {sorted(self._names)}"
            )
        shape = self._inputs[self._names[0]].shape
        matrix = self._layout == "matrix"
        width = shape[1] if matrix and len(shape) > 1 and isinstance(shape[1], int) else len(features)
        if width != len(features) or len(self._names) != (1 if matrix else len(features)):
            takes = width if matrix else len(self._names)
            raise ScorerError(f"the model takes {takes} features, the manifest lists {len(features)}")

    def feed(self, x: Floats) -> Feed:
        """The input tensors for some rows."""
        if self._layout == "matrix":
            name = self._names[0]
            table = np.where(np.isnan(x), self._filler, x)
            for j, feature in self._coded:
                table[:, j] = as_numbers(x[:, j], feature)
            return {name: _cast(table, self._inputs[name].type)}
        feed = {}
        for j, (name, feature) in enumerate(zip(self._names, self._features, strict=True)):
            column = self._typed(x[:, j], feature, self._inputs[name].type)
            feed[name] = column.reshape(-1, 1) if len(self._inputs[name].shape) > 1 else column
        return feed

    def _typed(self, values: Floats, feature: FeatureSpec, kind: str) -> NDArray[Any]:
        if kind == TEXT_TYPE:
            return as_texts(values, feature)
        return _cast(as_numbers(values, feature), kind)


def _cast(values: Floats, kind: str) -> NDArray[Any]:
    """Numbers in the type of a tensor; what it cannot hold becomes the largest that it can."""
    target, limit = NUMBER_TYPES[kind]
    return np.clip(values, -limit, limit).astype(target)


def as_numbers(values: Floats, feature: FeatureSpec) -> Floats:
    """One column as the numbers that the model expects: missing and unseen replaced, categories by their codes.

    >>> as_numbers(
    ...     np.array([0.0, 1.0, -1.0, np.nan]), FeatureSpec("p", "categorical", ("tcp", "udp"), 0.0, (6.0, 17.0))
    ... )
    array([ 6., 17., -1.,  0.])
    """
    missing = _number(feature.missing, np.nan)
    if feature.kind != "categorical":
        return np.where(np.isnan(values), missing, values)
    codes = feature.codes or tuple(float(i) for i in range(len(feature.vocabulary)))
    return np.array([*codes, _number(feature.unseen, -1.0), missing])[_positions(values, len(codes))]


def as_texts(values: Floats, feature: FeatureSpec) -> NDArray[Any]:
    """One categorical column as texts, unseen values and missing ones as the manifest says."""
    unseen = feature.unseen if isinstance(feature.unseen, str) else UNSEEN_TEXT
    missing = feature.missing if isinstance(feature.missing, str) else ""
    words = np.array([*feature.vocabulary, unseen, missing], dtype=object)
    picked: NDArray[Any] = words[_positions(values, len(feature.vocabulary))]
    return picked


def _positions(values: Floats, known: int) -> NDArray[np.intp]:
    """Codes as positions in a table of the ``known`` entries, then unseen, then missing."""
    codes = np.where(np.isnan(values), known + 1, values).astype(np.intp)
    codes[(codes < 0) | ((codes >= known) & ~np.isnan(values))] = known
    return codes


def _number(value: float | str | None, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) else otherwise
