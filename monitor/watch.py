"""One watched model: its versions in the registry, and a panel of detectors for each version that events name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from detectors.batch import Bools, Labels, Window
from detectors.evidence import Detector, Evidence, State
from detectors.verdict import Verdict, judge
from monitor.decoding.reader import Served
from monitor.panel import Panel, Versions, compare_versions
from monitor.window import ClosedWindow
from rollback.bundle import Bundle, IntegrityError
from rollback.registry.registry import Pointers, Registry, RegistryError

log = structlog.get_logger()

MOST_UNREGISTERED: Final = 4
"""Versions are named by events, and every one costs a fitted panel."""

MakeDetectors = Callable[[], Sequence[Detector]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A window with what was seen in it."""

    window: Window
    evidence: Sequence[Evidence]
    verdict: Verdict


class Watch:
    """Judges the windows of one model.

    Panels are fitted when a version first appears, and again when the last known good version changes: the reference
    never moves otherwise. A version that the registry does not have (or that fails verification) is watched with the
    scores as served and LKG's schema.
    """

    def __init__(self, model: str, registry: Registry, make_detectors: MakeDetectors) -> None:
        self.model = model
        self._registry = registry
        self._make_detectors = make_detectors
        self._bundles: dict[str, Bundle] = {}
        self._unregistered: set[str] = set()
        self._panels: dict[str, Panel] = {}
        self._known_good: str | None = None
        self._pointers: Pointers | None = None
        self._unreadable = ""
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
        return self._panel(closed.version).window(closed.index, closed.batch, fresh)

    def reads(self, closed: ClosedWindow) -> bool:
        """Whether the window's columns are still those of its version."""
        return self._panel(closed.version).reads(closed.batch)

    def versions(self, version: str) -> Versions:
        """What is known of a watched version."""
        return self._panel(version).versions

    def judge(self, window: Window, labels: Labels | None) -> Judged:
        """Evidence of every detector, and the verdict."""
        version = window.batch.version
        evidence = self._panel(version).observe(window, labels)
        verdict = judge(evidence)
        if version in self.refused and verdict.family == "stable":
            verdict = unverified(version, self.refused[version])
        return Judged(window, evidence, verdict)

    def _panel(self, version: str) -> Panel:
        known_good = self.pointers().last_known_good
        if known_good != self._known_good:
            if self._panels:
                log.info("the last known good version has changed", model=self.model, version=known_good)
            self._panels.clear()
            self._known_good = known_good
        bundle = self._bundle(version)
        if version in self._unregistered and bundle is not None:
            self._unregistered.discard(version)
            self._panels.pop(version, None)
        if version not in self._panels:
            self._panels[version] = self._fit(version, bundle, known_good)
        return self._panels[version]

    def _fit(self, version: str, bundle: Bundle | None, known_good: str | None) -> Panel:
        good = self._bundle(known_good) if known_good else None
        if good is None:
            why = self.refused.get(known_good or "", "add one with tocsin registry add")
            raise RegistryError(f"{self.model}: no usable last known good version in the registry: {why}")
        log.info("fitting detectors", model=self.model, version=version, last_known_good=known_good)
        return Panel(compare_versions(bundle, good), self._make_detectors())

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
        """What the detectors have learned, and about which last known good version."""
        return {"known_good": self._known_good, "panels": {v: p.state() for v, p in self._panels.items()}}

    def restore(self, state: State) -> None:
        """Take back `state`, unless LKG has changed since: then everything is fitted anew."""
        if state["panels"] and state["known_good"] != self.pointers().last_known_good:
            log.warning("the last known good version changed while Tocsin was away: detectors start anew")
            return
        for version, panel in state["panels"].items():
            self._panel(version).restore(panel)


def unverified(version: str, reason: str) -> Verdict:
    """A version whose bundle is not what was signed is never called healthy."""
    why = f"The registry's bundle of version {version} fails verification, while nothing else was seen: {reason}."
    return Verdict(
        "inconclusive",
        None,
        0.5,
        alternatives=(("model_tampering", 0.5), ("pipeline_fault", 0.5)),
        reasons=(why,),
    )
