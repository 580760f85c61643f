"""What one sink was told of each incident, and what is held back for it: a small database beside its spool."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

FILE: Final = "ledger.sqlite"
FORGOTTEN_SECONDS: Final = 90 * 86_400.0
"""An incident of which nothing was heard for so long is over, whatever was said about it last."""
MOST_DUE: Final = 100

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS incidents (
    uid TEXT PRIMARY KEY, told_at REAL, face TEXT NOT NULL, held BLOB, due REAL, weight INTEGER NOT NULL,
    folded INTEGER NOT NULL, heard_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due ON incidents (due) WHERE due IS NOT NULL;
"""
_COLUMNS: Final = "uid, told_at, face, held, due, weight, folded"


@dataclass(frozen=True, slots=True)
class Row:
    """An incident as its sink knows it. Times are seconds since the epoch.

    ``told_at``: when it was last told (None: never), and ``face`` what it looked like then. ``held`` is the newest
    message that waits until ``due``; it stands for ``weight`` windows, those that it replaced for ``folded``.
    """

    uid: str
    told_at: float | None = None
    face: str = ""
    held: bytes | None = None
    due: float | None = None
    weight: int = 0
    folded: int = 0


def open_ledger(path: Path, now: float) -> Ledger:
    """The ledger in a file; one that is damaged is put aside, and costs updates that come too soon or too often."""
    try:
        return Ledger(path, now)
    except sqlite3.DatabaseError as error:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        log.warning("what a sink was told is not known any more", reason=str(error), moved_to=str(aside))
        return Ledger(path, now)


class Ledger:
    """Rows by uid, on the disk when `write` returns. ``now`` is seconds since the epoch. Used by one thread at a time.

    Raises `sqlite3.Error` where the disk does not take it.
    """

    def __init__(self, path: Path, now: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript(_TABLE)
        with self._database:
            self._database.execute(
                "DELETE FROM incidents WHERE heard_at < ? AND held IS NULL", (now - FORGOTTEN_SECONDS,)
            )

    def get(self, uid: str) -> Row | None:
        """What is known of an incident."""
        found = self._database.execute(f"SELECT {_COLUMNS} FROM incidents WHERE uid = ?", (uid,)).fetchone()  # noqa: S608 - constants
        return None if found is None else Row(*found)

    def due(self, now: float) -> list[Row]:
        """Rows that were held back until now, the longest waiting first.

        One that was written after ``now`` is due: the clock was put back, and its time may never come.
        """
        late = "due IS NOT NULL AND (due <= ? OR heard_at > ?)"
        query = f"SELECT {_COLUMNS} FROM incidents WHERE {late} ORDER BY due, uid LIMIT {MOST_DUE}"  # noqa: S608 - constants
        return [Row(*found) for found in self._database.execute(query, (now, now))]

    def uids(self) -> list[str]:
        """The incidents that are known."""
        return [uid for (uid,) in self._database.execute("SELECT uid FROM incidents")]

    def held(self) -> int:
        """How many messages are held back."""
        return int(self._database.execute("SELECT count(*) FROM incidents WHERE due IS NOT NULL").fetchone()[0])

    def write(self, rows: Iterable[Row], gone: Iterable[str], now: float) -> None:
        """Keep ``rows``, and forget the incidents ``gone``, all or nothing."""
        with self._database:
            self._database.executemany("DELETE FROM incidents WHERE uid = ?", [(uid,) for uid in gone])
            self._database.executemany(
                f"INSERT OR REPLACE INTO incidents ({_COLUMNS}, heard_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constants
                [(r.uid, r.told_at, r.face, r.held, r.due, r.weight, r.folded, now) for r in rows],
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
