"""Writes a trained network as an ONNX graph, node by node; see `rollback.train.graph`."""

from __future__ import annotations

from typing import Final

import numpy as np
from onnx import TensorProto

from detectors.schema import Schema
from rollback.train.graph import INPUT, OUTPUT, Graph, category_rows, numeric_columns
from rollback.train.recipe import Weights

CLIP: Final = 10.0
"""Standardised numbers are cut off here: beyond it lies nothing that the network has learned about."""


def embedding_size(vocabulary: int) -> int:
    """Width of the embedding of a categorical feature with so many values.

    >>> [embedding_size(v) for v in (1, 3, 6, 15, 500)]
    [2, 3, 4, 8, 8]
    """
    return min(8, (vocabulary + 3) // 2)


def build_model(weights: Weights, schema: Schema) -> bytes:
    """The ONNX file of the network that `rollback.train.recipes.mlp` trains.

    ``weights`` are ``mean`` and ``scale`` (of asinh of the numeric columns), ``embeddings.I.weight`` of the I-th
    categorical column, ``layers.I.weight`` and ``layers.I.bias``.
    """
    graph = Graph()
    parts = [*scaled_numbers(graph, weights, schema), *_categorical_inputs(graph, weights, schema)]
    h = graph.add("Concat", parts, axis=1)
    depth = sum(name.startswith("layers.") and name.endswith(".bias") for name in weights)
    for i in range(depth):
        names = [f"layers.{i}.weight", f"layers.{i}.bias"]
        h = graph.add("Gemm", [h, *(graph.constant(weights[name], name) for name in names)], transB=1)
        h = graph.add("Relu", [h]) if i < depth - 1 else graph.add("Softmax", [h], output=OUTPUT, axis=1)
    return graph.finish(len(schema.features), len(schema.classes))


def scaled_numbers(graph: Graph, weights: Weights, schema: Schema) -> list[str]:
    """asinh, standardised, cut off, 0 where missing; and an indicator of missing."""
    columns = numeric_columns(schema)
    if not columns:
        return []
    raw = graph.add("Gather", [INPUT, graph.constant(np.array(columns))], axis=1)
    missing = graph.add("IsNaN", [raw])
    centred = graph.add("Sub", [graph.add("Asinh", [raw]), graph.constant(weights["mean"], "mean")])
    standard = graph.add("Div", [centred, graph.constant(weights["scale"], "scale")])
    clipped = graph.add("Clip", [standard, graph.number(-CLIP), graph.number(CLIP)])
    filled = graph.add("Where", [missing, graph.number(0.0), clipped])
    return [filled, graph.add("Cast", [missing], to=TensorProto.FLOAT)]


def _categorical_inputs(graph: Graph, weights: Weights, schema: Schema) -> list[str]:
    """For each categorical column its row of the embedding."""
    parts = []
    for i, (_, row) in enumerate(category_rows(graph, schema)):
        name = f"embeddings.{i}.weight"
        parts.append(graph.add("Gather", [graph.constant(weights[name], name), row], axis=0))
    return parts
