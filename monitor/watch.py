"""One watched model: its versions in the registry, and a panel of detectors for each version that events name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import structlog

from detectors.batch import Bools, Labels, Scorer, Window
from detectors.evidence import Evidence, State
from detectors.verdict import Verdict, judge
from monitor.decoding.reader import Served
from monitor.first_version import between, first_alike, parted
from monitor.labels.scored import FoundEvent
from monitor.new_version import MakeDetectors, Preparation, Prepared, ahead
from monitor.panel import Panel, Versions, compare_versions
from monitor.scoring import forgiving
from monitor.training_buffer import FindBuffer, no_buffer
from monitor.window import ClosedWindow
from rollback.bundle import Bundle, IntegrityError
from rollback.registry.moves import shadow_name
from rollback.registry.registry import Pointers, Registry, RegistryError
from rollback.translate import Incompatible, scorer_in_terms_of

log = structlog.get_logger()

MOST_UNREGISTERED: Final = 4
"""Versions are named by events, and every one costs a fitted panel."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A window with what was seen in it."""

    window: Window
    evidence: Sequence[Evidence]
    verdict: Verdict


class Watch:
    """Judges the windows of one model.

    Panels are fitted when a version first appears, and again when what it is compared with changes (last known good
    moves, or is vouched for, or gets a shadow): the reference never moves otherwise. A version that the registry does
    not have (or that fails verification) is watched with the scores as served and LKG's schema.
    """

    def __init__(
        self, model: str, registry: Registry, make_detectors: MakeDetectors, find_buffer: FindBuffer = no_buffer
    ) -> None:
        self.model = model
        self._find_buffer = find_buffer
        self._registry = registry
        self._make_detectors = make_detectors
        self._bundles: dict[str, Bundle] = {}
        self._unregistered: set[str] = set()
        self._panels: dict[str, Panel] = {}
        self._compared: dict[str, str | None] = {}
        self._awaited: set[str] = set()  # adopted, without events so far
        self._known_good: str | None = None
        self._pointers: Pointers | None = None
        self._unreadable = ""
        self._since: dict[str, str] = {}  # of a poisoned version: the first one that was
        self.refused: dict[str, str] = {}

    def pointers(self) -> Pointers:
        """Where the registry's pointers are now; where they were, while they cannot be read.

        Raises `RegistryError` where they never could.
        """
        try:
            self._pointers = self._registry.pointers()
        except RegistryError as error:
            if self._pointers is None:
                raise
            if str(error) != self._unreadable:
                log.warning("the registry's pointers cannot be read: those of before are taken", reason=str(error))
            self._unreadable = str(error)
            return self._pointers
        self._unreadable = ""
        return self._pointers

    def served(self, version: str) -> Served | None:
        """How the events of ``version`` are read; None for one unregistered version too many, or without LKG."""
        bundle = self._bundle(version)
        if bundle is None:
            if version not in self._unregistered and len(self._unregistered) >= MOST_UNREGISTERED:
                return None
            known_good = self.pointers().last_known_good
            bundle = self._bundle(known_good) if known_good else None
            self._unregistered.add(version)
        return Served(bundle.schema, bundle.manifest.score_kind == "simplex") if bundle else None

    def open(self) -> None:
        """Check that LKG can be used; raises `RegistryError` or `IntegrityError` saying why not."""
        known_good = self.pointers().last_known_good
        if known_good is None:
            raise RegistryError(f"{self.model}: the registry holds no version; add one with tocsin registry add")
        self._bundles[known_good] = self._registry.load(known_good)

    def feature_names(self) -> tuple[str, ...]:
        """The features of LKG, after `open`."""
        return self._bundles[self.pointers().last_known_good or ""].schema.names

    def window(self, closed: ClosedWindow, fresh: Bools) -> Window:
        """The events with f and g scores, computed once for all detectors."""
        if len(closed.batch):
            self._awaited.discard(closed.version)
        return self._panel(closed.version).window(closed.index, closed.batch, fresh)

    def reads(self, closed: ClosedWindow) -> bool:
        """Whether the window's columns are still those of its version."""
        return self._panel(closed.version).reads(closed.batch)

    def versions(self, version: str) -> Versions:
        """What is known of a watched version."""
        return self._panel(version).versions

    def vetted(self, version: str, rows: Mapping[str, str]) -> None:
        """Trusted labels of rows of the version's training buffer: class names by row id."""
        if rows:
            panel = self._panel(version)
            code = {name: i for i, name in enumerate(panel.versions.schema.classes)}
            panel.vetted({ident: code.get(label, -1) for ident, label in rows.items()})

    def row(self, version: str, ident: str) -> FoundEvent | None:
        """A row of the version's training buffer, for a request about it, scored by the version itself."""
        reference = self._panel(version).versions.reference
        buffer = reference.buffer if reference is not None else None
        if buffer is None or not np.any(found := buffer.id == ident):
            return None
        first = int(np.argmax(found))
        return FoundEvent(buffer.x[first], buffer.f[first], "")

    def preparation(self) -> Preparation:
        """What fits panels of new versions beside the loop."""
        return Preparation(self.model, self._registry, self._make_detectors, self._find_buffer)

    def adopt(self, new: Prepared) -> bool:
        """Take a panel that was fitted beside the loop; False where the version is watched, or LKG has moved since.

        Also where the registry cannot be read now: the version's first window will do. Panels of versions that were
        overtaken before any event of them came are given up.
        """
        version = new.version
        try:
            pointers = self.pointers()
            self._follow_known_good(pointers)
            compared = self._compared_with(version, pointers)
            if version in self._panels or self._bundle(version) is None or compared != new.known_good:
                return False
            overtaken = self._awaited.difference(ahead(self._registry.versions(), pointers))
        except RegistryError as error:
            log.warning("a new version is not looked into before its first window", version=version, reason=str(error))
            return False
        for old in overtaken:
            self._panels.pop(old, None)
            self._compared.pop(old, None)
            self._bundles.pop(old, None)
        self._awaited = (self._awaited - overtaken) | {version}
        self._panels[version], self._compared[version] = new.panel, new.known_good
        return True

    def judge(self, window: Window, labels: Labels | None) -> Judged:
        """Evidence of every detector, and the verdict."""
        version = window.batch.version
        evidence = self._panel(version).observe(window, labels)
        verdict = judge(evidence)
        if version in self.refused and verdict.family == "stable":
            verdict = unverified(version, self.refused[version])
        return Judged(window, evidence, verdict)

    def first_poisoned(self, judged: Judged) -> str | None:
        """The oldest version after LKG that did already what a poisoned one does; None where that cannot be told."""
        version, x = judged.window.batch.version, parted(judged.window)
        known_good, score = self._known_good, judged.window.score_f
        if judged.verdict.family != "poisoning" or known_good in {None, version}:
            return None
        if version not in self._since and x is not None and score is not None:
            try:
                found = first_alike(x, score, self._earlier(str(known_good), version))
            except RegistryError as error:
                log.warning("since when a version is poisoned cannot be told now", version=version, reason=str(error))
                return None
            self._since[version] = found if found is not None else version
        return self._since.get(version)

    def _earlier(self, known_good: str, version: str) -> Iterator[tuple[str, Scorer]]:
        """Versions with the same columns that can be asked, oldest first, in terms of ``version``."""
        schema = self._panel(version).versions.schema
        for name in between(self._registry.versions(), known_good, version):
            bundle = self._bundle(name)
            if bundle is None or bundle.manifest.shadow is not None:
                continue
            try:
                score = bundle.scorer()
                own = score and scorer_in_terms_of(schema, forgiving(score, len(bundle.schema.classes)), bundle.schema)
            except (Incompatible, IntegrityError) as reason:
                log.info("a version cannot be compared with a poisoned one", version=name, reason=str(reason))
                continue
            if own:
                yield name, own

    def _follow_known_good(self, pointers: Pointers) -> None:
        known_good = pointers.last_known_good
        if known_good != self._known_good:
            if self._panels:
                log.info("the last known good version has changed", model=self.model, version=known_good)
            self._panels.clear()
            self._compared.clear()
            self._awaited.clear()
            self._since.clear()
            self._known_good = known_good

    def _panel(self, version: str) -> Panel:
        pointers = self.pointers()  # once: each time they are read from the registry
        self._follow_known_good(pointers)
        bundle = self._bundle(version)
        if version in self._unregistered and bundle is not None:
            self._unregistered.discard(version)
            self._panels.pop(version, None)
        compared = self._compared_with(version, pointers)
        if version not in self._panels or self._compared[version] != compared:
            self._panels[version] = self._fit(version, bundle, compared)
            self._compared[version] = compared
        panel = self._panels[version]
        if panel.versions.vouched == pointers.assumed:
            panel.versions = replace(panel.versions, vouched=not pointers.assumed)
        return panel

    def _compared_with(self, version: str, pointers: Pointers) -> str | None:
        """LKG; where LKG itself is watched and nobody has vouched for it, its shadow, if there is one."""
        good = pointers.last_known_good
        if good is None or version != good or not pointers.assumed:
            return good
        shadow = self._bundle(shadow_name(good))
        return shadow.manifest.version if shadow is not None and shadow.manifest.shadow == good else good

    def _fit(self, version: str, bundle: Bundle | None, known_good: str | None) -> Panel:
        good = self._bundle(known_good) if known_good else None
        if good is None:
            why = self.refused.get(known_good or "", "add one with tocsin registry add")
            raise RegistryError(f"{self.model}: no usable last known good version in the registry: {why}")
        log.info("fitting detectors", model=self.model, version=version, last_known_good=known_good)
        return Panel(compare_versions(bundle, good, self._find_buffer), self._make_detectors())

    def _bundle(self, version: str) -> Bundle | None:
        """Verified once, when first used; one that cannot be trusted is not used until a restart, and that is said."""
        if version in self._bundles or version in self.refused:
            return self._bundles.get(version)
        if version not in self._registry.versions():
            return None
        try:
            self._bundles[version] = self._registry.load(version)
        except IntegrityError as error:
            log.warning("a version fails verification and is not used", model=self.model, reason=str(error))
            self.refused[version] = str(error)
        return self._bundles.get(version)

    def state(self) -> State:
        """What the detectors have learned, and about which last known good version, or its shadow."""
        panels = {v: p.state() for v, p in self._panels.items()}
        return {
            "known_good": self._known_good,
            "compared": dict(self._compared),
            "awaited": sorted(self._awaited),
            "since": dict(self._since),
            "panels": panels,
        }

    def restore(self, state: State) -> None:
        """Take back `state`, unless LKG has changed since: then everything is fitted anew."""
        if state["panels"] and state["known_good"] != self.pointers().last_known_good:
            log.warning("the last known good version changed while Tocsin was away: detectors start anew")
            return
        for version, panel in state["panels"].items():
            if state["compared"][version] == self._compared_with(version, self.pointers()):
                self._panel(version).restore(panel)
        self._awaited = set(state["awaited"]) & self._panels.keys()
        self._since = dict(state["since"])


def unverified(version: str, reason: str) -> Verdict:
    """A version whose bundle is not what was signed is never called healthy."""
    why = f"The registry's bundle of version {version} fails verification, while nothing else was seen: {reason}."
    return Verdict(
        "inconclusive",
        None,
        0.5,
        alternatives=(("model_tampering", 0.5), ("pipeline_fault", 0.5)),
        reasons=(why,),
        decider="the bundle as it was signed (tocsin registry verify)",
    )
