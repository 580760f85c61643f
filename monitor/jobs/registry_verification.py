"""Checks that the registry holds what was signed, and that its pointers stand where its history says."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from monitor.inbox import Inbox, RegistryChecked
from monitor.watching.schedule_metrics import ScheduleMetrics
from rollback.audit.anchors import Seen
from rollback.bundle import IntegrityError
from rollback.registry.moves import unaccounted
from rollback.registry.registry import Registry, RegistryError

log = structlog.get_logger()


class RegistryVerification:
    """One model's verification; ``clock`` gives seconds since the epoch. Its result is always put in the inbox."""

    def __init__(
        self, model: str, registry: Registry, metrics: ScheduleMetrics, inbox: Inbox, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._registry = registry
        self._metrics = metrics
        self._inbox = inbox
        self._clock = clock
        self._turn = threading.Lock()
        self.verified: frozenset[str] = frozenset()
        """The versions that were there the last time, whatever was found."""

    def __call__(self) -> None:
        """Verify everything once. Raises `RegistryError` where the versions cannot even be listed.

        One at a time: what an older look has found must not come after what a newer one has.
        """
        with self._turn:
            self._verify()

    def _verify(self) -> None:
        found = check_registry(self._model, self._registry, self._clock())
        for version, reason in found.failed.items():
            known_good = version == found.last_known_good
            log.error("version_not_verified", model=self._model, version=version, known_good=known_good, reason=reason)
        for problem in found.pointers:
            log.error("pointers_not_accounted_for", model=self._model, problem=problem)
        verified = {version: version not in found.failed for version in self._registry.versions()}
        self._metrics.verified(self._model, verified, pointers=not found.pointers)
        self.verified = frozenset(verified)
        self._inbox.put(found)


class FirstSight:
    """Verifies when a version has come that was not there at the last ``verification``.

    The sooner the audit log holds its digest, the less time there is to swap it together with its signature.
    """

    def __init__(self, registry: Registry, verification: RegistryVerification) -> None:
        self._registry = registry
        self._verification = verification

    def __call__(self) -> None:
        """Look. Raises `RegistryError` where the versions cannot be listed."""
        if set(self._registry.versions()) - self._verification.verified:
            self._verification()


def check_registry(model: str, registry: Registry, at: float) -> RegistryChecked:
    """Every version's digests, signature and buffer, and the pointers. Raises `RegistryError`: no versions to list."""
    before = pointer_problems(registry)
    failed, seen = {}, {}
    for version in registry.versions():
        try:
            bundle = registry.verify(version)
            seen[version] = Seen(bundle.digest, bundle.signed_by)
        except (IntegrityError, RegistryError) as error:
            failed[version] = str(error)
    # a pointer is set a moment after its history: what is wrong is wrong at both ends of a verification
    still = pointer_problems(registry) if before else []
    wrong = tuple(problem for problem in before if problem in still)
    return RegistryChecked(model, at, _known_good(registry), failed, wrong, seen, tuple(registry.history()))


def pointer_problems(registry: Registry) -> list[str]:
    """What is wrong with pointers and history, one reason each."""
    try:
        return unaccounted(registry.history(), registry.pointers())
    except RegistryError as error:
        return [str(error)]


def _known_good(registry: Registry) -> str | None:
    try:
        return registry.pointers().last_known_good
    except RegistryError:
        return None
