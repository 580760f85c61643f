"""Whether the candidate's scores are worse probabilities than those of models of the trusted base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.batch import Floats, Ints
from rollback.gates.answers import decided
from rollback.gates.check import Figure, Finding, at_most
from rollback.gates.noise import Losses, excess, row_noise
from rollback.gates.requirement import Case, Requirement

BINS: Final = 15


class Calibration(Requirement):
    """Brier score and expected calibration error."""

    name = "calibration"
    share = 0.5
    of_learning = True

    def judge(self, case: Case) -> Sequence[Finding]:
        """The Brier score decides, by `rollback.gates.noise.excess`; the calibration error is shown.

        For a candidate of another algorithm than the reseeds both are only shown: algorithms differ in calibration.
        """
        y, held = case.trial.holdout.y, case.held
        error = Figure(
            "calibration.error",
            calibration_error(held.candidate, y),
            f"expected calibration error in {BINS} bins of as many rows each; last known good has "
            f"{calibration_error(held.lkg, y):.4f}. It depends on the bins, so that it decides nothing",
        )
        reseeds = brier(held.reseeds, y)
        losses = Losses(
            float(brier(held.candidate, y).mean()),
            float(brier(held.lkg, y).mean()),
            reseeds.mean(axis=1),
            brier(held.parts, y).mean(axis=1),
            row_noise(reseeds),
        )
        value, limit = excess(losses, case.error_rate, lkg_kin=case.trial.lkg_kin)
        if not case.trial.kin:
            why = "Brier score above that of last known good; algorithms differ in it, so that it decides nothing"
            return [Figure("calibration.brier", value, why), error]
        why = "Brier score (mean squared error of the scores) above that of last known good; the limit is noise"
        return [at_most("calibration.brier", value, limit, case.error_rate, why), error]


def brier(scores: Floats, y: Ints) -> Floats:
    """The squared error [..., n] of scores [..., n, k], summed over the classes. G. W. Brier, MWR 78 (1950)."""
    truth = np.eye(scores.shape[-1])[y]
    return np.asarray(np.sum((scores - truth) ** 2, axis=-1), np.float64)


def calibration_error(scores: Floats, y: Ints) -> float:
    """Mean |confidence - accuracy| over bins of equal numbers of rows (C. Guo et al., ICML 2017, arXiv 1706.04599).

    >>> calibration_error(np.array([[0.9, 0.1]] * 10), np.array([0] * 9 + [1]))
    0.0
    """
    confidence, right = scores.max(axis=1), decided(scores) == y
    order = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(float(confidence[part].mean()) - float(right[part].mean()))
        for part in np.array_split(order, min(BINS, max(len(order) // 10, 1)))
    ]
    return round(sum(gaps) / len(y), 12)
