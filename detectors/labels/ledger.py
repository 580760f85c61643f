"""The labels of one kind of labellers, one row a session, and what speaks for flips among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Columns, Floats, Ints, Labels
from detectors.evidence import State
from detectors.labels.bets import Votes, by_cell, by_scope, log_sum
from detectors.labels.claims import FALSE, UNKNOWN
from detectors.labels.noise import AssumedErrorRate, ErrorRate, noise_by_group, null_rate
from detectors.labels.scopes import GRAINS, Cells, Slots

_CERTAIN: Final = 1e-4  # g's error where the truth is known
_LEAST, _MOST = 1e-5, 0.9


@dataclass(frozen=True, slots=True)
class Ledger(Columns):
    """Labelled sessions in order of arrival; ``number`` counts them from 0 without a gap.

    ``share`` of its labels contradict g; ``error`` is the rate at which g errs there, ``noise`` the rate of wrong
    labels as it was estimated when they came. ``cells``[n, 4], ``source`` and ``origin`` are slots.
    """

    number: Ints
    share: Floats
    error: Floats
    noise: Floats
    cells: Ints
    source: Ints
    origin: Ints

    @staticmethod
    def none() -> Ledger:
        """No sessions."""
        i, f = np.zeros(0, np.int64), np.zeros(0)
        return Ledger(i, f, f.copy(), f.copy(), np.zeros((0, GRAINS), np.int64), i.copy(), i.copy())

    def state(self) -> State:
        """The columns, for a checkpoint."""
        return {name: getattr(self, name).copy() for name in self.arrays()}

    @staticmethod
    def restored(state: State) -> Ledger:
        """The ledger that `state` described."""
        return Ledger(**{name: np.array(column) for name, column in state.items()})


@dataclass(frozen=True, slots=True)
class Sessions:
    """New labels by session: ``first`` row of each, mean ``certainty`` of g, ``share`` of contradicting labels."""

    first: Ints
    certainty: Floats
    share: Floats


class FlipBets:
    """E-detector of flips: bets on every cell, source, origin and strength, begun anew with every batch of labels.

    R = sum over starts of (votes then) * (mixture of the e-values since then): `WindowRuns`, with bets that are kept
    apart by start, so that answers can still change what an old label counts. Of more than ``starts`` starts the one
    that is worth least is given up, and so are sessions before the last ``size``; both only lower R.
    """

    def __init__(
        self, cells: Cells, error: ErrorRate | AssumedErrorRate, sources: int, origins: int, size: int, starts: int
    ) -> None:
        self._cells, self._error = cells, error
        self._sources, self._origins = sources, origins
        self._size, self._most = size, starts
        self.source_slots, self.origin_slots = Slots(sources), Slots(origins)
        self.rows = Ledger.none()
        self._starts = np.zeros((0, 2), np.int64)  # first session, votes
        self._count = self._waited = 0
        self.log_r = -np.inf
        self.cell, self.since = 0, 0
        self._log_e = np.zeros((len(cells), 1))

    def wait(self, votes: int) -> None:
        """So many sessions were seen meanwhile: votes in which nothing was bet."""
        self._waited += votes

    def add(self, labels: Labels, g_class: Ints, sessions: Sessions, truth: Ints, doubt: Floats) -> Ints:
        """Enter a batch of labels; returns the numbers of its sessions. ``truth``, ``doubt``: see `weigh`."""
        first = sessions.first
        if not len(first):
            return np.zeros(0, np.int64)
        number = np.arange(self._count, self._count + len(first))
        cells = self._cells.of(labels.x[first], g_class[first])
        source, origin = self.source_slots.of(labels.source[first]), self.origin_slots.of(labels.origin[first])
        noise = self._noise(source, origin, truth, doubt)
        error = self._error.of(sessions.certainty, cells[:, -1])
        new = Ledger(number, sessions.share, error, noise, cells, source, origin)
        rows = Ledger.concat([self.rows, new])
        self.rows = rows.take(slice(max(len(rows) - self._size, 0), None))
        self._starts = np.concatenate([self._starts, [[self._count, self._waited + len(first)]]])
        self._count, self._waited = self._count + len(first), 0
        return number

    def _noise(self, source: Ints, origin: Ints, truth: Ints, doubt: Floats) -> Floats:
        """What the labels so far say of those who gave them: the worse of source and origin."""
        share, error = self._seen(truth, doubt)
        by_source = noise_by_group(share, error, self.rows.source, self._sources)
        by_origin = noise_by_group(share, error, self.rows.origin, self._origins)
        return np.asarray(np.maximum(by_source[source], by_origin[origin]), np.float64)

    def _seen(self, truth: Ints, doubt: Floats) -> tuple[Floats, Floats]:
        """Share of false labels as far as it is known, and g's error where it is not."""
        assumed = self.rows.share * doubt[self.rows.cells[:, -1]]
        share = np.where(truth == UNKNOWN, assumed, np.where(truth == FALSE, self.rows.share, 0.0))
        return share, np.where(truth == UNKNOWN, self.rows.error, _CERTAIN)

    def weigh(self, truth: Ints, doubt: Floats) -> None:
        """Bring R up to date with what is known of the labels.

        ``truth``[rows]: was the contradicting label true? ``doubt``[cells]: the share of the contradictions there that
        may be false, by the answers about others.
        """
        self._starts = self._starts[self._starts[:, 0] >= (self.rows.number[0] if len(self.rows) else 0)]
        if not len(self._starts):
            return
        share, error = self._seen(truth, doubt)
        epoch = np.searchsorted(self._starts[:, 0], self.rows.number, side="right") - 1
        null = np.clip(null_rate(error, self.rows.noise), _LEAST, _MOST)
        votes = Votes(share, null, self.rows.cells, self.rows.source, self.rows.origin, epoch)
        sources, origins = len(self.source_slots.names), len(self.origin_slots.names)  # the e-values of others are 1
        log_e = by_scope(votes, len(self._starts), len(self._cells), sources, origins)
        of_cells = by_cell(log_e, sources) + np.log(self._cells.weights)
        worth = log_sum(of_cells, axis=1) + np.log(self._starts[:, 1])
        best = int(np.argmax(worth))
        self.log_r = float(log_sum(worth, axis=0))
        self.since = int(self._starts[best, 0])
        self.cell = int(np.argmax(of_cells[best]))
        self._log_e = log_e[best]
        if len(self._starts) > self._most:
            self._starts = np.delete(self._starts, int(np.argmin(worth[:-1])), axis=0)

    def odds(self, index: Ints) -> Floats:
        """Log weight of the bets that have won on these rows of the ledger."""
        cells = self.rows.cells[index]
        parts = [self._log_e[cells, 0]]
        for slot, first in self._slots(index):
            own = self._log_e[cells, np.where(slot >= 0, first + slot, 0)[:, None]]
            parts.append(own - np.log(3.0))  # one of several groups, as against everybody
        logs = np.concatenate([p + np.log(self._cells.weights[cells]) for p in parts], axis=1)
        return log_sum(logs, axis=1)

    def _slots(self, index: Ints) -> tuple[tuple[Ints, int], tuple[Ints, int]]:
        """Slots of sources and of origins of these rows, each with the column of its first e-value."""
        return (self.rows.source[index], 1), (self.rows.origin[index], 1 + len(self.source_slots.names))

    def loud(self, least: float) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """Sources and origins with a log e-value above ``least`` in the top cell."""
        found = []
        for slots, first in ((self.source_slots, 1), (self.origin_slots, 1 + len(self.source_slots.names))):
            own = self._log_e[self.cell, first : first + len(slots.names)]
            found.append([(n, e) for n, e in zip(slots.names, own.tolist(), strict=True) if e > least])
        sources, origins = found
        return sources, origins

    def contradictions(self, least: float) -> Floats:
        """How many sessions contradict in each region, where the log e-value of everybody is at least ``least``."""
        counts = np.bincount(self.rows.cells[:, -1], self.rows.share, len(self._cells))
        return np.where(self._log_e[:, 0] >= least, counts, 0.0)

    def shares(self) -> tuple[float, float]:
        """Shares of the top cell's contradictions: beyond what is expected (.2 at least), and expected noise."""
        rows = self._top_rows()
        error, noise = self.rows.error[rows], self.rows.noise[rows]
        found = max(float(self.rows.share[rows].sum()), 1e-9)
        wrong, false = float(error.sum()) / found, float(np.sum((1 - 2 * error) * noise)) / found
        rho = float(np.clip(1 - wrong - false, 0.2, 1.0))
        return rho, (1 - rho) * false / max(wrong + false, 1e-9)

    def by_origin(self) -> tuple[Floats, Floats]:
        """Labels of the top cell, and contradictions beyond the expected ones, by origin, since the best start."""
        rows = self._top_rows()
        rows = rows[self.rows.origin[rows] >= 0]
        origin = self.rows.origin[rows]
        excess = np.bincount(origin, self.rows.share[rows] - self.expected[rows], self._origins)
        return np.bincount(origin, minlength=self._origins).astype(np.float64), np.maximum(excess, 0.0)

    def differs(self, origin: str) -> float:
        """The share of this origin's labels in the top cell's class (or everywhere) that contradict."""
        of_class = self.rows.cells[self._top_rows()[:1], 1]
        slot = self.origin_slots.names.index(origin)
        rows = (self.rows.origin == slot) & (self.rows.number >= self.since)
        rows &= np.isin(self.rows.cells[:, 1], of_class) if self.cell else True
        return float(self.rows.share[rows].mean()) if rows.any() else 0.0

    def changed(self, origin: str) -> bool:
        """Whether this origin's labels in the top cell began to contradict, 20 to 1 against having always done so."""
        slot = self.origin_slots.names.index(origin)
        inside = (self.rows.cells == self.cell).any(axis=1) & (self.rows.origin == slot)
        share, null = self.rows.share[inside], np.clip(self.expected[inside], _LEAST, _MOST)
        if len(share) < 2:  # noqa: PLR2004 - nothing before, or nothing after
            return False
        before = np.cumsum(share * np.log(null) + (1 - share) * np.log1p(-null))
        total, count = np.cumsum(share[::-1])[::-1], np.arange(len(share), 0, -1)
        after = _log_best(total, count)
        return bool(np.max(before[:-1] + after[1:]) - after[0] >= np.log(20))

    def _top_rows(self) -> Ints:
        return np.flatnonzero((self.rows.cells == self.cell).any(axis=1) & (self.rows.number >= self.since))

    @property
    def expected(self) -> Floats:
        """The rate at which each session of the ledger may honestly contradict."""
        return null_rate(self.rows.error, self.rows.noise)

    def state(self) -> State:
        """Sessions, slots and starts."""
        return {
            "rows": self.rows.state(),
            "sources": self.source_slots.state(),
            "origins": self.origin_slots.state(),
            "starts": self._starts.copy(),
            "count": self._count,
            "waited": self._waited,
            "log_r": self.log_r,
            "cell": self.cell,
            "since": self.since,
            "log_e": self._log_e.copy(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.rows = Ledger.restored(state["rows"])
        self.source_slots.restore(state["sources"])
        self.origin_slots.restore(state["origins"])
        self._starts = np.array(state["starts"], np.int64).reshape(-1, 2)
        self._count, self._waited = int(state["count"]), int(state["waited"])
        self.log_r, self.cell, self.since = float(state["log_r"]), int(state["cell"]), int(state["since"])
        self._log_e = np.array(state["log_e"], np.float64)


def _log_best(total: Floats, count: Ints) -> Floats:
    """Log likelihood of so many contradictions in so many labels at the rate that suits them best."""
    rate = np.clip(total / count, 1e-3, 1 - 1e-3)
    return np.asarray(total * np.log(rate) + (count - total) * np.log1p(-rate), np.float64)
