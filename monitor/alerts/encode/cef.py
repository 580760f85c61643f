r"""ArcSight Common Event Format 0 (CEF implementation standard, revision 25), for ArcSight, Sentinel and others.

`\` and `|` are escaped in the header, `\` and `=` in the extension; characters that are not seen are written out, so
that no name can begin a field, a line or another record. The header holds words of our own alone, because not every
parser knows its escapes. The incident is ``externalId``, the alert ``flexString1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.alerts.alert import IncidentMessage, Notice
from monitor.alerts.encoder import Encoder
from monitor.alerts.one_line import Line, Part, fitted, listed, milliseconds, shortened, visible
from monitor.alerts.reading import acts, closing, fired, implicated, kind

LONGEST_MESSAGE: Final = 1023
LONGEST_CUSTOM: Final = 4000
"""Bytes that the standard gives to ``msg`` and to a custom string."""


@dataclass(frozen=True, slots=True)
class CefEncoder:
    """``version`` is the product's; where ``limit`` leaves no room, the last fields are cut."""

    version: str
    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        head = message.head
        parts = [
            _custom("flexString1", "alertId", message.id),
            _field("externalId", head.uid),
            _field("rt", milliseconds(head.at)),
            _field("cat", head.family),
            _field("act", head.activity),
            _field("outcome", head.status),
            _custom("cs1", "model", head.model),
            _custom("cs2", "modelVersion", head.version),
            _custom("cn1", "confidencePercent", str(round(head.confidence * 100))),
            _field("start", milliseconds(head.opened_at)),
            _field("msg", shortened(head.summary, LONGEST_MESSAGE)),
            _custom("cs3", "trigger", listed(implicated(message, "features"))),
            _custom("cs4", "implicatedSources", listed(implicated(message, "sources"))),
            _custom("cs5", "action", "; ".join(acts(message))),
            _custom("cs6", "detectors", ",".join(fired(message))),
            _field("reason", shortened(closing(message), LONGEST_MESSAGE)),
            _custom("flexString2", "mitreAtlas", ",".join(message.fields.get("atlas", ()))),
        ]
        return self._line(
            kind(message), f"{message.fields.get('hypothesis') or head.family} in a model", head.severity, parts
        )

    def notice(self, notice: Notice) -> bytes:
        """See `Encoder`."""
        parts = [
            _custom("flexString1", "alertId", notice.uid),
            _field("externalId", notice.uid),
            _field("rt", milliseconds(notice.at)),
            _field("cat", "notice"),
            _field("msg", shortened(f"{notice.title}. {notice.text}", LONGEST_MESSAGE)),
            _custom("cs1", "facts", listed(dict(notice.facts))),
        ]
        return self._line("notice", "notice about alerts", notice.severity, parts)

    def _line(self, signature: str, name: str, severity: int, parts: Sequence[Part]) -> bytes:
        heading = ("Tocsin", "Tocsin", self.version, signature, name, str(severity))
        head = "CEF:0|" + "".join(f"{_in_header(part)}|" for part in heading)
        return fitted(head, [part for part in parts if part.value], LINE, self.limit)


def make(version: str, limit: int) -> Encoder:
    """The encoder; ``version`` is the product's, ``limit`` the greatest length of a body in bytes."""
    return CefEncoder(version, limit)


def _field(key: str, value: str) -> Part:
    return Part(f"{key}=", _in_extension(value))


def _custom(key: str, label: str, value: str) -> Part:
    """One of the fields that carry their meaning in a label."""
    return Part(f"{key}Label={label} {key}=", _in_extension(shortened(value, LONGEST_CUSTOM)))


def _in_header(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace("|", "\\|")


def _in_extension(text: str) -> str:
    return visible(text).replace("\\", "\\\\").replace("=", "\\=")


def _cut(value: str, longest: int) -> str:
    """Never in the middle of an escape."""
    short = shortened(value, longest)
    if short == value:
        return value
    body = short.removesuffix("...")
    odd = (len(body) - len(body.rstrip("\\"))) % 2
    return f"{body[: len(body) - odd]}..."


LINE: Final = Line(" ", Part("flexNumber1Label=truncated flexNumber1=", "1"), _cut)
