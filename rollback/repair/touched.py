"""How much of a batch a fault has touched, label by label: what tells a fault from poison.

A broken sensor or parser does not know labels: it touches (nearly) all rows, or the same share under each label. Poison
is few rows, and has to be under one label more than under the others to teach anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import erfc

from detectors.batch import Bools, Floats
from detectors.sequential import sessions_of
from rollback.repair.batches import Pair
from rollback.repair.profiles import cells, masses, tidy
from rollback.sanitise.rows import Rows

FEWEST: Final = 8
"""Sessions of a label in a batch, and of that label in the base, that its share takes."""


@dataclass(frozen=True, slots=True)
class Share:
    """Of one label's ``sessions`` the ``share`` that is touched, with its standard ``error``."""

    share: float
    error: float
    sessions: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """``shares`` {class: touched} of the classes that can be judged, and the share of rows ``judged`` that they have.

    ``p`` is of the null that all shares are equal (1 where there is one class only).
    """

    shares: Mapping[str, Share]
    p: float
    judged: float

    @property
    def least(self) -> float:
        """The smallest share."""
        return min((s.share for s in self.shares.values()), default=0.0)

    @property
    def range(self) -> float:
        """Largest minus smallest share."""
        return max((s.share for s in self.shares.values()), default=0.0) - self.least

    @property
    def said(self) -> str:
        """In words; an estimate beside 0 or 1 is shown as these.

        >>> Contrast({"attack": Share(0.56, 0.1, 50), "benign": Share(-0.05, 0.1, 50)}, 0.01, 1.0).said
        'touches 56% of attack and 0% of benign (equal shares: p 0.01)'
        """
        parts = [f"{min(max(s.share, 0.0), 1.0):.0%} of {name}" for name, s in self.shares.items()]
        return f"touches {' and '.join(parts) or 'no class that can be judged'} (equal shares: p {self.p:.2g})"


def mixture(pair: Pair, j: int, fault: Callable[[Floats], Floats]) -> Contrast:
    """The share of each label's rows that ``fault`` has touched, which need not be known row by row.

    Of one label let F be the distribution function of the base, G that of the base after the fault, H the batch's. With
    a touched share s, H = (1 - s) F + s G: s = <H - F, G - F> / |G - F|^2 over 16 ranges, the least squares.
    """
    found: dict[str, Share] = {}
    judged = 0.0
    for label, name in enumerate(pair.now.schema.classes):
        now, past = pair.now.y == label, pair.past.y == label
        share = _share(pair.now.take(now), pair.past.take(past), j, fault)
        if share is not None:
            found[name] = share
            judged += float(np.mean(now))
    return Contrast(found, equal(list(found.values())), judged)


def counted(rows: Rows, touched: Bools) -> Contrast:
    """The same where it is known which rows are touched."""
    found: dict[str, Share] = {}
    judged = 0.0
    for label, name in enumerate(rows.schema.classes):
        own = rows.y == label
        code, count = sessions_of(rows.session[own])
        if count >= FEWEST:
            each = np.bincount(code, weights=touched[own], minlength=count) / np.bincount(code, minlength=count)
            found[name] = Share(float(each.mean()), float(each.std() / np.sqrt(count)), count)
            judged += float(np.mean(own))
    return Contrast(found, equal(list(found.values())), judged)


def misfit(pair: Pair, j: int, fault: Callable[[Floats], Floats]) -> float:
    """The squared distance of the batch from the base after the fault, labels alike; 1 where it cannot be judged."""
    total, weight = 0.0, 0.0
    for label in np.unique(pair.now.y).tolist():
        now, past = pair.now.take(pair.now.y == label), pair.past.take(pair.past.y == label)
        if min(sessions_of(now.session)[1], sessions_of(past.session)[1]) < FEWEST:
            continue
        h, _, g = _functions(now, past, j, fault)
        total += len(now) * float(np.mean((h.mean(axis=0) - g.mean(axis=0)) ** 2))
        weight += len(now)
    return total / weight if weight else 1.0


def equal(shares: list[Share]) -> float:
    """The p-value where all shares are the same: the largest |difference| / error, Bonferroni over the pairs."""
    z = [
        abs(a.share - b.share) / max(float(np.hypot(a.error, b.error)), 1e-9)
        for i, a in enumerate(shares)
        for b in shares[:i]
    ]
    return min(1.0, len(z) * float(erfc(max(z) / np.sqrt(2)))) if z else 1.0


def _share(now: Rows, past: Rows, j: int, fault: Callable[[Floats], Floats]) -> Share | None:
    sessions = sessions_of(now.session)[1]
    if min(sessions, sessions_of(past.session)[1]) < FEWEST:
        return None
    h, f, g = _functions(now, past, j, fault)
    usual = f.mean(axis=0)
    way = g.mean(axis=0) - usual
    length = float(way @ way)
    if length < 1e-4:  # noqa: PLR2004 - the fault would change next to nothing
        return None
    each, before = (h - usual) @ way / length, (f - usual) @ way / length
    error = np.sqrt(each.var() / len(each) + before.var() / len(before))
    return Share(float(each.mean()), float(error), sessions)


def _functions(now: Rows, past: Rows, j: int, fault: Callable[[Floats], Floats]) -> tuple[Floats, Floats, Floats]:
    """Distribution functions by session of the batch, the base, and the base after the fault, on the same ranges."""
    feature = now.schema.features[j]
    values = [tidy(now.x[:, j]), tidy(past.x[:, j]), tidy(fault(past.x[:, j]))]
    cell, count = cells(feature, np.concatenate(values))
    parts = np.split(cell, np.cumsum([len(v) for v in values])[:-1])
    codes = [sessions_of(rows.session) for rows in (now, past, past)]
    each = [masses(part, count, code, n) for part, (code, n) in zip(parts, codes, strict=True)]
    if feature.kind == "categorical":
        return each[0], each[1], each[2]
    return np.cumsum(each[0], axis=1), np.cumsum(each[1], axis=1), np.cumsum(each[2], axis=1)
