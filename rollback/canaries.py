"""Rows with the answers that a version gives to them: who answers otherwise does not serve this version."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.batch import Columns, Floats


@dataclass(frozen=True, slots=True)
class Canaries(Columns):
    """x[n,d] (codes, UNSEEN, NaN missing) and the version's scores[n,k]."""

    x: Floats
    scores: Floats
