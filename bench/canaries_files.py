"""The numbers inside an ONNX file, to be changed: weights, leaves, thresholds, coefficients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

from detectors.batch import Floats, Ints

Change = Callable[[str, Floats], Floats]
"""A part's name and its numbers, to other numbers."""

LEAVES = ("class_weights", "target_weights")
THRESHOLDS = "nodes_values"
COEFFICIENTS = ("coefficients", "intercepts", "scale", "offset")


def altered(content: bytes, change: Change) -> bytes:
    """The file after ``change`` of each of its arrays of numbers that are not whole; scalars are left as they are."""
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind == "f" and value.size > 1:
            made = change(tensor.name, value.astype(np.float64).ravel())
            tensor.CopyFrom(numpy_helper.from_array(made.reshape(value.shape).astype(value.dtype), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in {*LEAVES, THRESHOLDS, *COEFFICIENTS} and len(attribute.floats):
                made = change(attribute.name, np.array(attribute.floats, dtype=np.float64))
                del attribute.floats[:]
                attribute.floats.extend(made.astype(np.float32).tolist())
    return bytes(model.SerializeToString())


def only(name: str, change: Callable[[Floats], Floats]) -> Change:
    """``change`` of the part of that name, and of no other."""
    return lambda part, values: change(values) if part == name else values


def parts(content: bytes) -> dict[str, Floats]:
    """The numbers of a file by the names that `altered` uses."""
    found: dict[str, Floats] = {}

    def note(name: str, values: Floats) -> Floats:
        found[name] = values
        return values

    altered(content, note)
    return found


def last_layer(content: bytes) -> str | None:
    """The part that holds the weights of the layer before the answer; None for trees."""
    names = parts(content)
    layers = sorted(name for name in names if name.startswith("layers.") and name.endswith(".weight"))
    return layers[-1] if layers else next((name for name in names if name == "coefficients"), None)


def whole_numbers(content: bytes, name: str) -> Ints:
    """An attribute of whole numbers, such as the feature that each node of a tree looks at; empty where it is none."""
    for node in onnx.load_from_string(content).graph.node:
        for attribute in node.attribute:
            if attribute.name == name:
                return np.array(attribute.ints, dtype=np.int64)
    return np.zeros(0, dtype=np.int64)


def inner_nodes(content: bytes) -> Ints:
    """Positions of the nodes of trees that have a threshold."""
    for node in onnx.load_from_string(content).graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_modes":
                return np.flatnonzero(np.array(attribute.strings) != b"LEAF")
    return np.zeros(0, dtype=np.int64)
