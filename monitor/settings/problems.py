"""A configuration that cannot be used: every problem with its field path, in one exception."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong where. ``field`` is a dotted path (`models.nids.window_events`), "" for the file as a whole."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` holds all of them; ``path`` is the file, None without one."""

    def __init__(self, path: Path | None, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        where = "configuration" if path is None else str(path)
        super().__init__("\n".join(f"{where}: {problem}" for problem in self.problems))


def unknown(key: str, valid: Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest one that does.

    >>> unknown("windowevents", ["window_events", "buffer"])
    'unknown; did you mean window_events?'
    >>> unknown("xyz", ["window_events", "buffer"])
    'unknown; valid here: buffer, window_events'
    """
    names = sorted(valid)
    near = difflib.get_close_matches(key.lower(), names, n=1)
    return f"unknown; did you mean {near[0]}?" if near else f"unknown; valid here: {', '.join(names) or 'nothing'}"
