"""RFC 5424 messages in octet-counted frames (RFC 6587 3.4.1 over TCP, RFC 5425 4.3 over TLS).

Nothing that an attacker names (a model, a family, an incident) can end a field, a message or a frame.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from monitor.alerts.alert import Alert, Grade, grade

FACILITIES: Final = {"authpriv": 10, "audit": 13, "alert": 14} | {f"local{i}": 16 + i for i in range(8)}
SEVERITIES: Final[Mapping[Grade, int]] = {"informational": 6, "low": 5, "medium": 4, "high": 3, "critical": 2}
"""Informational, notice, warning, error, critical: never emergency, which goes to every terminal of the receiver."""
SD_ID: Final = "tocsin@32473"
"""32473 is the enterprise number that RFC 5612 keeps for those that have none."""
LONGEST_VALUE: Final = 128
"""Bytes of a parameter's value."""
HEADER_ROOM: Final = 1536
"""Bytes that stay free for all that is not the body."""
BOM: Final = b"\xef\xbb\xbf"

_CONTROL_BYTES: Final = bytes(32 if b < 32 or b == 127 else b for b in range(256))  # noqa: PLR2004 - the C0 range and DEL
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NO_NAME: Final = re.compile(r"[^\x21-\x7e]")


def frame(message: bytes) -> bytes:
    """The message behind its length.

    >>> frame(b"<134>1 - - - - - -")
    b'18 <134>1 - - - - - -'
    """
    return b"%d %b" % (len(message), message)


def message(alert: Alert, facility: int, hostname: str) -> bytes:
    """One syslog message, without a frame. Control characters in the body become spaces."""
    priority = facility * 8 + SEVERITIES[grade(alert.severity)]
    head = (
        f"<{priority}>1 {timestamp(alert.at)} {name(hostname, 255)} tocsin - {name(alert.family, 32)} {_data(alert)} "
    )
    body = alert.body.translate(_CONTROL_BYTES)
    return head.encode() + (b"" if body.isascii() else BOM) + body


def timestamp(at: float) -> str:
    """UTC with microseconds, "-" for what is no date.

    >>> timestamp(0.25), timestamp(float("inf"))
    ('1970-01-01T00:00:00.250000Z', '-')
    """
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)
    except (ValueError, OverflowError, OSError):
        return "-"


def name(text: str, longest: int) -> str:
    r"""A field of the header: printable ASCII without spaces.

    >>> name("my host\n", 255), name("", 255)
    ('my?host?', '-')
    """
    return _NO_NAME.sub("?", text)[:longest] or "-"


def escaped(text: str) -> str:
    r"""A parameter's value: `"`, `\` and `]` escaped, control characters replaced, at most `LONGEST_VALUE` bytes.

    >>> escaped('a"b]c\n')
    'a\\"b\\]c�'
    """
    kept: list[str] = []
    left = LONGEST_VALUE
    for character in _CONTROLS.sub("\ufffd", text[:LONGEST_VALUE]):
        safe = f"\\{character}" if character in '"\\]' else character
        left -= len(safe.encode())
        if left < 0:
            break
        kept.append(safe)
    return "".join(kept)


def _data(alert: Alert) -> str:
    values = {
        "alert": alert.id,
        "uid": alert.incident,
        "model": alert.model,
        "family": alert.family,
        "activity": alert.activity,
        "status": alert.status,
        "severity": str(alert.severity),
    }
    pairs = " ".join(f'{key}="{escaped(value)}"' for key, value in values.items())
    return f"[{SD_ID} {pairs}]"
