"""What may have been written by an attacker, as a page or a terminal can show it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from monitor.incidents.explain import printable

MOST: Final = 1500
"""Characters of one value that are shown; what is longer was made to be in the way."""
MOST_IN_PICTURE: Final = 36
MOST_NAMED: Final = 20
"""Of a list of sources and the like; how many more there are is said."""
MOST_OF_NAME: Final = 200
"""Characters of a name where several stand in a row."""
LEAST: Final = 0.001
"""Shares that are closer to nothing or to all are not rounded to that."""
EARLIEST: Final = 1e8
"""Seconds since the epoch; a clock that shows less was not set."""


def shown(value: Any, most: int = MOST) -> str:
    r"""Any value as one line of printable text.

    >>> shown("a\x1b[31m"), shown(0.25), shown(None), shown("abcdef", 4)
    ('a\\x1b[31m', '0.25', '-', 'abc…')
    """
    if value is None or value == "":
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)[: most + 1]
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def drawn(text: str, most: int = MOST_IN_PICTURE) -> str:
    r"""Short and in letters that every font has: for pictures, beside which the whole text stands.

    >>> drawn("payload_entropy"), drawn("\u202ex"), drawn("a" * 40, 8)
    ('payload_entropy', '\\u202ex', 'aaaaa...')
    """
    plain = shown(text, 200).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def percent(value: float | None) -> str:
    """A share from 0 to 1 in percent, with one digit more; what is almost none or all is not said to be that.

    >>> [percent(v) for v in (0.0, 0.0004, 0.016, 0.9996, 1.0, None)]
    ['0%', '<0.1%', '1.6%', '>99.9%', '100%', '-']
    """
    if value is None:
        return "-"
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    return "<0.1%" if value < LEAST else ">99.9%" if value > 1.0 - LEAST else f"{value:.1%}"


def named(values: Sequence[Any], most: int = MOST_NAMED) -> str:
    """The first of several names, and how many more there are.

    >>> named(["a", "b"]), named([]), named(["a", "b", "c"], 2)
    ('a, b', '', 'a, b and 1 more')
    """
    more = f" and {len(values) - most:,} more" if len(values) > most else ""
    return ", ".join(shown(value, MOST_OF_NAME) for value in values[:most]) + more


def moment(at: float | str | None) -> str:
    """A time as a person reads it, in UTC.

    >>> moment(1767301766.36), moment(None), moment(1e300), moment("2026-01-01T00:00:00Z")
    ('2026-01-01 21:09:26', 'unknown', 'unknown', '2026-01-01 00:00:00')
    """
    try:
        when = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at or 0.0, UTC)
        if when.timestamp() < EARLIEST:
            return "unknown"
        return when.astimezone(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def name_of(family: str, hypothesis: str | None) -> str:
    """What was found, in words.

    >>> name_of("poisoning", "label_flip"), name_of("inconclusive", None)
    ('poisoning (label flip)', 'inconclusive')
    """
    return f"{family} ({hypothesis.replace('_', ' ')})" if hypothesis else family
