"""What is known besides the trainings goes on trial with the candidate, and the gate says what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detectors.batch import Bools
from rollback.canary.canaries import Canaries
from rollback.gates.gate import Judgement, judge
from rollback.gates.pattern import Pattern
from rollback.gates.trial import Campaign, Live, Trial
from rollback.retraining.contradicted import doubts, unsanitised
from rollback.retraining.data import Data
from rollback.retraining.evidence import Change
from rollback.retraining.missing_rows import missing_rows
from rollback.retraining.out import Gate
from rollback.retraining.removed_values import of_a_confirmed_kind, removed_patterns
from rollback.retraining.vetting import Settled
from rollback.sanitise.rows import Rows, Sanitised


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said of the ``trial``; ``asks`` are requests about rows that it doubts."""

    trial: Trial
    gate: Gate
    asks: Sequence[dict[str, Any]]


def doubted(found: Sanitised, settled: Settled) -> Sanitised:
    """The findings without slices that answers have confirmed: a candidate that has learned them may obey them."""
    return replace(found, slices=tuple(piece for piece in found.slices if piece not in settled.confirmed))


def verdict(
    trial: Trial,
    data: Data,
    found: Sanitised,
    settled: Settled,
    accepted: Bools,
    *,
    seed: int,
    canaries: Canaries | None = None,
    campaigns: Sequence[Campaign] = (),
    live: Live | None = None,
    changes: Sequence[Change] = (),
) -> Verdict:
    """Judge the candidate of a retraining. ``accepted`` bool[n] new rows a person has let in.

    ``changes`` are what a training with held slices was measured to change.

    Raises `rollback.gates.trial.GateError`.
    """
    left, buffer, told, aside = unsanitised(data, ~found.removed & ~accepted)
    trial = replace(trial, buffer=buffer, told=told, aside=aside)
    trial = replace(trial, canaries=canaries, campaigns=campaigns, live=live)
    trial = replace(trial, removed_values=_removed_values(data, found, settled))
    said = judge(trial, seed=seed)
    remarks = (*data.remarks, *found.remarks, *settled.remarks, *missing_rows(said, found, settled, data.new, changes))
    return Verdict(trial, gate_of(said, settled, remarks), doubts(said, trial, left, data))


def gate_of(said: Judgement, settled: Settled, remarks: tuple[str, ...]) -> Gate:
    """A failed check rejects; a question that only a person can answer holds."""
    result = "vetting" if said.result == "passed" and settled.holds else said.result
    return Gate(result == "passed", result, said.checks, remarks, said.figures, said.skipped, said.error_budget)


def _removed_values(data: Data, found: Sanitised, settled: Settled) -> tuple[Pattern, ...]:
    """Of the rows that stay out, beside what answers have confirmed, and those whose label one has contradicted."""
    plain = replace(data.new, id=None, origin=None)
    false = (data.given.y >= 0) & (data.given.y != data.answered.y)
    rows = Rows.concat([plain, replace(data.given.take(false), id=None, origin=None)])
    stays = found.removed & ~settled.returned & ~of_a_confirmed_kind(data.new, settled.confirmed)
    out = np.concatenate([stays, np.ones(int(false.sum()), np.bool_)])
    return removed_patterns(out, found.base_scorers, data.base, rows)
