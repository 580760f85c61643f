"""Writes a trained network as an ONNX graph, node by node.

In: one float tensor [N, d] of coded columns, with NaN for missing and any code outside the vocabulary for unseen.
Out: probabilities [N, k]. All handling of missing and unseen values is inside the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detectors.schema import Schema
from rollback.manifest import OnnxSpec
from rollback.train.recipe import Weights

OPSET: Final = 17
IR_VERSION: Final = 8
CLIP: Final = 10.0
"""Standardised numbers are cut off here: beyond it lies nothing that the network has learned about."""
INPUT: Final = "features"
OUTPUT: Final = "probabilities"


def embedding_size(vocabulary: int) -> int:
    """Width of the embedding of a categorical feature with so many values.

    >>> [embedding_size(v) for v in (1, 3, 6, 15, 500)]
    [2, 3, 4, 8, 8]
    """
    return min(8, (vocabulary + 3) // 2)


def onnx_spec(schema: Schema) -> OnnxSpec:
    """How the model of `build_model` is fed and read."""
    return OnnxSpec(layout="matrix", inputs=(INPUT,), output=OUTPUT, columns=tuple(range(len(schema.classes))))


def build_model(weights: Weights, schema: Schema) -> bytes:
    """The ONNX file of the network that `rollback.train.recipes.mlp` trains.

    ``weights`` are ``mean`` and ``scale`` (of asinh of the numeric columns), ``embeddings.I.weight`` of the I-th
    categorical column, ``layers.I.weight`` and ``layers.I.bias``.
    """
    graph = _Graph()
    parts = [*_numeric_inputs(graph, weights, schema), *_categorical_inputs(graph, weights, schema)]
    h = graph.add("Concat", parts, axis=1)
    depth = sum(name.startswith("layers.") and name.endswith(".bias") for name in weights)
    for i in range(depth):
        names = [f"layers.{i}.weight", f"layers.{i}.bias"]
        h = graph.add("Gemm", [h, *(graph.constant(weights[name], name) for name in names)], transB=1)
        h = graph.add("Relu", [h]) if i < depth - 1 else graph.add("Softmax", [h], output=OUTPUT, axis=1)
    return graph.finish(len(schema.features), len(schema.classes))


def _numeric_inputs(graph: _Graph, weights: Weights, schema: Schema) -> list[str]:
    """asinh, standardised, cut off, 0 where missing; and an indicator of missing."""
    columns = [j for j, f in enumerate(schema.features) if f.kind != "categorical"]
    if not columns:
        return []
    raw = graph.add("Gather", [INPUT, graph.constant(np.array(columns))], axis=1)
    missing = graph.add("IsNaN", [raw])
    centred = graph.add("Sub", [graph.add("Asinh", [raw]), graph.constant(weights["mean"], "mean")])
    standard = graph.add("Div", [centred, graph.constant(weights["scale"], "scale")])
    clipped = graph.add("Clip", [standard, graph.number(-CLIP), graph.number(CLIP)])
    filled = graph.add("Where", [missing, graph.number(0.0), clipped])
    return [filled, graph.add("Cast", [missing], to=TensorProto.FLOAT)]


def _categorical_inputs(graph: _Graph, weights: Weights, schema: Schema) -> list[str]:
    """For each categorical column its row of the embedding: a category's, the unseen one, or the missing one."""
    columns = [j for j, f in enumerate(schema.features) if f.kind == "categorical"]
    parts = []
    for i, j in enumerate(columns):
        known = len(schema.features[j].vocabulary)
        codes = graph.add("Gather", [INPUT, graph.constant(np.array(j))], axis=1)
        below = graph.add("Less", [codes, graph.number(0.0)])
        above = graph.add("GreaterOrEqual", [codes, graph.number(known)])
        seen_or_not = graph.add("Where", [graph.add("Or", [below, above]), graph.number(known), codes])
        row = graph.add("Where", [graph.add("IsNaN", [codes]), graph.number(known + 1), seen_or_not])
        name = f"embeddings.{i}.weight"
        index = graph.add("Cast", [row], to=TensorProto.INT64)
        parts.append(graph.add("Gather", [graph.constant(weights[name], name), index], axis=0))
    return parts


class _Graph:
    """Collects nodes and constants, and names what lies between them."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Append a node; the name of its output."""
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: NDArray[Any], name: str = "") -> str:
        """The name of a constant tensor."""
        name = name or f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def number(self, value: float) -> str:
        """The name of a float scalar."""
        return self.constant(np.array(value, dtype=np.float32), f"number_{value:g}")

    def finish(self, features: int, classes: int) -> bytes:
        """The checked model, as the bytes of an ONNX file."""
        into = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", features])
        out = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", classes])
        graph = helper.make_graph(self._nodes, "mlp", [into], [out], list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tocsin")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
