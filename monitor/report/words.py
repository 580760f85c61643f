"""What may have been written by an attacker, as a page or a terminal can show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from monitor.explain import printable

MOST: Final = 1500
"""Characters of one value that are shown; what is longer was made to be in the way."""
MOST_IN_PICTURE: Final = 36
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
