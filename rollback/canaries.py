"""Rows with the answers that a version gives to them: who answers otherwise does not serve this version.

Canaries lie in the bundle, signed like everything in it. They are no secret: they catch a server that is wrong about
what it serves, not one whose owner answers them from the file on purpose.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.batch import Columns, Floats, Ints, Scorer
from detectors.schema import Schema
from rollback.reference import ReferenceRows

TOLERANCE: Final = 1e-4
"""How far a score may be off: another build of ONNX Runtime, or another processor, adds float32 numbers in another
order. For a small network another library's float32 was measured to be off by 1.4e-7, float64 by 7e-7."""
ROWS: Final = 32
"""So many rows of the reference, and as many mixed ones."""
DRAWN: Final = 8
"""So many rows are drawn for each that is kept."""


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
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                x, scores = archive["x"], archive["scores"]
        except (KeyError, OSError, EOFError) as error:
            raise ValueError(f"no archive of the columns x, scores: {error}") from error
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


def choose(reference: ReferenceRows, schema: Schema, scorer: Scorer, seed: int = 0) -> Canaries:
    """32 rows of the reference, and 32 mixed ones: half of a row's values are those of another row.

    Mixed rows lie where no training data is, so that versions which were trained from different data go different
    ways. Rows of which the version is certain tell little (every version says 0 or 1): of 256 drawn rows (those of the
    reference evenly over the classes) the 32 with the highest sum of p(1 - p) over the classes are kept. The same
    arguments give the same rows. Raises `ValueError` for a reference without rows.
    """
    if not len(reference):
        raise ValueError("a reference without rows has no canaries")
    rng = np.random.default_rng(seed)
    drawn = reference.x[_over_classes(reference.y, DRAWN * ROWS, rng)]
    plain = drawn[_least_certain(scorer(drawn), ROWS)]
    mixed = _mixed(reference.x, DRAWN * ROWS, rng)
    x = np.concatenate([plain, mixed[_least_certain(scorer(mixed), ROWS)]])
    return Canaries(schema, x, scorer(x))


def agreement(expected: Floats, answers: Floats, tolerance: float = TOLERANCE) -> float:
    """The share of rows on which all of ``answers``[n,k] are within ``tolerance`` of ``expected``[n,k]; 0.0 for none.

    Raises `ValueError` where the shapes differ. What is no number agrees with nothing.

    >>> agreement(np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.90001, 0.09999], [0.6, 0.4]]))
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


def _over_classes(y: Ints, count: int, rng: np.random.Generator) -> Ints:
    """At most ``count`` rows in random order, each class in turn as long as it has rows."""
    order = rng.permutation(len(y))
    turn = np.zeros(len(y), dtype=np.int64)
    for name in np.unique(y):
        own = y[order] == name
        turn[own] = np.arange(np.count_nonzero(own))
    return np.asarray(order[np.argsort(turn, kind="stable")[:count]], dtype=np.int64)


def _mixed(x: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Random rows in which every value is, at one odds to one, that of another random row."""
    base, other = rng.integers(len(x), size=(2, count))
    swapped = rng.random((count, x.shape[1])) < 0.5  # noqa: PLR2004 - one odds to one
    return np.asarray(np.where(swapped, x[other], x[base]), dtype=np.float64)


def _least_certain(scores: Floats, count: int) -> Ints:
    """Positions of the rows whose scores are farthest from 0 and 1."""
    spread = np.sum(scores * (1.0 - scores), axis=1)
    return np.asarray(np.argsort(-spread, kind="stable")[:count], dtype=np.int64)
