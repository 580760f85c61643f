"""Looks into an ONNX file without running it: what it would load from elsewhere, and the class names that it states.

An ONNX file is a protocol buffer; the few fields that matter here are read directly, so that adding a model needs
nothing beyond ONNX Runtime. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Value: TypeAlias = int | memoryview

MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
FUNCTION_NODE, FUNCTION_DOMAIN = 7, 10
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_INTS, ATTRIBUTE_STRINGS = 1, 8, 9
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
TENSOR_NAME, TENSOR_EXTERNAL = 8, 13
RUNTIME_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
DEEPEST: Final = 20


class NotOnnx(ValueError):  # noqa: N818 - it says what the file is not
    """The bytes are no ONNX model."""


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


def read_graph(model: bytes) -> GraphFacts:
    """The facts of an ONNX file. Raises `NotOnnx` for anything else, a truncated file included."""
    facts = GraphFacts()
    graphs = 0
    for number, value in _fields(memoryview(model)):
        if number == MODEL_GRAPH:
            graphs += 1
            _graph(_message(value), facts, 0)
        elif number == MODEL_FUNCTION:
            _function(_message(value), facts)
    if not graphs:
        raise NotOnnx("it holds no graph")
    return facts


def _function(data: memoryview, facts: GraphFacts) -> None:
    for number, value in _fields(data):
        if number == FUNCTION_NODE:
            _node(_message(value), facts, 1)
        elif number == FUNCTION_DOMAIN:
            facts.own_domains.add(_text(value))


def _graph(data: memoryview, facts: GraphFacts, depth: int) -> None:
    if depth > DEEPEST:
        raise NotOnnx(f"its graphs lie more than {DEEPEST} deep in each other")
    for number, value in _fields(data):
        if number == GRAPH_NODE:
            _node(_message(value), facts, depth)
        elif number == GRAPH_INITIALIZER:
            _tensor(_message(value), facts)


def _node(data: memoryview, facts: GraphFacts, depth: int) -> None:
    operator = domain = ""
    for number, value in _fields(data):
        if number == NODE_OPERATOR:
            operator = _text(value)
        elif number == NODE_DOMAIN:
            domain = _text(value)
        elif number == NODE_ATTRIBUTE:
            _attribute(_message(value), facts, depth)
    facts.operators.add((domain, operator))


def _attribute(data: memoryview, facts: GraphFacts, depth: int) -> None:
    name = ""
    labels: list[str] = []
    for number, value in _fields(data):
        if number == ATTRIBUTE_NAME:
            name = _text(value)
        elif number in {ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS}:
            _tensor(_message(value), facts)
        elif number in {ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS}:
            _graph(_message(value), facts, depth + 1)
        elif number == ATTRIBUTE_STRINGS:
            labels.append(bytes(_message(value)).decode("utf-8", "replace"))
        elif number == ATTRIBUTE_INTS:
            labels.extend(str(i) for i in _integers(value))
    if name.startswith("classlabels_") and labels:
        facts.labels.append(tuple(labels))


def _tensor(data: memoryview, facts: GraphFacts) -> None:
    name, external = "", False
    for number, value in _fields(data):
        if number == TENSOR_NAME:
            name = _text(value)
        external = external or number == TENSOR_EXTERNAL
    if external:
        facts.external.append(name)


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message: number, and an integer or the bytes of a string or message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:  # noqa: PLR2004 - length-delimited
            size, at = _varint(data, at)
        elif kind in {1, 5}:  # fixed 64 and 32 bits
            size = 8 if kind == 1 else 4
        else:
            raise NotOnnx(f"byte {at} starts no field")
        if number == 0 or at + size > len(data):
            raise NotOnnx("it is damaged or cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise NotOnnx("it is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, at
    raise NotOnnx("a number in it is too long")


def _integers(value: Value) -> list[int]:
    """A repeated integer, packed or one by one, as signed 64-bit numbers."""
    if isinstance(value, int):
        return [_signed(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(_signed(number))
    return numbers


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise NotOnnx("a field holds a number where a message belongs")
    return value


def _text(value: Value) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")
