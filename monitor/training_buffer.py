"""The training buffer of a version: where it lies, and its rows in the terms of a schema, scored by both models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np
import structlog

from detectors.batch import Buffer, Floats, Ints, Scorer, Strings
from monitor.settings.config_sections import ModelConfig
from rollback.bundle import Bundle, IntegrityError
from rollback.registry.registry import Buffer as BufferFile
from rollback.registry.registry import Registry, RegistryError
from rollback.retraining.data import row_ids
from rollback.tables.table import Table, TableError, encode, read_table

log = structlog.get_logger()

MOST_ROWS: Final = 100_000
"""Of a larger buffer as many rows are looked at, drawn at random without regard to what they hold."""
_BLOCK: Final = 8192

FindBuffer = Callable[[str], BufferFile | None]
"""Version -> where its training buffer lies; raises `RegistryError` or `IntegrityError`."""


def training_buffer(model: ModelConfig, registry: Registry) -> FindBuffer:
    """Finds a version's training buffer: what the registry keeps, else the file that the configuration names."""

    def find(version: str) -> BufferFile | None:
        kept = registry.buffer(version)
        path = model.buffer_of(version)
        if kept is not None or path is None or not path.exists():
            return kept
        return BufferFile(path, model.retrain.label, model.retrain.source, model.retrain.session)

    return find


def no_buffer(version: str) -> BufferFile | None:  # noqa: ARG001 - the seam's signature
    """No version has one."""
    return None


def find_rows(find: FindBuffer, watched: Bundle, score_f: Scorer, score_g: Scorer, notes: list[str]) -> Buffer | None:
    """The rows of the watched version's buffer; None where there is none. What cannot be read is a note, never fatal.

    ``score_f`` and ``score_g`` score rows as the watched version's schema codes them.
    """
    version = watched.manifest.version
    try:
        file = find(version)
        return None if file is None else read_rows(file, watched, score_f, score_g, notes)
    except (RegistryError, IntegrityError, TableError, OSError, ValueError) as error:
        log.warning("a training buffer cannot be looked into", version=version, reason=str(error))
        notes.append(f"the training buffer of version {version} cannot be looked into: {error}")
        return None


def read_rows(file: BufferFile, watched: Bundle, score_f: Scorer, score_g: Scorer, notes: list[str]) -> Buffer:
    """The rows of a file. Raises `TableError` and `OSError`.

    A label that is none of the classes is -1. A column ``id``, ``origin``, ``source`` or ``session`` that is no feature
    is what its name says, unless the file's own settings name another.
    """
    schema = watched.schema
    spare = {name for name in ("id", "source", "session", "origin") if name not in schema.names}
    named = {"source": file.source, "session": file.session}
    table = read_table(file.path, text=[*spare, *(n for n in named.values() if n and n not in schema.names)])
    taken = [*schema.names, file.label, *(n for n in named.values() if n)]
    rows, ids = _drawn(table, file, notes), row_ids(table, taken)
    x = encode(table, watched.manifest.features)[rows]
    y = _labels(table.strings(file.label), schema.classes)[rows]
    texts = {
        name: _texts(table, named.get(name) or (name if name in spare else None))[rows]
        for name in ("source", "session", "origin")
    }
    f, g = _scores(score_f, x), _scores(score_g, x)
    session = _sessions(texts["source"], texts["session"], rows)
    buffer = Buffer(ids[rows], x, y, texts["source"], session, texts["origin"], f, g)
    scored = np.asarray(~(np.isnan(f).any(axis=1) | np.isnan(g).any(axis=1)), np.bool_)
    if not scored.all():
        notes.append(f"{np.count_nonzero(~scored)} rows of the training buffer cannot be scored and are left out")
    return buffer if scored.all() else buffer.take(scored)


def _drawn(table: Table, file: BufferFile, notes: list[str]) -> Ints:
    """All rows, or a draw that only the whole file decides: whoever wrote a row cannot choose to be left out."""
    if len(table) <= MOST_ROWS:
        return np.arange(len(table))
    with file.path.open("rb") as content:
        seed = int.from_bytes(hashlib.file_digest(content, "sha256").digest()[:16], "big")
    notes.append(f"of {len(table)} rows of the training buffer {MOST_ROWS} were looked at, drawn at random")
    return np.sort(np.random.default_rng(seed).choice(len(table), MOST_ROWS, replace=False))


def _labels(names: Strings, classes: tuple[str, ...]) -> Ints:
    code = {name: i for i, name in enumerate(classes)}
    found, inverse = np.unique(names, return_inverse=True)
    return np.array([code.get(name, -1) for name in found.tolist()], np.int64)[inverse]


def _texts(table: Table, column: str | None) -> Strings:
    if column is None or column not in table.columns:
        return np.full(len(table), "-", dtype=np.str_)
    texts = table.strings(column)
    return np.where(texts == "", "-", texts).astype(np.str_)


def _sessions(source: Strings, session: Strings, rows: Ints) -> Strings:
    """A session is one of its source; a row without one is a session of its own."""
    own = np.char.add("row-", rows.astype(np.str_))
    return np.where(session == "-", own, np.char.add(np.char.add(source, "/"), session))


def _scores(score: Scorer, x: Floats) -> Floats:
    blocks = [score(x[start : start + _BLOCK]) for start in range(0, max(len(x), 1), _BLOCK)]
    return np.concatenate(blocks)
