"""The labels of one kind of labellers, one row a session, and what speaks for flips among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from detectors.batch import Columns, Floats, Ints, Labels
from detectors.evidence import State
from detectors.labels.bets import Alone, Votes, by_cell, by_scope, log_sum
from detectors.labels.claims import FALSE, UNKNOWN
from detectors.labels.company import seconded
from detectors.labels.labellers import alone, by_labeller, error_alone, noise_together, together
from detectors.labels.noise import AssumedErrorRate, ErrorRate, noise_ahead, null_rate
from detectors.labels.rubric import log_e_changed
from detectors.labels.scopes import GRAINS, Cells, Slots

_CERTAIN: Final = 1e-4  # g's error where the truth is known
_LEAST, _MOST = 1e-5, 0.9
_SLIGHT: Final = 0.05  # of a bet's weight, where a session's labellers do not contradict as it says


@dataclass(frozen=True, slots=True)
class Ledger(Columns):
    """Labelled sessions in order of arrival; ``number`` counts them from 0 without a gap.

    ``by``[n, slots + 1] is the share of each labeller's labels that contradict g (NaN: gave none; the last: those
    without a slot), ``noise_by`` the rate of his wrong labels as it was estimated when they came. ``share``: mean over
    the labels; ``together``: all contradict; ``alone``: each without his colleagues. ``error`` is the rate at which g
    errs there, ``noise`` that at which all of these labellers do. ``cells``[n, 4] and ``source`` are slots.
    """

    number: Ints
    share: Floats
    together: Floats
    alone: Floats
    by: Floats
    error: Floats
    noise: Floats
    noise_by: Floats
    cells: Ints
    source: Ints

    @staticmethod
    def none(labellers: int) -> Ledger:
        """No sessions; ``labellers`` columns."""
        i, f, by = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, labellers))
        cells = np.zeros((0, GRAINS), np.int64)
        return Ledger(i, f, f.copy(), by, by.copy(), f.copy(), f.copy(), by.copy(), cells, i.copy())

    def state(self) -> State:
        """The columns, for a checkpoint."""
        return {name: getattr(self, name).copy() for name in self.arrays()}

    @staticmethod
    def restored(state: State) -> Ledger:
        """The ledger that `state` described."""
        return Ledger(**{name: np.array(column) for name, column in state.items()})


@dataclass(frozen=True, slots=True)
class Sessions:
    """New labels by session: ``code`` is the session of each label, ``wrong`` whether it contradicts g.

    ``first`` row of each session, mean ``certainty`` of g, ``share`` of contradicting labels.
    """

    code: Ints
    wrong: Floats
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
        self.rows = Ledger.none(origins + 1)
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
        source, origin = self.source_slots.of(labels.source[first]), self.origin_slots.of(labels.origin)
        by = by_labeller(sessions.wrong, sessions.code, len(first), origin, self._origins)
        error = self._error.of(sessions.certainty, cells[:, -1])
        noise_by = np.full_like(by, np.nan)  # not known yet
        apart = alone(by)
        new = Ledger(number, sessions.share, together(by), apart, by, error, noise_by[:, 0], noise_by, cells, source)
        noise_by = self._noise(new, truth, doubt)
        rows = Ledger.concat([self.rows, replace(new, noise=noise_together(noise_by), noise_by=noise_by)])
        self.rows = rows.take(slice(max(len(rows) - self._size, 0), None))
        self._starts = np.concatenate([self._starts, [[self._count, self._waited + len(first)]]])
        self._count, self._waited = self._count + len(first), 0
        return number

    def _noise(self, new: Ledger, truth: Ints, doubt: Floats) -> Floats:
        """The noise of each session's labellers [sessions, slots + 1] by the labels before it: source's or origin's."""
        past, rows = len(self.rows), Ledger.concat([self.rows, new])
        weight, error = _seen(rows, np.concatenate([truth, np.full(len(new), UNKNOWN)]), doubt)
        by_source = noise_ahead(rows.share * weight, error, rows.source, past)
        row, origin = np.nonzero(~np.isnan(rows.by))
        slot = np.where(origin < self._origins, origin, -1)
        first = int(np.searchsorted(row, past))
        by_origin = np.full(new.by.shape, np.nan)
        by_origin[row[first:] - past, origin[first:]] = noise_ahead(
            rows.by[row, origin] * weight[row], error[row], slot, first
        )
        return np.asarray(np.maximum(by_source[:, None], by_origin), np.float64)

    def weigh(self, truth: Ints, doubt: Floats) -> None:
        """Bring R up to date with what is known of the labels.

        ``truth``[rows]: was the contradicting label true? ``doubt``[cells]: the share of the contradictions there that
        may be false, by the answers about others.
        """
        self._starts = self._starts[self._starts[:, 0] >= (self.rows.number[0] if len(self.rows) else 0)]
        if not len(self._starts):
            return
        weight, error = _seen(self.rows, truth, doubt)
        epoch = np.searchsorted(self._starts[:, 0], self.rows.number, side="right") - 1
        null = np.clip(null_rate(error, self.rows.noise), _LEAST, _MOST)
        votes = Votes(
            self.rows.together * weight, null, self.rows.cells, self.rows.source, epoch, self._alone(weight, error)
        )
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

    def _alone(self, weight: Floats, error: Floats) -> Alone:
        """The votes of labellers with a slot."""
        rows = self.rows
        known = ~np.isnan(rows.by)
        row, origin = np.nonzero(known[:, :-1])
        null = null_rate(error_alone(error, known.sum(axis=1))[row], rows.noise_by[row, origin])
        return Alone(row, origin, rows.alone[row, origin] * weight[row], np.clip(null, _LEAST, _MOST))

    def odds(self, index: Ints) -> Floats:
        """Log weight of the bets that have won on these rows of the ledger."""
        rows, cells = self.rows, self.rows.cells[index]
        first = 1 + len(self.source_slots.names)
        source = rows.source[index]
        agreed = np.log(np.maximum(rows.together[index], _SLIGHT))[:, None]
        of_source = self._log_e[cells, np.where(source >= 0, 1 + source, 0)[:, None]]
        parts = [self._log_e[cells, 0] + agreed, of_source - np.log(3.0) + agreed]  # one of several groups
        for slot in range(len(self.origin_slots.names)):
            lonely = np.log(np.maximum(rows.alone[index, slot], _SLIGHT))[:, None]
            parts.append(self._log_e[cells, first + slot] - np.log(3.0) + lonely)
        logs = np.concatenate([p + np.log(self._cells.weights[cells]) for p in parts], axis=1)
        return log_sum(logs, axis=1)

    def loud(self, least: float) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """Sources and origins with a log e-value above ``least`` in the top cell."""
        found = []
        for slots, first in ((self.source_slots, 1), (self.origin_slots, 1 + len(self.source_slots.names))):
            own = self._log_e[self.cell, first : first + len(slots.names)]
            found.append([(n, e) for n, e in zip(slots.names, own.tolist(), strict=True) if e > least])
        sources, origins = found
        return sources, origins

    @property
    def foremost(self) -> str:
        """Whose bets have won most in the top cell: ``all`` or ``source:NAME`` or ``origin:NAME``."""
        sources, origins = self.source_slots.names, self.origin_slots.names
        names = ["all", *(f"source:{n}" for n in sources), *(f"origin:{n}" for n in origins)]
        return names[int(np.argmax(self._log_e[self.cell]))]

    def seconded(self) -> tuple[float, float]:
        """Whether others second the contradictions of whose bets have won most in the top cell: see `seconded`.

        (1, 1) where that is everybody. The p-value is times the number of sources and origins it was chosen from.
        """
        kind, _, name = self.foremost.partition(":")
        if not name:
            return 1.0, 1.0
        rows, held = self._top_rows(), self.rows
        index, labeller = np.nonzero(~np.isnan(held.by[rows]))
        contradicts = held.by[rows][index, labeller] > 0.5  # noqa: PLR2004 - more labels than not
        slots = self.source_slots if kind == "source" else self.origin_slots
        of = held.source[rows][index] if kind == "source" else labeller
        share, p = seconded(contradicts, of == slots.names.index(name), held.cells[rows, -1][index])
        return share, min(1.0, p * (len(self.source_slots.names) + len(self.origin_slots.names)))

    def contradictions(self, least: float) -> Floats:
        """How many sessions contradict in each region, where the log e-value of everybody is at least ``least``."""
        counts = np.bincount(self.rows.cells[:, -1], self.rows.share, len(self._cells))
        return np.where(self._log_e[:, 0] >= least, counts, 0.0)

    def shares(self) -> tuple[float, float]:
        """Shares of the top cell's contradictions: beyond what is expected (.2 at least), and expected noise."""
        rows = self._top_rows()
        error, noise = self.rows.error[rows], np.nanmean(self.rows.noise_by[rows], axis=1)
        found = max(float(self.rows.share[rows].sum()), 1e-9)
        wrong, false = float(error.sum()) / found, float(np.sum((1 - 2 * error) * noise)) / found
        rho = float(np.clip(1 - wrong - false, 0.2, 1.0))
        return rho, (1 - rho) * false / max(wrong + false, 1e-9)

    def by_origin(self) -> tuple[Floats, Floats]:
        """Sessions of the top cell, and contradictions beyond the expected ones, by origin, since the best start."""
        rows = self._top_rows()
        by, noise = self.rows.by[rows, :-1], self.rows.noise_by[rows, :-1]
        excess = np.nansum(by - null_rate(self.rows.error[rows][:, None], noise), axis=0)
        return np.sum(~np.isnan(by), axis=0).astype(np.float64), np.maximum(excess, 0.0)

    def differs(self, origin: str) -> float:
        """The share of this origin's labels in the top cell's class (or everywhere) that contradict."""
        of_class = self.rows.cells[self._top_rows()[:1], 1]
        by = self.rows.by[:, self.origin_slots.names.index(origin)]
        rows = ~np.isnan(by) & (self.rows.number >= self.since)
        rows &= np.isin(self.rows.cells[:, 1], of_class) if self.cell else True
        return float(by[rows].mean()) if rows.any() else 0.0

    def changed(self, origin: str) -> float:
        """Log e-value that this origin began to contradict against having always done so, where he does most.

        In the cell of each grain that his own bets have won most in: the mean of the e-values.
        """
        slot, rows = self.origin_slots.names.index(origin), self.rows
        own = self._log_e[:, 1 + len(self.source_slots.names) + slot]
        known = np.flatnonzero(~np.isnan(rows.by[:, slot]))
        share, cells = rows.by[known, slot], rows.cells[known]
        error, noise = rows.error[known], rows.noise_by[known, slot]
        logs = []
        for grain in range(GRAINS):
            of = np.unique(cells[:, grain])
            inside = cells[:, grain] == of[np.argmax(own[of])]
            logs.append(log_e_changed(share[inside], error[inside], noise[inside]))
        return float(log_sum(np.array(logs), axis=0) - np.log(GRAINS))

    def _top_rows(self) -> Ints:
        return np.flatnonzero((self.rows.cells == self.cell).any(axis=1) & (self.rows.number >= self.since))

    @property
    def expected(self) -> Floats:
        """The rate at which all labellers of a session may honestly contradict together."""
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


def _seen(rows: Ledger, truth: Ints, doubt: Floats) -> tuple[Floats, Floats]:
    """How far contradictions count: as false as is known; and g's error where that is not known."""
    weight = np.where(truth == UNKNOWN, doubt[rows.cells[:, -1]], np.where(truth == FALSE, 1.0, 0.0))
    return weight, np.where(truth == UNKNOWN, rows.error, _CERTAIN)
