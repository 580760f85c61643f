"""An alert within a JSON document: what is JSON goes in as it is, everything else as text."""

from __future__ import annotations

import msgspec

from monitor.alerts.fit import to_json


def as_json(body: bytes) -> bytes:
    r"""JSON that is or holds the body; an alert that was spooled in another format counts for what it is.

    >>> as_json(b'{"a":1}'), as_json(b'CEF:0|"')
    (b'{"a":1}', b'"CEF:0|\\""')
    """
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return to_json(body.decode(errors="replace"))
    return body
