"""Sources with more suspicious rows than the trusted base, and than the other sources beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.sequential import sessions_of
from rollback.sanitise.bounded_mean import exceedance, upper_mean
from rollback.sanitise.rows import Rows

SET_ASIDE: Final = 0.25
"""This share of the other sources, those with the most flagged rows, is no yardstick: they may be bad as well."""


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Of each session with rows of one label: the share of them that is flagged, and the number of its source.

    ``names`` are the sources, ``mean`` and ``count`` what their sessions have on average, and how many they are.
    """

    share: Floats
    source: Ints
    names: Strings
    mean: Floats
    count: Ints

    @classmethod
    def of(cls, rows: Rows, flagged: Bools, label: int) -> _Sessions:
        own = rows.y == label
        session, _ = sessions_of(rows.session[own])
        names, source = np.unique(rows.source[own], return_inverse=True)
        pair = session * max(len(names), 1) + source  # two sources may name a session alike
        _, first, at, sizes = np.unique(pair, return_index=True, return_inverse=True, return_counts=True)
        share = np.bincount(at, flagged[own], minlength=len(sizes)) / sizes
        source = source[first]
        count = np.bincount(source, minlength=len(names))
        mean = np.bincount(source, share, minlength=len(names)) / np.maximum(count, 1)
        return cls(np.asarray(share, np.float64), source, names, mean, count)

    def upper(self, among: Bools, confidence: float) -> float:
        share = self.share[among]
        return upper_mean(float(share.mean()), len(share), confidence) if len(share) else 1.0

    def beyond(self, source: int, expected: float) -> float:
        """The chance that a source's mean is so high where this is expected."""
        return exceedance(float(self.mean[source]), int(self.count[source]), expected)


@dataclass(frozen=True, slots=True)
class Limits:
    """Probabilities of an alarm by chance: against the base, against the other sources; and that their bounds hold."""

    base: float
    peers: float
    confidence: float


def alarmed_sources(
    base: Rows, base_flagged: Bools, new: Rows, new_flagged: Bools, label: int, limits: Limits
) -> list[str]:
    """Sources whose sessions' mean share of flagged rows with this label is beyond both the base's and the others'.

    Null: a source's sessions are as those of the base, or as those of the other sources: natural drift, which comes to
    all of them, raises no alarm. The probability of a mean of so many sessions so far above the base's (its upper
    bound), by `bounded_mean`, is at most ``limits.base``; that above the others' at most ``limits.peers``. The most
    extreme source is judged first and, once alarmed, is no yardstick for the next, and neither is the worst quarter of
    the others. A source that is alone has nobody to be compared with.
    """
    trusted, judged = (
        _Sessions.of(rows, flagged, label) for rows, flagged in ((base, base_flagged), (new, new_flagged))
    )
    known = trusted.upper(np.ones(len(trusted.share), np.bool_), limits.confidence)
    # there may be as many sources as rows: the others are looked at for those alone that the base speaks against
    suspects = [i for i in range(len(judged.names)) if judged.beyond(i, known) <= limits.base]
    found: list[int] = []
    for source in _ranked(judged, suspects):
        peers = judged.upper(_peers(judged, [*found, source]), limits.confidence)
        if judged.beyond(source, peers) <= limits.peers:
            found.append(source)
    return sorted(str(judged.names[i]) for i in found)


def _ranked(judged: _Sessions, suspects: list[int]) -> list[int]:
    """The sources, the one that is furthest from the mean of all first (by its evidence, not by its mean alone)."""
    typical = float(judged.share.mean()) if len(judged.share) else 0.0
    return sorted(suspects, key=lambda source: (judged.beyond(source, typical), source))


def _peers(judged: _Sessions, without: list[int]) -> Bools:
    """The sessions of those other sources that are a yardstick."""
    others = np.setdiff1d(np.arange(len(judged.names)), without)
    aside = others[np.argsort(judged.mean[others], kind="stable")][len(others) - int(SET_ASIDE * len(others)) :]
    return ~np.isin(judged.source, [*without, *aside.tolist()])
