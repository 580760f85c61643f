"""What a webhook sends in place of the alert: JSON with `${...}` in its texts.

The template is read as JSON first and filled afterwards, so that no value, however it was chosen, can become anything
but a text, a number or a document in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgspec

from monitor.alerts.alert import Alert, grade
from monitor.alerts.fit import to_json
from monitor.alerts.json_body import as_json

FIELDS: Final = ("id", "incident", "model", "family", "activity", "status", "severity", "grade", "at")
BODY: Final = "alert"
_MARK: Final = re.compile(r"\$\{([^}]*)\}")


class TemplateError(Exception):
    """A template cannot be used; the message says what is wrong, and where."""


def read_template(text: str) -> Any:
    """The template as JSON; `TemplateError` where it is none, or asks for something that no alert has."""
    try:
        template = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"it is no JSON: {error}") from error
    for name in _names(template):
        if name not in FIELDS and name.partition(".")[0] != BODY:
            known = ", ".join([*FIELDS, BODY, f"{BODY}.FIELD"])
            raise TemplateError(f"${{{name}}} is nothing that an alert has: choose from {known}")
    return template


def fill(template: Any, alert: Alert) -> bytes:
    r"""The template with an alert's values, as JSON.

    A text that is nothing but one `${...}` becomes the value itself, a number or a document; within a longer text what
    is no text is written as JSON. `${alert.a.b}` is a field of the alert's own document, by its dotted path; where an
    alert lacks it, null, or nothing within a longer text.
    """
    body = msgspec.json.decode(as_json(alert.body))
    values = {name: getattr(alert, name) for name in FIELDS if name != "grade"} | {"grade": grade(alert.severity)}
    return to_json(_filled(template, {**values, BODY: body}))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _names(part: Any) -> list[str]:
    if isinstance(part, dict):
        return [name for key, value in part.items() for name in (*_names(key), *_names(value))]
    if isinstance(part, list):
        return [name for item in part for name in _names(item)]
    return _MARK.findall(part) if isinstance(part, str) else []


def _filled(part: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, values) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(item, values) for item in part]
    if not isinstance(part, str):
        return part
    if whole := _MARK.fullmatch(part):
        return _value(whole[1], values)
    return _MARK.sub(lambda mark: _text(_value(mark[1], values)), part)


def _value(name: str, values: Mapping[str, Any]) -> Any:
    found: Any = values
    for step in name.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value).decode()
