"""Whether result lines reach a goal: on every data set, on enough seeds of every case that the goal is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

Line: TypeAlias = Mapping[str, Any]
Reached = Literal["yes", "**no**", "not measured"]
LEAST_SEEDS = 5


@dataclass(frozen=True, slots=True)
class Goal:
    """``values`` of one result line (none where it says nothing); ``mean`` and ``worst`` have limits where not None.

    ``most``: large values are bad, else small ones. ``least`` seeds are needed of each data set, and of each of the
    ``cases`` where there are some; a line that does not ``count`` (too few initialisations) is none of them, and
    still may miss the goal. ``buffers`` are needed in all. ``pooled``: the mean is a rate of events that are few on
    one data set, and is judged over all.
    """

    name: str
    values: Callable[[Line], Sequence[float]]
    said: str
    mean: float | None = None
    worst: float | None = None
    most: bool = True
    least: int = LEAST_SEEDS
    cases: tuple[str, ...] = ()
    pooled: bool = False
    buffers: int = 0
    count: Callable[[Line], bool] = lambda _: True

    def good(self, mean: float, worst: float) -> bool:
        """Whether both are within their limits."""
        pairs = ((mean, self.mean), (worst, self.worst))
        return all(limit is None or (value <= limit if self.most else value >= limit) for value, limit in pairs)


@dataclass(frozen=True, slots=True)
class Share:
    """What one data set says: so many ``seeds`` and ``buffers``; ``n`` are the seeds of the case with the fewest.

    ``lacking`` are the cases with too few seeds. A case that the data set cannot play is none.
    """

    data: str
    seeds: int
    buffers: int
    n: int
    lacking: tuple[str, ...]
    values: int
    mean: float
    worst: float
    at: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What lines say of a goal: ``n`` seeds of the data set (and case) with the fewest, ``at`` names the worst line.

    ``mean`` is that of the data set where it is worst, or (``pooled``) of all values.
    """

    goal: Goal
    n: int
    mean: float
    worst: float
    at: str
    reached: Reached
    shares: tuple[Share, ...]


def outcome(goal: Goal, lines: Iterable[Line]) -> Outcome:
    """The goal on every data set of which there is any line, each by itself: a mean over all hides a bad one."""
    lines = list(lines)
    shares = tuple(_share(goal, [one for one in lines if one["data"] == d], d) for d in _sets(lines))
    told = [share for share in shares if share.buffers]
    if not told:
        return Outcome(goal, 0, np.nan, np.nan, "", "not measured", shares)
    end = max if goal.most else min
    worst = end(told, key=lambda share: share.worst)
    n = min(share.n for share in shares)
    enough = n >= goal.least and not any(share.lacking for share in shares)
    enough = enough and sum(share.buffers for share in shares) >= goal.buffers
    means = np.array([share.mean for share in told])
    pooled = float(np.average(means, weights=[share.values for share in told]))
    mean = pooled if goal.pooled else float(end(means))
    reached: Reached = "**no**" if not goal.good(mean, worst.worst) else "yes" if enough else "not measured"
    return Outcome(goal, n, mean, worst.worst, worst.at, reached, shares)


def _sets(lines: Iterable[Line]) -> list[str]:
    return list(dict.fromkeys(line["data"] for line in lines))


def _share(goal: Goal, own: Sequence[Line], data: str) -> Share:
    found = [(line, value) for line in own if "skipped" not in line for value in goal.values(line)]
    seeds = {line["seed"] for line, _ in found}
    counted: dict[str, set[int]] = {}
    for line, _ in found:
        if goal.count(line):
            counted.setdefault(line["case"], set()).add(line["seed"])
    played = {line["case"] for line in own if "skipped" not in line}
    impossible = {line["case"] for line in own if "skipped" in line} - played
    wanted = [case for case in goal.cases if case not in impossible]
    lacking = tuple(case for case in wanted if len(counted.get(case, ())) < goal.least)
    n = min((len(counted.get(case, ())) for case in wanted), default=len(set().union(*counted.values())))
    if not found:
        return Share(data, 0, 0, n, lacking, 0, np.nan, np.nan, "")
    values = np.array([value for _, value in found])
    at = int(values.argmax() if goal.most else values.argmin())
    line = found[at][0]
    buffers = len({(line["seed"], line["case"]) for line, _ in found})
    where = f"{data} {line['seed']} {line['case']}"
    return Share(data, len(seeds), buffers, n, lacking, len(values), float(values.mean()), float(values[at]), where)
