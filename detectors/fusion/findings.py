"""The evidence of one window, laid out so that the verdict's rules read like sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from detectors.asking.answers import DECISIVE
from detectors.evidence import Evidence, Implicated

_COVARIATE: Final = ("input_similarity", "prediction_entropy", "importance_drift", "pipeline_fault")
_VERSIONS: Final = ("version_disagreement", "reference_harm")
_ASKING: Final = (*_VERSIONS, "label_agreement")
_BURSTS: Final = ("evasion_burst", "probing")
_MOST: Final = 0.8


@dataclass(frozen=True, slots=True)
class Findings:
    """Evidence by detector, and the questions that the rules ask of it."""

    ALONE: ClassVar[frozenset[str]] = frozenset(
        {"evasion_burst", "input_similarity", "pipeline_fault", "prediction_entropy", "probing", "served_mismatch"}
    )
    """Detectors that look at the serving version and its inputs alone: no last known good version, no shadow."""

    evidence: tuple[Evidence, ...]

    def level(self) -> int:
        """What was looked at: 0 events alone, 1 labels too, 2 both checkpoints, 3 the training buffer as well."""
        if self._sees("retraining_buffer") and self.fact("retraining_buffer", "seen"):
            return 3
        if self._sees("version_disagreement"):
            return 2
        return int(self._sees("label_agreement") or any(e.answers for e in self.evidence))

    def _sees(self, detector: str) -> bool:
        found = self.of(detector)
        return found is not None and found.status in ("ok", "fired")

    def shadow(self) -> bool:
        """Whether a shadow model stands in for the last known good version."""
        return any(e.facts.get("lkg") == "shadow" for e in self.evidence)

    def unvouched(self) -> bool:
        """Whether the watched version is compared with itself, and nobody has vouched for it."""
        return bool(self.fact("version_disagreement", "lkg") == "unvouched")

    def of(self, detector: str) -> Evidence | None:
        """What this detector said, if it is there."""
        return next((e for e in self.evidence if e.detector == detector), None)

    def fact(self, detector: str, name: str) -> Any:
        """A finding of this detector, None where there is none."""
        found = self.of(detector)
        return found.facts.get(name) if found is not None else None

    def fired(self, detector: str) -> bool:
        """Whether it crossed the alarm budget."""
        found = self.of(detector)
        return found is not None and found.status == "fired"

    def raised(self, detector: str) -> bool:
        """Whether it fired or suspects: from here on answers to its questions count."""
        found = self.of(detector)
        return found is not None and found.status != "error" and (found.status == "fired" or found.suspects)

    def llr(self, detector: str) -> float:
        """Log likelihood ratio of poisoning against honest change on its own question; 0 where nothing was answered."""
        found = self.of(detector)
        return float(found.llr) if found is not None and self.raised(detector) and found.llr is not None else 0.0

    def convicted(self, detector: str) -> bool:
        """Trusted answers say poisoning, 20 to 1."""
        return self.llr(detector) >= DECISIVE

    def acquitted(self, detector: str) -> bool:
        """Trusted answers say honest change, 20 to 1."""
        return self.llr(detector) <= -DECISIVE

    def tentative(self) -> bool:
        """Untrusted labels are false, as trusted ones say; honest noise or a labeller in error may have made them."""
        return self.convicted("label_agreement") and bool(self.fact("label_agreement", "tentative"))

    def unvetted(self) -> bool:
        """Labels of one group contradict, others do not second them, and nobody answers: all there is to judge by."""
        return self.fired("label_agreement") and bool(self.fact("label_agreement", "unvetted"))

    def against_version(self) -> tuple[str, ...]:
        """Detectors by which trusted answers say that the serving version is wrong where it parts from LKG."""
        return tuple(d for d in _VERSIONS if self.convicted(d))

    def leaning(self) -> tuple[str, ...]:
        """Detectors whose answers so far lean against the serving version or the labels."""
        return tuple(d for d in _ASKING if self.llr(d) > 0)

    def errors(self) -> tuple[Evidence, ...]:
        """Detectors that failed: what they would have seen is unknown."""
        return tuple(e for e in self.evidence if e.status == "error")

    def undecided(self) -> tuple[str, ...]:
        """Detectors that fired, and whose question is not answered clearly."""
        return tuple(d for d in _ASKING if self.fired(d) and abs(self.llr(d)) < DECISIVE and not self._moved(d))

    def missed(self) -> tuple[str, ...]:
        """Detectors by which trusted answers say that both versions are fooled, and no fault is seen to fool them."""
        return tuple(d for d in _BURSTS if self.convicted(d) and not self._broken_there(d))

    def missed_where_broken(self) -> tuple[str, ...]:
        """Detectors by which both versions are fooled where a fault is seen, which may be what fools them."""
        return tuple(d for d in _BURSTS if self.convicted(d) and self._broken_there(d))

    def walked(self) -> bool:
        """Whether the versions part at one source, and what walks along the boundary comes from there."""
        versions, seen = self.of("version_disagreement"), self.fact("probing", "seen_at") or {}
        if versions is None or not versions.implicated.sources or not self.fired("probing"):
            return False
        there = seen.get(versions.implicated.sources[0], 0)
        return float(versions.facts.get("source_concentration", 0.0)) >= _MOST and there >= _MOST * sum(seen.values())

    def bursts(self) -> tuple[str, ...]:
        """Detectors that fired on what looks crafted, and whose question is not answered clearly."""
        return tuple(d for d in _BURSTS if self.fired(d) and abs(self.llr(d)) < DECISIVE and not self._broken_there(d))

    def _broken_there(self, detector: str) -> bool:
        """Whether four fifths of what is missed, or suspected, come from where a feature is broken."""
        if not (self.fired("pipeline_fault") and self.fact("pipeline_fault", "confined")):
            return False
        seen: dict[str, int] = self.fact(detector, "seen_at") or {}
        broken = self.fact("pipeline_fault", "sources") or ()
        there = sum(n for source, n in seen.items() if source in broken or self.fact("pipeline_fault", "everywhere"))
        return bool(seen) and there >= _MOST * sum(seen.values())

    def _moved(self, detector: str) -> bool:
        return detector == "label_agreement" and self.concept_moved()

    def concept_moved(self) -> bool:
        """Trusted labels, which nobody chose, contradict the last known good model too."""
        return self.raised("label_agreement") and bool(self.fact("label_agreement", "trusted_excess"))

    def honest(self) -> tuple[str, ...]:
        """Detectors whose change trusted labels approve."""
        return tuple(d for d in _ASKING if self.acquitted(d) or (self._moved(d) and not self.convicted(d)))

    def inputs(self) -> tuple[str, ...]:
        """Detectors of changed inputs and outputs that fired."""
        return tuple(d for d in _COVARIATE if self.fired(d))

    def wants_labels(self) -> bool:
        """Somebody suspects, its answers lie between the gates, and not all that were asked for have come."""
        return any(
            self.raised(e.detector)
            and (
                bool(e.facts.get("reopened"))
                or (abs(self.llr(e.detector)) < DECISIVE and e.answers < int(e.facts.get("asked", 0)))
            )
            for e in self.evidence
        )

    def watching(self) -> float:
        """Share of the detectors that could see."""
        return float(np.mean([e.status in ("ok", "fired") for e in self.evidence])) if self.evidence else 0.0

    def implicated(self, detectors: Sequence[str]) -> Implicated:
        """What these detectors point at, together; of features the first detector's value stands."""
        found = [e.implicated for e in self.evidence if e.detector in detectors]
        features: dict[str, Any] = {}
        for each in found:
            features = {**each.features, **features}
        return Implicated(
            features,
            _union([i.sources for i in found]),
            _union([i.origins for i in found]),
            _union([i.labels for i in found]),
            _union([i.events for i in found])[:100],
        )


def _union(parts: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for part in parts for item in part))
