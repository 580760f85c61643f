"""State to bytes and back without pickle: msgpack, with numpy arrays and segment references as extension types.

A file is a header (magic, format version, SHA-256 of the rest) and a payload. What was torn or changed is refused.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.evidence import State

Array: TypeAlias = NDArray[Any]

_MAGIC: Final = b"TOCSIN-STATE\x00\x01"
_DIGEST: Final = hashlib.sha256().digest_size
_HEADER: Final = len(_MAGIC) + _DIGEST

_ARRAY: Final = 1
_SEGMENT: Final = 2
_INTEGER: Final = 3

_KINDS: Final = frozenset("biufU")
_INT64: Final = range(-(2**63), 2**64)


class CheckpointError(Exception):
    """Stored state cannot be used; the message says which file and what to do."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A reference to a part of the state that has a file of its own and never changes."""

    name: str


class Segments(Protocol):
    """Where segments are kept: `monitor.state.checkpoint.CheckpointStore` or `MemorySegments`."""

    def put(self, state: State) -> Segment:
        """Store a segment; the same content has the same reference."""

    def get(self, segment: Segment) -> State:
        """Load a segment. Raises `CheckpointError` where it is missing or damaged."""


def encode(state: Any) -> bytes:
    """The state as bytes. Tuples come back as lists; what is no state raises `TypeError` with its path.

    >>> decode(encode({"a": [1, None, 2.5], "b": np.array([1, 2])}))["b"].tolist()
    [1, 2]
    """
    payload = msgspec.msgpack.encode(_plain(state, "state"))
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def decode(data: bytes) -> Any:
    """The state that `encode` was given. Arrays are writable copies. Raises `CheckpointError`."""
    if not data.startswith(_MAGIC):
        raise CheckpointError("not a state file of this version of Tocsin (the header differs)")
    payload = data[_HEADER:]
    if hashlib.sha256(payload).digest() != data[len(_MAGIC) : _HEADER]:
        raise CheckpointError("the file is torn or was changed (its SHA-256 differs)")
    try:
        return msgspec.msgpack.decode(payload, ext_hook=_extension)
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError) as error:
        raise CheckpointError(f"the file cannot be read: {error}") from error


def segments_in(state: Any) -> Iterator[Segment]:
    """Every segment that the state refers to."""
    if isinstance(state, Segment):
        yield state
    elif isinstance(state, dict):
        for item in state.values():
            yield from segments_in(item)
    elif isinstance(state, list | tuple):
        for item in state:
            yield from segments_in(item)


def _plain(item: Any, path: str) -> Any:  # noqa: PLR0911 - one return for each type
    if item is None or isinstance(item, bool | str | bytes) or type(item) is float:
        return item
    if isinstance(item, dict):
        return {_key(key, path): _plain(value, f"{path}.{key}") for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(value, f"{path}[{i}]") for i, value in enumerate(item)]
    if isinstance(item, np.ndarray):
        return msgspec.msgpack.Ext(_ARRAY, _array_bytes(item, path))
    if isinstance(item, np.generic):
        return _plain(item.item(), path)
    if isinstance(item, Segment):
        return msgspec.msgpack.Ext(_SEGMENT, item.name.encode())
    if type(item) is int:
        # generators of random numbers hold integers of 128 bits
        return item if item in _INT64 else msgspec.msgpack.Ext(_INTEGER, str(item).encode())
    raise TypeError(f"{path}: {type(item).__name__} cannot be stored in a checkpoint")


def _key(key: Any, path: str) -> str:
    if type(key) is not str:
        raise TypeError(f"{path}: keys must be strings, got {key!r}")
    return key


def _array_bytes(array: Array, path: str) -> bytes:
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"{path}: arrays of dtype {array.dtype} cannot be stored in a checkpoint")
    if array.dtype.kind == "U":
        data: Any = array.ravel().tolist()  # as UTF-8 this is a fourth of numpy's form
    else:
        data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return msgspec.msgpack.encode((array.dtype.newbyteorder("<").str, list(array.shape), data))


def _extension(code: int, data: memoryview) -> Any:
    if code == _SEGMENT:
        return Segment(bytes(data).decode())
    if code == _INTEGER:
        return int(bytes(data))
    if code != _ARRAY:
        raise ValueError(f"extension type {code} is not known")
    name, shape, stored = msgspec.msgpack.decode(data, type=tuple[str, list[int], bytes | list[str]])
    dtype = np.dtype(name)
    if dtype.kind not in _KINDS or (dtype.kind == "U") != isinstance(stored, list):
        raise ValueError(f"arrays of dtype {name} are not known")
    flat: Array = np.array(stored, dtype=dtype) if isinstance(stored, list) else np.frombuffer(stored, dtype).copy()
    if flat.size != math.prod(shape):
        raise ValueError(f"an array of shape {shape} has {flat.size} items")
    return flat.reshape(shape)
