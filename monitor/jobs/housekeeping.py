"""Removes from ``state_dir`` what is over: weights, logs and leftovers of old retrainings.

What a retraining removed and why, what it asked, how its candidate was judged, and which candidate it made stay for
good (`attempt.json`, `candidate.json`, `gate.json`, `incident.json`, `removed.parquet`, `vetting.ndjson`): they are
small, and a restart that asks for the same retraining finds its result. Everything else below ``state_dir`` belongs to
somebody else and is not looked at. Only plain files with the names that a retraining gives are removed, from folders
that are recognised by name and content; links are never followed.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from monitor.response import RETRAININGS
from monitor.watching.schedule_metrics import ScheduleMetrics
from rollback.retraining.out import ATTEMPT, RETAINED
from rollback.train.child import LOG

log = structlog.get_logger()

DAY: Final = 86_400.0
LOCK: Final = ".lock"
FOLDER: Final = re.compile(r"[0-9a-f]{16}")
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Housekeeping:
    """``clock`` gives seconds since the epoch; a retraining is over ``keep_days`` after its newest file."""

    def __init__(self, state_dir: Path, keep_days: float, metrics: ScheduleMetrics, clock: Callable[[], float]) -> None:
        self._folder = state_dir / RETRAININGS
        self._keep_seconds = keep_days * DAY
        self._metrics = metrics
        self._clock = clock

    def __call__(self) -> None:
        """Remove what is over. Raises `OSError` after everything that can be removed is."""
        failed: list[OSError] = []
        freed = 0
        with _opened(self._folder) as parent:
            for name in [] if parent is None else _names(parent):
                try:
                    freed += clear(parent, name, self._clock() - self._keep_seconds)
                except OSError as error:
                    failed.append(error)
        self._metrics.freed(freed)
        if freed:
            log.info("housekeeping", folder=str(self._folder), freed_bytes=freed)
        if failed:
            raise failed[0]


def clear(parent: int | None, name: str, before: float) -> int:
    """Clear one retraining whose newest file is older than ``before`` (seconds since the epoch); the bytes freed.

    ``parent`` is the open folder that it lies in.
    """
    if not FOLDER.fullmatch(name):
        return 0
    with _opened(name, parent) as folder:
        if folder is None:
            return 0
        found = {entry: os.stat(entry, dir_fd=folder, follow_symlinks=False) for entry in _names(folder)}
        newest = max((each.st_mtime for each in found.values()), default=before)
        if ATTEMPT not in found or newest >= before:
            return 0
        with _nobody_works_in(folder) as free:
            plain = {entry: each for entry, each in found.items() if stat.S_ISREG(each.st_mode) and is_over(entry)}
            return sum(_remove(folder, entry, each) for entry, each in plain.items()) if free else 0


def is_over(name: str) -> bool:
    """Whether a file of a finished retraining is of no more use: its weights, its log, and what a crash left.

    >>> [name for name in (".lock", ".part.removed.parquet", "gate.json", "retained.parquet") if is_over(name)]
    ['.part.removed.parquet', 'retained.parquet']
    """
    return name in {RETAINED, LOG} or (name.startswith(".") and name != LOCK)


@contextmanager
def _nobody_works_in(folder: int) -> Iterator[bool]:
    """Keep others out of a retraining's folder; False where somebody works in it."""
    try:
        lock = os.open(LOCK, _PLAIN, dir_fd=folder)
    except FileNotFoundError:  # whoever works there makes it first
        yield True
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(lock)


def _remove(folder: int, name: str, found: os.stat_result) -> int:
    os.unlink(name, dir_fd=folder)
    return found.st_size


@contextmanager
def _opened(folder: str | Path, parent: int | None = None) -> Iterator[int | None]:
    """A folder that is one itself; None where there is none, or a file or a link in its place."""
    try:
        opened = os.open(folder, _PLAIN | os.O_DIRECTORY, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        yield opened
    finally:
        os.close(opened)


def _names(folder: int) -> list[str]:
    return sorted(os.listdir(folder))
