"""What a command shows: its result on stdout, its progress on stderr (a terminal's only)."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from time import monotonic
from typing import Any, Self, TextIO

SILENT_SECONDS = 2.0
"""What takes less shows no progress."""
REDRAW_SECONDS = 0.2
LINE = 100
"""Nested values are shown in one line up to so many characters."""


def show(result: Any, *, as_json: bool, text: str | None = None, stream: TextIO | None = None) -> None:
    """Print ``result`` (mappings, sequences, scalars): as one JSON document, or as ``text`` (by default, tabulated)."""
    out = stream or sys.stdout
    if as_json:
        print(json.dumps(result, indent=2, default=str), file=out)
    else:
        print(_as_text(result) if text is None else text, file=out)


def _as_text(result: Any) -> str:
    if isinstance(result, Mapping):
        width = max((len(str(key)) for key in result), default=0)
        return "\n".join(_entry(f"{key:<{width}}", value) for key, value in result.items())
    if isinstance(result, Sequence) and not isinstance(result, str) and result and isinstance(result[0], Mapping):
        return table(result)
    if isinstance(result, Sequence) and not isinstance(result, str):
        return "\n".join(_cell(item) for item in result)
    return _cell(result)


def _entry(key: str, value: Any) -> str:
    """One line, or where that would be too long for nested values, their own lines below."""
    cell = _cell(value)
    nested = isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping))
    if nested and len(cell) > LINE:
        return f"{key.rstrip()}\n{textwrap.indent(_as_text(value), '  ')}"
    return f"{key}  {cell}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys, under a heading.

    >>> print(table([{"version": "1", "serving": True}, {"version": "10", "serving": None}]))
    version  serving
    1        yes
    10       -
    """
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items()) or "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Progress:
    """One line that is redrawn on a terminal, for what takes longer than two seconds; nothing elsewhere.

    Use as a context manager and call `update` as often as you like; the line is gone at the end.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._started = self._drawn = clock()
        self._done = 0
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            self._draw("")

    def update(self, done: int, note: str = "", total: int | None = None) -> None:
        """``done`` of the total is done; ``note`` is shown behind it. A ``total`` that is known only now is kept."""
        now = self._clock()
        self._total = self._total if total is None else total
        self._done = done
        if not self._stream.isatty() or now - self._started < SILENT_SECONDS or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn = now
        self._draw(" ".join(part for part in (self._what, self._amount(now), note) if part))

    def _amount(self, now: float) -> str:
        rate = self._done / (now - self._started)
        if not self._total:
            return f"{self._done:,} ({rate:,.0f}/s)"
        left = (self._total - self._done) / rate if rate else float("inf")
        return f"{self._done / self._total:.0%} ({rate:,.0f}/s, {left:,.0f} s left)"

    def _draw(self, line: str) -> None:
        self._stream.write("\r" + line.ljust(self._width) + ("" if line else "\r"))
        self._stream.flush()
        self._width = max(self._width, len(line))


class TimeLeft:
    """How long a step still takes, from the share of it that is done. Steps are told apart by their names."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._step = ""
        self._started = 0.0

    def note(self, step: str, share: float) -> str:
        """The step with the share that is done, and the seconds left where they can be known.

        >>> times = iter([10.0, 14.0])
        >>> left = TimeLeft(lambda: next(times))
        >>> left.note("mining", 0.0), left.note("mining", 0.25)
        ('mining 0%', 'mining 25%, 12 s left')
        """
        now = self._clock()
        if step != self._step:
            self._step, self._started = step, now
        told = f"{step} {share:.0%}"
        if not 0 < share < 1 or now == self._started:
            return told
        return f"{told}, {(now - self._started) * (1 - share) / share:,.0f} s left"


class Busy:
    """For a step that cannot be counted: one line on a terminal with the seconds it has taken, from two on."""

    def __init__(self, what: str, *, stream: TextIO | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._what = what
        self._stream = stream or sys.stderr
        self._clock = clock
        self._over = Event()
        self._thread = Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _tick(self) -> None:
        started, width = self._clock(), 0
        while not self._over.wait(REDRAW_SECONDS):
            seconds = self._clock() - started
            if seconds >= SILENT_SECONDS:
                line = f"{self._what} ({seconds:.0f} s)"
                width = len(line)
                self._stream.write("\r" + line)
                self._stream.flush()
        if width:
            self._stream.write("\r" + " " * width + "\r")
            self._stream.flush()
