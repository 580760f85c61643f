"""The numbers inside an ONNX file (weights, thresholds, leaves), and copies of it with slightly other ones.

They are read and written in place, so that this needs nothing beyond numpy. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rollback.onnx.graph import (
    ATTRIBUTE_GRAPH,
    ATTRIBUTE_GRAPHS,
    ATTRIBUTE_TENSOR,
    ATTRIBUTE_TENSORS,
    DEEPEST,
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    MODEL_GRAPH,
)
from rollback.onnx.protocol_buffer import FIXED, LENGTH_DELIMITED, NotOnnx, fields, spans

NODE_ATTRIBUTE, ATTRIBUTE_FLOATS = 5, 7
TENSOR_KIND, TENSOR_FLOATS, TENSOR_RAW, TENSOR_DOUBLES = 2, 4, 9, 10
KINDS: Final = {1: "<f4", 10: "<f2", 11: "<f8"}
"""Types of tensors of numbers that are not whole, and how numpy calls them."""
SCALAR: Final = 1

Place = tuple[int, int]
"""Where something begins and ends in the file."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """One array in the file: ``count`` numbers of numpy's ``kind`` from byte ``start`` on, ``step`` bytes apart."""

    start: int
    count: int
    step: int
    kind: str

    def of(self, model: bytearray) -> NDArray[Any]:
        """The numbers themselves: what is written to them is written to ``model``."""
        return np.ndarray((self.count,), np.dtype(self.kind), model, self.start, (self.step,))


def find_numbers(model: bytes) -> list[Numbers]:
    """Every array of more than one number that is not whole. Raises `NotOnnx`.

    A single number is left out: more often than not it is a bound or an index rather than something learned.
    """
    data = memoryview(model)
    graphs = [place for number, place in _messages(data, (0, len(data))) if number == MODEL_GRAPH]
    return [numbers for place in graphs for numbers in _graph(data, place, 0) if numbers.count > SCALAR]


def noisy_copy(model: bytes, numbers: Sequence[Numbers], size: float, rng: np.random.Generator) -> bytes:
    """The file with every number w of ``numbers`` replaced by w (1 + ``size`` N(0, 1))."""
    copy = bytearray(model)
    for each in numbers:
        values = each.of(copy)
        values *= (1.0 + size * rng.standard_normal(each.count)).astype(values.dtype)
    return bytes(copy)


def _graph(data: memoryview, place: Place, depth: int) -> Iterator[Numbers]:
    if depth > DEEPEST:
        raise NotOnnx(f"its graphs lie more than {DEEPEST} deep in each other")
    for number, part in _messages(data, place):
        if number == GRAPH_INITIALIZER:
            yield from _tensor(data, part)
        elif number == GRAPH_NODE:
            for field, attribute in _messages(data, part):
                if field == NODE_ATTRIBUTE:
                    yield from _attribute(data, attribute, depth)


def _attribute(data: memoryview, place: Place, depth: int) -> Iterator[Numbers]:
    single: list[int] = []
    for number, kind, begin, end in spans(data, *place):
        if number == ATTRIBUTE_FLOATS and kind == LENGTH_DELIMITED:
            yield Numbers(begin, (end - begin) // 4, 4, KINDS[1])
        elif number == ATTRIBUTE_FLOATS and kind in FIXED:
            single.append(begin)
        elif number in {ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS}:
            yield from _tensor(data, (begin, end))
        elif number in {ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS}:
            yield from _graph(data, (begin, end), depth + 1)
    if single and len(single) * 5 == single[-1] - single[0] + 5:  # each behind a tag of one byte
        yield Numbers(single[0], len(single), 5, KINDS[1])


def _tensor(data: memoryview, place: Place) -> Iterator[Numbers]:
    kinds = [value for number, value in fields(data[place[0] : place[1]]) if number == TENSOR_KIND]
    if not kinds or kinds[-1] not in KINDS:
        return
    raw = np.dtype(KINDS[kinds[-1]])
    for number, (begin, end) in _messages(data, place):
        kind = {TENSOR_RAW: raw, TENSOR_FLOATS: np.dtype("<f4"), TENSOR_DOUBLES: np.dtype("<f8")}.get(number)
        if kind is not None:
            yield Numbers(begin, (end - begin) // kind.itemsize, kind.itemsize, kind.str)


def _messages(data: memoryview, place: Place) -> Iterator[tuple[int, Place]]:
    """The fields that hold bytes: their numbers and places."""
    for number, kind, begin, end in spans(data, *place):
        if kind == LENGTH_DELIMITED:
            yield number, (begin, end)
