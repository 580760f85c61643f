"""What an incident says of a judged window: the words and the fields of its message, and when it is another state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from detectors.evidence import Evidence
from detectors.fusion.wording import summary
from detectors.verdict import GRAVITY, Verdict
from monitor.figures import figure, plain
from monitor.messages import Alternative, EvidenceItem, ImplicatedItem, TopItem, WindowItem

ATLAS: Final[Mapping[str, tuple[str, ...]]] = {
    "label_flip": ("AML.T0020", "AML.T0059"),
    "feedback_compromise": ("AML.T0020", "AML.T0059", "AML.T0012"),
    "backdoor": ("AML.T0020", "AML.T0018.000", "AML.T0043.004", "AML.T0015"),
    "clean_label": ("AML.T0020",),
    "model_tampering": ("AML.T0018", "AML.T0010.003"),
    "evasion_burst": ("AML.T0043", "AML.T0015", "AML.T0042"),
    "probing": ("AML.T0043", "AML.T0042"),
}
"""MITRE ATLAS techniques (data 5.6) by hypothesis."""

ADVICE: Final = {
    "poisoning": "Roll back to version {lkg} and retrain on sanitised data.",
    "evasion": "Label the listed events and add the missed attacks to the training data; the model is unchanged.",
    "fault": "Check the sensors and the feature pipeline before anything else; the model itself is not suspected.",
    "drift": "Nothing is rolled back; plan a retraining on trusted labels.",
    "inconclusive": "Be careful with the model until this is decided.",
}
TENTATIVE_ADVICE: Final = (
    "Nothing is rolled back by itself; have the listed events looked at, and vouch for a version "
    "(tocsin registry promote --known-good) or retrain on vetted data."
)
REGRESSED: Final = "Go back to version {lkg}, and retrain with the rows that were missing; nobody is accused."
UNTAINTED: Final = "Version {lkg} was made before: keep what is implicated out of its next training."
MOST_EVENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Sighting:
    """One judged window, as far as incidents are concerned. ``at`` is event time in seconds."""

    model: str
    version: str
    last_known_good: str | None
    at: float
    window: WindowItem
    verdict: Verdict
    evidence: Sequence[Evidence]
    asking: bool
    first_poisoned: str | None = None

    @property
    def finding(self) -> bool:
        """Whether there is anything to tell an analyst."""
        return self.verdict.family != "stable" or self.asking

    @property
    def family(self) -> str:
        """The verdict's; of a question that has found nothing yet, inconclusive."""
        return self.verdict.family if self.verdict.family != "stable" else "inconclusive"


@dataclass(frozen=True, slots=True)
class Face:
    """What an update must differ in to be worth sending at once."""

    family: str
    hypothesis: str | None
    status: str
    found: bool = True
    """Whether there was more than a question: the first message about one may come before there is anything to say."""


def incident_uid(model: str, version: str, window: WindowItem) -> str:
    """The same for the same model, version and first window, in a replay as in the live run."""
    text = "\0".join([model, version, str(window.index), window.first_id])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def face_of(seen: Sighting, before: Face | None) -> Face:
    """How the incident looks after this window: its family only ever becomes graver."""
    verdict, family = seen.verdict, seen.family
    waiting = seen.asking and family == "inconclusive"
    status = "suspected" if waiting or verdict.tentative else "confirmed"
    found = verdict.family != "stable" or (before is not None and before.found)
    face = Face(family, verdict.hypothesis, status, found)
    if before is not None and GRAVITY.index(before.family) < GRAVITY.index(family):
        return before
    if before is not None and verdict.tentative and (before.family, before.status) == (family, "confirmed"):
        return before
    return face


def fields_of(seen: Sighting, face: Face) -> dict[str, Any]:
    """The fields of `Incident` that this window decides."""
    verdict = seen.verdict
    return {
        "status": face.status,
        "model": seen.model,
        "version": seen.version,
        "last_known_good": seen.last_known_good,
        "at": seen.at,
        "window": seen.window,
        "family": face.family,
        "hypothesis": face.hypothesis,
        "confidence": round(hypothesis_confidence(verdict), 6),
        "family_confidence": round(verdict.confidence, 6),
        "alternatives": [Alternative(name, round(p, 6)) for name, p in verdict.alternatives],
        "evidence": [evidence_item(e) for e in seen.evidence],
        "implicated": _implicated(verdict),
        "atlas": list(ATLAS.get(face.hypothesis or "", ())),
        "level": verdict.level,
        "weaker": list(verdict.weaker),
        "decider": verdict.decider,
        "also": dict(verdict.also),
        "first_poisoned": seen.first_poisoned,
        "summary": summary(verdict, _advice(face.family, seen)),
    }


def _advice(family: str, seen: Sighting) -> str:
    """What to do; a last known good version is not poisoned itself, what is to become of it may be.

    Where a shadow model compared, the last known good version is the suspect: nobody has vouched for it.
    """
    if seen.verdict.tentative:
        return TENTATIVE_ADVICE
    if seen.verdict.hypothesis == "regression":
        return REGRESSED.format(lkg=seen.last_known_good or "none")
    if family == "poisoning" and seen.version == seen.last_known_good:
        return UNTAINTED.format(lkg=seen.last_known_good)
    return ADVICE[family].format(lkg=seen.last_known_good or "none")


def hypothesis_confidence(verdict: Verdict) -> float:
    """Probability of the verdict's hypothesis; of the family where it names none."""
    return verdict.attribution[0][1] if verdict.hypothesis and verdict.attribution else verdict.confidence


def evidence_item(e: Evidence) -> EvidenceItem:
    """A detector's evidence as published."""
    top = [TopItem(c.name, figure(c.contribution)) for c in e.top]
    e_value = None if e.e_value is None else figure(e.e_value)
    return EvidenceItem(e.detector, e.status, figure(e.score), figure(e.threshold), e_value, top)


def _implicated(verdict: Verdict) -> ImplicatedItem:
    found = verdict.implicated
    return ImplicatedItem(
        plain(found.features),
        list(found.sources),
        list(found.origins),
        list(found.labels),
        list(found.events[:MOST_EVENTS]),
    )
