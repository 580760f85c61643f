"""The tables of a report: the features that matter, the trigger, and what else the verdict might have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from monitor.messages import Incident
from monitor.report.windows import Around, share
from monitor.report.words import name_of, shown
from monitor.window_lines import WindowLine

MOST_FEATURES: Final = 10


@dataclass(frozen=True, slots=True)
class Importance:
    """A feature's share of what moves a version's scores; None where it was not among the foremost."""

    name: str
    serving: float | None
    known_good: float | None


@dataclass(frozen=True, slots=True)
class Importances:
    """The foremost features of the watched version first. ``note`` says where last known good's figures are from."""

    rows: tuple[Importance, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much more often something is ``within`` than ``without``: ``lift`` times, None where that has no end."""

    what: str
    within: str
    without: str
    lift: str
    checked: str


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
    names = list(serving)[:MOST_FEATURES]
    return Importances(tuple(Importance(n, serving[n], known_good.get(n)) for n in names), note)


def _shares(window: WindowLine, fact: str) -> dict[str, float]:
    found = window.detectors.get("importance_drift")
    named = found.facts.get(fact) if found is not None else None
    if not isinstance(named, dict):
        return {}
    return {name: value for name, given in named.items() if (value := share(given)) is not None}


def strengths(around: Around) -> tuple[Strength, ...]:
    """How far the trigger goes with what is implicated, in the stream and in the training buffer."""
    found: list[Strength] = []
    facts = around.facts("version_disagreement")
    inside, outside = share(facts.get("itemset_share")), share(facts.get("itemset_outside"))
    if facts.get("itemset") and inside is not None and outside is not None:
        wrong, right = facts.get("wrong"), facts.get("right")
        checked = f"{wrong} of {_sum(wrong, right)} labels: serving is wrong" if _sum(wrong, right) else "nobody asked"
        lift = "seen nowhere else" if outside == 0 else f"{inside / outside:.3g} times"
        what = "sessions in which the versions part, against all others"
        found.append(Strength(what, f"{inside:.1%}", f"{outside:.1%}", lift, checked))
    findings = around.facts("retraining_buffer").get("findings")
    return (*found, *(_row(each) for each in (findings if isinstance(findings, list) else []) if _is_finding(each)))


def _is_finding(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("rows"), int) and isinstance(value.get("features"), dict)


def _row(finding: Mapping[str, Any]) -> Strength:
    expected = finding.get("expected")
    known = isinstance(expected, (int, float)) and expected > 0
    features = ", ".join(f"{shown(n, 80)} = {shown(v, 80)}" for n, v in list(finding["features"].items())[:6])
    answers = finding.get("answers") or 0
    return Strength(
        f"training rows labelled {shown(finding.get('label'), 80)} with {features or 'no values in common'}",
        f"{finding['rows']} rows",
        f"{expected:.3g} expected" if known else "-",
        f"{finding['rows'] / expected:.3g} times" if known else "-",
        f"{finding.get('false', 0)} of {answers} labels are false" if answers else "nobody asked",
    )


def _sum(*counts: Any) -> int:
    return sum(count for count in counts if isinstance(count, int))


def weights(last: Incident) -> list[tuple[str, float]]:
    """The verdict and its alternatives with their probabilities; what is left is none of them."""
    first = name_of(last.family, last.hypothesis)
    found = [(first, last.confidence), *((a.hypothesis.replace("_", " "), a.confidence) for a in last.alternatives)]
    rest = 1.0 - sum(weight for _, weight in found)
    return [*found, ("none of these", rest)] if rest > 0.0005 else found  # noqa: PLR2004 - what rounding leaves
