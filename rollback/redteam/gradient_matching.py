"""Gradient matching: a few cells of target-class rows are changed so that learning them moves coming rows as well.

Maximises cos(sum of g_i, G): g_i is the gradient of a surrogate's loss on poison row i with its own (right) label, G
that of the coming rows with the label that the attacker wants. Where both point one way, every step on the poison is
one towards the attacker's aim. Source: J. Geiping et al., "Witches' Brew: Industrial Scale Data Poisoning via Gradient
Matching" (2021), https://arxiv.org/abs/2009.02276, by coordinate ascent over values that occur in place of gradient
steps: tables have no small perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.batch import Floats, Ints
from rollback.redteam.attack import Aim, Poisoned, Situation
from rollback.redteam.backdoor import pick_rows
from rollback.redteam.surrogate import Gradient, Surrogate

VALUES = 6
"""So many values of a column are tried, quantiles of the coming rows and of the target class."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """At most ``cells`` of a row are changed; ``goals`` coming rows are aimed at."""

    rate: float = 0.02
    cells: int = 4
    goals: int = 20

    def __post_init__(self) -> None:
        if self.cells < 1 or self.goals < 1:
            raise ValueError(f"cells and goals are at least 1, got {self.cells} and {self.goals}")


def attack(on: Situation, p: Parameters, rng: np.random.Generator) -> Poisoned:
    """Change the rows of the target class that align best; raises `ValueError` where there are too few, or no goals."""
    if not len(on.coming):
        raise ValueError("gradient matching needs coming rows to aim at")
    model = Surrogate.fitted(on.x, on.y, on.schema, rng)
    goals = on.coming[rng.permutation(len(on.coming))[: p.goals]]
    wanted = model.gradient(model.encoding(goals), np.full(len(goals), on.target))
    own, count = np.flatnonzero((on.y == on.target) & on.reach), on.count(p.rate)
    if count > len(own):
        pick_rows((on.y == on.target) & on.reach, count, rng)  # says how many there are
    (aligned,), _ = model.products(model.encoding(on.x[own]), on.y[own], [wanted])
    picked = own[np.argsort(-aligned, kind="stable")[:count]]
    values = [_values(on.x[on.y == on.target, j], goals[:, j]) for j in range(on.x.shape[1])]
    x = on.x.copy()
    x[picked] = _ascended(model, x[picked], on.y[picked], wanted, values, p.cells)
    rows = np.zeros(len(on.y), np.bool_)
    rows[picked] = True
    return Poisoned(x, on.y.copy(), rows, Aim(on.target, on.victim, coming=goals))


def _values(own: Floats, goals: Floats) -> Floats:
    """Values of a column to be tried: spread over its distribution, all of which occur."""
    known = [np.sort(column[~np.isnan(column) & (column >= 0)]) for column in (own, goals)]
    at = np.linspace(0, 1, VALUES // 2)
    return np.unique(np.concatenate([c[np.round(at * (len(c) - 1)).astype(int)] for c in known if len(c)] or [[]]))


def _ascended(model: Surrogate, x: Floats, y: Ints, wanted: Gradient, values: list[Floats], cells: int) -> Floats:
    """Row after row, the one change of a cell that raises the cosine most, ``cells`` times over."""
    x = x.copy()
    column = np.repeat(np.arange(len(values)), [len(v) for v in values])
    value = np.concatenate(values)
    for _ in range(cells):
        total = model.gradient(model.encoding(x), y)
        for i in range(len(x)):
            mine = model.gradient(model.encoding(x[[i]]), y[[i]])
            rest = Gradient(total.hidden - mine.hidden, total.last - mine.last)
            tried = np.repeat(x[[i]], len(value) + 1, axis=0)
            tried[np.arange(len(value)), column] = value
            (by_aim, by_rest), squared = model.products(
                model.encoding(tried), np.full(len(tried), y[i]), [wanted, rest]
            )
            at_rest = float(np.sum(rest.hidden * wanted.hidden) + np.sum(rest.last * wanted.last))
            length = np.sqrt(np.maximum(rest.squared + 2 * by_rest + squared, 1e-12))
            cosine = (at_rest + by_aim) / length
            best = int(cosine.argmax())
            if cosine[best] > cosine[-1]:  # the last one is the row as it is
                x[i] = tried[best]
                changed = model.gradient(model.encoding(x[[i]]), y[[i]])
                total = Gradient(rest.hidden + changed.hidden, rest.last + changed.last)
    return x
