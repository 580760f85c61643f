"""Coded columns as a dense matrix, for recipes that are no network: in numpy, and the same as part of an ONNX graph.

Numbers, then an indicator of missing for each, then one column for every category, unseen and missing values included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from detectors.batch import Floats
from detectors.schema import Schema
from rollback.train.graph import INPUT, Graph, category_rows, numeric_columns
from rollback.train.onnx_graph import CLIP, scaled_numbers
from rollback.train.recipe import Weights

Matrix = NDArray[np.float32]
SMALLEST = 1e-7
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Dense:
    """``mean`` and ``scale`` (of asinh) standardise numbers as the network does; without them they stay as they are.

    For trees nothing is computed on a number: whoever asks compares the very same float32.
    """

    schema: Schema
    mean: Floats | None = None
    scale: Floats | None = None

    def __call__(self, x: Floats) -> Matrix:
        """The matrix of rows x[n,d]."""
        numbers = np.clip(x[:, numeric_columns(self.schema)], -LARGEST, LARGEST)
        missing = np.isnan(numbers)
        if self.mean is not None and self.scale is not None:
            numbers = np.clip((np.arcsinh(numbers) - self.mean) / self.scale, -CLIP, CLIP)
        parts = [np.where(missing, 0.0, numbers), missing]
        for j, feature in enumerate(self.schema.features):
            if feature.kind == "categorical":
                known = len(feature.vocabulary)
                unseen = (x[:, j] < 0) | (x[:, j] >= known)
                row = np.where(np.isnan(x[:, j]), known + 1, np.where(unseen, known, x[:, j]))
                parts.append(row.astype(np.int64)[:, None] == np.arange(known + 2))
        return np.hstack(parts).astype(np.float32)

    def nodes(self, graph: Graph) -> str:
        """The same in a graph; the name of the matrix."""
        parts = self._numbers(graph)
        for size, row in category_rows(graph, self.schema):
            column = graph.add("Unsqueeze", [row, graph.constant(np.array([1]))])
            same = graph.add("Equal", [column, graph.constant(np.arange(size)[None, :])])
            parts.append(graph.add("Cast", [same], to=TensorProto.FLOAT))
        return graph.add("Concat", parts, axis=1)

    def weights(self) -> Weights:
        """The numbers in it."""
        known = {"mean": self.mean, "scale": self.scale}
        return {name: value.astype(np.float32) for name, value in known.items() if value is not None}

    def _numbers(self, graph: Graph) -> list[str]:
        if self.mean is not None:
            return scaled_numbers(graph, self.weights(), self.schema)
        columns = numeric_columns(self.schema)
        if not columns:
            return []
        raw = graph.add("Gather", [INPUT, graph.constant(np.array(columns))], axis=1)
        missing = graph.add("IsNaN", [raw])
        bounded = graph.add("Clip", [raw, graph.number(-LARGEST), graph.number(LARGEST)])
        filled = graph.add("Where", [missing, graph.number(0.0), bounded])
        return [filled, graph.add("Cast", [missing], to=TensorProto.FLOAT)]


def numeric_statistics(schema: Schema, x: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of asinh of every numeric column; 0 and 1 where nothing varies or all is missing."""
    values = np.ma.masked_invalid(np.arcsinh(x[:, numeric_columns(schema)]))
    mean, deviation = values.mean(axis=0).filled(0.0), values.std(axis=0).filled(0.0)
    # that of a constant is no exact zero, and what float32 makes of it would be noise a hundred million times its size
    return mean, np.where(deviation > SMALLEST * np.maximum(np.abs(mean), 1.0), deviation, 1.0)
