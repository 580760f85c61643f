"""Rows of a Parquet file as events in JSON, so that every source delivers the same."""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from monitor.sources.source import PermanentSourceError

FIELDS = ("id", "ts", "model", "version", "scores", "source", "session", "ref", "label", "origin")
"""Columns that become the event's field of that name; ``features`` may be a list or a struct."""
ROWS = 8192


def parquet_lines(path: Path) -> Iterator[bytes]:
    """One JSON event a row. Raises `PermanentSourceError` where the file cannot be read.

    Columns named like an event's fields become those fields; a null there means that the field is absent. All other
    columns are features, by their name (null = missing), unless there is a column ``features``. A timestamp column
    without a time zone is taken as UTC.
    """
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise PermanentSourceError(f"{path}: reading Parquet needs pyarrow: pip install 'tocsin[data]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            # one thread: the pool's threads may abort the process when an error ends it
            for batch in file.iter_batches(ROWS, use_threads=False):
                for row in batch.to_pylist():
                    yield msgspec.json.encode(event(row))
    except OSError as error:
        raise PermanentSourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (arrow.ArrowException, TypeError, ValueError) as error:
        raise PermanentSourceError(f"{path}: is no Parquet file of events: {error}") from error


def event(row: Mapping[str, Any]) -> dict[str, Any]:
    """An event from the cells of a row.

    >>> event({"id": "a", "ts": 1.0, "ref": None, "bytes": 7, "proto": None})
    {'id': 'a', 'ts': 1.0, 'features': {'bytes': 7, 'proto': None}}
    """
    fields = {name: plain(row[name]) for name in FIELDS if row.get(name) is not None}
    features = row.get("features")
    if features is None:
        features = {name: plain(value) for name, value in row.items() if name not in FIELDS and name != "features"}
    return {**fields, "features": features} if features else fields


def plain(value: Any) -> Any:
    """A cell as JSON has it: a time as seconds since the epoch, a decimal as a number."""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    return float(value) if isinstance(value, Decimal) else value
