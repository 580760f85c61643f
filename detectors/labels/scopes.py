"""Where labels contradict the model, and who gave them: flips hide in a part of the input space, at few hands."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial.distance import cdist

from detectors.batch import Floats, Ints, Strings
from detectors.evidence import State
from detectors.schema import Schema

GRAINS: Final = 4
"""A row lies in four cells: everything, its class, a large region and a small one."""

_REGIONS: Final = (8, 24)
_FEWEST_REGIONS: Final = 3  # of a class, however many classes there are
_WEIGHTS: Final = (0.05, 0.3, 0.3, 0.35)
_FIT_ROWS: Final = 3000  # enough rows to place a few regions
_ROUNDS: Final = 10
_FARTHEST: Final = 4.0


class Coding:
    """Coordinates in which like rows are near: numbers squeezed (asinh) and standardised, categories as ones and zeros.

    Missing numbers lie at the mean, unseen values at the origin of their category.
    """

    def __init__(self, schema: Schema, x: Floats) -> None:
        sizes = [len(f.vocabulary) if f.kind == "categorical" else 0 for f in schema.features]
        self._numbers = [j for j, size in enumerate(sizes) if not size]
        self._categories = [(j, np.arange(size)) for j, size in enumerate(sizes) if size]
        squeezed = np.arcsinh(x[:, self._numbers])
        known = np.isfinite(squeezed)
        count = np.maximum(known.sum(axis=0), 1)
        self._mean = np.where(known, squeezed, 0.0).sum(axis=0) / count
        deviation = np.where(known, squeezed - self._mean, 0.0)
        self._scale = np.maximum(np.sqrt((deviation**2).sum(axis=0) / count), 1e-9)

    def __call__(self, x: Floats) -> Floats:
        """The coordinates [n, m] of x[n, d]."""
        numbers = (np.arcsinh(x[:, self._numbers]) - self._mean) / self._scale
        parts = [np.clip(np.nan_to_num(numbers), -_FARTHEST, _FARTHEST)]
        parts += [(x[:, j, None] == values).astype(np.float64) for j, values in self._categories]
        return np.concatenate(parts, axis=1)


def k_means(rows: Floats, count: int, rng: np.random.Generator) -> Floats:
    """At most ``count`` centres of the rows[n, m] (Lloyd 1982; begun as k-means++, Arthur & Vassilvitskii 2007)."""
    if not len(rows):
        return rows
    centres: Floats = rows[rng.integers(len(rows))][None]
    distance = np.full(len(rows), np.inf)
    while len(centres) < count:
        distance = np.minimum(distance, ((rows - centres[-1]) ** 2).sum(axis=1))
        if not distance.any():
            break
        centres = np.concatenate([centres, rows[rng.choice(len(rows), p=distance / distance.sum())][None]])
    for _ in range(_ROUNDS):
        nearest = np.argmin(cdist(rows, centres, "sqeuclidean"), axis=1)
        for k in np.unique(nearest).tolist():
            centres[k] = rows[nearest == k].mean(axis=0)
    return centres


class Cells:
    """Nested cells: everything, each class that g predicts, and large and small k-means regions within each class."""

    def __init__(self, schema: Schema, x: Floats, g_class: Ints, seed: int) -> None:
        rng = np.random.default_rng(seed)
        classes = len(schema.classes)
        self._coding = Coding(schema, x)
        rows = rng.permutation(len(x))[:_FIT_ROWS]
        coded = self._coding(x[rows])
        self.names = ["all", *(f"class:{c}" for c in schema.classes)]
        self._centres: list[list[tuple[int, Floats]]] = []  # by grain and class: the first cell, its regions' centres
        sizes = [1, classes]
        for grain in _REGIONS:
            first, count = len(self.names), max(grain // classes, _FEWEST_REGIONS)
            placed = []
            for c, name in enumerate(schema.classes):
                centres = k_means(coded[g_class[rows] == c], count, rng)
                placed.append((len(self.names), centres))
                self.names += [f"region:{name}/{len(centres)}/{k}" for k in range(len(centres))]
            self._centres.append(placed)
            sizes.append(len(self.names) - first)
        weights = np.repeat(np.array(_WEIGHTS) / np.maximum(sizes, 1), sizes)
        self.weights = weights / weights.sum()

    def __len__(self) -> int:
        return len(self.names)

    def of(self, x: Floats, g_class: Ints) -> Ints:
        """The cells[n, 4] of each row; a class of which the reference has no row stands for its regions itself."""
        out = np.zeros((len(x), GRAINS), np.int64)
        out[:, 1:] = 1 + g_class[:, None]
        coded = self._coding(x)
        for grain, placed in enumerate(self._centres, start=2):
            for c, (first, centres) in enumerate(placed):
                rows = np.flatnonzero(g_class == c)
                if len(centres) and len(rows):
                    out[rows, grain] = first + np.argmin(cdist(coded[rows], centres, "sqeuclidean"), axis=1)
        return out


class Slots:
    """Names that have been met, each with a slot, as long as there are free ones; -1 for others and for no name."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.names: list[str] = []

    def of(self, values: Strings) -> Ints:
        """The slot of each value; new names take free slots."""
        slots = {}
        for value in dict.fromkeys(values.tolist()):
            if value not in self.names and len(self.names) < self._most and value not in {"", "-"}:
                self.names.append(value)
            slots[value] = self.names.index(value) if value in self.names else -1
        return np.array([slots[v] for v in values.tolist()], np.int64)

    def state(self) -> State:
        """The names in the order of their slots."""
        return {"names": list(self.names)}

    def restore(self, state: State) -> None:
        """Take back what `state` gave."""
        self.names = [str(n) for n in state["names"]]
