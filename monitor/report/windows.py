"""The judged windows as a report needs them: every one of the model around the incident, and the newest findings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from monitor.window_lines import DetectorLine, WindowLine

BEFORE: Final = 24
"""Windows of the model that are kept from before the incident, to compare with."""
AFTER: Final = 8
"""And from after its last message."""


_WINDOW: Final = msgspec.json.Decoder(WindowLine)


@dataclass(frozen=True, slots=True)
class Around:
    """``windows`` of the model around the incident by time, ``own`` those of the incident, ``bad`` unreadable lines."""

    windows: tuple[WindowLine, ...] = ()
    own: tuple[WindowLine, ...] = ()
    bad: tuple[int, ...] = ()
    known: Mapping[str, DetectorLine] = field(default_factory=dict)

    def facts(self, detector: str) -> Mapping[str, Any]:
        """What this detector last found out about the incident."""
        found = self.known.get(detector)
        return {} if found is None else found.facts


def read_around(path: Path, model: str, uid: str) -> Around:
    """Read them in one pass; a last line that is being written is not there yet. Raises `OSError`."""
    bad: list[int] = []
    return around((line for line in _lines(path, bad) if line.model == model), uid, bad)


def around(lines: Iterable[WindowLine], uid: str, bad: Iterable[int] = ()) -> Around:
    """Pick them from all of the model's.

    >>> lines = [WindowLine("nids", "1", i, at=i, incident="u" if i == 30 else None) for i in range(60)]
    >>> found = around(lines, "u")
    >>> [w.index for w in found.windows][:2], len(found.windows), [w.index for w in found.own]
    ([6, 7], 33, [30])
    """
    before: deque[WindowLine] = deque(maxlen=BEFORE)
    since: list[WindowLine] = []
    own: list[WindowLine] = []
    last = 0
    for line in lines:
        if line.incident == uid:
            own.append(line)
        if not own:
            before.append(line)
            continue
        since.append(line)
        last = len(since) if line.incident == uid else last
        if len(since) > last + BEFORE:  # it may be seen again, but what lies between need not all be kept
            del since[last + AFTER : -1]
    shown = sorted([*before, *since[: last + AFTER]], key=lambda w: w.at)
    return Around(tuple(shown), tuple(own), tuple(bad), _newest(own))


def _newest(own: Iterable[WindowLine]) -> dict[str, DetectorLine]:
    """Of each detector the newest part with findings: a later window may have had no events."""
    found: dict[str, DetectorLine] = {}
    for window in own:
        for name, part in window.detectors.items():
            if part.facts or name not in found:
                found[name] = part
    return found


def _lines(path: Path, bad: list[int]) -> Iterator[WindowLine]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _WINDOW.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                bad.append(number)


def share(value: Any) -> float | None:
    """A share as a number from 0 to 1, None for whatever else was written.

    >>> share(0.25), share("0.25"), share(float("nan")), share(10**400), share(True)
    (0.25, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0.0 <= value <= 1.0 else None
