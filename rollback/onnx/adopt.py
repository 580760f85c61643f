"""Bring your own ONNX: finds out how a foreign model is fed and read, or says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectors.batch import Floats, Strings
from rollback.class_order import ClassOrder, agreement, class_order, named_columns
from rollback.manifest import FeatureSpec, OnnxSpec
from rollback.onnx.answer import Answer, find_answer, given_labels, run_all
from rollback.onnx.graph import NotOnnx, read_graph
from rollback.onnx.layout import ImportRefused, fill_features, find_layout
from rollback.scorer import REST, Feeder, ScorerError, open_session

__all__ = ["ImportRefused", "Imported", "import_onnx"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What the manifest says of a foreign model. ``warning`` is "" or what an operator should look at."""

    spec: OnnxSpec
    features: tuple[FeatureSpec, ...]
    classes: tuple[str, ...]
    how: str
    accuracy: float
    warning: str


def import_onnx(
    model: bytes, features: Sequence[FeatureSpec], x: Floats, labels: Strings, classes: Sequence[str] | None = None
) -> Imported:
    """Find layout, output and class order of ``model`` by looking into it and scoring the reference.

    ``x[n,d]`` and ``labels[n]`` ("" unknown) are the reference's rows, ``classes`` what the user says. The scores must
    be finite and sum to 1 on every row. Raises `ImportRefused`.
    """
    if not len(x):
        raise ImportRefused("the reference has no rows")
    try:
        return _import(model, features, x, labels, classes)
    except NotOnnx as error:
        raise ImportRefused(f"the file is no ONNX model: {error}") from error
    except ScorerError as error:
        raise ImportRefused(str(error)) from error


def _import(
    model: bytes, features: Sequence[FeatureSpec], x: Floats, labels: Strings, classes: Sequence[str] | None
) -> Imported:
    stated = _check_graph(model)
    session = open_session(model)
    inputs = session.get_inputs()
    layout, names = find_layout(inputs, features)
    types = {i.name: i.type for i in inputs}
    filled = fill_features(
        [types[names[0]]] * len(features) if layout == "matrix" else [types[n] for n in names], features
    )
    fed = OnnxSpec(layout=layout, inputs=tuple(names), output="")
    outputs = run_all(session, Feeder(session, fed, filled), x)
    answer = find_answer(outputs, len(x))
    order = class_order(answer.table, labels, given=classes, names=_names(answer, outputs, stated))
    accuracy, warning = agreement(answer.table, labels, order)
    return Imported(_spec(fed, answer, order), filled, order.classes, order.how, accuracy, warning)


def _check_graph(model: bytes) -> list[tuple[str, ...]]:
    """Refuse what must not or cannot run; returns the lists of class names that the model states."""
    facts = read_graph(model)
    if objection := facts.objection():
        raise ImportRefused(objection)
    return facts.labels


def _names(answer: Answer, outputs: dict[str, Any], stated: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    if answer.keys:
        return tuple(str(key) for key in answer.keys)
    labels = given_labels(outputs, len(answer.table))
    return None if labels is None else named_columns(answer.table, labels, stated)


def _spec(fed: OnnxSpec, answer: Answer, order: ClassOrder) -> OnnxSpec:
    keys: tuple[str | int, ...] = ()
    columns = order.columns
    if answer.keys:
        keys = tuple(answer.keys[column] for column in columns)
    elif answer.single:
        columns = tuple(0 if column == 1 else REST for column in columns)
    return OnnxSpec(
        fed.layout, fed.inputs, answer.output, zipmap=bool(keys), columns=() if keys else columns, keys=keys
    )
