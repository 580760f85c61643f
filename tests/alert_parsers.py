"""What receivers read in an encoded alert: parsers that know nothing of the encoders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import jc


def read_cef(body: bytes) -> dict[str, str]:
    """By jc, unescaped as the standard says; custom fields by what their label says."""
    (found,) = jc.parse("cef", body.decode(), raw=True, quiet=True)
    plain = {name: _plain(str(value)) for name, value in found.items()}
    named = {plain.pop(f"{name}Label"): name for name in list(plain) if f"{name}Label" in plain}
    return plain | {label: plain.pop(name) for label, name in named.items()}


def read_leef(body: bytes) -> dict[str, str]:
    """By IBM's guide: headers end at pipes, attributes at the delimiter that the last header names."""
    leef, vendor, product, version, event, delimiter, rest = body.decode().split("|", 6)
    assert leef == "LEEF:2.0"
    attributes = dict(pair.split("=", 1) for pair in rest.split(delimiter))
    assert len(attributes) == len(rest.split(delimiter)), "an attribute comes twice"
    return {"vendor": vendor, "product": product, "version": version, "event": event, **attributes}


READERS: dict[str, Callable[[bytes], dict[str, Any]]] = {"cef": read_cef, "leef": read_leef}
"""Every other format is JSON."""


def read(name: str, body: bytes) -> dict[str, Any]:
    """What an alert in this format says."""
    return READERS.get(name, json.loads)(body)


def texts(found: Any) -> Iterator[str]:
    """Every text of a document, names included."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield str(name)
            yield from texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value)
    else:
        yield str(found)


def _plain(value: str) -> str:
    """Without the standard's escapes, which the parser leaves in where it gives no types."""
    return value.replace("\\=", "=").replace("\\|", "|").replace("\\\\", "\\")
