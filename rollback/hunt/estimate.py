"""How many attacks a poisoned version let pass: what it decided differently, less what an honest retrain would have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import betaln, gammaln, ndtri

from detectors.batch import Floats, Ints

LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the interval in which the figure lies with the probability that was asked for."""

    low: float
    estimate: float
    high: float

    def plus(self, other: Interval) -> Interval:
        """The sum; where both hold together with a probability, so does it."""
        return Interval(self.low + other.low, self.estimate + other.estimate, self.high + other.high)

    def of_all(self, share: float, error: float, most: float) -> Interval:
        """The same for all, where it was found in a sample of this ``share`` with this sampling ``error``."""
        low, high = max(self.low - error, 0.0) / share, min((self.high + error) / share, most)
        return Interval(min(low, high), min(self.estimate / share, high), high)


NOTHING: Final = Interval(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Null:
    """Churn of an honest retrain: ``parted`` of ``sessions`` reference sessions differ as is counted, at ``length``.

    ``length`` is the mean number of events in a session of the reference. With the sum of the sessions' *shares* of
    events that differ as ``parted``, and ``length`` 1, it is the churn of single events, one drawn from each session.
    """

    parted: float
    sessions: int
    length: float

    def __post_init__(self) -> None:
        if not 0 <= self.parted <= self.sessions or self.sessions < 1 or self.length < 1:
            raise ValueError(f"need 0 <= parted <= sessions, at least one session and event, got {self}")


@dataclass(frozen=True, slots=True)
class Passed:
    """Attacks that passed, counted as sessions and as their events."""

    sessions: Interval
    events: Interval


def honest_sessions(null: Null, sessions: int, length: float, suspect: int = 0, level: float = LEVEL) -> Interval:
    """How many of ``sessions`` sessions with ``length`` events on average an honest retrain would have parted on.

    A prediction interval. Null: sessions are independent, whatever their events are, and one of the stream parts with
    the probability q with which one of the reference does, at the same length; a longer one has more chances, at most
    in proportion, so q is taken times max(r, 1) for the upper limit and times min(r, 1) for the lower one, where r =
    ``length``/``null.length``. Up to ``suspect`` of the sessions may be no honest ones at all: the lower limit does
    without them. With k of m reference sessions parted the limits are quantiles of beta-binomial laws: BB(N - suspect,
    k, m/min(r, 1) - k + 1) at (1 - level)/2 and BB(N, k + 1, m/max(r, 1) - k) at (1 + level)/2; for r = 1 and no
    suspects these are the exact (conservative) limits of Thatcher 1964 (JRSS-B 26:176). The estimate is q max(r, 1) N.

    >>> honest_sessions(Null(10, 1000, 6.0), 2000, 6.0)
    Interval(low=7.0, estimate=20.0, high=40.0)
    """
    if sessions < 1:
        return NOTHING
    k, ratio, tail = null.parted, length / null.length, (1 - level) / 2
    few, many = null.sessions / max(ratio, 1.0), null.sessions / min(ratio, 1.0)
    expected = sessions * min(k / few, 1.0)
    low = _quantile(max(sessions - suspect, 0), k, many - k + 1, tail) if k else 0
    high = _quantile(sessions, k + 1, few - k, 1 - tail) if k < few else sessions
    return Interval(float(min(low, expected)), float(expected), float(max(high, expected)))


def honest_events(null: Null, carriers: Ints, level: float = LEVEL) -> Interval:
    """How many of the events of sessions with ``carriers`` [i] each an honest retrain would have parted on, at most.

    ``null`` is that of single events, with rate r. Null: each event parts with probability r at most; those of one
    session may all part together, which spreads their number most. So it is c times a beta-binomial number of sum/c
    sessions, where c = sum of squares / sum is the mean length of an event's session: mean and variance are those of
    sessions that part as a whole. One-sided at (1 + level)/2; the lower limit is 0.

    >>> honest_events(Null(30.0, 1000, 1.0), np.full(200, 2))
    Interval(low=0.0, estimate=12.0, high=24.0)
    """
    total = int(carriers.sum())
    if not total:
        return NOTHING
    together = float(np.sum(carriers.astype(np.float64) ** 2)) / total
    rest = null.sessions - null.parted
    most = _quantile(math.ceil(total / together), null.parted + 1, rest, (1 + level) / 2) if rest > 0 else total
    expected = total * null.parted / null.sessions
    return Interval(0.0, expected, max(min(together * most, total), expected))


def passed_singly(differing: Ints, honest: Interval, events: Interval) -> Passed:
    """As `passed`, where it is known how many ``events`` honest churn accounts for: it takes no session whole."""
    whole = passed(differing, honest).sessions
    total = float(differing.sum())
    left = [max(total - figure, 0.0) for figure in (events.high, events.estimate, events.low)]
    return Passed(whole, Interval(*left))


def passed(differing: Ints, honest: Interval) -> Passed:
    """Attacks that passed, among sessions with ``differing`` [i] events (at least one each) that were let through.

    The differing sessions are counted; what is not known is how many of them honest churn accounts for: ``honest``
    (`honest_sessions`). So the sessions of attacks are len(differing) less those. As events, the honest sessions are
    taken to be the longest for the lower limit, the shortest for the upper one, and average ones for the estimate;
    whatever differs in an attacker's session counts as the attacker's.

    Conditions: the reference is a fair sample of honest traffic as it came (after a natural drift, honest churn grows,
    and the excess holds news as well as attacks); attacks and churn fall on different sessions. What LKG would have
    missed as well is in no figure.

    >>> passed(np.array([1, 1, 5]), Interval(0.0, 0.0, 1.0)).events
    Interval(low=2.0, estimate=7.0, high=7.0)
    """
    count, events = len(differing), int(differing.sum())
    rising = np.concatenate([[0], np.cumsum(np.sort(differing))])
    least, most = min(int(np.floor(honest.low)), count), min(int(np.ceil(honest.high)), count)
    average = max(1 - honest.estimate / count, 0.0) if count else 0.0
    by_session = Interval(float(count - most), count * average, float(count - least))
    by_event = Interval(float(rising[count - most]), events * average, float(events - rising[least]))
    return Passed(by_session, by_event)


def scaled_up(found: Passed, differing: Ints, share: float, events: int, level: float = LEVEL) -> Passed:
    """For all sessions, where only a ``share`` of them was counted, drawn at random; ``events`` differ in all.

    Limits move out by the normal quantile of the total's sampling error, sqrt((1 - share) sum of squares) before it is
    scaled up (Horvitz-Thompson estimate under Poisson sampling of sessions).
    """
    if share >= 1:
        return found
    z = float(ndtri((1 + level) / 2)) * np.sqrt(1 - share)
    by_session = found.sessions.of_all(share, z * np.sqrt(len(differing)), events)
    by_event = found.events.of_all(share, z * float(np.sqrt(np.sum(differing.astype(np.float64) ** 2))), events)
    return Passed(by_session, by_event)


def _quantile(trials: int, a: float, b: float, level: float) -> int:
    """The least h at which the beta-binomial law BB(``trials``, a, b) has come to ``level``."""
    h: Floats = np.arange(trials + 1, dtype=np.float64)
    choices = gammaln(trials + 1) - gammaln(h + 1) - gammaln(trials - h + 1)
    law = np.exp(choices + betaln(h + a, trials - h + b) - betaln(a, b))
    return min(int(np.searchsorted(np.cumsum(law), level)), trials)
