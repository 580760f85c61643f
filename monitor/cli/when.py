"""Times as options of a command."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime

import typer


def event_time(text: str, option: str) -> float:
    """Seconds since the epoch; a usage error that names the option where the text is neither those nor RFC 3339."""
    with suppress(ValueError):
        if math.isfinite(seconds := float(text)):
            return seconds
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2025-03-01T00:00:00Z (with its zone), or seconds since 1970", param_hint=option
        )
    return at.timestamp()
