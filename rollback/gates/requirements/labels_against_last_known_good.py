"""Rows of the training buffer whose labels models of the trusted base contradict, beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import betabinom

from detectors.batch import Bools, Floats, Ints, Strings
from detectors.sequential import sessions_of
from rollback.gates.check import Check, Finding, Skipped, at_most
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial, undecided

LEVELS: Final = (0.01, 0.1)
"""A row is contradicted where its label is less likely than that of so many trusted rows of the same label: few that
are contradicted strongly, or many a little."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows of one source and label: how likely so many contradicted sessions are, and their rows (bool[n])."""

    p: float
    rows: Bools
    what: str


class LabelsAgainstLastKnownGood(Requirement):
    """By source and label: who flips labels does so in the sources that they hold."""

    name = "labels_against_last_known_good"
    share = 1.0

    def missing(self, trial: Trial) -> Skipped | None:
        """There may be no buffer, or no new row in it."""
        if trial.buffer is not None and len(trial.buffer):
            return None
        return Skipped(self.name, "there is no buffer of new rows", "--buffer")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check over all sources and labels; failing holds: rules that have moved contradict old labels too.

        Statistic: -log10 of the smallest p of `cells`, Bonferroni over all of them. Answers about the contradicted rows
        settle it, like those about a suspect.
        """
        found = list(cells(case.trial))
        worst = min(found, key=lambda cell: cell.p, default=None)
        limit = -float(np.log10(case.error_rate))
        if worst is None:
            return [at_most(self.name, 0.0, limit, case.error_rate, "no label of the buffer is one of the holdout")]
        value = max(-float(np.log10(max(worst.p * len(found), 1e-300))), 0.0)
        if value <= limit:
            why = (
                f"the least likely of {len(found)} counts of contradicted sessions, {worst.what}; -log10 of its chance"
            )
            return [at_most(self.name, value, limit, case.error_rate, why, "holds")]
        return [_by_answers(self.name, case.trial, worst, value, limit, case.error_rate)]


def _by_answers(name: str, trial: Trial, worst: Cell, value: float, limit: float, rate: float) -> Check:
    assert trial.buffer is not None  # noqa: S101 - nothing is missing
    told = trial.told if len(trial.told) else np.full(len(trial.buffer), -1)
    answered = worst.rows & (told >= 0)
    false = int(np.count_nonzero(answered & (told != trial.buffer.y)))
    count = int(answered.sum())
    if undecided(count, false):
        why = f"labels contradict the trusted base beyond chance: {worst.what}; {count} answers do not settle it"
        return at_most(name, value, limit, rate, why, "holds")
    why = f"the share of false labels among {count} answers about rows against the trusted base: {worst.what}"
    return at_most(name, false / count, 0.5, rate, why)


def cells(trial: Trial) -> Iterator[Cell]:
    """Each label of the buffer that the holdout has rows of, by source and in all of them, at each level.

    Null: a session of the buffer with a label is drawn like those of the holdout with it. A session is contradicted
    where the mean of LKG and the reseeds gives its label less than the k-th smallest of H sessions of the holdout,
    k = floor(level H) + 1. Of m sessions, the number of contradicted ones is then beta-binomial (m, k, H + 1 - k):
    that the quantile is estimated is part of it. Rows that lie aside are not counted; those that are contradicted are
    among the cell's rows, so that the answers about them settle it.
    """
    buffer, holdout = trial.buffer, trial.holdout
    if buffer is None:
        return
    aside = trial.aside if len(trial.aside) else np.zeros(len(buffer), np.bool_)
    models = [trial.lkg, *trial.reseeds]
    given = np.mean([_given(m(buffer.x), buffer.y) for m in models], axis=0)
    known = np.mean([_given(m(holdout.x), holdout.y) for m in models], axis=0)
    for label in np.unique(buffer.y).tolist():
        theirs = holdout.y == label
        if not theirs.any():
            continue
        _, held = typical(known[theirs], holdout.session[theirs])
        ours = buffer.y == label
        scopes = {f"source {name}": ours & (buffer.source == name) for name in np.unique(buffer.source[ours]).tolist()}
        for scope, among in {**scopes, "all sources": ours}.items():
            own = np.flatnonzero(among & ~aside)
            if not len(own):
                continue
            which, likely = typical(given[own], buffer.session[own])
            for level in LEVELS:
                k = int(np.floor(level * len(held))) + 1
                least = np.sort(held)[k - 1]
                flagged = likely < least
                rows = among & aside & (given < least)
                rows[own[flagged[which]]] = True
                p = float(betabinom.sf(flagged.sum() - 1, len(likely), k, len(held) + 1 - k))
                name = holdout.schema.classes[label]
                yield Cell(p, rows, f"{flagged.sum()} of {len(likely)} sessions of {scope} labelled {name}")


def _given(scores: Floats, y: Ints) -> Floats:
    return np.asarray(scores[np.arange(len(y)), y], np.float64)


def typical(values: Floats, session: Strings) -> tuple[Ints, Floats]:
    """The session [n] of each row, and the lower median of each session's values."""
    which, count = sessions_of(session)
    sizes = np.bincount(which, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return which, np.asarray(values[np.lexsort((values, which))][starts + (sizes - 1) // 2], np.float64)
