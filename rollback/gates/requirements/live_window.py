"""Champion and challenger on recent events: the last known good version (LKG) and the candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.batch import Bools, Floats, Strings
from detectors.sequential import sessions_of
from rollback.gates.answers import Answers, decided
from rollback.gates.check import Finding, Skipped, at_most
from rollback.gates.noise import prediction_limit, row_noise
from rollback.gates.requirement import Case, Requirement
from rollback.gates.requirements.accuracy_loss import accuracy_loss
from rollback.gates.trial import Trial

FEWEST: Final = 100
"""Labelled events that accuracy is judged by."""


class LiveWindow(Requirement):
    """Disagreement by session, and accuracy where labels are trusted."""

    name = "live_window"
    share = 1.0
    of_learning = True

    def missing(self, trial: Trial) -> Skipped | None:
        """The window is given by the caller."""
        if trial.live is not None and len(trial.live):
            return None
        return Skipped(self.name, "no recent events were given", "--live FILE, events with or without labels")

    def judge(self, case: Case) -> Sequence[Finding]:
        """One check of each. Too much disagreement holds, for a stream that has moved moves a retrained model too.

        Null of disagreement: the candidate disagrees with LKG like one more model of the base. A session counts once,
        with the share of its events.
        """
        live = case.trial.live
        assert live is not None  # noqa: S101 - nothing is missing
        labelled = live.labelled()
        both = np.count_nonzero(labelled) >= FEWEST
        rate = case.error_rate / 2 if both else case.error_rate
        answers = Answers.of(case.trial, live.x)
        lkg = decided(answers.lkg)
        nulls = by_session(decided(answers.nulls) != lkg, live.session)
        own = by_session((decided(answers.candidate) != lkg)[None], live.session)[0]
        limit = prediction_limit(nulls.mean(axis=1), rate, row_noise(nulls))
        why = (
            f"the share of {len(own)} recent sessions that candidate and last known good decide differently; the limit "
            "is what models of the trusted base do"
        )
        found: list[Finding] = [at_most("live_window.disagreement", float(own.mean()), limit, rate, why, "holds")]
        if both:
            right = answers.right(live.y).among(labelled)
            of = "recent events with a trusted label"
            found.append(accuracy_loss("live_window.accuracy_loss", right, rate, lkg_kin=case.trial.lkg_kin, of=of))
        return found


def by_session(differ: Bools, session: Strings) -> Floats:
    """The share [K, sessions] of each session's events that differ [K, n]."""
    which, count = sessions_of(session)
    sizes = np.bincount(which, minlength=count)
    return np.array([np.bincount(which, row, minlength=count) / sizes for row in differ])
