"""Where the demonstration's samples come from: generated traffic, or a table of your own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.batch import Columns, Floats, Ints, Strings
from monitor.demo.flows import FEATURES
from monitor.demo.traffic import TrafficConfig, generate
from rollback.tables.table import Table, TableError, read_table
from rollback.train.version import ABOUT_ROWS

SECOND_OF_DAY_ZERO = 1_767_225_600.0
"""2026-01-01: event time is the story's own, so that the same seed tells the same story."""
ROLL_OUT = TrafficConfig(mix={"collaboration": 3.0, "backup": 2.5, "dns": 0.5}, volume=2.5)
"""The natural drift: a company-wide roll-out changes who talks how much. Nothing about right and wrong changes."""
FEWEST_ROWS = 4000


@dataclass(frozen=True, slots=True)
class Samples(Columns):
    """n samples in time order; ``rows`` is an object-free structured array or a matrix of positions in ``columns``."""

    ts: Floats
    id: Strings
    source: Strings
    session: Strings
    label: Strings
    pick: Ints
    columns: Mapping[str, NDArray[Any]]

    def table(self) -> Table:
        """Features and label as a table."""
        picked: dict[str, NDArray[Any]] = {name: column[self.pick] for name, column in self.columns.items()}
        return Table("samples", {**picked, "label": self.label}, np.arange(len(self)))

    def history(self) -> Table:
        """The table that a release process keeps and trains on: also each row's id, source and session."""
        table = self.table()
        about = {"id": self.id, "source": self.source, "session": self.session}
        return Table(table.path, {**about, **table.columns}, table.line)

    def events(self, features: Mapping[str, NDArray[Any]], scores: Floats, model: str, version: str) -> list[bytes]:
        """One inference event per sample, as JSON; ``features`` are the columns as the attacker leaves them."""
        names = list(features)
        rows = zip(*(_cells(features[name]) for name in names), strict=True)
        head = zip(self.id.tolist(), self.ts.tolist(), self.source.tolist(), self.session.tolist(), strict=True)
        return [
            msgspec.json.encode(
                {
                    "id": ident,
                    "ts": ts,
                    "model": model,
                    "version": version,
                    "source": source,
                    "session": session,
                    "features": dict(zip(names, row, strict=True)),
                    "scores": p,
                }
            )
            for (ident, ts, source, session), row, p in zip(head, rows, scores.tolist(), strict=True)
        ]


def _cells(column: NDArray[Any]) -> list[Any]:
    """A column as events hold it: a missing text is null (a missing number becomes it anyway)."""
    return [value or None for value in column.tolist()] if column.dtype.kind == "U" else column.tolist()


class Supply(Protocol):
    """Samples without end. ``change`` says what the natural drift is."""

    feature_names: tuple[str, ...]
    change: str

    def draw(self, n: int, *, drifted: bool) -> Samples:
        """The next ``n`` samples; ``drifted`` after the natural change."""


class GeneratedTraffic:
    """Flows of `monitor.demo.traffic`."""

    feature_names = FEATURES
    change = "a roll-out shifts who talks how much"

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._start = SECOND_OF_DAY_ZERO

    def draw(self, n: int, *, drifted: bool) -> Samples:
        """See `Supply`."""
        flows = generate(ROLL_OUT if drifted else TrafficConfig(), self._rng, n, self._start)
        self._start = float(flows.ts[-1]) + 1.0
        columns = {name: flows.x[name] for name in FEATURES}
        return Samples(flows.ts, flows.id, flows.source, flows.session, flows.label, np.arange(n), columns)


class OwnData:
    """Rows of a table, each of them its own session, drawn at random (with repetition once all have been drawn).

    The natural drift is a change of the mix: rows are drawn with a weight that grows with their rank in the feature
    that has the most values, four times as high at the top as at the bottom.
    """

    change = "other samples become more common"

    def __init__(self, path: Path, label: str, seed: int) -> None:
        table = read_table(path, text=[label])
        labels = table.strings(label)
        usable = np.flatnonzero(labels != "")
        if len(usable) < FEWEST_ROWS:
            raise TableError(f"{path}: {len(usable)} labelled rows; the demonstration needs {FEWEST_ROWS} at least")
        self._rng = np.random.default_rng([seed, 2])
        self._labels = labels
        self._columns = {name: column for name, column in table.columns.items() if name not in {label, *ABOUT_ROWS}}
        self.feature_names = tuple(self._columns)
        self._order = self._rng.permutation(usable)
        self._tilt = self._weights()
        self._drawn = 0

    def draw(self, n: int, *, drifted: bool) -> Samples:
        """See `Supply`."""
        if drifted:
            pick = self._rng.choice(self._order, size=n, p=self._tilt)
        else:
            pick = np.take(self._order, np.arange(self._drawn, self._drawn + n), mode="wrap")
        numbers = np.arange(self._drawn, self._drawn + n)
        self._drawn += n
        ids = np.char.add("row-", numbers.astype(np.str_))
        source = np.char.add("feed-", (numbers % 4 + 1).astype(np.str_))
        ts = np.asarray(SECOND_OF_DAY_ZERO + numbers * 0.8, dtype=np.float64)
        return Samples(ts, ids, source, ids, self._labels[pick], pick, self._columns)

    def _weights(self) -> Floats:
        numeric = [c for c in self._columns.values() if c.dtype.kind == "f"]
        if not numeric:
            return np.full(len(self._order), 1 / len(self._order))
        widest = max(numeric, key=lambda c: len(np.unique(c)))[self._order]
        rank = np.argsort(np.argsort(widest)) / len(widest)
        weight = 1 + 3 * rank
        return np.asarray(weight / weight.sum(), dtype=np.float64)
