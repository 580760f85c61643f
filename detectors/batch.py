"""Columns, not objects: the arrays that travel from the decoder to the detectors.

Shapes: n events (or labels), d features, k classes. All arrays are read-only once they are in a container.
Categorical features are codes into the vocabulary of their `Schema` (`UNSEEN` where it is new), missing is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.schema import Schema

Floats: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.floating[Any]]
"""Coordinates and distances, of whichever precision is fast."""
Ints: TypeAlias = NDArray[np.int64]
Hashes: TypeAlias = NDArray[np.uint64]
Bools: TypeAlias = NDArray[np.bool_]
Strings: TypeAlias = NDArray[np.str_]
Scorer: TypeAlias = Callable[[Floats], Floats]
"""x[n,d] -> probabilities[n,k], in the class order of the model's schema."""


class Columns:
    """Base of the frozen dataclasses below: equal-length, read-only arrays that are selected and joined together."""

    __slots__ = ()

    def __post_init__(self) -> None:
        lengths = {}
        for name in self.arrays():
            array: NDArray[Any] = getattr(self, name)
            array.setflags(write=False)
            lengths[name] = len(array)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{type(self).__name__}: columns differ in length: {lengths}")

    def arrays(self) -> list[str]:
        """Names of the columns."""
        # every subclass is a dataclass
        return [f.name for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)]  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(getattr(self, self.arrays()[0]))

    def take(self, rows: NDArray[Any] | slice) -> Self:
        """The given rows (indices, mask or slice) of every column."""
        picked = {name: getattr(self, name)[rows] for name in self.arrays()}
        return replace(self, **picked)  # type: ignore[type-var]  # as above

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """One container with the rows of all ``parts`` (at least one); what is no column is taken from the first."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in first.arrays()}
        return replace(first, **joined)  # type: ignore[type-var]  # as above


@dataclass(frozen=True, slots=True)
class Batch(Columns):
    """Inference events of one model version, as decoded.

    ``scores`` are as served. ``partition`` and ``offset`` say where an event came from (``partition`` is an index
    into the loop's list of topic partitions). ``key`` and ``digest`` are keyed hashes of id and message.
    ``source`` is never empty ("" becomes "-"); ``session`` names its source too, and is
    filled by the decoder where there was none. ``repeated``: an earlier event of other content had the same id, so
    that nobody can label this one (False where nobody looked).
    """

    model: str
    version: str
    ts: Floats
    id: Strings
    source: Strings
    session: Strings
    ref: Strings
    x: Floats
    scores: Floats
    partition: Ints
    offset: Ints
    key: Hashes
    digest: Hashes
    repeated: Bools = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if not len(self.repeated) and len(self.ts):
            object.__setattr__(self, "repeated", np.zeros(len(self.ts), np.bool_))
        Columns.__post_init__(self)


@dataclass(frozen=True, slots=True)
class Labels(Columns):
    """Feedback joined with the events that it is about, all of one model version.

    ``label`` is a class index (-1: a class that the model does not know, its name is in ``name``). ``trusted`` is
    decided by the configuration and the channel, never by the event. ``vetted`` marks answers to our own requests.
    ``ts`` is when the label was given, ``event_ts`` when the event happened. ``f`` and ``g`` are the scores of the
    serving and of the last known good model; where there is none, ``f`` is as served and ``g`` is NaN.
    """

    id: Strings
    ts: Floats
    event_ts: Floats
    label: Ints
    name: Strings
    origin: Strings
    trusted: Bools
    vetted: Bools
    source: Strings
    session: Strings
    x: Floats
    served: Floats
    f: Floats
    g: Floats


@dataclass(frozen=True, slots=True)
class Buffer(Columns):
    """The rows that the watched version was trained on, scored by it (f) and by LKG (g).

    ``y`` is the label as given (-1: none, or a class that the model does not know), right or not. ``origin`` is who
    gave it. ``id`` is the row's own, or its digest: labels of rows are asked for and answered under it.
    """

    id: Strings
    x: Floats
    y: Ints
    source: Strings
    session: Strings
    origin: Strings
    f: Floats
    g: Floats


@dataclass(frozen=True, slots=True)
class Reference(Columns):
    """The trusted reference window, which never moves by itself, scored by the watched version (f) and by LKG (g).

    ``y`` is the true class, -1 where it is not known. Without LKG ``g`` is NaN. ``buffer`` is what the watched
    version was trained on, None where that was not given or could not be read.
    """

    schema: Schema
    x: Floats
    y: Ints
    source: Strings
    session: Strings
    f: Floats
    g: Floats
    buffer: Buffer | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A closed window: the unit in which detectors see a stream.

    ``f``, ``g``: scores[n,k] of the serving version's bundle and of LKG, computed once for all detectors; without a
    bundle ``f`` is as served, without LKG ``g`` is None. ``has_bundle`` says whether ``f`` was re-scored.
    ``fresh[n]`` is True where the event's session has not yet voted in an earlier window: one session, one vote.
    ``score_f``, ``score_g`` score changed inputs (occlusion, swapped values).
    """

    index: int
    batch: Batch
    f: Floats
    g: Floats | None
    fresh: Bools
    has_bundle: bool = False
    score_f: Scorer | None = None
    score_g: Scorer | None = None

    def __len__(self) -> int:
        return len(self.batch)
