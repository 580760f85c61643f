"""Score and detect: the detectors that watch one version of one model, and what they are fitted on."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import structlog

from detectors.batch import Batch, Bools, Floats, Ints, Labels, Reference, Scorer, Strings, Window
from detectors.evidence import Detector, Evidence, State
from detectors.schema import Schema
from monitor.scoring import forgiving
from monitor.training_buffer import FindBuffer, find_rows, no_buffer
from rollback.bundle import Bundle, ReferenceRows
from rollback.translate import Incompatible, scorer_in_terms_of, translate

log = structlog.get_logger()

NONE_FRESH: Final = "every session of this window has voted before, so nothing in it counts: are sessions whole hosts?"


@dataclass(frozen=True, slots=True)
class Versions:
    """What is known of a watched version: its schema, its scorer (f), LKG's (g), and the reference in its terms.

    ``notes`` say in words what is missing for more capability. ``shadow``: g stands in, see `rollback.train.shadow`.
    ``vouched``: somebody says that LKG is good.
    """

    schema: Schema
    score_f: Scorer | None
    score_g: Scorer | None
    reference: Reference | None
    notes: tuple[str, ...] = ()
    shadow: bool = False
    vouched: bool = True


def compare_versions(watched: Bundle | None, known_good: Bundle, find: FindBuffer = no_buffer) -> Versions:
    """Put the watched version and LKG side by side; ``watched`` is None where the registry does not have it.

    ``find`` says where the watched version's training buffer lies; LKG's own is not looked into.
    """
    schema = watched.schema if watched else known_good.schema
    notes: list[str] = []
    score_f = _scorer(watched) if watched else None
    if score_f is None:
        notes.append("the serving version has no model.onnx in the registry: its scores are taken as served")
    score_g = score_f if watched is known_good else _scorer(known_good)
    rows = known_good.reference()
    reference = None
    try:
        if score_g is None:
            notes.append("the last known good version has no model.onnx: nothing can be re-scored with it")
        else:
            score_g = scorer_in_terms_of(schema, score_g, known_good.schema)
        if rows is not None:
            x = translate(known_good.schema, schema)(rows.x)
            y = _labels_in_terms_of(schema, rows.y, known_good.schema)
            blank = np.full((len(rows), len(schema.classes)), np.nan)
            reference = Reference(
                schema,
                x,
                y,
                rows.source,
                _sessions(rows.source, rows.session),
                score_f(x) if score_f else _as_served(watched, known_good, rows, blank),
                score_g(x) if score_g else blank,
            )
            reference = scored_only(reference, notes)
            if watched is not None and watched is not known_good and score_f and score_g:
                reference = replace(reference, buffer=find_rows(find, watched, score_f, score_g, notes))
    except Incompatible as reason:
        notes.append(f"the last known good version cannot be compared: {reason}")
        score_g = None
    shadow = known_good.manifest.shadow is not None
    if shadow:
        notes.append("nobody has vouched for the last known good version: its shadow stands in")
    return Versions(schema, score_f, score_g, reference, tuple(notes), shadow)


def _scorer(bundle: Bundle) -> Scorer | None:
    score = bundle.scorer()
    return forgiving(score, len(bundle.schema.classes)) if score is not None else None


def _as_served(watched: Bundle | None, known_good: Bundle, rows: ReferenceRows, blank: Floats) -> Floats:
    """What the watched version served for the reference, if that was kept and it was this very version."""
    own = watched is known_good or (watched is not None and known_good.manifest.shadow == watched.manifest.version)
    return rows.served if own and rows.served is not None else blank


def scored_only(reference: Reference, notes: list[str]) -> Reference:
    """Without the rows that a version fails on, while it can score others."""
    failed = np.zeros(len(reference), np.bool_)
    for scores in (reference.f, reference.g):
        missing = np.isnan(scores).any(axis=1)
        failed |= missing & ~missing.all()
    if failed.any():
        notes.append(f"{np.count_nonzero(failed)} rows of the reference cannot be scored and are left out")
    return reference.take(~failed) if failed.any() else reference


def _labels_in_terms_of(schema: Schema, y: Ints, own: Schema) -> Ints:
    names = [*(schema.classes.index(c) if c in schema.classes else -1 for c in own.classes), -1]
    return np.asarray(np.array(names)[y], dtype=np.int64)


def _sessions(source: Strings, session: Strings) -> Strings:
    """As in events, a session is one of its source; a row without one is a session of its own."""
    own = np.char.add("row-", np.arange(len(session)).astype(np.str_))
    return np.where(session == "", own, np.char.add(np.char.add(source, "/"), session))


class Panel:
    """The detectors of one (model, version), fitted on LKG's reference; one `Evidence` each per window."""

    def __init__(self, versions: Versions, detectors: Sequence[Detector]) -> None:
        self.versions = versions
        self._detectors = list(detectors)
        self._broken: dict[str, str] = {}
        for detector in self._detectors:
            if versions.reference is None:
                continue
            try:
                detector.fit(versions.reference)
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes error evidence
                self._fail(detector, error)

    def reads(self, batch: Batch) -> bool:
        """Whether these columns are the version's: not where it was registered after they were decoded."""
        schema = self.versions.schema
        width = (batch.x.shape[1], batch.scores.shape[1])
        return not len(batch) or width == (len(schema.features), len(schema.classes))

    def window(self, index: int, batch: Batch, fresh: Bools) -> Window:
        """The batch with f and g scores, computed once for all detectors."""
        known = self.versions
        if not len(batch):  # labels that come before any event have no columns yet
            width = len(known.schema.features), len(known.schema.classes)
            batch = replace(batch, x=np.zeros((0, width[0])), scores=np.zeros((0, width[1])))
        if not self.reads(batch):
            return Window(index, batch, batch.scores, None, fresh)
        f: Floats = known.score_f(batch.x) if known.score_f else batch.scores
        g = known.score_g(batch.x) if known.score_g and known.score_g is not known.score_f else None
        if known.score_g and g is None:  # LKG serves
            g = f
        return Window(index, batch, f, g, fresh, known.score_f is not None, known.score_f, known.score_g)

    def observe(self, window: Window, labels: Labels | None) -> list[Evidence]:
        """Exactly one `Evidence` per detector; one that raises says ``error`` until it is fitted again."""
        return [self._one(detector, window, labels) for detector in self._detectors]

    def vetted(self, rows: Mapping[str, int]) -> None:
        """Trusted labels of rows of the retraining buffer, by row id: they count from the next `observe` on."""
        for detector in self._detectors:
            if self.versions.reference is None or detector.name in self._broken:
                continue
            try:
                detector.vetted(rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes error evidence
                self._fail(detector, error)

    def _one(self, detector: Detector, window: Window, labels: Labels | None) -> Evidence:
        if self.versions.reference is None:
            return Evidence(detector.name, "warming", note="; ".join(self.versions.notes) or "no reference window")
        if not self.reads(window.batch):
            return Evidence(detector.name, "warming", note="these events were read before the version was registered")
        if detector.name not in self._broken:
            try:
                evidence = _finite(detector.observe(window, labels))
                if (stand_in := self._stand_in(detector)) is not None:
                    evidence = replace(evidence, facts={**evidence.facts, "lkg": stand_in})
                blind = detector.voters == "sessions" and len(window) and not window.fresh.any()
                return replace(evidence, status="warming", note=NONE_FRESH) if blind and _is_ok(evidence) else evidence
            except Exception as error:  # noqa: BLE001 - whatever it is, it becomes error evidence
                self._fail(detector, error)
        return Evidence(detector.name, "error", note=self._broken[detector.name])

    def _stand_in(self, detector: Detector) -> str | None:
        """What stands for the last known good version: its shadow, or the watched version itself."""
        if self.versions.shadow:
            return "shadow"
        itself = self.versions.score_g is not None and self.versions.score_g is self.versions.score_f
        if not itself or detector.name != "version_disagreement":
            return None
        return "itself" if self.versions.vouched else "unvouched"

    def _fail(self, detector: Detector, error: Exception) -> None:
        """A detector is apart from the loop: its failure makes the verdict inconclusive, and never stops the watch."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        self._broken[detector.name] = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        log.error("a detector failed", detector=detector.name, error=self._broken[detector.name])

    def state(self) -> State:
        """What every detector has learned, and which have failed."""
        fitted = [d for d in self._detectors if self.versions.reference is not None and d.name not in self._broken]
        return {"detectors": {d.name: d.state() for d in fitted}, "broken": dict(self._broken)}

    def restore(self, state: State) -> None:
        """Take back `state`; detectors are found by name, those that are new or that it does not fit start fresh."""
        self._broken = dict(state["broken"])
        for detector in self._detectors:
            if detector.name in state["detectors"] and detector.name not in self._broken:
                self._restore(detector, state["detectors"][detector.name])

    def _restore(self, detector: Detector, state: State) -> None:
        try:
            detector.restore(state)
        except Exception as error:  # noqa: BLE001 - other parameters or another version made it, in whatever shape
            log.warning("a detector starts anew: its state does not fit", detector=detector.name, error=repr(error))
            if self.versions.reference is not None:
                detector.fit(self.versions.reference)


def _is_ok(evidence: Evidence) -> bool:
    return evidence.status == "ok"


def _finite(evidence: Evidence) -> Evidence:
    """The evidence; raises `ValueError` where a figure is no number, for a test that compares with NaN is blind."""
    figures = {"score": evidence.score, "e_value": evidence.e_value or 0.0, "llr": evidence.llr or 0.0}
    odd = [name for name, value in figures.items() if np.isnan(value)]
    if odd:
        raise ValueError(f"{', '.join(odd)} came out as NaN")
    return evidence
