"""A constant offset: one number of one source is larger or smaller by the same amount in every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from detectors.batch import Floats
from rollback.repair.batches import Pair
from rollback.repair.change import QUANTILES, most_common
from rollback.repair.profiles import tidy, votes, whole
from rollback.repair.repair import Proposal, Repair
from rollback.repair.touched import FEWEST

LATTICE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an offset is.

    A value that ``atom`` of the base has moves visibly with an offset; where there is none, only an offset of at least
    ``widths`` times the base's middle half is called one: smaller moves are what honest traffic does.
    """

    atom: float = 0.05
    widths: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.atom < 1 or self.widths <= 0:
            raise ValueError(f"atom lies in (0, 1) and widths is above 0, got {self}")


class Shift(Repair):
    """The offset is that of the most common value, else the median difference of nine quantiles, label by label."""

    name: ClassVar[str] = "shift"

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters

    def propose(self, pair: Pair, feature: int, rng: np.random.Generator) -> Proposal | None:
        """See `Repair`."""
        del rng
        if pair.now.schema.features[feature].kind != "numeric":
            return None
        offset = self._offset(pair, feature)
        if offset is None or offset == 0:
            return None
        now = pair.now.x[:, feature]
        touched = ~np.isnan(now)
        after = np.where(touched, _on_lattice(tidy(now - offset, 12), pair.past.x[:, feature]), now)
        why = f"{abs(offset):.6g} {'larger' if offset > 0 else 'smaller'} in every row: an offset"
        return Proposal(self.name, feature, lambda x: x + offset, touched, after, all_rows=True, why=why)

    def _offset(self, pair: Pair, j: int) -> float | None:
        now, past = pair.now.x[:, j], pair.past.x[:, j]
        here, there = ~np.isnan(now), ~np.isnan(past)
        if min(here.sum(), there.sum()) < FEWEST:
            return None
        value, share = most_common(past[there], votes(pair.past)[there])
        if share >= self._parameters.atom:
            moved, held = most_common(now[here], votes(pair.now)[here])
            return moved - value if held >= share / 2 else None
        width = float(np.subtract(*np.quantile(past[there], [0.75, 0.25])))
        offset = _median(pair, j)
        if whole(past) and whole(now):
            offset = float(np.round(offset))
        return offset if abs(offset) >= self._parameters.widths * width else None


def _on_lattice(values: Floats, past: Floats) -> Floats:
    """Whole numbers where the base has only those and the values are next to some."""
    near = np.round(values)
    return near if whole(past) and bool(np.nanmax(np.abs(values - near)) < LATTICE) else values


def _median(pair: Pair, j: int) -> float:
    """The median difference of quantiles, labels weighted by their rows."""
    found, weight = [0.0], [1e-9]
    for label in np.unique(pair.now.y).tolist():
        parts: list[Floats] = [rows.x[rows.y == label, j] for rows in (pair.now, pair.past)]
        parts = [part[~np.isnan(part)] for part in parts]
        if min(map(len, parts)) >= FEWEST:
            found.append(float(np.median(np.quantile(parts[0], QUANTILES) - np.quantile(parts[1], QUANTILES))))
            weight.append(float(len(parts[0])))
    return float(np.average(found, weights=weight))
