"""The goals of sanitised retraining, and whether result lines reach them. Pure: lines in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

Line: TypeAlias = Mapping[str, Any]
Reached = Literal["yes", "**no**", "not measured"]
LEAST_SEEDS = 5
CLEAN_BUFFERS = 50
POISONED = 0.1
"""A candidate whose attack success exceeds the oracle's by so much should be rejected."""
NEUTRAL = 0.02


@dataclass(frozen=True, slots=True)
class Goal:
    """``values`` of one result line (none where it says nothing); ``mean`` and ``worst`` have limits where not None.

    ``most``: large values are bad, else small ones. ``least`` seeds (or, with ``lines``, lines) are needed of each data
    set.
    """

    name: str
    values: Callable[[Line], Sequence[float]]
    said: str
    mean: float | None = None
    worst: float | None = None
    most: bool = True
    least: int = LEAST_SEEDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What lines say of a goal; ``n`` are the seeds of the data set with the fewest, ``at`` names the worst line."""

    goal: Goal
    n: int
    mean: float
    worst: float
    at: str
    reached: Reached


def outcome(goal: Goal, lines: Iterable[Line]) -> Outcome:
    """Mean over all values, the worst of them, and whether both are within limits on enough seeds of every data set."""
    found = [(line, value) for line in lines for value in goal.values(line)]
    if not found:
        return Outcome(goal, 0, np.nan, np.nan, "", "not measured")
    values = np.array([value for _, value in found])
    at = int(values.argmax() if goal.most else values.argmin())
    line = found[at][0]
    seeds: dict[str, set[int]] = {}
    for one, _ in found:
        seeds.setdefault(one["data"], set()).add(one["seed"])
    n = min(map(len, seeds.values()))
    mean, worst = float(values.mean()), float(values[at])
    good = all(
        limit is None or (value <= limit if goal.most else value >= limit)
        for value, limit in ((mean, goal.mean), (worst, goal.worst))
    )
    reached: Reached = "**no**" if not good else "yes" if n >= goal.least else "not measured"
    return Outcome(goal, n, mean, worst, f"{line['data']} {line['seed']} {line['case']}", reached)


def _excess(*kinds: str, everywhere: bool | None = None, reverse: bool | None = None) -> Callable[[Line], list[float]]:
    def values(line: Line) -> list[float]:
        case = line["case"]
        fits = case.partition(":")[0] in kinds if kinds else True
        fits &= everywhere is None or ("@all" in case) == everywhere
        fits &= reverse is None or case.endswith("!") == reverse
        return [line["excess"]["ours"]] if fits and "excess" in line else []

    return values


def _accuracy(line: Line) -> list[float]:
    return [line["accuracy"]["oracle"] - line["accuracy"]["ours"]] if "excess" in line else []


def _clean(what: str) -> Callable[[Line], list[float]]:
    def values(line: Line) -> list[float]:
        if line["case"] != "clean":
            return []
        return [float(len(line["slices"]))] if what == "slices" else [line[what]]

    return values


def named(line: Line) -> tuple[float, float] | None:
    """Recall and precision of the features that slices of mostly poison rows name; None without any, or a trigger."""
    changed = set(line.get("changed", ()))
    about = [set(s["features"]) for s in line.get("slices", ()) if s["features"] and (s.get("poison") or 0) >= 0.5]
    if not changed or not about:
        return None
    told = set().union(*about)
    return len(told & changed) / len(changed), len(told & changed) / max(len(told), 1)


def _named(which: int) -> Callable[[Line], list[float]]:
    def values(line: Line) -> list[float]:
        whole = line["case"].startswith(("dirty_label", "clean_label"))
        found = named(line) if whole else None
        return [] if found is None else [found[which]]

    return values


def _new_attack(line: Line) -> list[float]:
    return [line["family"]["kept"]] if line["case"] == "new_attack" and line["family"]["kept"] is not None else []


def _new_attack_error(line: Line) -> list[float]:
    error = line["family"]["error"] if line["case"] == "new_attack" else {}
    return [error["ours"] - error["oracle"]] if error else []


def _new_benign(line: Line) -> list[float]:
    if line["case"] != "new_benign" or line["family"]["kept"] is None:
        return []
    return [1.0 if line["family"]["kept"] >= 0.95 or line["holds"] else 0.0]


def _rejects_poisoned(line: Line) -> list[float]:
    bad = [name for name in ("undefended", "ours") if "excess" in line and line["excess"][name] >= POISONED]
    return [float(not line["gate"][name]["passed"]) for name in bad]


def _rejects_clean(line: Line) -> list[float]:
    clean = [line["gate"]["ours"]] if line["case"] == "clean" else []
    clean += [line["gate"]["oracle"]] if line["case"] == "clean" or "excess" in line else []
    return [float(not one["passed"]) for one in clean]


def _rounds(line: Line) -> list[float]:
    played = [r for r in line.get("rounds", ()) if "asr" in r]
    return [float(r["asr"]["ours"] - r["asr"]["oracle"] <= NEUTRAL) for r in played]


def _rounds_accuracy(line: Line) -> list[float]:
    return [r["accuracy"]["oracle"] - r["accuracy"]["ours"] for r in line.get("rounds", ())[-1:]]


GOALS: tuple[Goal, ...] = (
    Goal("ASR excess, dirty label, one source", _excess("dirty_label", everywhere=False), "<= .02", None, 0.02),
    Goal("ASR excess, dirty label, all sources", _excess("dirty_label", everywhere=True), "<= .02", None, 0.02),
    Goal("ASR excess, split trigger", _excess("split_trigger"), "<= .02", None, 0.02),
    Goal("ASR excess, clean label", _excess("clean_label"), "<= .02", None, 0.02),
    Goal("ASR excess, targeted flips", _excess("targeted_flips"), "<= .02", None, 0.02),
    Goal("ASR excess, random flips", _excess("random_flips"), "<= .02", None, 0.02),
    Goal("ASR excess, feature collision", _excess("feature_collision"), "<= .02", None, 0.02),
    Goal("ASR excess, gradient matching", _excess("gradient_matching"), "<= .02", None, 0.02),
    Goal("ASR excess, benign called attack", _excess(reverse=True), "<= .02", None, 0.02),
    Goal("accuracy below the oracle, attacked buffers", _accuracy, "mean <= .001, worst <= .005", 0.001, 0.005),
    Goal("clean rows lost, clean buffers", _clean("clean_removed"), "mean <= .015", 0.015),
    Goal("slices on clean buffers", _clean("slices"), "0 of 50 buffers", None, 0.0, least=CLEAN_BUFFERS),
    Goal("features named, recall", _named(0), "mean >= .9", 0.9, None, most=False),
    Goal("features named, precision", _named(1), "mean >= .8", 0.8, None, most=False),
    Goal("new attack family kept after vetting", _new_attack, ">= .95", None, 0.95, most=False),
    Goal("error on it above the oracle's", _new_attack_error, "<= .02", None, 0.02),
    Goal("new benign family kept or held", _new_benign, "always", None, 1.0, most=False),
    Goal("gate rejects poisoned candidates", _rejects_poisoned, ">= .95", 0.95, None, most=False),
    Goal("gate rejects clean candidates", _rejects_clean, "<= .02", 0.02),
    Goal("campaigns neutralised, twelve rounds", _rounds, ">= .99", 0.99, None, most=False),
    Goal("accuracy below the oracle after twelve rounds", _rounds_accuracy, "< .005", None, 0.005),
)  # fmt: skip
