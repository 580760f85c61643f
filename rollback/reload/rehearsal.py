"""Whether canaries are of any use: can they tell the version that should serve from those that could instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rollback.bundle import Bundle
from rollback.canary.canaries import Canaries, told_apart
from rollback.translate import Incompatible, scorer_in_terms_of


def rehearse(target: Bundle, others: Sequence[Bundle]) -> Canaries | None:
    """The canaries of ``target``, with the versions among ``others`` that they cannot tell from it; None without any.

    A version with other features or classes is told apart, and of one without a model nothing is known: it counts as
    confused. Raises `rollback.bundle.IntegrityError` and `rollback.scorer.ScorerError`.
    """
    canaries = target.canaries()
    if canaries is None:
        return None
    confused = tuple(other.manifest.version for other in others if not _told_apart(canaries, other))
    return replace(canaries, confused_with=confused)


def _told_apart(canaries: Canaries, other: Bundle) -> bool:
    scorer = other.scorer()
    if scorer is None:
        return False
    try:
        return told_apart(canaries, scorer_in_terms_of(canaries.schema, scorer, other.schema)) > 0.0
    except Incompatible:
        return True
