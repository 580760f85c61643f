"""Writes ONNX graphs node by node, and the parts of them that several recipes share.

In: one float tensor [N, d] of coded columns, with NaN for missing and any code outside the vocabulary for unseen.
Out: probabilities [N, k]. All handling of missing and unseen values is inside the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnx.compose
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detectors.schema import Schema
from rollback.manifest import OnnxSpec

OPSETS: Final = {"": 17, "ai.onnx.ml": 3}
IR_VERSION: Final = 8
INPUT: Final = "features"
OUTPUT: Final = "probabilities"


def onnx_spec(schema: Schema) -> OnnxSpec:
    """How a model of a `Graph` is fed and read."""
    return OnnxSpec(layout="matrix", inputs=(INPUT,), output=OUTPUT, columns=tuple(range(len(schema.classes))))


def numeric_columns(schema: Schema) -> list[int]:
    """Positions of the columns that are numbers."""
    return [j for j, f in enumerate(schema.features) if f.kind != "categorical"]


def category_rows(graph: Graph, schema: Schema) -> list[tuple[int, str]]:
    """For each categorical column the size of its table and the row [N] in it.

    The rows are the categories, then unseen, then missing.
    """
    parts = []
    for j, feature in enumerate(schema.features):
        if feature.kind != "categorical":
            continue
        known = len(feature.vocabulary)
        codes = graph.add("Gather", [INPUT, graph.constant(np.array(j))], axis=1)
        below = graph.add("Less", [codes, graph.number(0.0)])
        above = graph.add("GreaterOrEqual", [codes, graph.number(known)])
        seen_or_not = graph.add("Where", [graph.add("Or", [below, above]), graph.number(known), codes])
        row = graph.add("Where", [graph.add("IsNaN", [codes]), graph.number(known + 1), seen_or_not])
        parts.append((known + 2, graph.add("Cast", [row], to=TensorProto.INT64)))
    return parts


class Graph:
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

    def inline(self, model: bytes, prefix: str) -> str:
        """Append another model of ours over the same input; the name of its probabilities.

        ``prefix`` keeps its names apart from all others. Raises `ValueError` for a model with other inputs or opsets.
        """
        other = onnx.load_from_string(model)
        if [i.name for i in other.graph.input] != [INPUT] or {
            o.domain: o.version for o in other.opset_import
        } != OPSETS:
            raise ValueError("only models that Tocsin's own recipes have made can be joined")
        renamed = onnx.compose.add_prefix_graph(other.graph, prefix, rename_inputs=False)
        self._nodes.extend(renamed.node)
        for constant in renamed.initializer:
            self._constants[constant.name] = constant
        return str(renamed.output[0].name)

    def finish(self, features: int, classes: int, name: str = "mlp") -> bytes:
        """The checked model, as the bytes of an ONNX file."""
        into = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", features])
        out = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", classes])
        graph = helper.make_graph(self._nodes, name, [into], [out], list(self._constants.values()))
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="tocsin")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
