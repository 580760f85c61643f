"""IBM Log Event Extended Format 2.0, for QRadar, with ``^`` between attributes (a tab does not survive every relay).

The format knows no escapes. So nothing may hold what ends a field: `|` in the header and `^` in the attributes are
written out like characters that are not seen. So is `=` in a value, and a quote that it begins with: there are relays
that read ``key=value`` pairs wherever they see them, and quotes around them. QRadar's own keys are ``cat``, ``sev``,
``devTime`` and ``resource``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from monitor.alerts.alert import IncidentMessage, Notice
from monitor.alerts.encoder import Encoder
from monitor.alerts.one_line import Line, Part, fitted, listed, milliseconds, visible
from monitor.alerts.reading import acts, closing, fired, implicated, kind, title

DELIMITER: Final = "^"
LINE: Final = Line(DELIMITER, Part("truncated=", "yes"))


@dataclass(frozen=True, slots=True)
class LeefEncoder:
    """``version`` is the product's; where ``limit`` leaves no room, the last attributes are cut."""

    version: str
    limit: int

    def incident(self, message: IncidentMessage) -> bytes:
        """See `Encoder`."""
        head = message.head
        attributes = {
            "alertId": message.id,
            "incident": head.uid,
            "devTime": milliseconds(head.at),
            "cat": head.family,
            "sev": _severity(head.severity),
            "activity": head.activity,
            "status": head.status,
            "resource": head.model,
            "modelVersion": head.version,
            "confidence": str(round(head.confidence * 100)),
            "title": title(message),
            "startTime": milliseconds(head.opened_at),
            "msg": head.summary,
            "trigger": listed(implicated(message, "features")),
            "sources": listed(implicated(message, "sources")),
            "action": "; ".join(acts(message)),
            "detectors": ",".join(fired(message)),
            "mitreAtlas": ",".join(message.fields.get("atlas", ())),
            "closeReason": closing(message),
        }
        return self._line(kind(message), attributes)

    def notice(self, notice: Notice) -> bytes:
        """See `Encoder`."""
        attributes = {
            "alertId": notice.uid,
            "devTime": milliseconds(notice.at),
            "cat": "notice",
            "sev": _severity(notice.severity),
            "title": notice.title,
            "msg": notice.text,
            "facts": listed(dict(notice.facts)),
        }
        return self._line("notice", attributes)

    def _line(self, event: str, attributes: dict[str, str]) -> bytes:
        heading = ("Tocsin", "Tocsin", self.version, event)
        head = "LEEF:2.0|" + "".join(f"{_without(part, '|')}|" for part in heading) + f"{DELIMITER}|"
        return fitted(head, _parts(attributes), LINE, self.limit)


def make(version: str, limit: int) -> Encoder:
    """The encoder; ``version`` is the product's, ``limit`` the greatest length of a body in bytes."""
    return LeefEncoder(version, limit)


def _parts(attributes: dict[str, str]) -> Sequence[Part]:
    return [Part(f"{key}=", _unquoted(_without(value, f"{DELIMITER}="))) for key, value in attributes.items() if value]


def _without(text: str, characters: str) -> str:
    text = visible(text)
    for character in characters:
        text = text.replace(character, _written_out(character))
    return text


def _unquoted(value: str) -> str:
    begin = value.lstrip(" ")
    return value[: -len(begin)] + _written_out(begin[0]) + begin[1:] if begin.startswith(('"', "'")) else value


def _written_out(character: str) -> str:
    return f"<U+{ord(character):04X}>"


def _severity(severity: int) -> str:
    """Of 1 to 10: the format knows no 0."""
    return str(max(1, severity))
