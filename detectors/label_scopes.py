"""Where labels contradict the model: everywhere, by class, region, source or origin. Small flips hide in the whole."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial.distance import cdist

from detectors.batch import Floats, Ints, Strings
from detectors.evidence import State
from detectors.sequential import upper_bound

FAMILIES: Final = ("all", "class", "region", "source", "origin")
_WEIGHTS: Final = (0.3, 0.2, 0.2, 0.2, 0.1)
_FIT_ROWS: Final = 2000  # enough rows to place a few regions
_ROUNDS: Final = 10


class Regions:
    """k-means regions of the reference in standardised features (Lloyd 1982), missing values at the mean."""

    def __init__(self, x: Floats, count: int, seed: int) -> None:
        self._mean = np.nan_to_num(np.nanmean(np.where(np.isfinite(x), x, np.nan), axis=0))
        self._scale = np.maximum(np.nan_to_num(np.nanstd(x, axis=0)), 1e-9)
        rng = np.random.default_rng(seed)
        rows = self._coded(x[rng.permutation(len(x))[:_FIT_ROWS]])
        self._centres = rows[:count].copy()
        for _ in range(_ROUNDS):
            nearest = np.argmin(cdist(rows, self._centres, "sqeuclidean"), axis=1)
            for region in range(len(self._centres)):
                if np.any(nearest == region):
                    self._centres[region] = rows[nearest == region].mean(axis=0)

    def _coded(self, x: Floats) -> Floats:
        return np.asarray(np.clip(np.nan_to_num((x - self._mean) / self._scale), -5, 5), np.float64)

    def of(self, x: Floats) -> Ints:
        """The region of each row."""
        return np.asarray(np.argmin(cdist(self._coded(x), self._centres, "sqeuclidean"), axis=1), np.int64)


class Scopes:
    """Slots for every scope, each with the null rate of its contradictions.

    Classes (as g predicts) and regions come from the reference; sources and origins take slots as they appear, known
    sources first; what finds no free slot is left to the other scopes. Null of a slot: the Clopper-Pearson bound at
    ``level`` of its rate on the reference, shrunk to the pooled rate with the weight of ``prior`` sessions; then
    ``noise`` is added, the share of honestly wrong labels that is allowed for.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        regions: int,
        sources: int,
        origins: int,
        *,
        prior: float,
        level: float,
        noise: float,
    ) -> None:
        sizes = (1, len(classes), regions, sources, origins)
        self._start = dict(zip(FAMILIES, np.cumsum((0, *sizes[:-1])).tolist(), strict=True))
        self._size = dict(zip(FAMILIES, sizes, strict=True))
        self.names = ["all", *(f"class:{c}" for c in classes), *(f"region:{r}" for r in range(regions))]
        self.names += [""] * (sources + origins)
        self.weights = np.repeat(np.array(_WEIGHTS) / np.array(sizes), sizes)
        self._prior, self._level, self._noise = prior, level, noise

    def fit(self, x: Floats, g_class: Ints, source: Strings, votes: Floats, seed: int) -> None:
        """Learn regions and null rates from one row a session of the reference; ``votes`` are its contradictions."""
        self._regions = Regions(x, self._size["region"], seed)
        names, counts = np.unique(source, return_counts=True)
        for name in names[np.argsort(-counts, kind="stable")].tolist():
            self._slot("source", name)
        member = self.members(x, g_class, source, np.full(len(x), ""))
        pooled = float(votes.mean())
        hits, trials = np.zeros(len(self.names)), np.zeros(len(self.names))
        for column in member.T:
            inside = column >= 0
            np.add.at(hits, column[inside], votes[inside])
            np.add.at(trials, column[inside], 1.0)
        prior = np.where(np.arange(len(hits)) == 0, 0.0, self._prior)
        rate = upper_bound(hits + prior * pooled, trials + prior, self._level)
        rate = np.where(trials > 0, rate, rate[0])
        self.null = np.minimum(rate * (1 - self._noise) + self._noise, 1.0)

    def _slot(self, family: str, name: str) -> int:
        """The slot of a source or origin, taken now if there is a free one; else -1."""
        start, size = self._start[family], self._size[family]
        wanted = f"{family}:{name}"
        for slot in range(start, start + size):
            if self.names[slot] == wanted:
                return slot
            if not self.names[slot]:
                self.names[slot] = wanted
                return slot
        return -1

    def members(self, x: Floats, g_class: Ints, source: Strings, origin: Strings) -> Ints:
        """The slots[n, 5] that each row belongs to, one a family; -1 for none."""
        out = np.zeros((len(x), len(FAMILIES)), np.int64)
        out[:, 1] = self._start["class"] + g_class
        out[:, 2] = self._start["region"] + self._regions.of(x)
        for column, family, values in ((3, "source", source), (4, "origin", origin)):
            slots = {v: self._slot(family, v) if v else -1 for v in dict.fromkeys(values.tolist())}
            out[:, column] = [slots[v] for v in values.tolist()]
        return out

    def family(self, name: str) -> slice:
        """The slots of a family."""
        return slice(self._start[name], self._start[name] + self._size[name])

    def state(self) -> State:
        """Which sources and origins have which slots."""
        return {"names": list(self.names)}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.names = [str(n) for n in state["names"]]
