"""Rows of the benign class that a person has only confirmed, as later retrainings know them: by digest, in the bundle.

They are trained on, and nothing is screened by them: rows of a clean-label attack have the right label, and in the next
trusted base would vouch for all others with the trigger. So a candidate names them, and so does every one after it.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from detectors.batch import Bools
from detectors.schema import Schema
from rollback.bundle import Bundle, IntegrityError
from rollback.reference import ReferenceRows
from rollback.retraining.about import content_digests
from rollback.sanitise.rows import Rows

CONFIRMED: Final = "confirmed.json"
_DIGESTS: Final = msgspec.json.Decoder(frozenset[str])


def confirmed_of(version: Bundle) -> frozenset[str]:
    """The digests (`content_digests`) of a version's confirmed rows; none where it names none.

    Raises `IntegrityError` for what is no list of digests.
    """
    if CONFIRMED not in version.files:
        return frozenset()
    try:
        return _DIGESTS.decode(version.files[CONFIRMED])
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{version.where(CONFIRMED)}: {error}") from error


def carried(rows: ReferenceRows, schema: Schema, known: frozenset[str]) -> Bools:
    """Which rows are among the ``known`` ones: those of the same values, label and source, and so all their copies."""
    if not known:
        return np.zeros(len(rows), np.bool_)
    return np.asarray(np.isin(content_digests(rows, schema), sorted(known)), np.bool_)


def confirmed_file(base: Rows, unproven: Bools | None) -> dict[str, bytes]:
    """The bundle's file for a base of which the ``unproven`` rows are confirmed ones; no file where there are none."""
    if unproven is None or not unproven.any():
        return {}
    rows = base.take(unproven)
    digests = content_digests(ReferenceRows(rows.x, rows.y, rows.source, rows.session), rows.schema)
    return {CONFIRMED: msgspec.json.encode(sorted(set(digests.tolist())))}
