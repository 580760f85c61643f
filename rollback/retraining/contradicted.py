"""Rows that screens have kept and models of the trusted base contradict: a person may be asked what they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.batch import Bools, Ints
from rollback.gates.gate import Judgement
from rollback.gates.requirements.labels_against_last_known_good import LabelsAgainstLastKnownGood
from rollback.gates.trial import Trial
from rollback.retraining.data import Data
from rollback.retraining.foreign import contradicted
from rollback.retraining.vetting import request
from rollback.sanitise.rows import Rows


def unsanitised(data: Data, kept: Bools) -> tuple[Ints, Rows, Ints, Bools]:
    """What is left of the new rows, for the gate: positions of the ``kept`` ones, and with what labellers have said.

    Rows that were answered about come behind with the labels that they came with; the third array says which class each
    row is in truth, -1 of those that nobody was asked about: the answers settle what they are about. The last one says
    which rows these are: the candidate was trained on them as the answers have it. Confirmed benign rows are new ones.
    """
    left = np.flatnonzero(kept)
    labelled = data.given.y >= 0
    known = np.full(len(left), -1, np.int64)
    if data.confirmed is not None and data.vouched is not None:
        labelled &= ~data.confirmed
        known[data.vouched[left]] = data.new.y[left][data.vouched[left]]
    given = data.given.take(labelled)
    told = np.concatenate([known, data.answered.y[labelled]])
    return left, Rows.concat([data.new.take(left), given]), told, np.arange(len(told)) >= len(left)


def doubts(said: Judgement, trial: Trial, left: Ints, data: Data) -> list[dict[str, Any]]:
    """Requests about rows whose labels hold the candidate; ``left`` are the positions of the buffer's first rows."""
    name = LabelsAgainstLastKnownGood.name
    if trial.buffer is None or not any(c.name == name and not c.passed and c.failing == "holds" for c in said.checks):
        return []
    places = np.arange(len(trial.buffer)).astype(np.str_)
    return [
        request(data.new, data.new_about, int(left[int(place)]), why)
        for place, why in contradicted(trial, places)
        if int(place) < len(left)
    ]
