"""Asks every endpoint of a model what it serves, whether or not anything is being done about the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from monitor.inbox import Inbox, ServedOtherwise
from monitor.watching.schedule_metrics import ScheduleMetrics
from rollback.canary.canaries import Canaries
from rollback.registry.registry import Registry
from rollback.reload.reloader import Observation, Reloader

log = structlog.get_logger()


class CanaryProbe:
    """One model's probe; used by one thread at a time. ``clock`` gives seconds since the epoch.

    An endpoint that does not answer is shown and logged, and left to whoever looks after servers. Only one that answers
    as something else is put in the inbox, at every probe: it may have been put there on purpose.
    """

    def __init__(
        self,
        model: str,
        registry: Registry,
        reloader: Reloader,
        metrics: ScheduleMetrics,
        inbox: Inbox,
        clock: Callable[[], float],
    ) -> None:
        self._model = model
        self._registry = registry
        self._reloader = reloader
        self._metrics = metrics
        self._inbox = inbox
        self._clock = clock
        self._version: str | None = None
        self._canaries: Canaries | None = None
        self._problems: dict[str, str] = {}

    def __call__(self) -> None:
        """Probe once. Raises `RegistryError` or `IntegrityError` where it is not known what should be served."""
        at = self._clock()
        serving = self._registry.pointers().serving
        if serving is None:
            return
        seen = self._reloader.observe(serving, self._canaries_of(serving))
        if self._registry.pointers().serving != serving:  # moved meanwhile: this was the wrong question
            return
        for each in seen:
            self._metrics.endpoint(self._model, each.endpoint, ok=not each.problem, agreement=each.agreement, at=at)
        self._log_changes(seen)
        if wrong := [f"{each.endpoint}: {each.problem}" for each in seen if serves_otherwise(each, serving)]:
            self._inbox.put(ServedOtherwise(self._model, serving, "; ".join(wrong), at))

    def _canaries_of(self, version: str) -> Canaries | None:
        """Read and verified once for each version that serves: a version is never changed."""
        if version != self._version:
            self._canaries = self._registry.load(version).canaries()
            self._version = version
        return self._canaries

    def _log_changes(self, seen: Sequence[Observation]) -> None:
        for each in seen:
            before = self._problems.get(each.endpoint, "")
            self._problems[each.endpoint] = each.problem
            if each.problem and each.problem != before:
                log.warning("endpoint_problem", model=self._model, endpoint=each.endpoint, problem=each.problem)
            elif before and not each.problem:
                log.info("endpoint_mended", model=self._model, endpoint=each.endpoint, before=before)


def serves_otherwise(seen: Observation, version: str) -> bool:
    """Whether an endpoint is seen to serve something else, which is more than not being seen to serve ``version``.

    >>> serves_otherwise(Observation("http://a", None, None, "no answer within 10 s"), "2")
    False
    >>> serves_otherwise(Observation("http://a", "1", None, "version '1' answers, not '2'"), "2")
    True
    """
    names_another = seen.version not in {None, version}
    answers_otherwise = seen.agreement is not None and seen.agreement < 1.0
    return bool(seen.problem) and (names_another or answers_otherwise)
