"""Exactly what a candidate was trained on, beside the buffer that the registry keeps: so that it can be made again.

The buffer (`rollback.retraining.out.LEARNED`) holds the rows in order. `training.npz` in the bundle holds what a table
cannot: weights, which rows were one session, and the counterexamples. The digest of all that is in the lineage.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from detectors.batch import Bools, Floats, Ints, Strings
from rollback.archive import read_archive
from rollback.sanitise.rows import Rows

TRAINING: Final = "training.npz"
_COLUMNS: Final = ("weight", "trusted", "session", "names", "more_x", "more_y", "more_source")


class TrainingInputError(Exception):
    """What a version was trained on cannot be put together again; the message says what is missing or differs."""


def pack(learned: Rows, weight: Floats, more: Rows | None, trusted: Bools) -> bytes:
    """The archive: session, ``weight`` and ``trusted`` of ``learned`` [n] rows, and the counterexamples ``more``."""
    extra = learned.take(slice(0, 0)) if more is None else more
    names, session = np.unique(np.concatenate([learned.session, extra.session]), return_inverse=True)
    arrays = {
        "weight": weight,
        "trusted": trusted,
        "session": session.astype(np.int64),
        "names": _bytes(names),
        "more_x": extra.x,
        "more_y": extra.y,
        "more_source": _bytes(extra.source),
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(content: bytes, learned: Rows) -> tuple[Rows, Floats, Bools]:
    """The rows of the training [n + m], their weights and which are trusted, given those of the buffer.

    Raises `TrainingInputError`.
    """
    try:
        found = read_archive(content, _COLUMNS)
    except ValueError as error:
        raise TrainingInputError(f"{TRAINING}: {error}") from error
    n, weight, codes = len(learned), found["weight"], found["session"]
    if len(weight) != n or len(found["trusted"]) != n or len(codes) != n + len(found["more_y"]):
        raise TrainingInputError(f"{TRAINING}: is of {len(weight)} rows, the kept training buffer has {n}")
    session = _strings(found["names"])[codes]
    whole = replace(learned, session=session[:n])
    more = replace(
        learned.take(slice(0, 0)),
        x=found["more_x"].astype(np.float64),
        y=found["more_y"].astype(np.int64),
        source=_strings(found["more_source"]),
        session=session[n:],
    )
    both = Rows.concat([whole, more]) if len(more) else whole
    trusted = np.concatenate([found["trusted"].astype(np.bool_), np.zeros(len(more), np.bool_)])
    return both, np.concatenate([weight, np.ones(len(more))]), trusted


def with_more(rows: Rows, weight: Floats, more: Rows | None) -> tuple[Rows, Floats]:
    """Rows and weights with the counterexamples behind, which weigh 1."""
    if more is None:
        return rows, weight
    return Rows.concat([rows, more]), np.concatenate([weight, np.ones(len(more))])


def input_digest(rows: Rows, weight: Floats) -> str:
    """SHA-256 of all that a training is given, in its order; -0.0 is 0.0, as in a table."""
    digest = hashlib.sha256()
    codes: Ints = np.unique(rows.session, return_inverse=True)[1].astype("<i8")
    for array in (rows.x.astype("<f8") + 0.0, rows.y.astype("<i8"), codes, weight.astype("<f8")):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def rows_digest(rows: Rows) -> str:
    """SHA-256 of rows as they are coded, with their sources; the order counts."""
    digest = hashlib.sha256()
    for array in (rows.x.astype("<f8") + 0.0, rows.y.astype("<i8")):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(msgspec.json.encode(rows.source.tolist()))
    return digest.hexdigest()


def _bytes(texts: Strings) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(msgspec.json.encode(texts.tolist()), dtype=np.uint8)


def _strings(content: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Strings:
    try:
        return np.array(msgspec.json.decode(content.tobytes(), type=list[str]), dtype=np.str_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrainingInputError(f"{TRAINING}: its names cannot be read: {error}") from error
