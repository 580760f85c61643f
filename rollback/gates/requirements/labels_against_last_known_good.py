"""Rows of the training buffer whose labels models of the trusted base contradict, beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import betabinom

from detectors.batch import Floats, Ints, Strings
from detectors.sequential import sessions_of
from rollback.gates.check import Check, Finding, Skipped, at_most
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial, undecided

LEVELS: Final = (0.01, 0.1)
"""A row is contradicted where its label is less likely than that of so many trusted rows of the same label: few that
are contradicted strongly, or many a little."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows of one source and label: how likely so many contradicted sessions are, and ``at`` which positions they are.

    ``share`` is its part of the error rate: those of all cells add up to 1 at most.
    """

    p: float
    at: Ints
    what: str
    share: float

    @property
    def weighed(self) -> float:
        """The p-value over its share, so that the least of all cells is below a with probability a at most."""
        return self.p / self.share


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

        Statistic: -log10 of the smallest p of `cells`, each divided by its share (Bonferroni with weights: C. Genovese,
        K. Roeder, L. Wasserman, "False discovery control with p-value weighting", Biometrika 93, 2006). Answers about
        the contradicted rows settle it, like those about a suspect.
        """
        found = sorted(cells(case.trial), key=lambda cell: cell.weighed)
        limit = -float(np.log10(case.error_rate))
        if not found:
            return [at_most(self.name, 0.0, limit, case.error_rate, "no label of the buffer is one of the holdout")]
        value = _evidence(found[0])
        if value <= limit:
            why = (
                f"the least likely of {len(found)} counts of contradicted sessions, {found[0].what}; -log10 of its "
                "chance"
            )
            return [at_most(self.name, value, limit, case.error_rate, why, "holds")]
        return [_by_answers(self.name, case.trial, [c for c in found if _evidence(c) > limit], limit, case.error_rate)]


def _evidence(cell: Cell) -> float:
    return max(-float(np.log10(max(cell.weighed, 1e-300))), 0.0)


def answers_about(cell: Cell, trial: Trial) -> tuple[int, int]:
    """How many answers there are about a cell's rows, and how many of these contradict the label."""
    assert trial.buffer is not None  # noqa: S101 - there are cells
    told = trial.told if len(trial.told) else np.full(len(trial.buffer), -1)
    answered = cell.at[told[cell.at] >= 0]
    return len(answered), int(np.count_nonzero(told[answered] != trial.buffer.y[answered]))


def _by_answers(name: str, trial: Trial, beyond: Sequence[Cell], limit: float, rate: float) -> Check:
    """Every cell beyond chance has to be settled: honest news of one source speaks for no other."""
    said = [(cell, *answers_about(cell, trial)) for cell in beyond]
    false = [one for one in said if not undecided(one[1], one[2]) and 2 * one[2] > one[1]]
    still = [one for one in said if undecided(one[1], one[2])]
    cell, count, wrong = [*false, *still, *said][0]
    if still and not false:
        why = f"labels contradict the trusted base beyond chance: {cell.what}; {count} answers do not settle it"
        return at_most(name, _evidence(cell), limit, rate, why, "holds")
    why = f"the share of false labels among {count} answers about rows against the trusted base: {cell.what}"
    return at_most(name, wrong / count, 0.5, rate, why)


def cells(trial: Trial) -> Iterator[Cell]:
    """Each label of the buffer that the holdout has rows of, by source and in all of them, at each level.

    Null: a session of the buffer with a label is drawn like those of the holdout with it. A session is contradicted
    where the mean of LKG and the reseeds gives its label less than the k-th smallest of H sessions of the holdout,
    k = floor(level H) + 1. Of m sessions, the number of contradicted ones is then beta-binomial (m, k, H + 1 - k):
    that the quantile is estimated is part of it. Rows that lie aside are not counted; those that are contradicted are
    among the cell's rows, so that the answers about them settle it. Half of the error rate is for the labels in all
    sources, however many sources there are: a name costs nothing, and many of them would spend all of it.
    """
    buffer, holdout = trial.buffer, trial.holdout
    if buffer is None:
        return
    aside = trial.aside if len(trial.aside) else np.zeros(len(buffer), np.bool_)
    models = [trial.lkg, *trial.reseeds]
    given = np.mean([_given(m(buffer.x), buffer.y) for m in models], axis=0)
    known = np.mean([_given(m(holdout.x), holdout.y) for m in models], axis=0)
    labels = np.intersect1d(buffer.y, holdout.y).tolist()
    every = {label: _by_source(buffer.source, np.flatnonzero(buffer.y == label)) for label in labels}
    pairs = sum(map(len, every.values()))
    for label in labels:
        theirs = holdout.y == label
        _, held = typical(known[theirs], holdout.session[theirs])
        alone = 2 * len(LEVELS) * len(labels), "all sources", np.flatnonzero(buffer.y == label)
        each = ((2 * len(LEVELS) * pairs, f"source {source}", at) for source, at in every[label])
        for parts, scope, at in (alone, *each):
            own = at[~aside[at]]
            if not len(own):
                continue
            which, likely = typical(given[own], buffer.session[own])
            for level in LEVELS:
                k = int(np.floor(level * len(held))) + 1
                least = np.sort(held)[k - 1]
                flagged = likely < least
                rows = np.sort(np.concatenate([own[flagged[which]], at[aside[at] & (given[at] < least)]]))
                beyond = (flagged.sum() - 1, len(likely), k, len(held) + 1 - k)
                p = float(betabinom.sf(*beyond)) if flagged.any() else 1.0
                name = holdout.schema.classes[label]
                what = f"{flagged.sum()} of {len(likely)} sessions of {scope} labelled {name}"
                yield Cell(p, rows, what, 1 / parts)


def _by_source(source: Strings, at: Ints) -> list[tuple[str, Ints]]:
    """The positions in ``at`` of each source; in one go, for there may be as many sources as rows."""
    names, of = np.unique(source[at], return_inverse=True)
    order = np.argsort(of, kind="stable")
    parts = np.split(at[order], np.cumsum(np.bincount(of, minlength=len(names)))[:-1])
    return [*zip(names.tolist(), parts, strict=True)]


def _given(scores: Floats, y: Ints) -> Floats:
    return np.asarray(scores[np.arange(len(y)), y], np.float64)


def typical(values: Floats, session: Strings) -> tuple[Ints, Floats]:
    """The session [n] of each row, and the lower median of each session's values."""
    which, count = sessions_of(session)
    sizes = np.bincount(which, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return which, np.asarray(values[np.lexsort((values, which))][starts + (sizes - 1) // 2], np.float64)
