"""Coded rows as tensors of the Open Inference Protocol (V2) and back: one input of N values per feature.

Numbers are FP64 (FP32 and INT64 are read as well), categories BYTES. Missing is null, an addition of ours: the
protocol has no word for it. A category that the vocabulary does not hold is any other text; "" is missing, unless the
vocabulary holds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from detectors.batch import Floats
from detectors.schema import UNSEEN, Feature, Schema

TYPES: Final[Mapping[str, Any]] = {
    "FP64": float | None,
    "FP32": float | None,
    "INT64": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "BYTES": str | None,
}
NUMBERS: Final = ("FP64", "FP32", "INT64")
BAD_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding hostile JSON raises."""
UNSEEN_WORD: Final = "<unseen>"
DIMENSIONS: Final = 8


class TensorError(ValueError):
    """A tensor is not what the schema asks for; the message names the input."""


class Tensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """One tensor of a request or an answer; ``data`` is read only when its type is known."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw
    parameters: dict[str, Any] = {}


_FLAT: Final = {name: msgspec.json.Decoder(list[kind]) for name, kind in TYPES.items()}  # type: ignore[valid-type]  # built at run time
_NESTED: Final = {name: msgspec.json.Decoder(list[list[kind]]) for name, kind in TYPES.items()}  # type: ignore[valid-type]  # as above


def to_inputs(schema: Schema, x: Floats) -> list[Tensor]:
    """One tensor per feature for x[n,d]; raises `TensorError` where a value is infinite, which JSON cannot say."""
    return [_column(feature, x[:, j]) for j, feature in enumerate(schema.features)]


def from_inputs(schema: Schema, tensors: Sequence[Tensor]) -> Floats:
    """x[n,d] of one tensor per feature, in any order; inverse of `to_inputs`. Raises `TensorError`."""
    by_name = {tensor.name: tensor for tensor in tensors}
    if len(by_name) != len(tensors):
        raise TensorError("an input is given twice")
    if strange := sorted(set(by_name) ^ set(schema.names)):
        what = "is missing" if strange[0] in schema.names else "is no feature of this model"
        raise TensorError(f"input {strange[0][:100]!r} {what}; the inputs are: {', '.join(schema.names)}")
    columns = [
        _codes(f, by_name[f.name]) if f.kind == "categorical" else _numbers(f, by_name[f.name]) for f in schema.features
    ]
    for name, column in zip(schema.names, columns, strict=True):
        if len(column) != len(columns[0]):
            raise TensorError(f"input {name!r} has {len(column)} rows, input {schema.names[0]!r} {len(columns[0])}")
    return np.column_stack(columns)


def values(tensor: Tensor) -> list[Any]:
    """The data in row-major order, as many as the shape says. Raises `TensorError`."""
    place = f"tensor {tensor.name[:100]!r}"
    if tensor.datatype not in TYPES:
        raise TensorError(f"{place}: datatype {tensor.datatype[:20]!r} is not understood, only {', '.join(TYPES)}")
    try:
        found = _flat_or_nested(tensor)
    except BAD_JSON as error:
        raise TensorError(f"{place}: data: {error} ({tensor.datatype})") from error
    if len(tensor.shape) > DIMENSIONS or min(tensor.shape, default=0) < 0 or math.prod(tensor.shape) != len(found):
        raise TensorError(f"{place}: {len(found)} values do not fill the shape {list(tensor.shape)[:8]}")
    return found


def _flat_or_nested(tensor: Tensor) -> list[Any]:
    try:
        return _FLAT[tensor.datatype].decode(tensor.data)
    except msgspec.ValidationError as flat:
        try:
            return [value for row in _NESTED[tensor.datatype].decode(tensor.data) for value in row]
        except msgspec.ValidationError:
            raise flat from None


def _numbers(feature: Feature, tensor: Tensor) -> Floats:
    if tensor.datatype not in NUMBERS:
        raise TensorError(f"input {feature.name!r}: datatype is {tensor.datatype[:20]!r}, a number is needed: FP64")
    return np.array(_column_values(feature, tensor), dtype=np.float64)  # None becomes NaN


def _codes(feature: Feature, tensor: Tensor) -> Floats:
    if tensor.datatype != "BYTES":
        raise TensorError(f"input {feature.name!r}: datatype is {tensor.datatype[:20]!r}, a category is BYTES")
    codes: dict[str | None, float] = {None: np.nan, "": np.nan}
    codes.update((word, float(code)) for code, word in enumerate(feature.vocabulary))
    found = _column_values(feature, tensor)
    return np.array([codes.get(value, UNSEEN) for value in found], dtype=np.float64)


def _column_values(feature: Feature, tensor: Tensor) -> list[Any]:
    if not tensor.shape or tensor.shape[1:] not in {(), (1,)}:
        raise TensorError(f"input {feature.name!r}: shape is {list(tensor.shape)[:8]}, expected [N] or [N, 1]")
    return values(tensor)


def _column(feature: Feature, column: Floats) -> Tensor:
    if np.isinf(column).any():
        raise TensorError(f"input {feature.name!r}: a value is infinite")
    if feature.kind != "categorical":
        return Tensor(feature.name, (len(column),), "FP64", raw(column.tolist()))  # NaN is written as null
    unseen = UNSEEN_WORD
    while unseen in feature.vocabulary:
        unseen += "?"
    words = [*feature.vocabulary, None, unseen]
    known = len(feature.vocabulary)
    codes = np.where(np.isnan(column), known, np.where((column < 0) | (column >= known), known + 1, column))
    return Tensor(feature.name, (len(column),), "BYTES", raw([words[code] for code in codes.astype(np.int64).tolist()]))


def raw(data: Sequence[Any]) -> msgspec.Raw:
    """Values as the data of a tensor."""
    return msgspec.Raw(msgspec.json.encode(data))
