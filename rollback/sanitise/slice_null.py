"""How large the excess of a pair of items becomes by chance, in all that is searched."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.batch import Bools, Floats, Ints
from detectors.nulls.itemsets import Item
from detectors.sequential import sessions_of
from rollback.sanitise.conformal import session_weights
from rollback.sanitise.items import features_of, find_items, membership
from rollback.sanitise.pair_excess import FEWEST, Comparison, Counted, highest_excess
from rollback.sanitise.rows import Rows

LEAST_SPREAD = 0.25
SIMULATED = 20_000


@dataclass(frozen=True, slots=True)
class Null:
    """The highest z by chance: its ``mean``, and the ``strict`` limit that it seldom exceeds."""

    mean: float
    strict: float

    @classmethod
    def fitted(cls, maxima: Floats, growth: float, error: float) -> Null:
        """From the maxima of draws that were ``growth`` times smaller than what is searched.

        A maximum is Gumbel distributed, and ``growth`` times as many candidates move it up by scale ln(growth), scale =
        s sqrt(6)/pi. ``strict`` is the prediction limit mean + k s that one more maximum exceeds with probability
        ``error``; k is simulated, because few draws know the deviation s badly.

        >>> null = Null.fitted(np.array([4.0, 5.0, 6.0] * 5), 1.0, 0.01)
        >>> null.mean, round(null.strict, 1)
        (5.0, 8.3)
        """
        deviation = max(float(np.std(maxima, ddof=1)), LEAST_SPREAD)
        mean = float(np.mean(maxima)) + deviation * math.sqrt(6) / math.pi * math.log(max(growth, 1.0))
        return cls(mean, mean + _prediction_factor(len(maxima), error) * deviation)


def _prediction_factor(draws: int, error: float) -> float:
    """How many sample deviations above the sample mean of ``draws`` the next one lies with probability ``error``."""
    simulated = np.random.default_rng(draws).gumbel(size=(SIMULATED, draws + 1))
    known, following = simulated[:, 1:], simulated[:, 0]
    return float(np.quantile((following - known.mean(axis=1)) / known.std(axis=1, ddof=1), 1 - error))


@dataclass(frozen=True, slots=True)
class Side:
    """Base or new rows to be counted: ``low`` [n] (the label is surprising), ``weight`` [n], ``held`` [n, items].

    ``named`` [n] are those that an incident implicates.
    """

    rows: Rows
    low: Bools
    weight: Floats
    held: Bools
    named: Bools

    @classmethod
    def of(
        cls, rows: Rows, low: Bools, items: list[Item], weight: Floats | None = None, named: Bools | None = None
    ) -> Side:
        """Rows with these items; a session has one vote unless the weights are known."""
        votes = session_weights(rows) if weight is None else weight
        return cls(
            rows, low, votes, membership(items, rows.x), np.zeros(len(rows), np.bool_) if named is None else named
        )

    def counted(self, label: int) -> Counted:
        """The rows of a label."""
        own = self.rows.y == label
        return Counted(self.held[own], self.weight[own], self.rows.source[own], self.low[own], self.named[own])

    def votes(self) -> dict[str | None, float]:
        """Pairs of session and label in each source, and in all (None)."""
        names, of = np.unique(self.rows.source, return_inverse=True)
        counts = np.bincount(of, self.weight, minlength=len(names))
        return {None: float(self.weight.sum()), **dict(zip(names.tolist(), counts.tolist(), strict=True))}


def compare(base: Side, new: Side, label: int) -> Comparison:
    """Base and new rows of one label side by side."""
    named = float(new.weight[new.named].sum())
    return Comparison(base.counted(label), new.counted(label), base.votes(), new.votes(), named)


def chance_maxima(
    base: Rows, low: Bools, share: float, draws: int, rng: np.random.Generator, told: Callable[[int], None]
) -> Floats:
    """The highest z when ``share`` of the base's sessions plays the new rows, for each of ``draws`` random choices."""
    session, count = sessions_of(base.session)
    weight = session_weights(base)
    maxima = np.empty(draws)
    for i in range(draws):
        told(i)
        played = (rng.permutation(count) < share * count)[session]
        trusted = ~played
        items = find_items(base.schema, base.x[trusted], base.x[played], FEWEST)
        ours = Side.of(base.take(trusted), low[trusted], items, weight[trusted])
        theirs = Side.of(base.take(played), low[played], items, weight[played])
        maxima[i] = _maximum(ours, theirs, features_of(items))
    return maxima


def _maximum(base: Side, new: Side, features: Ints) -> float:
    labels = np.unique(new.rows.y).tolist()
    return max((highest_excess(compare(base, new, label), features) for label in labels), default=0.0)
