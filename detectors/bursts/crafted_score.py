"""How much an event looks like one that was crafted to fool the models: learned by attacking them on the reference."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial.distance import cdist

from detectors.batch import Bools, Floats, Hashes, Ints, Places, Reference, Scorer, Strings
from detectors.bursts.neighbourhood import MEASURES, Neighbourhood
from detectors.bursts.self_play import SelfPlay
from detectors.bursts.stumps import Boosted
from detectors.sequential import sessions_of

_MOST_EVENTS: Final = 12_000  # more of the reference would only cost time
DISTANCES: Final = (MEASURES.index("distance to own class"), MEASURES.index("sparseness among own"))
_LOOKED_AT: Final = 4
_LEARN: Final = 1 / 3  # of the sessions; the others are the null, which must not have been learned
_FEWEST: Final = 40  # attacks, and honest rows: from fewer nothing is learned
_ROUNDS: Final = 60
_RATE: Final = 0.2


class CraftedScore:
    """Log odds of a boosted classifier: self-play attacks against honest events, on `neighbourhood.MEASURES`.

    Honest events are a third of the reference's sessions, measured without their own session, in ``held``: those that
    are `looked_at`. ``null_rows`` are its rows of the other sessions, ``null`` their scores: what any honest session
    scores, as long as it is exchangeable with these. Attacks: `SelfPlay`, on every pair of classes (which one is benign
    need not be known).
    """

    def __init__(self, reference: Reference, models: tuple[Scorer, ...], rows: int, attacks: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        code, count = sessions_of(reference.session)
        held = reference.take(np.flatnonzero(_some_sessions(code, count, rng)))
        self._near = near = Neighbourhood(held, rows, rng)
        held = held.take(looked_at(held.session, rng.random(len(held))))
        code, count = sessions_of(held.session)
        squares = near.squares(self.place(held.x))
        squares[code[:, None] == near.session] = np.inf
        g = held.f if np.isnan(held.g).any() else held.g
        honest = near.measure(held.x, held.f, g, squares)
        self._middle = np.median(honest[:, DISTANCES], axis=0)
        learned = (rng.random(count) < _LEARN)[code]
        crafted = self._attacked(models, attacks, int(rng.integers(2**32)))
        self.null_rows = ~learned
        self.held = held
        self.ready = bool(min(len(crafted), learned.sum(), (~learned).sum()) >= _FEWEST)
        if self.ready:
            self._learn(honest[learned], crafted)
            self.null = self._boosted(honest[~learned])

    def _attacked(self, models: tuple[Scorer, ...], attacks: int, seed: int) -> Floats:
        near = self._near
        crafted = SelfPlay(models, near.x, near.y, near.categorical, seed).play(attacks)
        if not len(crafted):
            return crafted[:, :0]
        return near.measure(crafted, models[0](crafted), models[-1](crafted), near.squares(self.place(crafted)))

    def _learn(self, honest: Floats, crafted: Floats) -> None:
        y = np.repeat([0.0, 1.0], [len(honest), len(crafted)])
        weight = np.repeat([1.0, len(honest) / len(crafted)], [len(honest), len(crafted)])
        self._boosted = Boosted.fit(np.concatenate([honest, crafted]), y, weight, _ROUNDS, _RATE)

    def place(self, x: Floats) -> Places:
        """Coordinates [n, m] of rows x[n, d]."""
        return self._near.embedding.place(x)

    def apart(self, at: Places) -> Floats:
        """Distance [n] of places to the nearest event of the reference's sample."""
        return np.asarray(cdist(at, self._near.points).min(axis=1), np.float64)

    def __call__(self, x: Floats, at: Places, f: Floats, g: Floats) -> tuple[Floats, Floats]:
        """Scores [n] of rows x[n, d] that lie ``at``, with both models' (f twice without LKG), and how far they lie.

        The second, in [0, 1], is the share of `DISTANCES` in which a row lies farther than the median of the reference:
        one half on average, as long as traffic is what it was.
        """
        if not len(x):
            return np.zeros(0), np.zeros(0)
        measured = self._near.measure(x, f, g, self._near.squares(at))
        return self._boosted(measured), np.mean(measured[:, DISTANCES] > self._middle, axis=1)


def looked_at(session: Strings, lot: Floats | Hashes) -> Ints:
    """Rows of at most four events of each session, those of the lowest ``lot``: near-duplicates score alike.

    Lots that a sender cannot foresee (keyed hashes) leave no place in a session where nobody looks.

    >>> looked_at(np.array(["a", "b", "a", "a", "a", "a", "a"]), np.array([5.0, 9.0, 1.0, 4.0, 3.0, 7.0, 2.0])).tolist()
    [1, 2, 3, 4, 6]
    """
    code, count = sessions_of(session)
    length = np.bincount(code, minlength=count)
    order = np.lexsort((lot, code))
    place = np.empty(len(code), np.int64)
    place[order] = np.arange(len(code)) - (np.cumsum(length) - length)[code[order]]
    return np.flatnonzero(place < _LOOKED_AT)


def _some_sessions(code: Ints, count: int, rng: np.random.Generator) -> Bools:
    """Rows of whole sessions, at most about `_MOST_EVENTS`."""
    if len(code) <= _MOST_EVENTS:
        return np.ones(len(code), np.bool_)
    return np.asarray((rng.random(count) < _MOST_EVENTS / len(code))[code], np.bool_)
