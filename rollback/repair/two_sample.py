"""Does a batch differ from the trusted base? Every feature by itself, and all together, sessions as units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from detectors.sequential import sessions_of
from rollback.repair.batches import Pair, some
from rollback.repair.profiles import cells, masses
from rollback.sanitise.rows import Rows

WAVES: Final = 64
"""Random features of the joint test."""
WIDTH: Final = 0.5
"""The joint test's bandwidth, as a share of the distance of two random rows."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """``level``: the chance that any batch of a clean buffer is called different.

    ``draws`` are made of the null; at most ``most`` sessions of a batch are looked at.
    """

    level: float = 0.01
    draws: int = 499
    most: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level lies in (0, 1), got {self.level}")
        if (self.draws + 1) * self.level < 1:
            raise ValueError(f"{self.draws} draws cannot reach a level of {self.level}: give more draws")
        if self.most < 1:
            raise ValueError(f"most: at least 1, got {self.most}")


@dataclass(frozen=True, slots=True)
class Tested:
    """``p`` [d + 1] of each feature and of all together (the last), corrected for all features of all batches.

    ``effect`` [d + 1]: the largest difference of the distribution functions of a number, the total variation of a
    category; NaN for all together.
    """

    pair: Pair
    p: Floats
    effect: Floats


def compare(pairs: Sequence[Pair], parameters: Parameters, rng: np.random.Generator) -> list[Tested]:
    """Test every batch.

    Statistics: of a number the Kolmogorov-Smirnov distance (16 quantile ranges, missing below all), of a category
    sum of (share in the batch - in the base)^2 / (share in both), of all together the squared maximum mean discrepancy
    (Gaussian kernel on ranks by 64 random features; A. Rahimi and B. Recht, 2007; A. Gretton et al., JMLR 13, 2012).
    Null: the sessions of batch and base are exchangeable. Draws of it permute whole sessions, for rows of one session
    are not independent. Each statistic is standardised over its draws; p is the share of draws in which the largest of
    all features of all batches is at least as large (Westfall and Young, 1993, max T). The chance of any false alarm in
    a clean buffer is at most ``level`` where batches share no base rows, and about so where they do.
    """
    if not pairs:
        return []
    found = [_standardised(pair, parameters, rng) for pair in pairs]
    largest = np.max([z[1:].max(axis=1) for z, _ in found], axis=0)
    ranked = np.sort(largest)
    out = []
    for pair, (z, effect) in zip(pairs, found, strict=True):
        larger = len(ranked) - np.searchsorted(ranked, z[0] - 1e-9)
        out.append(Tested(pair, (1 + larger) / (1 + len(ranked)), effect))
    return out


def _standardised(pair: Pair, parameters: Parameters, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Statistics [1 + draws, d + 1] in standard deviations, the observed ones first; and the effects [d + 1]."""
    now = pair.now.take(some(pair.now.session, parameters.most, rng))
    ours, count = sessions_of(pair.past.session)
    theirs, fresh = sessions_of(now.session)
    code = np.concatenate([ours, theirs + count])
    profile, parts = _profiles(pair.past, now, code, count + fresh, rng)
    picked = _draws(count, fresh, parameters.draws, rng)
    sums = picked @ profile.astype(np.float32)
    total = profile.sum(axis=0)
    gap = sums / fresh - (total - sums) / count
    share = total / (count + fresh)
    stats = np.column_stack([_statistic(gap[:, own], share[own], kind) for kind, own in parts])
    z = (stats - stats.mean(axis=0)) / np.maximum(stats.std(axis=0), 1e-9)
    effect = np.array([_effect(gap[0, own], kind) for kind, own in parts])
    return z, effect


def _profiles(
    past: Rows, now: Rows, code: Ints, sessions: int, rng: np.random.Generator
) -> tuple[Floats, list[tuple[str, slice]]]:
    """What is averaged over sessions [sessions, columns], and which columns belong to which statistic."""
    columns, parts, ranks, start = [], [], [], 0
    for j, feature in enumerate(past.schema.features):
        values = np.concatenate([past.x[:, j], now.x[:, j]])
        cell, count = cells(feature, values)
        mass = masses(cell, count, code, sessions)
        named = feature.kind == "categorical"
        columns.append(mass if named else np.cumsum(mass, axis=1)[:, : max(count - 1, 1)])
        parts.append(("category" if named else "number", slice(start, start + columns[-1].shape[1])))
        start += columns[-1].shape[1]
        ranks.append(rng.random(count)[cell] if named else cell / max(count - 1, 1))
    waves = _waves(np.column_stack(ranks), rng)
    sums = np.zeros((sessions, waves.shape[1]))
    np.add.at(sums, code, waves)
    columns.append(sums / np.bincount(code, minlength=sessions)[:, None])
    parts.append(("all", slice(start, start + waves.shape[1])))
    return np.column_stack(columns), parts


def _waves(u: Floats, rng: np.random.Generator) -> Floats:
    """Random features [n, 64] of a Gaussian kernel."""
    width = WIDTH * np.sqrt(max(2 * u.var(axis=0).sum(), 1e-9))
    return np.asarray(np.cos(u @ rng.normal(size=(u.shape[1], WAVES)) / width + rng.uniform(0, 2 * np.pi, WAVES)))


def _draws(count: int, fresh: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Which sessions are the batch's: [1 + draws, count + fresh] of 0 and 1; first as it is, then at random."""
    picked = np.zeros((1 + draws, count + fresh), np.float32)
    picked[0, count:] = 1
    chosen = np.argpartition(rng.random((draws, count + fresh)), fresh - 1, axis=1)[:, :fresh]
    np.put_along_axis(picked[1:], chosen, 1, axis=1)
    return picked


def _statistic(gap: Floats, share: Floats, kind: str) -> Floats:
    if kind == "number":
        return np.asarray(np.abs(gap).max(axis=1), np.float64)
    weight = 1 / np.maximum(share, 1e-3) if kind == "category" else np.ones(len(share))
    return np.asarray((gap**2 * weight).sum(axis=1), np.float64)


def _effect(gap: Floats, kind: str) -> float:
    if kind == "all":
        return float("nan")
    return float(np.abs(gap).max() if kind == "number" else np.abs(gap).sum() / 2)
