"""One case through the code of `tocsin retrain`: sanitise, settle with a labeller's answers, train, judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from buffers.cases import Attacked
from buffers.models import fit, learner, manifest_of
from detectors.batch import Bools, Floats, Ints, Scorer
from rollback.benign import Benign
from rollback.canary.canaries import Canaries
from rollback.canary.choice import choose
from rollback.gates.check import Check
from rollback.gates.gate import Trial, judge
from rollback.reference import ReferenceRows
from rollback.retraining.about import About
from rollback.retraining.data import Data
from rollback.retraining.foreign import Asked, screened
from rollback.retraining.judging import doubted, verdict
from rollback.retraining.rehearsal import Remembered
from rollback.retraining.training_input import with_more
from rollback.retraining.unlearned import Earlier
from rollback.retraining.vetting import Answered, Settled, members, settle, withdraw
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

    ``data`` are the rows as `tocsin retrain` has them with the answers; ``found`` is about its new ones, and ``kept``
    about all of the case's. ``held`` bool[n] stay out until a person has decided. ``removed_at_first`` bool[n] were
    removed before anybody was asked, and ``held_at_first`` says whether the candidate waited for the answers.
    """

    data: Data
    found: Sanitised
    settled: Settled
    kept: Bools
    held: Bools
    asked: int
    removed_at_first: Bools
    held_at_first: bool

    @property
    def base(self) -> Rows:
        """What is trusted, with the answers."""
        return self.data.base


def cleaned(case: Attacked, benign: int, seed: int, hint: Hint | None = None) -> Cleaned:
    """Sanitise; where rows are asked for, a labeller who is always right answers, once."""
    rng, name = np.random.default_rng([seed, 31]), case.new.schema.classes[benign]
    data = gathered(case, np.zeros(0, np.int64), benign)
    found = _sanitised(data, seed, hint)
    first = settle(found, data.new, Answered(data.answered, data.given.y), rng, benign=name)
    wanted = [row for question in first.open for row in question.rows]
    asked = np.unique(np.array([*wanted, *first.alone], np.int64))
    data = gathered(case, asked, benign)
    left = _left(case, asked, benign)
    # as `Data.screened`: the answers change nothing of what screens find
    rest, told = found.take(left), Answered(data.answered, data.given.y)
    settled = settle(rest, data.new, told, rng, benign=name, vouched=data.vouched)
    rest = withdraw(rest, settled.withdrawn)
    # an answered row is trained on with its true label: it is kept where that is the one it has
    kept = case.new.y == case.before.rows.y
    kept[left] = ~rest.removed | settled.returned
    held = np.zeros(len(kept), np.bool_)
    for question in settled.open:
        if question.holds:
            held[left] |= members(question.slice, rest, data.new)
    return Cleaned(data, rest, settled, kept, held & ~kept, len(asked), found.removed, first.holds)


def _left(case: Attacked, asked: Ints, benign: int) -> Bools:
    """Which of the case's rows are new with these answers: those that were confirmed as benign still are."""
    left = np.ones(len(case.new), np.bool_)
    left[asked] = (case.new.y[asked] == benign) & (case.before.rows.y[asked] == benign)
    return left


def gathered(case: Attacked, asked: Ints, benign: int) -> Data:
    """As `rollback.retraining.data.gather` gives the rows of a case of which some were asked about."""
    base, new = case.base.rows, case.new
    told, left = replace(new.take(asked), y=case.before.rows.y[asked]), _left(case, asked, benign)
    elsewhere = ~left[asked]
    fresh, nothing = new.take(left), new.take(np.zeros(len(new), np.bool_))
    whole = Rows.concat([base, told.take(elsewhere)])
    return Data(
        schema=base.schema,
        base=whole,
        base_id=np.full(len(whole), ""),
        new=fresh,
        new_id=np.full(len(fresh), ""),
        new_about=_about(fresh),
        answered=told,
        answered_about=_about(told),
        given=new.take(asked),
        believed=_about(told.take(elsewhere)),
        held=np.zeros(int(elsewhere.sum()), np.bool_),
        drawn=Drawn(Table("bench", {}, np.zeros(0, np.int64)), len(new), {}),
        holdout=nothing,
        reference=ReferenceRows(nothing.x, nothing.y, nothing.source, nothing.session),
        unlabelled=_about(nothing),
        base_from="bench",
        remarks=(),
        benign=Benign(base.schema.classes[benign], named=True),
        unproven=np.arange(len(whole)) >= len(base),
        screened_too=elsewhere,
        confirmed=~elsewhere,
        vouched=np.isin(np.arange(len(new)), asked)[left],
    )


def _sanitised(data: Data, seed: int, hint: Hint | None) -> Sanitised:
    settings = Settings(benign=data.benign.name)
    return sanitise(data.screening_base, data.new, fit, seed=seed, hint=hint, progress=silent, settings=settings)


@dataclass(frozen=True, slots=True)
class Learned:
    """What a candidate was trained on: rows [n], their ``weight`` [n], and which of them are ``trusted`` bool[n]."""

    rows: Rows
    weight: Floats
    trusted: Bools

    def models(self, seed: int, numbers: range) -> list[Scorer]:
        """More initialisations of the candidate."""
        return [fit(self.rows, seed + 1000 * i, self.weight, self.trusted) for i in numbers]


def candidate(
    done: Cleaned, lkg: Scorer, holdout: Rows, seed: int, earlier: Earlier | None = None
) -> tuple[Trial, Learned]:
    """The candidate with all that the gate judges it by, and what others are trained on alike.

    ``earlier`` are the patterns that the last known good model had unlearned.
    """
    reference = ReferenceRows(holdout.x, holdout.y, holdout.source, holdout.session)
    data = replace(done.data, holdout=holdout, reference=reference, earlier=earlier or Earlier())
    doubtful = doubted(done.found, done.settled)
    trial, made = learner(data.base, seed).make(data, doubtful, done.settled.returned, lkg, None)
    rows, weight = with_more(made.learned, made.weight, made.more)
    return trial, Learned(
        rows, weight, np.concatenate([made.trusted, np.zeros(len(rows) - len(made.trusted), np.bool_)])
    )


def _about(rows: Rows) -> About:
    """Rows of which nothing is known besides what a model sees."""
    blank = np.full(len(rows), "")
    unknown = np.full(len(rows), np.nan)
    return About(blank, blank, rows.source, blank, rows.session, unknown, np.zeros(len(rows), np.bool_))


def canaries(lkg: Scorer, holdout: Rows) -> Canaries:
    """Those of the last known good model, as `tocsin train` chooses them of rows that it has not seen."""
    return choose(ReferenceRows(holdout.x, holdout.y, holdout.source, holdout.session), holdout.schema, lkg)


def gate(trial: Trial, done: Cleaned, seed: int) -> dict[str, Any]:
    """What the gate says of the candidate, as in `tocsin retrain`."""
    nobody = np.zeros(len(done.data.new), np.bool_)
    known = canaries(trial.lkg, trial.holdout)
    said = verdict(trial, done.data, done.found, done.settled, nobody, seed=seed, canaries=known).gate
    return _told(said.result, said.checks)


def foreign_gate(trial: Trial, model: Scorer, rows: tuple[Rows, Rows], truth: Ints, seed: int) -> dict[str, Any]:
    """What it says of a model of (base, new) ``rows`` that nobody has sanitised, as `tocsin gate` with its buffer.

    Of the rows that are asked about a labeller then says the ``truth``; ``unanswered`` is what it said before.
    """
    base, new = rows
    ids = np.arange(len(new)).astype(np.str_)
    known = canaries(trial.lkg, trial.holdout)
    own = Trial(model, trial.lkg, trial.reseeds, trial.holdout, benign=trial.benign, canaries=known)
    train = Remembered(fit)
    first = screened(own, base, new, ids, train, Asked(seed=seed), silent)
    said = judge(first.trial, seed=seed)
    told = _told(said.result, said.checks)
    if not first.asks:
        return told
    answers = {ident: int(truth[int(ident)]) for ident, _ in first.asks}
    second = screened(own, base, new, ids, train, Asked(answers=answers, seed=seed), silent)
    said = judge(second.trial, seed=seed)
    return _told(said.result, said.checks) | {"asked": len(answers), "unanswered": told}


def _told(result: str, checks: Sequence[Check]) -> dict[str, Any]:
    failed = [f"{c.name} {c.value:.3g}>{c.limit:.3g}" for c in checks if not c.passed]
    return {"passed": result == "passed", "result": result, "failed": failed}


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


def silent(what: str, share: float) -> None:
    del what, share
