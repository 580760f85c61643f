"""The tables of a report: the features that matter, the trigger, and what else the verdict might have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.messages import Incident
from monitor.report.windows import Around, share
from monitor.report.words import name_of, percent, shown
from monitor.window_lines import WindowLine

MOST_FEATURES: Final = 10
MOST_PATTERNS: Final = 20
MOST_TRAINING_ROWS: Final = 2**53
"""What is more was not counted."""
LEAST_EXPECTED: Final = 1e-9
"""Rows; what is less gives no lift that means anything."""


@dataclass(frozen=True, slots=True)
class Importance:
    """A feature's share of what moves a version's scores; None where it was not among the foremost."""

    name: str
    serving: float | None
    known_good: float | None


@dataclass(frozen=True, slots=True)
class Importances:
    """The foremost features of either version. ``note`` says where last known good's figures are from."""

    rows: tuple[Importance, ...] = ()
    note: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much more often something is ``within`` than ``without``, in words, and by ``lift``.

    ``trigger`` is false of other patterns that the training buffer shows: they were looked at as well.
    """

    what: str
    within: str
    without: str
    lift: str
    checked: str
    trigger: bool = True


def importances(around: Around, last: Incident) -> Importances:
    """Serving beside last known good: from the same window, else from the latest one that last known good served."""
    own = next((w for w in reversed(around.own) if _shares(w, "importance")), None)
    if own is None:
        return Importances(note="No window had enough fresh sessions to rank features.")
    serving = _shares(own, "importance")
    known_good, note = _shares(own, "importance_last_known_good"), "Both were asked about the same events."
    if not known_good and last.version != last.last_known_good:
        theirs = [w for w in around.windows if w.version == last.last_known_good and _shares(w, "importance")]
        nearest = min(theirs, key=lambda w: abs(w.at - own.at), default=None)
        known_good = {} if nearest is None else _shares(nearest, "importance")
        note = f"Version {last.last_known_good}: from its own window nearest in time, that is, from other events."
    if not known_good:
        note = "There are no figures of a last known good version to compare with."
    every = dict.fromkeys([*serving, *known_good])
    names = sorted(every, key=lambda name: -max(serving.get(name, 0.0), known_good.get(name, 0.0)))[:MOST_FEATURES]
    rows = tuple(Importance(name, serving.get(name), known_good.get(name)) for name in names)
    return Importances(rows, note, own.version)


def _shares(window: WindowLine, fact: str) -> dict[str, float]:
    found = window.detectors.get("importance_drift")
    named = found.facts.get(fact) if found is not None else None
    if not isinstance(named, dict):
        return {}
    return {name: value for name, given in named.items() if (value := share(given)) is not None}


def strengths(around: Around, implicated: Mapping[str, Any] | None = None) -> tuple[Strength, ...]:
    """How far the trigger goes with what is implicated, in the stream and in the training buffer.

    ``implicated`` are the values that the incident names, if that is known: other patterns come last.
    """
    found: list[Strength] = []
    facts = around.facts("version_disagreement")
    inside, outside = share(facts.get("itemset_share")), share(facts.get("itemset_outside"))
    if facts.get("itemset") and inside is not None and outside is not None:
        wrong, right = facts.get("wrong"), facts.get("right")
        checked = f"{wrong} of {_sum(wrong, right)} labels: serving is wrong" if _sum(wrong, right) else "nobody asked"
        lift = "seen nowhere else" if outside == 0 else f"{inside / outside:.3g} times"
        what = "sessions in which the versions part, against all others"
        found.append(Strength(what, percent(inside), percent(outside), lift, checked))
    findings = around.facts("retraining_buffer").get("findings")
    rows = [_row(each, implicated) for each in (findings if isinstance(findings, list) else []) if _is_finding(each)]
    return tuple(sorted([*found, *rows[:MOST_PATTERNS]], key=lambda each: not each.trigger))


def _is_finding(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("features"), dict):
        return False
    rows = value.get("rows")
    return isinstance(rows, int) and 0 <= rows <= MOST_TRAINING_ROWS


def _row(finding: Mapping[str, Any], implicated: Mapping[str, Any] | None) -> Strength:
    expected = finding.get("expected")
    known = isinstance(expected, (int, float)) and LEAST_EXPECTED < expected <= MOST_TRAINING_ROWS
    trigger = implicated is None or (bool(implicated) and dict(finding["features"]) == dict(implicated))
    features = ", ".join(f"{shown(n, 80)} = {shown(v, 80)}" for n, v in list(finding["features"].items())[:6])
    answers = finding.get("answers") or 0
    return Strength(
        f"training rows labelled {shown(finding.get('label'), 80)} with {features or 'no values in common'}",
        f"{finding['rows']:,} rows",
        f"{expected:.3g} expected" if known else "-",
        f"{finding['rows'] / expected:.3g} times" if known else "-",
        f"{finding.get('false', 0)} of {answers} labels are false" if answers else "nobody asked",
        trigger,
    )


def _sum(*counts: Any) -> int:
    return sum(count for count in counts if isinstance(count, int))


def weights(last: Incident) -> list[tuple[str, float]]:
    """The verdict and its alternatives with their probabilities; what is left is none of them.

    Inconclusive is no explanation: what it stands between is.
    """
    found = [(a.hypothesis.replace("_", " "), a.confidence) for a in last.alternatives]
    if last.family != "inconclusive" or not found:
        found.insert(0, (name_of(last.family, last.hypothesis), last.confidence))
    rest = 1.0 - sum(weight for _, weight in found)
    return [*found, ("none of these", rest)] if rest > 0.0005 else found  # noqa: PLR2004 - what rounding leaves
