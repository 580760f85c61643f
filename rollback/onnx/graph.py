"""Looks into an ONNX file without running it: what it would load from elsewhere, and the class names that it states.

An ONNX file is a protocol buffer; the few fields that matter here are read directly, so that adding a model needs
nothing beyond ONNX Runtime. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from rollback.onnx.protocol_buffer import NotOnnx, fields, integers, message, text

__all__ = ["GraphFacts", "NotOnnx", "read_graph"]

MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
FUNCTION_NODE, FUNCTION_DOMAIN = 7, 10
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_INTS, ATTRIBUTE_STRINGS = 1, 8, 9
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_NAME, TENSOR_EXTERNAL = 8, 13
RUNTIME_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
DEEPEST: Final = 20
TREE_LISTS: Final = ("nodes_", "class_", "target_")
"""Attributes of trees: lists of millions of numbers that say nothing about what is asked here."""


@dataclass
class GraphFacts:
    """``operators`` holds (domain, name); ``external`` tensors kept in other files; ``labels`` lists of classes."""

    operators: set[tuple[str, str]] = field(default_factory=set)
    external: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    own_domains: set[str] = field(default_factory=set)

    def foreign_operators(self) -> list[str]:
        """Operators that ONNX Runtime does not bring and the model does not define."""
        known = RUNTIME_DOMAINS | self.own_domains
        return sorted(f"{domain}.{name}" for domain, name in self.operators if domain not in known)

    def objection(self) -> str:
        """Why this model must not be run, "" where it may."""
        if self.external:
            return (
                f"weights are kept outside the file ({self.external[0]} and others): a bundle holds one model file; "
                "save it with onnx.save(model, path, save_as_external_data=False)"
            )
        if foreign := self.foreign_operators():
            return f"the model needs custom operators ({', '.join(foreign[:5])}) that ONNX Runtime lacks"
        if any(name == "Loop" for _, name in self.operators):
            return "the model holds a Loop, which may never end; export it without loops"
        return ""


def read_graph(model: bytes) -> GraphFacts:
    """The facts of an ONNX file. Raises `NotOnnx` for anything else, a truncated file included."""
    facts = GraphFacts()
    graphs = 0
    for number, value in fields(memoryview(model)):
        if number == MODEL_GRAPH:
            graphs += 1
            _graph(message(value), facts, 0)
        elif number == MODEL_FUNCTION:
            _function(message(value), facts)
    if not graphs:
        raise NotOnnx("it holds no graph")
    return facts


def _function(data: memoryview, facts: GraphFacts) -> None:
    for number, value in fields(data):
        if number == FUNCTION_NODE:
            _node(message(value), facts, 1)
        elif number == FUNCTION_DOMAIN:
            facts.own_domains.add(text(value))


def _graph(data: memoryview, facts: GraphFacts, depth: int) -> None:
    if depth > DEEPEST:
        raise NotOnnx(f"its graphs lie more than {DEEPEST} deep in each other")
    for number, value in fields(data):
        if number == GRAPH_NODE:
            _node(message(value), facts, depth)
        elif number == GRAPH_INITIALIZER:
            _tensor(message(value), facts)


def _node(data: memoryview, facts: GraphFacts, depth: int) -> None:
    operator = domain = ""
    for number, value in fields(data):
        if number == NODE_OPERATOR:
            operator = text(value)
        elif number == NODE_DOMAIN:
            domain = text(value)
        elif number == NODE_ATTRIBUTE:
            _attribute(message(value), facts, depth)
    facts.operators.add((domain, operator))


def _attribute(data: memoryview, facts: GraphFacts, depth: int) -> None:
    name = ""
    labels: list[str] = []
    for number, value in fields(data):
        if number == ATTRIBUTE_NAME:
            name = text(value)
            if name.startswith(TREE_LISTS) and not name.endswith("_as_tensor"):
                return
        elif number in {ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS}:
            _tensor(message(value), facts)
        elif number in {ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS}:
            _graph(message(value), facts, depth + 1)
        elif number == ATTRIBUTE_STRINGS:
            labels.append(bytes(message(value)).decode("utf-8", "replace"))
        elif number == ATTRIBUTE_INTS:
            labels.extend(str(i) for i in integers(value))
    if name.startswith("classlabels_") and labels:
        facts.labels.append(tuple(labels))


def _tensor(data: memoryview, facts: GraphFacts) -> None:
    name, external = "", False
    for number, value in fields(data):
        if number == TENSOR_NAME:
            name = text(value)
        external = external or number == TENSOR_EXTERNAL
    if external:
        facts.external.append(name)
