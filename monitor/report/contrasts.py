"""The four contrasts that a verdict is read from, each as two sides that differ, are alike, or were not measured.

Serving against last known good version, trusted against untrusted labels, implicated against other sources, events with
against without the trigger: all are shares from 0 to 1, so that they can be drawn on one scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from monitor.report.windows import Around, share
from monitor.report.words import named, percent

Found = Literal["differs", "alike", "not measured"]
CONCENTRATED: Final = 0.5
"""Where one source has more of what is implicated than all others together, it is said to come from there."""
MOST_SOURCES: Final = 3
RATES: Final = ("deep_rate", "null_rate")
"""In how many sessions of a window the versions clearly part, and in how many an honest retrain would."""


@dataclass(frozen=True, slots=True)
class Side:
    """One bar: a share from 0 to 1. ``usual`` bars are what the others are compared with."""

    name: str
    value: float
    usual: bool = False


@dataclass(frozen=True, slots=True)
class Contrast:
    """``said`` is a sentence that holds the figures, too: who cannot see the bars loses nothing."""

    title: str
    found: Found
    said: str
    sides: tuple[Side, ...] = ()


def contrasts(around: Around, implicated: Sequence[str] = ()) -> tuple[Contrast, ...]:
    """The four, in the order in which they are read; ``implicated`` are the sources that the incident names."""
    return (_versions(around), _labels(around), _sources(around, implicated), _trigger(around))


def _versions(around: Around) -> Contrast:
    title = "Serving against last known good"
    fired, quiet = _rates(around, "fired"), _rates(around, "ok")
    if not fired and not quiet:
        return Contrast(title, "not measured", "The two versions were not compared.")
    rate, null = max(fired or quiet)
    found: Found = "differs" if fired else "alike"
    beyond = "more than" if found == "differs" else "by chance no more than"
    said = f"They clearly part in up to {percent(rate)} of a window's sessions, {beyond} the retrain explains "
    said += f"({percent(null)})."
    return Contrast(
        title, found, said, (Side("clearly part", rate), Side("explained by the retrain", null, usual=True))
    )


def _rates(around: Around, status: str) -> list[tuple[float, float]]:
    """Both shares of each window in which the detector said so: a later one may say something else."""
    told = [w for w in around.own if w.events and w.status("version_disagreement") == status]
    gauges = [[share(w.gauge("version_disagreement", name)) for name in RATES] for w in told]
    return [(rate, null) for rate, null in gauges if rate is not None and null is not None]


def _labels(around: Around) -> Contrast:
    title = "Trusted against untrusted labels"
    sides = _contradicting(around)
    facts = around.facts("version_disagreement")
    wrong, right = _count(facts, "wrong"), _count(facts, "right")
    told = f"Of {wrong + right} labels that were asked for, {wrong} say that the serving version is wrong. "
    told = told if wrong + right else ""
    if not sides:
        found: Found = "not measured" if not told else "differs" if wrong > right else "alike"
        return Contrast(title, found, told + "No label came with events of this incident.")
    said = told + "Labels that contradict: " + ", ".join(f"{side.name} {percent(side.value)}" for side in sides) + "."
    if not any(side.name.startswith("untrusted") for side in sides):
        said += " No untrusted label came with it."
    excess = any(around.facts("label_agreement").get(name) is True for name in ("untrusted_excess", "trusted_excess"))
    differs = excess or wrong > right or _status(around, "label_agreement") == "fired"
    return Contrast(title, "differs" if differs else "alike", said, tuple(sides))


def _contradicting(around: Around) -> list[Side]:
    """How many labels contradict each version, in the newest window that had labels: the rates are of one window."""
    for window in reversed(around.own):
        sides = [
            Side(f"{kind} against {model}", value, usual=model != "serving")
            for kind in ("trusted", "untrusted")
            for model, letter in (("serving", "f"), ("last known good", "g"))
            if (value := share(window.gauge("label_agreement", f"{kind}_error_rate_{letter}"))) is not None
        ]
        if sides:
            return sides
    return []


def _sources(around: Around, implicated: Sequence[str]) -> Contrast:
    title = "Implicated against other sources"
    top = _tops(around)
    if not top and implicated and not around.facts("label_agreement").get("foremost"):
        said = f"The findings name {named(implicated, MOST_SOURCES)}; no shares were measured."
        return Contrast(title, "not measured", said)
    if not top:
        return _labellers(title, around)
    most = share(around.facts("version_disagreement").get("source_concentration"))
    most = max(top.values()) if most is None else most
    sides = [Side(name, value) for name, value in list(top.items())[:MOST_SOURCES]]
    rest = 1.0 - sum(side.value for side in sides)
    if 0.0 < rest < 1.0:
        sides.append(Side("all others", rest, usual=True))
    found: Found = "differs" if most >= CONCENTRATED else "alike"
    where = "most of what is implicated comes from one source" if found == "differs" else "it is spread over sources"
    return Contrast(title, found, f"The foremost source has {percent(most)} of it: {where}.", tuple(sides))


def _labellers(title: str, around: Around) -> Contrast:
    """Where labels are in question: whether those of others, of the same events, say the same."""
    facts = around.facts("label_agreement")
    kind, _, name = str(facts.get("foremost", "")).partition(":")
    seconded = share(facts.get("seconded"))
    if not name or seconded is None:
        return Contrast(title, "not measured", "The findings name no source.")
    said = f"The labels are mostly of {name}; "
    said += f"of such events, labels of other {kind}s say the same in {percent(seconded)}."
    found: Found = "differs" if seconded < CONCENTRATED else "alike"
    return Contrast(title, found, said, (Side(f"other {kind}s say the same", seconded, usual=True),))


def _trigger(around: Around) -> Contrast:
    title = "With against without the trigger"
    facts = around.facts("version_disagreement")
    inside, outside = share(facts.get("itemset_share")), share(facts.get("itemset_outside"))
    if not facts.get("itemset") or inside is None or outside is None:
        compared = _status(around, "version_disagreement") == "fired"
        said = "What is implicated shares no values." if compared else "No values were looked for."
        return Contrast(title, "alike" if compared else "not measured", said)
    sides = [Side("of what is implicated", inside), Side("of all else", outside, usual=True)]
    said = f"The trigger is in {percent(inside)} of the implicated sessions, and in {percent(outside)} of all others."
    if (flips := share(facts.get("swap_flip_gap"))) is not None:
        sides.append(Side("others that it flips", flips))
        said += f" Put into events of other classes, it flips {percent(flips)} more of them in the serving version."
    return Contrast(title, "differs" if inside > outside else "alike", said, tuple(sides))


def _tops(around: Around) -> dict[str, float]:
    """Sources of the sessions in which the versions part, with their shares; none where they do not part."""
    found: dict[str, float] = {}
    parting = around.known.get("version_disagreement")
    for item in [] if parting is None or parting.status != "fired" else parting.top:
        kind, _, name = str(item.get("name", "")).partition(":")
        if kind == "source" and (value := share(item.get("contribution"))) is not None:
            found.setdefault(name, value)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _status(around: Around, detector: str) -> str:
    found = around.known.get(detector)
    return "" if found is None else found.status


def _count(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
