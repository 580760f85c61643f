"""One case through the code of `tocsin retrain`: sanitise, settle with a labeller's answers, train, judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from buffers.cases import Attacked
from buffers.models import fit, learner, manifest_of
from detectors.batch import Bools, Floats, Ints, Scorer
from rollback.gates.gate import Trial, judge
from rollback.reference import ReferenceRows
from rollback.retraining.about import About
from rollback.retraining.data import Data
from rollback.retraining.training_input import with_more
from rollback.retraining.unlearned import Earlier
from rollback.retraining.vetting import Settled, covered, members, settle
from rollback.sanitise.case import Hint
from rollback.sanitise.rows import Rows, Sanitised
from rollback.sanitise.sanitise import Settings, sanitise
from rollback.tables.draw import Drawn
from rollback.tables.table import Table

HOLDOUT = 0.4
"""Of the test rows; the figures are taken on the others."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of the new rows: bool[n] ``kept``, ``found``, and the questions that are ``settled`` or open.

    ``removed_at_first`` bool[n] were removed before anybody was asked, and ``held_at_first`` says whether the candidate
    waited for the answers.
    """

    found: Sanitised
    settled: Settled
    base: Rows
    new: Rows
    kept: Bools
    asked: int
    removed_at_first: Bools
    held_at_first: bool


def cleaned(case: Attacked, benign: int, seed: int, hint: Hint | None = None) -> Cleaned:
    """Sanitise; where rows are asked for, a labeller who is always right answers, and all is done once more."""
    base, new = case.base.rows, case.new
    rng = np.random.default_rng([seed, 31])
    found = _sanitised(base, new, benign, seed, hint)
    first = settle(found, base, new, new.take(np.zeros(len(new), np.bool_)), rng)
    asked = np.unique(np.array([row for question in first.open for row in question.rows], np.int64))
    if not len(asked):
        kept = ~found.removed | first.returned
        return Cleaned(found, first, base, new, kept, 0, found.removed, first.holds)
    told = replace(new.take(asked), y=case.before.rows.y[asked])
    left = np.ones(len(new), np.bool_)
    left[asked] = False
    wider = Rows.concat([base, told])
    confirmed = told.take((told.y == benign) & (told.y == new.y[asked]))
    # as `Data.screening_base`: a clean-label attack's rows are confirmed, and vouch for nothing
    proven = Rows.concat([base, told.take((told.y != benign) | (told.y != new.y[asked]))]) if len(confirmed) else wider
    again = _sanitised(proven, new.take(left), benign, seed, hint)
    settled = settle(again, wider, new.take(left), told, rng)
    kept = np.zeros(len(new), np.bool_)
    kept[left] = ~again.removed | settled.returned
    # an answered row is trained on with its true label: it is kept where that is the one it has
    kept[asked] = new.y[asked] == case.before.rows.y[asked]
    waiting = _asked_out(again, told, new.take(left), benign)
    kept[asked] &= ~waiting
    wider = Rows.concat([base, told.take(~waiting)])
    return Cleaned(again, settled, wider, new.take(left), kept, len(asked), found.removed, first.holds)


def _asked_out(found: Sanitised, told: Rows, new: Rows, benign: int) -> Bools:
    """As `rollback.retraining.withheld`: answered benign rows wait with the slice that they were asked about."""
    out = np.zeros(len(told), np.bool_)
    for piece in found.slices:
        if piece.valued and piece.label == new.schema.classes[benign] and members(piece, found, new).any():
            out |= covered(piece, told) & (told.y == benign)
    return out


def _sanitised(base: Rows, new: Rows, benign: int, seed: int, hint: Hint | None) -> Sanitised:
    settings = Settings(benign=base.schema.classes[benign])
    return sanitise(base, new, fit, seed=seed, hint=hint, progress=_silent, settings=settings)


def candidate(
    done: Cleaned, lkg: Scorer, holdout: Rows, seed: int, earlier: Earlier | None = None
) -> tuple[Trial, Rows, Floats]:
    """The candidate with all that the gate judges it by, and the rows and weights that others are trained on alike.

    ``earlier`` are the patterns that the last known good model had unlearned.
    """
    schema = done.base.schema
    blank = np.full(len(done.base), "")
    reference = ReferenceRows(holdout.x, holdout.y, holdout.source, holdout.session)
    nothing = done.new.take(np.zeros(len(done.new), np.bool_))
    data = Data(
        schema=schema,
        base=done.base,
        base_id=blank,
        new=done.new,
        new_id=np.full(len(done.new), ""),
        new_about=_about(done.new),
        answered=nothing,
        answered_about=_about(nothing),
        given=nothing,
        believed=_about(nothing),
        held=np.zeros(0, np.bool_),
        drawn=Drawn(Table("bench", {}, np.zeros(0, np.int64)), len(done.new), {}),
        holdout=holdout,
        reference=reference,
        unlabelled=_about(nothing),
        base_from="bench",
        remarks=(),
        earlier=earlier or Earlier(),
    )
    trial, made = learner(done.base, seed).make(data, done.found, done.settled.returned, lkg, None)
    return trial, *with_more(made.learned, made.weight, made.more)


def _about(rows: Rows) -> About:
    """Rows of which nothing is known besides what a model sees."""
    blank = np.full(len(rows), "")
    unknown = np.full(len(rows), np.nan)
    return About(blank, blank, rows.source, blank, rows.session, unknown, np.zeros(len(rows), np.bool_))


def gate(trial: Trial, model: Scorer | None, seed: int) -> dict[str, Any]:
    """What the gate says of the candidate, or of another model in its place."""
    if model is not None:
        trial = replace(trial, candidate=model, answers=None, probe=None)
    judgement = judge(trial, seed=seed)
    failed = [check.name for check in judgement.checks if not check.passed]
    return {"passed": judgement.result == "passed", "result": judgement.result, "failed": failed}


def plain(done: Cleaned, case: Attacked, count: int) -> Bools:
    """Plain removal: the ``count`` new rows bool[n] whose labels surprise models of the base most stay out."""
    loss = _loss(done.found.base_scorers, case.new.x, case.new.y)
    removed = np.zeros(len(case.new), np.bool_)
    removed[np.argsort(-loss, kind="stable")[:count]] = True
    return removed


def _loss(scorers: tuple[Scorer, ...], x: Floats, y: Ints) -> Floats:
    given = np.mean([scorer(x)[np.arange(len(y)), y] for scorer in scorers], axis=0)
    return np.asarray(-np.log(np.maximum(given, 1e-12)))


def schema_manifest(rows: Rows) -> Mapping[str, Any]:
    """The classes and features, for a record."""
    manifest = manifest_of(rows)
    return {"classes": list(manifest.classes), "features": len(manifest.features)}


def _silent(what: str, share: float) -> None:
    del what, share
