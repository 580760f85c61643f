"""Samples and small ONNX graphs for the tests of foreign models."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from detectors.batch import Floats, Strings
from rollback.manifest import FeatureSpec

NAMES = ("bytes", "packets", "duration", "ratio")
FEATURES = tuple(FeatureSpec(name) for name in NAMES)
CLASSES = ("benign", "exfiltration", "scan")


def samples(n: int = 400, seed: int = 7) -> tuple[Floats, Strings]:
    """Three well separated classes over four numeric features."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 4)).astype(np.float32).astype(np.float64)
    x[np.arange(n), y] += 4.0
    return np.asarray(x.astype(np.float32), dtype=np.float64), np.array(CLASSES)[y]


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> bytes:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()


def softmax_of(weights: Floats, width: int = 4, shape: Any = "N", kind: int = TensorProto.FLOAT) -> bytes:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=1)]
    constant = weights.astype(helper.tensor_dtype_to_np_dtype(kind))
    return graph(nodes, [("x", kind, [shape, width])], [("p", kind, [shape, weights.shape[1]])], {"w": constant})


GOOD = np.eye(4, 3) * 4
