"""Rows with the answers that a version gives to them: who answers otherwise does not serve this version.

Canaries lie in the bundle, signed like everything in it. They are no secret: they catch a server that is wrong about
what it serves, not one whose owner answers them from the file on purpose.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Columns, Floats, Scorer
from detectors.schema import Schema
from rollback.archive import read_archive

TOLERANCE: Final = 1e-5
"""How far a score may be off: another build, another processor or another number of threads adds numbers in another
order, and another library may compute in float64. Measured by `bench/canaries.py` on seed 0, three data sets and five
families of models: an honest server was off by 1.2e-6 at most, a model rounded to float16 by 8e-5 at least; this is the
geometric mean of the two."""


@dataclass(frozen=True, slots=True)
class Canaries(Columns):
    """x[n,d] in the terms of ``schema`` (codes, UNSEEN, NaN missing) and the version's scores[n,k].

    ``confused_with`` names versions that answer every one of these rows alike (see `rollback.reload.rehearsal`).
    """

    schema: Schema
    x: Floats
    scores: Floats
    confused_with: tuple[str, ...] = ()

    def to_npz(self) -> bytes:
        """The arrays as an uncompressed `.npz` archive; the same rows give the same bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, x=self.x, scores=self.scores)
        return buffer.getvalue()

    @classmethod
    def from_npz(cls, content: bytes, schema: Schema) -> Canaries:
        """Inverse of `to_npz`; raises `ValueError` for anything else, and for what does not fit ``schema``."""
        columns = read_archive(content, ("x", "scores"))
        x, scores = columns["x"], columns["scores"]
        kinds = f"{x.dtype.kind}{scores.dtype.kind}"
        rows = x.shape[:1]
        wanted = ((*rows, len(schema.features)), (*rows, len(schema.classes)))
        if kinds != "ff" or not x.size or (x.shape, scores.shape) != wanted:
            raise ValueError(
                f"rows of shape {x.shape} with scores of shape {scores.shape} are no canaries of "
                f"{len(schema.features)} features and {len(schema.classes)} classes"
            )
        if np.isinf(x).any() or not np.isfinite(scores).all():
            raise ValueError("a value is infinite, or a score is no number")
        return cls(schema, x.astype(np.float64), scores.astype(np.float64))


def agreement(expected: Floats, answers: Floats, tolerance: float = TOLERANCE) -> float:
    """The share of rows on which all of ``answers``[n,k] are within ``tolerance`` of ``expected``[n,k]; 0.0 for none.

    Raises `ValueError` where the shapes differ. What is no number agrees with nothing.

    >>> agreement(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.900001, 0.099999], [0.6, 0.4]]))
    0.5
    """
    if expected.shape != answers.shape:
        raise ValueError(f"expected are scores of shape {expected.shape}, these are of shape {answers.shape}")
    if not len(expected):
        return 0.0
    return float(np.mean(np.all(np.abs(expected - answers) <= tolerance, axis=1)))


def told_apart(canaries: Canaries, other: Scorer, tolerance: float = TOLERANCE) -> float:
    """The share of canaries that ``other`` (in their terms) answers differently: at 0.0 they cannot tell the two apart.

    For another version's scorer in these terms see `rollback.translate.scorer_in_terms_of`.
    """
    return 1.0 - agreement(canaries.scores, other(canaries.x), tolerance)
