"""Reads features and scores of one model version: from JSON to rows, from rows to matrices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from detectors.batch import Bools, Floats
from detectors.schema import UNSEEN, Schema
from monitor.decoding.diagnose import explain_features, explain_scores
from monitor.decoding.envelope import BAD_JSON, InferenceEvent
from monitor.decoding.reject import UnreadableError

Row: TypeAlias = tuple[Any, ...]

SUM_TOLERANCE: Final = 1e-3
"""How far the scores of an event may be from summing to 1, for each class."""

_ABSENT: Final = float("nan")  # told apart from null by identity
_NOT_RENAMEABLE: Final = re.compile(r'["\\\x00-\x1f]')
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?", re.ASCII)
_UNSEEN_KEPT: Final = 32
_UNSEEN_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Served:
    """What is needed to read a version's events. ``simplex``: scores sum to 1 (otherwise they are independent)."""

    schema: Schema
    simplex: bool = True


class SchemaReader:
    """Decoders built for one `Served`: types and counts are checked in C, while the JSON is parsed.

    ``unseen[feature]`` counts values that the vocabulary does not hold, for messages: at most 32 different ones for a
    feature. ``absent`` counts features that an object left out (they are missing, as null is). ``guess`` decodes a
    whole event in one go, if it is one of this version's and nothing is wrong with it.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.unseen: dict[str, Counter[str]] = {}
        self.absent = 0
        features, classes = served.schema.features, served.schema.classes
        types = [str | int | float | None if f.kind == "categorical" else float | bool | None for f in features]
        self._features = msgspec.json.Decoder(_array_or_object(served.schema.names, types, _ABSENT))
        scores = _array_or_object(classes, [float] * len(classes), None)
        self._binary = served.simplex and len(classes) == 2  # noqa: PLR2004 - binary means two
        scores = scores | float if self._binary else scores
        self._scores = msgspec.json.Decoder(scores)
        typed = [("features", self._features.type), ("scores", scores)]
        event: type[Any] = msgspec.defstruct("TypedEvent", typed, bases=(InferenceEvent,), kw_only=True, gc=False)
        self.guess: Callable[[bytes], InferenceEvent] = msgspec.json.Decoder(event).decode
        self._numeric = [j for j, f in enumerate(features) if f.kind != "categorical"]
        self._codes = {j: _codes(f.vocabulary) for j, f in enumerate(features) if f.kind == "categorical"}

    def features(self, raw: Any) -> Row:
        """The values of one event in schema order; `UnreadableError` says what is wrong.

        ``raw``: undecoded, or as ``guess`` decoded them.
        """
        try:
            row = self._features.decode(raw) if type(raw) is msgspec.Raw else raw
        except BAD_JSON as error:
            raise explain_features(raw, self.served.schema, error) from None
        return row if type(row) is tuple else msgspec.structs.astuple(row)

    def scores(self, raw: Any) -> Row:
        """The probabilities of one event in class order; `UnreadableError` says what is wrong.

        ``raw``: undecoded, or as ``guess`` decoded them.
        """
        try:
            row = self._scores.decode(raw) if type(raw) is msgspec.Raw else raw
        except BAD_JSON as error:
            raise explain_scores(raw, self.served.schema.classes, error) from None
        if type(row) is tuple:
            return row
        return (1.0 - row, row) if type(row) is float else msgspec.structs.astuple(row)

    def x(self, rows: Sequence[Row]) -> Floats:
        """x[n,d]: categorical values as codes, missing as NaN."""
        x = np.empty((len(rows), len(self.served.schema.features)))
        if self._numeric:
            x[:, self._numeric] = _numbers(rows, self._numeric)
        for j, codes in self._codes.items():
            values = [row[j] for row in rows]
            x[:, j] = [codes.get(value, UNSEEN) for value in values]
            self._count_unseen(j, values, x[:, j])
        for i in np.flatnonzero(np.isnan(x).any(axis=1)).tolist():
            self.absent += sum(value is _ABSENT for value in rows[i])
        return x

    def check(self, scores: Floats) -> Bools:
        """For scores[n,k] whether each row is a set of probabilities.

        >>> reader = SchemaReader(Served(Schema((), ("benign", "attack"))))
        >>> reader.check(np.array([[0.9, 0.1], [0.9, 0.2]])).tolist()
        [True, False]
        """
        tolerance = SUM_TOLERANCE * scores.shape[1]
        inside: Bools = np.all((scores >= -SUM_TOLERANCE) & (scores <= 1 + SUM_TOLERANCE), axis=1)
        return inside & (np.abs(scores.sum(axis=1) - 1) <= tolerance) if self.served.simplex else inside

    def why(self, scores: Floats) -> UnreadableError:
        """Why one event's scores[k] fail `check`."""
        if ((scores < -SUM_TOLERANCE) | (scores > 1 + SUM_TOLERANCE)).any():
            return UnreadableError("scores_range", f"scores {scores[:8].tolist()} are no probabilities (logits?)")
        return UnreadableError("scores_sum", f"scores sum to {scores.sum():.6g}, expected 1")

    def _count_unseen(self, j: int, values: Sequence[Any], codes: Floats) -> None:
        rows = np.flatnonzero(codes == UNSEEN)
        if not len(rows):
            return
        counts = self.unseen.setdefault(self.served.schema.features[j].name, Counter())
        for i in rows.tolist():
            value = str(values[i])[:_UNSEEN_LENGTH]
            if value in counts or len(counts) < _UNSEEN_KEPT:
                counts[value] += 1


def _numbers(rows: Sequence[Row], columns: Sequence[int]) -> Floats:
    """The given columns of the rows, which hold numbers, truth values and None, as a matrix."""
    picked = list(map(itemgetter(*columns), rows)) if len(columns) > 1 else [(row[columns[0]],) for row in rows]
    try:
        flat = np.fromiter(chain.from_iterable(picked), np.float64, len(rows) * len(columns))
    except TypeError:  # None, which only the slower way takes
        flat = np.array(picked, dtype=np.float64)
    return flat.reshape(len(rows), len(columns))


def _array_or_object(names: Sequence[str], types: Sequence[Any], default: float | None) -> Any:
    """The type of an array in order, or an object by name; without ``default`` every name is required.

    Names that JSON writes with an escape cannot be matched by the typed decoder: then only the array is read.
    """
    array: Any = tuple.__class_getitem__(tuple(types))
    if any(map(_NOT_RENAMEABLE.search, names)):
        return array
    fields = [(f"field{i}", kind) if default is None else (f"field{i}", kind, default) for i, kind in enumerate(types)]
    rename = {f"field{i}": name for i, name in enumerate(names)}
    return array | msgspec.defstruct("ByName", fields, rename=rename, forbid_unknown_fields=True, gc=False)


def _codes(vocabulary: Sequence[str]) -> dict[Any, float]:
    """Value -> code. A number is found by its value, however the producer and the reference wrote it.

    An empty text is missing, as it is in a table, unless the vocabulary holds it.
    """
    codes: dict[Any, float] = {None: np.nan, _ABSENT: np.nan, "": np.nan}
    for code, name in enumerate(vocabulary):
        codes[name] = float(code)
        if _NUMBER.fullmatch(name):
            codes.setdefault(msgspec.json.decode(name), float(code))
    return codes
