"""The steps of a case: each is done outside the loop, and returns what came of it instead of raising."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rollback.bundle import Bundle, IntegrityError
from rollback.canary.canaries import agreement
from rollback.registry.moves import refuse_quarantined
from rollback.registry.registry import Registry, RegistryError
from rollback.reload.rehearsal import rehearse
from rollback.reload.reloader import Reloader, ReloadRefusedError, ReloadRetryableError
from rollback.response.cases import Case, Event, Phase
from rollback.scorer import ScorerError

ACTOR: Final = "tocsin"
"""Who moved the pointer, in the registry's history."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a step, and in words why; ``candidate`` is a retraining's."""

    event: Event
    detail: str = ""
    candidate: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One model: where its versions lie, and who serves it."""

    registry: Registry
    reloader: Reloader


def perform(case: Case, target: Target) -> Result:
    """Do the step of the case's phase. What may pass is to be tried again, what cannot is refused."""
    try:
        return STEPS[case.phase](case, target)
    except (ReloadRetryableError, OSError) as error:
        return Result("retry", str(error))
    except (ReloadRefusedError, RegistryError, IntegrityError, ScorerError) as error:
        return Result("refused", str(error))


def _verify(case: Case, target: Target) -> Result:
    """Nothing is touched before it is known that the target is what was signed, and answers as it did then."""
    refuse_quarantined(target.registry.trusted_history(), case.target)
    bundle = target.registry.load(case.target)  # not its training buffer: nothing of that is served
    bundle.check_content()
    share = _own_agreement(bundle)
    if share is not None and share < 1.0:
        return Result("refused", f"version {case.target} answers {share:.0%} of its own canaries as when it was made")
    _still_good(case, target)
    return Result("ok", f"version {case.target} is what was signed")


def _own_agreement(bundle: Bundle) -> float | None:
    canaries, scorer = bundle.canaries(), bundle.scorer()
    return None if canaries is None or scorer is None else agreement(canaries.scores, scorer(canaries.x))


def _swap(case: Case, target: Target) -> Result:
    _still_good(case, target)
    reason, registry = f"{case.reason} [{case.key}]", target.registry
    if case.kind == "rollback":
        registry.rollback(expected=case.expected, target=case.target, by=ACTOR, reason=reason)
        detail = f"the serving pointer names version {case.target}, and version {case.expected} is in quarantine"
        return Result("ok", detail)
    registry.promote(case.target, expected=case.expected, known_good=case.known_good, by=ACTOR, reason=reason)
    return Result("ok", f"the serving pointer names version {case.target}")


def _reload(case: Case, target: Target) -> Result:
    _still_ours(case, target)
    target.reloader.start(case.expected, case.target)
    return Result("ok")


def _confirm(case: Case, target: Target) -> Result:
    _still_ours(case, target)
    registry = target.registry
    seen = target.reloader.observe(case.target, rehearse(registry.load(case.target), _replaced(case, registry)))
    if not seen:
        return Result("ok", "no endpoint is configured: what is really served shows only in the events")
    if wrong := [f"{each.endpoint}: {each.problem}" for each in seen if each.problem]:
        return Result("retry", "; ".join(wrong))
    served = ", ".join(f"{each.endpoint} ({each.note})" if each.note else each.endpoint for each in seen)
    return Result("ok", f"every endpoint serves version {case.target}: {served}")


def _replaced(case: Case, registry: Registry) -> list[Bundle]:
    """The version that was replaced; none where it cannot be trusted: it is not what has to be confirmed."""
    try:
        return [registry.load(case.expected)] if case.expected in registry.versions() else []
    except IntegrityError:
        return []


def _still_good(case: Case, target: Target) -> None:
    """A rollback goes to what is last known good now, or nowhere."""
    good = target.registry.pointers().last_known_good
    if case.kind == "rollback" and good != case.target:
        raise RegistryError(f"version {good} is last known good now, not {case.target}: somebody vouched for it")


def _still_ours(case: Case, target: Target) -> None:
    serving = target.registry.pointers().serving
    if serving != case.target:
        raise RegistryError(f"the serving pointer names version {serving} now, not {case.target}: somebody moved it")


STEPS: Final[Mapping[Phase, Callable[[Case, Target], Result]]] = {
    "verify": _verify,
    "swap": _swap,
    "reload": _reload,
    "confirm": _confirm,
}
