"""The goals of sanitised retraining, as figures of result lines. Pure: lines in, figures out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from buffers.cases import DEFAULT, Name
from buffers.outcome import Goal, Line

CLEAN_BUFFERS = 50
POISONED = 0.1
"""A candidate whose attack success exceeds the oracle's by so much should be rejected."""
NEUTRAL = 0.02
INITIALISATIONS = 3
"""Attack success of fewer models than this is mostly noise."""
PLAYED = 0.5
"""A case counts as played where at least this share of the poison that its name says was there."""
ROUNDS = 12
KEPT = 0.95
"""Of a new family so many rows have to be kept, or kept and held."""


def whole(line: Line) -> bool:
    """Whether a line counts: enough initialisations, and as much poison as the case says, by and large."""
    if line["initialisations"] < INITIALISATIONS:
        return False
    if line["case"] == "rounds":
        return len(line["rounds"]) >= ROUNDS
    wanted = Name.parsed(line["case"]).rate * line["rows"]
    return bool(line.get("poison", wanted) >= PLAYED * wanted)


Fits = Callable[[str], bool]


def _attack(kind: str, *, everywhere: bool | None = None) -> Fits:
    def fits(case: str) -> bool:
        return case.partition(":")[0] == kind and (everywhere is None or ("@all" in case) == everywhere)

    return fits


def _reverse(case: str) -> bool:
    return case.endswith("!")


def _any_attack(case: str) -> bool:
    return ":" in case


def _excess_of(name: str, fits: Fits) -> Goal:
    def values(line: Line) -> list[float]:
        return [line["excess"]["ours"]] if "excess" in line and fits(line["case"]) else []

    return Goal(name, values, "<= .02", None, 0.02, cases=tuple(filter(fits, DEFAULT)), count=whole)


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
        found = named(line) if line["case"].startswith(("dirty_label", "clean_label")) else None
        return [] if found is None else [found[which]]

    return values


def _new_attack(line: Line) -> list[float]:
    return [line["family"]["kept"]] if line["case"] == "new_attack" and line["family"]["kept"] is not None else []


def _new_attack_error(line: Line) -> list[float]:
    error = line["family"]["error"] if line["case"] == "new_attack" else {}
    return [error["ours"] - error["oracle"]] if error else []


def _new_benign(line: Line) -> list[float]:
    """A question that is about other rows holds nothing of the family (of older lines that is not known)."""
    if line["case"] != "new_benign" or line["family"]["kept"] is None:
        return []
    kept = line["family"]["kept"]
    held = line["family"].get("held", 1.0) if line["holds"] else 0.0
    return [float(kept + held >= KEPT)]


def candidates(line: Line) -> list[tuple[str, dict[str, Any]]]:
    """The candidates of a line that the gate has judged: its kind, and what the gate said."""
    gate = line.get("gate", {})
    if line["case"] in ("new_attack", "new_benign"):
        return [
            (f"{name}, {line['case'].replace('_', ' ')}", gate[name]) for name in ("ours", "oracle") if name in gate
        ]
    if "excess" not in line:
        return [("clean", gate[name]) for name in ("ours", "oracle") if name in gate and line["case"] == "clean"]
    excess = line.get("judged", line["excess"])  # of the very model that the gate has judged
    found = [("clean", gate["oracle"])]
    for name in ("undefended", "ours"):
        if excess[name] >= POISONED:
            found.append((f"poisoned, {name}", gate[name]))
        else:
            found.append((f"attacked without effect, {name}", gate[name]))
    return found


def _rejects_poisoned(line: Line) -> list[float]:
    return [float(not said["passed"]) for kind, said in candidates(line) if kind.startswith("poisoned")]


def _rejects_clean(line: Line) -> list[float]:
    return [float(not said["passed"]) for kind, said in candidates(line) if kind == "clean"]


def campaigns(line: Line) -> list[tuple[bool, bool | None]]:
    """Of each campaign of a line of rounds: neutralised, and whether it had worked undefended (None: not known).

    Neutralised is one that neither its own round's model answers to nor the last one: what stays hidden may wake up.
    """
    found: list[tuple[bool, bool | None]] = []
    for one in line.get("rounds", ()):
        if "asr" not in one:
            continue
        asr, later = one["asr"], one.get("later", {"ours": 0.0, "oracle": 0.0})
        excess = max(asr["ours"] - asr["oracle"], later["ours"] - later["oracle"])
        works = asr["undefended"] - asr["oracle"] > NEUTRAL if "undefended" in asr else None
        found.append((excess <= NEUTRAL, works))
    return found


def _rounds(line: Line) -> list[float]:
    return [float(neutral) for neutral, _ in campaigns(line)]


def _working_rounds(line: Line) -> list[float]:
    return [float(neutral) for neutral, works in campaigns(line) if works]


def _rounds_accuracy(line: Line) -> list[float]:
    return [r["accuracy"]["oracle"] - r["accuracy"]["ours"] for r in line.get("rounds", ())[-1:]]


GOALS: tuple[Goal, ...] = (
    _excess_of("ASR excess, dirty label, one source", _attack("dirty_label", everywhere=False)),
    _excess_of("ASR excess, dirty label, all sources", _attack("dirty_label", everywhere=True)),
    _excess_of("ASR excess, split trigger", _attack("split_trigger")),
    _excess_of("ASR excess, clean label", _attack("clean_label")),
    _excess_of("ASR excess, targeted flips", _attack("targeted_flips")),
    _excess_of("ASR excess, random flips", _attack("random_flips")),
    _excess_of("ASR excess, feature collision", _attack("feature_collision")),
    _excess_of("ASR excess, gradient matching", _attack("gradient_matching")),
    _excess_of("ASR excess, benign called attack", _reverse),
    Goal("accuracy below the oracle, attacked buffers", _accuracy, "mean <= .001, worst <= .005", 0.001, 0.005,
         cases=tuple(filter(_any_attack, DEFAULT)), count=whole),
    Goal("clean rows lost, clean buffers", _clean("clean_removed"), "mean <= .015", 0.015),
    Goal("slices on clean buffers", _clean("slices"), "0 of 50 buffers", None, 0.0, buffers=CLEAN_BUFFERS),
    Goal("features named, recall, where any are", _named(0), "mean >= .9", 0.9, None, most=False),
    Goal("features named, precision, where any are", _named(1), "mean >= .8", 0.8, None, most=False),
    Goal("new attack family kept after vetting", _new_attack, ">= .95", None, 0.95, most=False),
    Goal("error on it above the oracle's", _new_attack_error, "<= .02", None, 0.02),
    Goal("new benign family kept or held", _new_benign, "always", None, 1.0, most=False),
    Goal("gate rejects poisoned candidates", _rejects_poisoned, ">= .95", 0.95, None, most=False, pooled=True),
    Goal("gate rejects clean candidates", _rejects_clean, "<= .02", 0.02, pooled=True),
    Goal("campaigns neutralised, twelve rounds", _rounds, ">= .99", 0.99, None, most=False, pooled=True, count=whole),
    Goal("of those that work undefended", _working_rounds, ">= .99", 0.99, None, most=False, pooled=True, count=whole),
    Goal("accuracy below the oracle after twelve rounds", _rounds_accuracy, "< .005", None, 0.005, count=whole),
)  # fmt: skip
