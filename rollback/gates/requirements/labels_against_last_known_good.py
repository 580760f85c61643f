"""Rows of an unsanitised training buffer whose labels models of the trusted base contradict, beyond chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from detectors.batch import Floats, Ints, Strings
from detectors.sequential import sessions_of
from rollback.gates.check import Finding, Skipped, at_most
from rollback.gates.requirement import Case, Requirement
from rollback.gates.trial import Trial

FLAGGED = 0.01
"""A row is contradicted where its label is less likely than that of so many trusted rows of the same label."""


class LabelsAgainstLastKnownGood(Requirement):
    """By source and label: who flips labels does so in the sources that they hold."""

    name = "labels_against_last_known_good"
    share = 1.0

    def missing(self, trial: Trial) -> Skipped | None:
        """Sanitised rows have been through this."""
        if trial.buffer is not None and len(trial.buffer):
            return None
        return Skipped(self.name, "the rows were sanitised before, or there is no buffer", "--buffer, if foreign")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check over all sources and labels; failing holds: rules that have moved contradict old labels too.

        Null: a session of the buffer with a label is drawn like those of the holdout with it. A session is contradicted
        where the mean of LKG and the reseeds gives its labels less than the `FLAGGED` quantile of the holdout's; the
        number of contradicted sessions of a source and label is then binomial. Statistic: -log10 of the smallest tail
        probability; Bonferroni over all tested.
        """
        buffer, holdout = case.trial.buffer, case.trial.holdout
        assert buffer is not None  # noqa: S101 - nothing is missing
        classes = holdout.schema.classes
        models = [case.trial.lkg, *case.trial.reseeds]
        given = np.mean([_given(m(buffer.x), buffer.y) for m in models], axis=0)
        known = np.mean([_given(m(holdout.x), holdout.y) for m in models], axis=0)
        found: list[tuple[float, str]] = []
        for label in np.unique(buffer.y).tolist():
            ours, theirs = buffer.y == label, holdout.y == label
            if not theirs.any():
                continue
            held = _typical(known[theirs], holdout.session[theirs])
            rate = (np.floor(FLAGGED * len(held)) + 1) / (len(held) + 1)
            limit = np.sort(held)[int(np.floor(FLAGGED * len(held)))]
            for source in np.unique(buffer.source[ours]).tolist():
                own = ours & (buffer.source == source)
                flagged = _typical(given[own], buffer.session[own]) < limit
                # twice the rate: the quantile of a finite holdout may lie too high
                p = float(binom.sf(flagged.sum() - 1, len(flagged), min(2 * rate, 1.0)))
                told = f"{flagged.sum()} of {len(flagged)} of source {source or '-'} labelled {classes[label]}"
                found.append((p, told))
        worst, what = min(found, default=(1.0, "none"))
        value = -float(np.log10(max(worst * max(len(found), 1), 1e-300)))
        why = (
            f"sessions of the buffer whose labels last known good contradicts: {what}; minus the logarithm (base 10) "
            "of the chance of that, over all sources and labels"
        )
        return [at_most(self.name, max(value, 0.0), -float(np.log10(case.error_rate)), case.error_rate, why, "holds")]


def _given(scores: Floats, y: Ints) -> Floats:
    return np.asarray(scores[np.arange(len(y)), y], np.float64)


def _typical(values: Floats, session: Strings) -> Floats:
    """The median of each session's values."""
    which, count = sessions_of(session)
    order = np.lexsort((values, which))
    sizes = np.bincount(which, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.asarray(values[order][starts + (sizes - 1) // 2], np.float64)
