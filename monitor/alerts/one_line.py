"""Text that stays on one line and within its field, for formats that are not JSON; and a line of bounded length."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from monitor.alerts.fit import ELLIPSIS, TooLongError

LEAST_VALUE: Final = 64
"""Bytes of a value below which its field is rather left out."""
FIRST_AND_MARK: Final = 2
"""Parts that stay however little room there is."""


class Part(NamedTuple):
    """A field as it is sent: ``lead`` is all that stands before the ``value``, such as ``cat=``."""

    lead: str
    value: str


def visible(text: str) -> str:
    r"""The text with every character written out that is not seen: controls, marks of direction, line separators.

    >>> visible("a\nb\u202ec")
    'a<U+000A>b<U+202E>c'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else f"<U+{ord(c):04X}>" for c in text)


def shortened(text: str, longest: int) -> str:
    """At most so many bytes of UTF-8; what is cut ends in dots.

    >>> shortened("long enough", 9)
    'long e...'
    """
    coded = text.encode(errors="replace")
    if len(coded) <= longest:
        return text
    return coded[: longest - len(ELLIPSIS)].decode(errors="ignore") + ELLIPSIS


def listed(values: object) -> str:
    """A list or mapping as JSON, whose names nobody can break out of; nothing where it is empty."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False) if values else ""


def milliseconds(seconds: float) -> str:
    """Since the epoch."""
    return str(round(seconds * 1000))


@dataclass(frozen=True, slots=True)
class Line:
    """How a format writes a line: ``separator`` between parts, how a value is ``cut``, the ``mark`` of one that was."""

    separator: str
    mark: Part
    cut: Callable[[str, int], str] = shortened


def fitted(head: str, parts: Sequence[Part], line: Line, limit: int) -> bytes:
    """``head`` and its ``parts``, the most needed first, in at most ``limit`` bytes.

    From the last part on, values are cut to `LEAST_VALUE` bytes at the least, and then parts are left out; the first
    one is never touched. `TooLongError` where even that is too little.

    >>> parts = [Part("id=", "7"), Part("msg=", "y" * 99)]
    >>> fitted("x|", parts, Line(" ", Part("cut=", "yes")), 90)[:20]
    b'x|id=7 cut=yes msg=y'
    """
    if len(whole := _written(head, parts, line)) <= limit:
        return whole
    kept = [parts[0], line.mark, *parts[1:]]
    for i in range(len(kept) - 1, 1, -1):
        over = len(_written(head, kept, line)) - limit
        if over <= 0:
            break
        lead, value = kept[i]
        kept[i] = Part(lead, line.cut(value, max(len(value.encode()) - over, LEAST_VALUE)))
    while len(short := _written(head, kept, line)) > limit:
        if len(kept) == FIRST_AND_MARK:
            raise TooLongError(f"the alert needs {len(short)} bytes, {limit} are allowed: raise max_message_bytes")
        kept.pop()
    return short


def _written(head: str, parts: Sequence[Part], line: Line) -> bytes:
    return (head + line.separator.join(lead + value for lead, value in parts)).encode()
