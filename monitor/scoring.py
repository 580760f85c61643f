"""Scores with a model that may fail on what somebody sends: one bad event must not stop the watch."""

from __future__ import annotations

import numpy as np
import structlog

from detectors.batch import Floats, Scorer
from rollback.scorer import ScorerError

log = structlog.get_logger()


def forgiving(score: Scorer, classes: int) -> Scorer:
    """The scorer, with NaN for the rows on which the model fails (`ScorerError`); the others are scored.

    They are found by halving, so a few bad rows cost a few calls. Which are left is said once.
    """
    told = False

    def halved(x: Floats) -> Floats:
        nonlocal told
        try:
            return score(x)
        except ScorerError as error:
            if len(x) == 1:
                if not told:
                    log.warning("the model fails on an event, which stays unscored", reason=str(error))
                    told = True
                return np.full((1, classes), np.nan)
            middle = len(x) // 2
            return np.concatenate([halved(x[:middle]), halved(x[middle:])])

    return halved
