"""Scored events of a closed window, kept for labels that come hours later: an index in memory, the rest loadable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Batch, Bools, Floats, Hashes, Ints, Strings
from detectors.evidence import State

_TEXTS: Final = ("id", "source", "session", "ref")


@dataclass(frozen=True, slots=True)
class PackedText:
    """A column of text as UTF-8, so that one long value does not widen all the others."""

    data: NDArray[np.uint8]
    ends: Ints

    @classmethod
    def of(cls, column: Strings) -> Self:
        """Pack a column."""
        data = "".join(column.tolist()).encode()
        lengths = np.char.str_len(column)
        if len(data) != lengths.sum():  # not all of it is ASCII: characters are not bytes
            lengths = np.array([len(text.encode()) for text in column.tolist()])
        return cls(np.frombuffer(data, dtype=np.uint8), np.cumsum(lengths, dtype=np.int64))

    def take(self, rows: Ints) -> Strings:
        """The given rows as a column.

        >>> PackedText.of(np.array(["a", "", "bcd"])).take(np.array([2, 1])).tolist()
        ['bcd', '']
        """
        starts = np.concatenate([[0], self.ends[:-1]])[rows] if len(self.ends) else rows
        pairs = zip(starts.tolist(), self.ends[rows].tolist(), strict=True)
        return np.array([self.data[start:end].tobytes().decode() for start, end in pairs], dtype=np.str_)

    def state(self) -> State:
        """For a segment."""
        return {"data": self.data, "ends": self.ends}


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """One event for a person to look at: x[d], scores as served [k]."""

    x: Floats
    served: Floats
    ref: str


@dataclass(frozen=True, slots=True)
class ScoredEvents:
    """The events of a closed window with all scores: what a label needs to become a row of `Labels`."""

    version: str
    classes: tuple[str, ...]
    key: Hashes
    ts: Floats
    id: PackedText
    source: PackedText
    session: PackedText
    ref: PackedText
    x: Floats
    served: Floats
    f: Floats
    g: Floats

    @classmethod
    def of(cls, batch: Batch, classes: Sequence[str], f: Floats, g: Floats | None) -> Self:
        """``f``, ``g``: scores[n,k] of serving version and last known good; without the latter NaN."""
        return cls(
            version=batch.version,
            classes=tuple(classes),
            key=batch.key,
            ts=batch.ts,
            id=PackedText.of(batch.id),
            source=PackedText.of(batch.source),
            session=PackedText.of(batch.session),
            ref=PackedText.of(batch.ref),
            x=batch.x,
            served=batch.scores,
            f=f,
            g=np.full_like(f, np.nan) if g is None else g,
        )

    def one(self, row: int) -> FoundEvent:
        """One event."""
        return FoundEvent(self.x[row], self.served[row], str(self.ref.take(np.array([row]))[0]))

    def state(self) -> State:
        """For a segment."""
        texts = {name: getattr(self, name).state() for name in _TEXTS}
        arrays = {name: getattr(self, name) for name in ("key", "ts", "x", "served", "f", "g")}
        return {"version": self.version, "classes": list(self.classes), **texts, **arrays}

    @classmethod
    def from_state(cls, state: State) -> Self:
        """What `state` gave."""
        fields: dict[str, Any] = {**state, "classes": tuple(state["classes"])}
        for name in _TEXTS:
            fields[name] = PackedText(**state[name])
        return cls(**fields)


class KeyIndex:
    """Finds rows by key: 12 bytes an event."""

    def __init__(self, key: Hashes) -> None:
        order = np.argsort(key, kind="stable")
        self._key = key[order]
        self._row = order.astype(np.int32)

    def find(self, key: Hashes) -> tuple[Bools, Ints, Bools]:
        """For each key: whether it is there, the first row that has it (else 0), whether further rows have it."""
        first = np.searchsorted(self._key, key, side="left")
        last = np.searchsorted(self._key, key, side="right")
        there = last > first
        rows = np.zeros(len(key), dtype=np.int64)
        rows[there] = self._row[first[there]]
        return there, rows, last - first > 1
